"""Recurrent layers and cells: RNN, LSTM, GRU.      Lesson 08."""

import math
import numbers
import warnings

import minitorch

from ..tensor import Tensor
from . import init
from .module import Module
from .parameter import Parameter
from .utils.rnn import PackedSequence

GATES = {"LSTM": 4, "GRU": 3, "RNN_TANH": 1, "RNN_RELU": 1}


class RNNBase(Module):
    """What RNN, LSTM and GRU share: parameters, checks, and the way round the layers' function.

    weight_ih_l{k}: (gates * H, in), weight_hh_l{k}: (gates * H, P), bias_ih_l{k} and bias_hh_l{k}: (gates * H),
    weight_hr_l{k}: (P, H) where an LSTM has a projection (otherwise P = H). `in` is input_size for layer 0, and P times
    the number of directions above. The backward direction's have the suffix _reverse. All start uniform in
    +-1/sqrt(H).
    """

    def __init__(
        self, mode, input_size, hidden_size, num_layers=1, bias=True, batch_first=False, dropout=0.0,
        bidirectional=False, proj_size=0, device=None, dtype=None,
    ):  # fmt: skip
        super().__init__()
        self._check_options(mode, input_size, hidden_size, num_layers, bias, batch_first, dropout, proj_size)
        self.mode, self.input_size, self.hidden_size, self.num_layers = mode, input_size, hidden_size, num_layers
        self.bias, self.batch_first, self.dropout = bias, batch_first, float(dropout)
        self.bidirectional, self.proj_size = bidirectional, proj_size
        gates, out = GATES[mode] * hidden_size, proj_size or hidden_size
        self._all_weights = []
        for layer in range(num_layers):
            features = input_size if layer == 0 else out * self._directions
            for suffix in ("", "_reverse")[: self._directions]:
                shapes = {"weight_ih": (gates, features), "weight_hh": (gates, out)}
                if bias:
                    shapes.update(bias_ih=(gates,), bias_hh=(gates,))
                if proj_size:
                    shapes["weight_hr"] = (proj_size, hidden_size)
                names = {f"{name}_l{layer}{suffix}": shape for name, shape in shapes.items()}
                for name, shape in names.items():
                    setattr(self, name, Parameter(minitorch.empty(shape, device=device, dtype=dtype)))
                self._all_weights.append(list(names))
        self.reset_parameters()

    def _check_options(self, mode, input_size, hidden_size, num_layers, bias, batch_first, dropout, proj_size):
        name = self._get_name()
        if mode not in GATES:
            raise ValueError(f"{name}: Unrecognized RNN mode: {mode!r}; it must be one of {', '.join(GATES)}")
        if not isinstance(dropout, numbers.Number) or isinstance(dropout, bool) or not 0 <= dropout <= 1:
            raise ValueError(
                f"{name}: dropout should be a number in range [0, 1] representing the probability of an element being "
                f"zeroed, got {dropout!r}"
            )
        for option, value in (("bias", bias), ("batch_first", batch_first)):
            if not isinstance(value, bool):
                raise TypeError(f"{name}: {option} should be of type bool, got: {type(value).__name__}")
        for option, value in (("input_size", input_size), ("hidden_size", hidden_size), ("num_layers", num_layers)):
            if not isinstance(value, int):
                raise TypeError(f"{name}: {option} should be of type int, got: {type(value).__name__}")
            if value <= 0:
                raise ValueError(f"{name}: {option} must be greater than zero, got {value}")
        if proj_size < 0:
            raise ValueError(
                f"{name}: proj_size should be a positive integer or zero to disable projections, got {proj_size}"
            )
        if proj_size >= hidden_size:
            raise ValueError(f"{name}: proj_size has to be smaller than hidden_size, {hidden_size}, got {proj_size}")
        if dropout > 0 and num_layers == 1:
            warnings.warn(
                "dropout option adds dropout after all but last recurrent layer, so non-zero dropout expects "
                f"num_layers greater than 1, but got dropout={dropout} and num_layers={num_layers}",
                stacklevel=4,
            )

    @property
    def _directions(self):
        return 2 if self.bidirectional else 1

    @property
    def _flat_weights_names(self):
        return [name for names in self._all_weights for name in names]

    @property
    def _flat_weights(self):
        return [getattr(self, name) for name in self._flat_weights_names]

    @property
    def all_weights(self):
        """A list of parameters for each layer and direction."""
        return [[getattr(self, name) for name in names] for names in self._all_weights]

    def flatten_parameters(self):
        """Nothing to do: in PyTorch it lays the parameters out for cuDNN."""

    def reset_parameters(self):
        bound = 1 / math.sqrt(self.hidden_size)
        for parameter in self.parameters():
            init.uniform_(parameter, -bound, bound)

    def forward(self, input, hx=None):
        """(output, h_n).      input: (T, B, C), (B, T, C) if batch_first, (T, C) without batch; or a PackedSequence."""
        output, (h_n,) = self._run(input, hx)
        return output, h_n

    def _run(self, input, hx):
        """The output and a list of final states, of which an LSTM has two; hx: None, a tensor, or a tuple of two."""
        name, weights = self._get_name(), self._flat_weights
        packed = input if isinstance(input, PackedSequence) else None
        x = input if packed is None else packed.data
        if not isinstance(x, Tensor):
            raise TypeError(f"{name}: expected a Tensor or a PackedSequence as input, got {type(x).__name__}")
        if packed is None and x.dim() not in (2, 3):
            raise ValueError(f"{name}: Expected input to be 2D or 3D, got {x.dim()}D tensor instead")
        states = None if hx is None else self._read_states(hx, 3 if packed is not None else x.dim())
        batched, batch_axis = packed is not None or x.dim() == 3, 0 if self.batch_first else 1
        if not batched:
            x = x.unsqueeze(batch_axis)
            states = states and [state.unsqueeze(1) for state in states]
        self._check_input(x, 2 if packed is not None else 3, weights[0].dtype)

        batch = x.shape[batch_axis] if packed is None else int(packed.batch_sizes[0])
        states = self._check_states(x, batch, states)
        if packed is not None and packed.sorted_indices is not None:
            states = [state.index_select(1, packed.sorted_indices) for state in states]
        states = states[0] if len(states) == 1 else states
        layers = getattr(minitorch, self.mode.lower())
        options = self.bias, self.num_layers, self.dropout, self.training, self.bidirectional
        if packed is None:
            output, *states = layers(x, states, weights, *options, self.batch_first)
        else:
            output, *states = layers(x, packed.batch_sizes, states, weights, *options)
            output = PackedSequence(output, *packed[1:])
            if packed.unsorted_indices is not None:
                states = [state.index_select(1, packed.unsorted_indices) for state in states]
        if not batched:
            output, states = output.squeeze(batch_axis), [state.squeeze(1) for state in states]
        return output, states

    def _read_states(self, hx, dims):
        name, kind = self._get_name(), "For batched 3-D input" if dims == 3 else "For unbatched 2-D input"
        if not isinstance(hx, Tensor):
            raise TypeError(f"{name}: expected hx to be a Tensor, got {type(hx).__name__}")
        if hx.dim() != dims:
            raise RuntimeError(f"{name}: {kind}, hx should also be {dims}-D but got {hx.dim()}-D tensor")
        return [hx]

    def _check_input(self, x, dims, dtype):
        name = self._get_name()
        if x.dtype != dtype:
            raise ValueError(
                f"{name}: RNN input dtype ({x.dtype}) does not match weight dtype ({dtype}). "
                f"Convert input: input.to({dtype}), or convert model: model.to({x.dtype})"
            )
        if x.dim() != dims:
            raise RuntimeError(f"{name}: input must have {dims} dimensions, got {x.dim()}")
        if x.shape[-1] != self.input_size:
            raise RuntimeError(
                f"{name}: input.size(-1) must be equal to input_size. Expected {self.input_size}, got {x.shape[-1]}"
            )

    def _check_states(self, x, batch, states):
        """The states for layers and directions, zeros if none were given; refuses shapes that do not fit."""
        sizes = [self.proj_size or self.hidden_size, self.hidden_size][: 2 if self.mode == "LSTM" else 1]
        shapes = [(self.num_layers * self._directions, batch, size) for size in sizes]
        if states is None:
            return [minitorch.zeros(shape, dtype=x.dtype, device=x.device) for shape in shapes]
        for i, (state, shape) in enumerate(zip(states, shapes)):
            if tuple(state.shape) != shape:
                what = f"hidden[{i}]" if len(states) > 1 else "hidden"
                raise RuntimeError(f"{self._get_name()}: Expected {what} size {shape}, got {list(state.shape)}")
        return states

    def extra_repr(self):
        text = f"{self.input_size}, {self.hidden_size}"
        defaults = {"proj_size": 0, "num_layers": 1, "bias": True, "batch_first": False, "dropout": 0.0}
        for option, default in {**defaults, "bidirectional": False}.items():
            if getattr(self, option) != default:
                text += f", {option}={getattr(self, option)}"
        return text


