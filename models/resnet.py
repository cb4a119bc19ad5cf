"""ResNet: convolutions with shortcuts around them, so that a deep network learns what to add to its input.
arXiv:1512.03385

Parameter names, their order, and the weights that a seed gives are those of torchvision's `resnet18` ... `resnet152`,
so their state_dicts load: `resnet18().load_state_dict(weights)`.

Shapes: B images of C channels and H x W points. The sizes in comments are for 224 x 224 points.
"""

from collections.abc import Callable
from dataclasses import dataclass

from minitorch import nn


def conv3x3(inputs, outputs, stride=1, groups=1, dilation=1):
    return nn.Conv2d(inputs, outputs, 3, stride, padding=dilation, dilation=dilation, groups=groups, bias=False)


def conv1x1(inputs, outputs, stride=1):
    return nn.Conv2d(inputs, outputs, 1, stride, bias=False)


class BasicBlock(nn.Module):
    """x + f(x), f: two 3x3 convolutions.      (B, inplanes, H, W) -> (B, planes, H / stride, W / stride)

    `downsample` brings x to that shape.
    """

    expansion = 1  # channels that come out, for each of `planes`

    def __init__(
        self, inplanes, planes, stride=1, downsample=None, groups=1, base_width=64, dilation=1, norm_layer=None
    ):
        super().__init__()
        norm_layer = norm_layer or nn.BatchNorm2d
        if groups != 1 or base_width != 64:
            raise ValueError("BasicBlock only supports groups=1 and base_width=64")
        if dilation > 1:
            raise NotImplementedError("Dilation > 1 not supported in BasicBlock")
        self.conv1 = conv3x3(inplanes, planes, stride)
        self.bn1 = norm_layer(planes)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = conv3x3(planes, planes)
        self.bn2 = norm_layer(planes)
        self.downsample = downsample
        self.stride = stride

    def forward(self, x):
        y = self.relu(self.bn1(self.conv1(x)))  # (B, planes, H / stride, W / stride)
        y = self.bn2(self.conv2(y))
        y += x if self.downsample is None else self.downsample(x)
        return self.relu(y)


class Bottleneck(nn.Module):
    """x + f(x), f: to few channels by a 1x1 convolution, a 3x3 one there, and by a 1x1 one to four times as many.

    The 3x3 convolution has the stride, where the paper gives it to the first.
    """

    expansion = 4

    def __init__(
        self, inplanes, planes, stride=1, downsample=None, groups=1, base_width=64, dilation=1, norm_layer=None
    ):
        super().__init__()
        norm_layer = norm_layer or nn.BatchNorm2d
        width = int(planes * (base_width / 64.0)) * groups
        self.conv1 = conv1x1(inplanes, width)
        self.bn1 = norm_layer(width)
        self.conv2 = conv3x3(width, width, stride, groups, dilation)
        self.bn2 = norm_layer(width)
        self.conv3 = conv1x1(width, planes * self.expansion)
        self.bn3 = norm_layer(planes * self.expansion)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = downsample
        self.stride = stride

    def forward(self, x):
        y = self.relu(self.bn1(self.conv1(x)))  # (B, width, H, W)
        y = self.relu(self.bn2(self.conv2(y)))  # (B, width, H / stride, W / stride)
        y = self.bn3(self.conv3(y))  # (B, 4 planes, H / stride, W / stride)
        y += x if self.downsample is None else self.downsample(x)
        return self.relu(y)


