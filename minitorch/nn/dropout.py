"""Dropout."""

from . import functional as F
from .module import Module


class Dropout(Module):
    """In training, y = x * m / (1 - p) with m = 1 with probability 1 - p, else 0; in evaluation, y = x. arXiv:1207.0580

    Dividing by 1 - p keeps the mean of y, so that nothing has to change in evaluation.
    """

    def __init__(self, p=0.5, inplace=False):
        super().__init__()
        if not 0 <= p <= 1:
            raise ValueError(f"dropout probability has to be between 0 and 1, but got {p}")
        self.p, self.inplace = p, inplace

    def forward(self, input):
        return F.dropout(input, self.p, self.training, self.inplace)

    def extra_repr(self):
        return f"p={self.p}, inplace={self.inplace}"


class Dropout1d(Dropout):
    """Dropout of whole channels of (B, C, L) or (C, L). arXiv:1411.4280"""

    def forward(self, input):
        return F.dropout1d(input, self.p, self.training, self.inplace)


class Dropout2d(Dropout):
    """Dropout of whole channels of (B, C, H, W). arXiv:1411.4280"""

    def forward(self, input):
        return F.dropout2d(input, self.p, self.training, self.inplace)


class Dropout3d(Dropout):
    """Dropout of whole channels of (B, C, D, H, W) or (C, D, H, W). arXiv:1411.4280"""

    def forward(self, input):
        return F.dropout3d(input, self.p, self.training, self.inplace)


class AlphaDropout(Dropout):
    """Dropout for SELU: elements become its lowest value, and mean and variance stay. arXiv:1706.02515"""

    def forward(self, input):
        return F.alpha_dropout(input, self.p, self.training)


class FeatureAlphaDropout(Dropout):
    """AlphaDropout of whole channels."""

    def forward(self, input):
        return F.feature_alpha_dropout(input, self.p, self.training)