def _no_projection(name, proj_size):
    if proj_size is not None:
        raise ValueError(f"{name}: proj_size argument is only supported for LSTM, not RNN or GRU; got {proj_size}")


class RNN(RNNBase):
    """h_t = tanh(W_ih x_t + b_ih + W_hh h_{t-1} + b_hh), or relu: Elman's network, num_layers of them on each other."""

    def __init__(
        self, input_size, hidden_size, num_layers=1, nonlinearity="tanh", bias=True, batch_first=False, dropout=0.0,
        bidirectional=False, device=None, dtype=None, *, proj_size=None,
    ):  # fmt: skip
        _no_projection("RNN", proj_size)
        if nonlinearity not in ("tanh", "relu"):
            raise ValueError(f"RNN: Unknown nonlinearity {nonlinearity!r}. Select from 'tanh' or 'relu'.")
        mode = "RNN_" + nonlinearity.upper()
        super().__init__(
            mode, input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, 0, device, dtype
        )
        self.nonlinearity = nonlinearity


class LSTM(RNNBase):
    """Long short-term memory: the equations are `ops.recurrent.LSTMSequence`'s.

    Returns (output, (h_n, c_n)), and takes (h_0, c_0). proj_size: h_t is multiplied by W_hr and is that wide.
    """

    def __init__(
        self, input_size, hidden_size, num_layers=1, bias=True, batch_first=False, dropout=0.0, bidirectional=False,
        proj_size=0, device=None, dtype=None,
    ):  # fmt: skip
        super().__init__(
            "LSTM", input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, proj_size, device,
            dtype,
        )  # fmt: skip

    def forward(self, input, hx=None):
        output, (h_n, c_n) = self._run(input, hx)
        return output, (h_n, c_n)

    def _read_states(self, hx, dims):
        if not isinstance(hx, (tuple, list)) or len(hx) != 2 or not all(isinstance(h, Tensor) for h in hx):
            got = f"{len(hx)} of them" if isinstance(hx, (tuple, list)) else type(hx).__name__
            raise TypeError(f"LSTM: expected hx to be two Tensors (h_0, c_0), got {got}")
        if any(h.dim() != dims for h in hx):
            kind = "For batched 3-D input" if dims == 3 else "For unbatched 2-D input"
            got = ", ".join(f"{h.dim()}-D" for h in hx)
            raise RuntimeError(f"LSTM: {kind}, hx and cx should also be {dims}-D but got ({got}) tensors")
        return list(hx)


