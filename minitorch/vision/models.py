"""Models under torchvision's names and signatures. The networks themselves are in models/resnet.py."""

from __future__ import annotations

import sys
from typing import Any

from .. import missing
from ..models import resnet as networks
from ..models.resnet import BasicBlock, Bottleneck, ResNetConfig
from ..nn import BatchNorm2d

__all__ = [
    "ResNet", "resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "resnext50_32x4d", "resnext101_32x8d",
    "resnext101_64x4d", "wide_resnet50_2", "wide_resnet101_2", "list_models", "get_model",
]  # fmt: skip
__getattr__ = missing.names(__name__)


class ResNet(networks.ResNet):
    """torchvision's signature: the block's class and the number of blocks in each layer, then the options."""

    def __init__(
        self, block, layers, num_classes=1000, zero_init_residual=False, groups=1, width_per_group=64,
        replace_stride_with_dilation=None, norm_layer=None,
    ):  # fmt: skip
        dilate = (False, False, False) if replace_stride_with_dilation is None else tuple(replace_stride_with_dilation)
        super().__init__(
            ResNetConfig(
                block, tuple(layers), num_classes, zero_init_residual, groups, width_per_group, dilate,
                norm_layer or BatchNorm2d,
            )
        )  # fmt: skip

    from_pretrained = networks.ResNet.from_pretrained


def _model(name: str, block: Any, layers: tuple, **fixed: Any) -> Any:
    def build(*, weights=None, progress=True, **options):
        if options.pop("pretrained", False):
            weights = weights or "pretrained=True"
        if weights is not None:
            raise ValueError(
                f"{name}(weights={weights!r}): minitorch downloads no weights. Where torchvision is, run\n"
                f'  safetensors.torch.save_file(torchvision.models.{name}(weights="DEFAULT").state_dict(), "{name}.safetensors")\n'
                "and here\n"
                f'  model.load_state_dict(minitorch.serialization.load_safetensors("{name}.safetensors"))\n'
                "or, for weights on the Hugging Face hub,\n"
                f'  model = minitorch.models.resnet.ResNet.from_pretrained("timm/{name}.tv_in1k")'
            )
        return ResNet(block, layers, **{**fixed, **options})

    build.__name__ = build.__qualname__ = name
    build.__doc__ = f"{name}, with weights drawn at random; options are those of `ResNet`."
    return build


resnet18 = _model("resnet18", BasicBlock, (2, 2, 2, 2))
resnet34 = _model("resnet34", BasicBlock, (3, 4, 6, 3))
resnet50 = _model("resnet50", Bottleneck, (3, 4, 6, 3))
resnet101 = _model("resnet101", Bottleneck, (3, 4, 23, 3))
resnet152 = _model("resnet152", Bottleneck, (3, 8, 36, 3))
resnext50_32x4d = _model("resnext50_32x4d", Bottleneck, (3, 4, 6, 3), groups=32, width_per_group=4)
resnext101_32x8d = _model("resnext101_32x8d", Bottleneck, (3, 4, 23, 3), groups=32, width_per_group=8)
resnext101_64x4d = _model("resnext101_64x4d", Bottleneck, (3, 4, 23, 3), groups=64, width_per_group=4)
wide_resnet50_2 = _model("wide_resnet50_2", Bottleneck, (3, 4, 6, 3), width_per_group=128)
wide_resnet101_2 = _model("wide_resnet101_2", Bottleneck, (3, 4, 23, 3), width_per_group=128)

# torchvision.models.resnet.BasicBlock: everything of the package's file is here
resnet = sys.modules[__name__ + ".resnet"] = sys.modules[__name__]
__path__: list[str] = []
_BUILDERS = {name: globals()[name] for name in __all__ if name.startswith(("resn", "wide"))}


def list_models():
    """The names of the models."""
    return sorted(_BUILDERS)


def get_model(name, **options):
    """The model of that name, as in get_model("resnet18", num_classes=10)."""
    if name.lower() not in _BUILDERS:
        raise ValueError(f"Unknown model {name}; there are {', '.join(list_models())}")
    return _BUILDERS[name.lower()](**options)
