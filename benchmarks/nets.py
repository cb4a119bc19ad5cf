"""The networks that models/ does not hold, written as a model file: it runs under PyTorch too (under_torch.py)."""

from __future__ import annotations

from minitorch import nn
from minitorch.nn import functional as F


class ConvNet(nn.Module):
    """Two 3x3 convolutions, a pool and two linear layers: images (B, 1, H, H) -> (B, 10)."""

    def __init__(self, size=28, channels=(32, 64), hidden=128):
        super().__init__()
        a, b = channels
        self.layers = nn.Sequential(
            nn.Conv2d(1, a, 3), nn.ReLU(), nn.Conv2d(a, b, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
            nn.Linear(b * ((size - 4) // 2) ** 2, hidden), nn.ReLU(), nn.Linear(hidden, 10),
        )  # fmt: skip

    def forward(self, x):
        return self.layers(x)


class ResidualBlock(nn.Module):
    """relu(x + conv(relu(conv(x)))), each convolution normalised. arXiv:1512.03385"""

    def __init__(self, before, after, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, stride=stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(after)
        self.conv2 = nn.Conv2d(after, after, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(after)
        self.shortcut = nn.Sequential()
        if before != after:
            self.shortcut = nn.Sequential(nn.Conv2d(before, after, 1, stride=stride, bias=False), nn.BatchNorm2d(after))

    def forward(self, x):
        y = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.norm2(self.conv2(y)) + self.shortcut(x))


class ResNet8(nn.Module):
    """A convolution, three residual blocks of two, and a linear layer: images (B, 3, H, H) -> (B, 10)."""

    def __init__(self, width=16):
        super().__init__()
        self.conv = nn.Conv2d(3, width, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(width)
        self.blocks = nn.Sequential(
            ResidualBlock(width, width, 1), ResidualBlock(width, 2 * width, 2), ResidualBlock(2 * width, 4 * width, 2)
        )
        self.out = nn.Linear(4 * width, 10)

    def forward(self, x):
        x = self.blocks(F.relu(self.norm(self.conv(x))))  # (B, 4 width, H/4, H/4)
        return self.out(F.adaptive_avg_pool2d(x, 1).flatten(1))


class Recurrent(nn.Module):
    """An LSTM or a GRU, and a linear layer on its last state: (T, B, inputs) -> (B, 10)."""

    def __init__(self, kind, inputs, hidden):
        super().__init__()
        self.recurrent = {"lstm": nn.LSTM, "gru": nn.GRU}[kind](inputs, hidden)
        self.out = nn.Linear(hidden, 10)

    def forward(self, x):
        return self.out(self.recurrent(x)[0][-1])


class GPTBlock(nn.Module):
    """x + attention(norm(x)), then x + feed_forward(norm(x)); a token attends to those before it."""

    def __init__(self, width, heads, dropout):
        super().__init__()
        self.heads, self.p = heads, dropout
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.project = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)
        self.feed_forward = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width), nn.Dropout(dropout)
        )

    def forward(self, x):
        B, T, C = x.shape
        q, k, v = (
            part.view(B, T, self.heads, C // self.heads).transpose(1, 2)  # (B, h, T, d)
            for part in self.qkv(self.norm1(x)).split(C, dim=2)
        )
        p = self.p if self.training else 0.0
        y = F.scaled_dot_product_attention(q, k, v, dropout_p=p, is_causal=True)
        x = x + self.dropout(self.project(y.transpose(1, 2).contiguous().view(B, T, C)))
        return x + self.feed_forward(self.norm2(x))


class GPT(nn.Module):
    """nanoGPT's shape: token numbers (B, T) and the next ones -> their cross-entropy."""

    def __init__(self, vocab, block, layers, heads, width, dropout):
        super().__init__()
        self.tokens, self.positions = nn.Embedding(vocab, width), nn.Embedding(block, width)
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList([GPTBlock(width, heads, dropout) for _ in range(layers)])
        self.norm = nn.LayerNorm(width)
        self.out = nn.Linear(width, vocab, bias=False)
        self.out.weight = self.tokens.weight
        for parameter in self.parameters():
            if parameter.ndim == 2:
                nn.init.normal_(parameter, std=0.02)

    def forward(self, ids, targets, places):
        x = self.dropout(self.tokens(ids) + self.positions(places))  # (B, T, C)
        for block in self.blocks:
            x = block(x)
        scores = self.out(self.norm(x))  # (B, T, V)
        return F.cross_entropy(scores.view(-1, scores.shape[-1]), targets.view(-1))