class GRU(RNNBase):
    """Gated recurrent unit: the equations are `ops.recurrent.GRUSequence`'s."""

    def __init__(
        self, input_size, hidden_size, num_layers=1, bias=True, batch_first=False, dropout=0.0, bidirectional=False,
        device=None, dtype=None, *, proj_size=None,
    ):  # fmt: skip
        _no_projection("GRU", proj_size)
        super().__init__(
            "GRU", input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, 0, device, dtype
        )


class RNNCellBase(Module):
    """One step: weight_ih (gates * H, in), weight_hh (gates * H, H), bias_ih, bias_hh; uniform in +-1/sqrt(H)."""

    def __init__(self, input_size, hidden_size, bias, num_chunks, device=None, dtype=None):
        super().__init__()
        self.input_size, self.hidden_size, self.bias = input_size, hidden_size, bias
        rows = num_chunks * hidden_size
        for name, shape in (("ih", (rows, input_size)), ("hh", (rows, hidden_size))):
            setattr(self, f"weight_{name}", Parameter(minitorch.empty(shape, device=device, dtype=dtype)))
        for name in ("bias_ih", "bias_hh"):
            parameter = Parameter(minitorch.empty(rows, device=device, dtype=dtype)) if bias else None
            self.register_parameter(name, parameter)
        self.reset_parameters()

    def reset_parameters(self):
        bound = 1 / math.sqrt(self.hidden_size) if self.hidden_size > 0 else 0
        for parameter in self.parameters():
            init.uniform_(parameter, -bound, bound)

    def _run(self, cell, input, states, n_states=1):
        """The new states, as a list.      input: (B, in) or (in,); states: n_states of (B, H) or (H,), or None"""
        name = self._get_name()
        if not isinstance(input, Tensor):
            raise TypeError(f"{name}: expected a Tensor as input, got {type(input).__name__}")
        if input.dim() not in (1, 2):
            raise ValueError(f"{name}: Expected input to be 1D or 2D, got {input.dim()}D instead")
        batched = input.dim() == 2
        x = input if batched else input.unsqueeze(0)
        if x.shape[1] != self.input_size:
            raise RuntimeError(
                f"{name}: input has inconsistent input_size: got {x.shape[1]} expected {self.input_size}"
            )
        if states is None:
            zeros = minitorch.zeros(x.shape[0], self.hidden_size, dtype=x.dtype, device=x.device)
            states = [zeros] * n_states
        else:
            states = [self._read_state(state, i, input) for i, state in enumerate(states)]
        states = states[0] if n_states == 1 else states
        outputs = cell(x, states, self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh)
        outputs = [outputs] if n_states == 1 else list(outputs)
        return outputs if batched else [output.squeeze(0) for output in outputs]

    def _read_state(self, state, i, input):
        name = self._get_name()
        what = f"hx[{i}]" if name == "LSTMCell" else "hidden"
        if not isinstance(state, Tensor):
            raise TypeError(f"{name}: expected {what} to be a Tensor, got {type(state).__name__}")
        if state.dim() != input.dim():
            fits = "1D or 2D" if state.dim() not in (1, 2) else f"{input.dim()}D, as the input is"
            raise ValueError(f"{name}: Expected {what} to be {fits}, got {state.dim()}D instead")
        if state.shape[-1] != self.hidden_size:
            sizes = f"got {state.shape[-1]}, expected {self.hidden_size}"
            raise RuntimeError(f"{name}: hidden{i} has inconsistent hidden_size: {sizes}")
        if state.shape[:-1] != input.shape[:-1]:
            sizes = f"{input.shape[0]} doesn't match hidden{i} batch size {state.shape[0]}"
            raise RuntimeError(f"{name}: Input batch size {sizes}")
        return state if input.dim() == 2 else state.unsqueeze(0)

    def extra_repr(self):
        text = f"{self.input_size}, {self.hidden_size}"
        if self.bias is not True:
            text += f", bias={self.bias}"
        if getattr(self, "nonlinearity", "tanh") != "tanh":
            text += f", nonlinearity={self.nonlinearity}"
        return text