@dataclass
class ResNetConfig:
    """The defaults are ResNet-18.

    `zero_init_residual`: the last norm of each block starts at 0, so that at first every block passes on its input.
    `groups`, `width_per_group`: ResNeXt (arXiv:1611.05431) and wide networks (arXiv:1605.07146), of Bottlenecks.
    `replace_stride_with_dilation`: for layers 2, 3, 4; True keeps the resolution and spreads the convolutions instead.
    """

    block: type[nn.Module] = BasicBlock
    layers: tuple[int, ...] = (2, 2, 2, 2)  # blocks in each of the four layers
    num_classes: int = 1000
    zero_init_residual: bool = False
    groups: int = 1
    width_per_group: int = 64
    replace_stride_with_dilation: tuple[bool, ...] = (False, False, False)
    norm_layer: Callable[..., nn.Module] = nn.BatchNorm2d

    def __post_init__(self):
        if len(self.layers) != 4:
            raise ValueError(f"layers must hold the number of blocks of 4 layers, got {self.layers}")
        if len(self.replace_stride_with_dilation) != 3:
            raise ValueError(
                "replace_stride_with_dilation should be None or a 3-element tuple, "
                f"got {self.replace_stride_with_dilation}"
            )


class ResNet(nn.Module):
    """x: (B, 3, H, W) -> (B, num_classes)"""

    def __init__(self, config):
        super().__init__()
        self.config = config
        self.inplanes = 64  # channels so far, while the layers are made
        self.dilation = 1
        dilate = config.replace_stride_with_dilation
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = config.norm_layer(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.layer1 = self._make_layer(64, config.layers[0])
        self.layer2 = self._make_layer(128, config.layers[1], 2, dilate[0])
        self.layer3 = self._make_layer(256, config.layers[2], 2, dilate[1])
        self.layer4 = self._make_layer(512, config.layers[3], 2, dilate[2])
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(512 * config.block.expansion, config.num_classes)
        self._initialize()

    def _make_layer(self, planes, blocks, stride=1, dilate=False):
        """Blocks at one resolution; the first one comes down to it, by its stride."""
        block, norm_layer = self.config.block, self.config.norm_layer
        wide = {"groups": self.config.groups, "base_width": self.config.width_per_group, "norm_layer": norm_layer}
        outputs, downsample, dilation = planes * block.expansion, None, self.dilation
        if dilate:
            self.dilation *= stride
            stride = 1
        if stride != 1 or self.inplanes != outputs:
            downsample = nn.Sequential(conv1x1(self.inplanes, outputs, stride), norm_layer(outputs))
        layer = [block(self.inplanes, planes, stride, downsample, dilation=dilation, **wide)]
        self.inplanes = outputs
        layer += [block(outputs, planes, dilation=self.dilation, **wide) for _ in range(1, blocks)]
        return nn.Sequential(*layer)

    def _initialize(self):
        for module in self.modules():
            if isinstance(module, nn.Conv2d):  # keeps the gradients' variance on the way back through the ReLUs
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(module, (nn.BatchNorm2d, nn.GroupNorm)):
                nn.init.constant_(module.weight, 1)
                nn.init.constant_(module.bias, 0)
        if self.config.zero_init_residual:
            for module in self.modules():
                last = {BasicBlock: "bn2", Bottleneck: "bn3"}.get(type(module))
                if last and getattr(module, last).weight is not None:
                    nn.init.constant_(getattr(module, last).weight, 0)

    def forward(self, x):
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))  # (B, 64, 56, 56)
        x = self.layer1(x)
        x = self.layer2(x)  # (B, 128 e, 28, 28), e = block.expansion
        x = self.layer3(x)  # (B, 256 e, 14, 14)
        x = self.layer4(x)  # (B, 512 e, 7, 7)
        x = self.avgpool(x).flatten(1)  # (B, 512 e)
        return self.fc(x)


def resnet18(**options):
    return ResNet(ResNetConfig(BasicBlock, (2, 2, 2, 2), **options))


def resnet34(**options):
    return ResNet(ResNetConfig(BasicBlock, (3, 4, 6, 3), **options))


def resnet50(**options):
    return ResNet(ResNetConfig(Bottleneck, (3, 4, 6, 3), **options))


def resnet101(**options):
    return ResNet(ResNetConfig(Bottleneck, (3, 4, 23, 3), **options))


def resnet152(**options):
    return ResNet(ResNetConfig(Bottleneck, (3, 8, 36, 3), **options))
