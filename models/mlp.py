"""A multilayer perceptron: linear layers with a nonlinearity between them."""

from dataclasses import dataclass

from minitorch import nn

ACTIVATIONS = {"relu": nn.ReLU, "gelu": nn.GELU, "tanh": nn.Tanh, "sigmoid": nn.Sigmoid}


@dataclass
class MLPConfig:
    """`hidden_sizes`: the widths of the layers between input and output, none for a linear model."""

    input_size: int = 784
    hidden_sizes: tuple[int, ...] = (128,)
    output_size: int = 10
    activation: str = "relu"
    dropout: float = 0.0

    def __post_init__(self):
        if self.activation not in ACTIVATIONS:
            raise ValueError(f"activation {self.activation!r} is unknown; there are {', '.join(ACTIVATIONS)}")


class MLP(nn.Module):
    """x: (B, ...) with input_size numbers for each of the B examples -> (B, output_size)."""

    def __init__(self, config):
        super().__init__()
        self.config = config
        self.hidden = nn.Sequential()
        width = config.input_size
        for size in config.hidden_sizes:
            self.hidden.extend([nn.Linear(width, size), ACTIVATIONS[config.activation](), nn.Dropout(config.dropout)])
            width = size
        self.output = nn.Linear(width, config.output_size)

    def forward(self, x):
        x = x.flatten(1)  # (B, input_size)
        if x.shape[1] != self.config.input_size:
            raise ValueError(f"MLP: an example has {x.shape[1]} numbers, input_size is {self.config.input_size}")
        return self.output(self.hidden(x))  # (B, output_size)