class RNNCell(RNNCellBase):
    """h' = tanh(W_ih x + b_ih + W_hh h + b_hh), or relu."""

    def __init__(self, input_size, hidden_size, bias=True, nonlinearity="tanh", device=None, dtype=None):
        super().__init__(input_size, hidden_size, bias, 1, device, dtype)
        self.nonlinearity = nonlinearity

    def forward(self, input, hx=None):
        if self.nonlinearity not in ("tanh", "relu"):
            raise RuntimeError(f"RNNCell: Unknown nonlinearity: {self.nonlinearity}; use 'tanh' or 'relu'")
        cell = minitorch.rnn_tanh_cell if self.nonlinearity == "tanh" else minitorch.rnn_relu_cell
        return self._run(cell, input, None if hx is None else [hx])[0]


class LSTMCell(RNNCellBase):
    """(h', c') of one step of an LSTM; takes (h, c)."""

    def __init__(self, input_size, hidden_size, bias=True, device=None, dtype=None):
        super().__init__(input_size, hidden_size, bias, 4, device, dtype)

    def forward(self, input, hx=None):
        if hx is not None and (not isinstance(hx, (tuple, list)) or len(hx) != 2):
            got = f"{len(hx)} of them" if isinstance(hx, (tuple, list)) else type(hx).__name__
            raise TypeError(f"LSTMCell: expected hx to be two Tensors (h, c), got {got}")
        return tuple(self._run(minitorch.lstm_cell, input, hx, n_states=2))


class GRUCell(RNNCellBase):
    """h' of one step of a GRU."""

    def __init__(self, input_size, hidden_size, bias=True, device=None, dtype=None):
        super().__init__(input_size, hidden_size, bias, 3, device, dtype)

    def forward(self, input, hx=None):
        return self._run(minitorch.gru_cell, input, None if hx is None else [hx])[0]
