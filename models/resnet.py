"""ResNet: convolutions with shortcuts around them, so that a deep network learns what to add to its input.
arXiv:1512.03385

Parameter names, their order, and the weights that a seed gives are those of torchvision's `resnet18` ... `resnet152`,
so their state_dicts load: `resnet18().load_state_dict(weights)`. Published weights come by `ResNet.from_pretrained`.

Shapes: B images of C channels and H x W points. The sizes in comments are for 224 x 224 points.
"""

import dataclasses
import os
import re
from collections.abc import Callable
from dataclasses import dataclass

from minitorch.models import pretrained
from minitorch.models.pretrained import PreTrained, read_labels

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


BLOCKS = {"basic": BasicBlock, "bottleneck": Bottleneck}
OTHER = "minitorch-resnet"  # the model_type of networks that Hugging Face's ResNet cannot be


@dataclass
class ResNetConfig:
    """The defaults are ResNet-18.

    `zero_init_residual`: the last norm of each block starts at 0, so that at first every block passes on its input.
    `groups`, `width_per_group`: ResNeXt (arXiv:1611.05431) and wide networks (arXiv:1605.07146), of Bottlenecks.
    `replace_stride_with_dilation`: for layers 2, 3, 4; True keeps the resolution and spreads the convolutions instead.
    `width`: channels of the first layer; each further one has twice as many.
    `small_images`: the first convolution is a 3x3 one that keeps the resolution, for images of about 32 points.
    `id2label`: the classes' names.
    """

    block: type[nn.Module] = BasicBlock
    layers: tuple[int, ...] = (2, 2, 2, 2)  # blocks in each of the four layers
    num_classes: int = 1000
    zero_init_residual: bool = False
    groups: int = 1
    width_per_group: int = 64
    replace_stride_with_dilation: tuple[bool, ...] = (False, False, False)
    norm_layer: Callable[..., nn.Module] = nn.BatchNorm2d
    in_channels: int = 3
    width: int = 64
    small_images: bool = False
    id2label: dict[int, str] | None = None

    def __post_init__(self):
        if len(self.layers) != 4:
            raise ValueError(f"layers must hold the number of blocks of 4 layers, got {self.layers}")
        if len(self.replace_stride_with_dilation) != 3:
            raise ValueError(
                "replace_stride_with_dilation should be None or a 3-element tuple, "
                f"got {self.replace_stride_with_dilation}"
            )
        if self.id2label is not None:
            self.id2label = read_labels(self.id2label)
            if len(self.id2label) != self.num_classes:
                raise ValueError(f"num_classes={self.num_classes}, but id2label names {len(self.id2label)} classes")

    def is_plain(self):
        """Whether Hugging Face's ResNet can be this network."""
        return not (self.small_images or any(self.replace_stride_with_dilation)) and (
            (self.groups, self.width_per_group) == (1, 64)
        )

    def to_dict(self):
        """A dictionary for config.json, which from_dict() reads, and where the network allows it Hugging Face's class.

        It gives other networks another model_type, so that they are refused there instead of taken for plain ones.
        """
        if self.norm_layer is not nn.BatchNorm2d:
            raise ValueError(
                f"only a ResNet with BatchNorm2d can be saved with its configuration, not {self.norm_layer}"
            )
        values = {
            field.name: getattr(self, field.name) for field in dataclasses.fields(self) if field.name != "norm_layer"
        }
        values["block"] = next(k for k, v in BLOCKS.items() if v is self.block)
        if not self.is_plain():
            # transformers' ResNetForImageClassification warns of the model_type only; this layer_type it refuses.
            return {"model_type": OTHER, "layer_type": OTHER, **values}
        theirs = {
            "architectures": ["ResNetForImageClassification"],
            "num_channels": self.in_channels,
            "embedding_size": self.width,
            "hidden_sizes": [self.width * self.block.expansion * 2**i for i in range(4)],
            "depths": self.layers,
            "layer_type": values["block"],
            "hidden_act": "relu",
            "downsample_in_first_stage": False,
            "downsample_in_bottleneck": False,
            "num_labels": self.num_classes,
        }
        if self.id2label is not None:
            theirs["label2id"] = {name: number for number, name in self.id2label.items()}
        return {"model_type": "resnet", **theirs, **values}

    @classmethod
    def from_dict(cls, values):
        known = {field.name: field.default for field in dataclasses.fields(cls) if field.name != "norm_layer"}
        kept = {name: value for name, value in values.items() if name in known}
        for name, value in kept.items():
            default = known[name]
            many = isinstance(default, tuple)
            kind = type(default[0] if many else default)
            if many and not isinstance(value, (list, tuple)):
                raise ValueError(f"ResNetConfig: {name} must be a list, got {value!r}")
            for one in value if many else [value]:
                if kind in (int, bool) and (type(one) is not kind or one < 0):
                    raise ValueError(f"ResNetConfig: {name} must be of the type {kind.__name__}, got {value!r}")
            kept[name] = tuple(value) if many else value
        block = kept.pop("block", "basic")
        if block not in list(BLOCKS):
            raise ValueError(f"ResNetConfig: block {block!r} is unknown; there are {', '.join(BLOCKS)}")
        return cls(BLOCKS[block], **kept)

    @classmethod
    def from_weights(cls, weights):
        """The network that has weights of these names and shapes. They do not show dilation, nor strides but the usual ones."""
        shapes = {name: tuple(value.shape) for name, value in weights.items()}
        layers = tuple(
            len({name.split(".")[1] for name in shapes if re.fullmatch(rf"layer{i}\.\d+\.conv1\.weight", name)})
            for i in range(1, 5)
        )
        stem, first = shapes.get("conv1.weight", ()), shapes.get("layer1.0.conv2.weight", ())
        whole = len(stem) == len(first) == 4 and 0 not in stem + first and first[0] % first[1] == 0
        if not (all(layers) and whole):
            raise ValueError(
                "these are not the weights of a ResNet in torchvision's naming (conv1.weight, layer1.0.conv1.weight, ... "
                f"layer4.0.conv2.weight, fc.weight); there are {', '.join(list(shapes)[:6])}, ..."
            )
        bottleneck, width = "layer1.0.conv3.weight" in shapes, stem[0]
        groups = first[0] // first[1] if bottleneck else 1
        return cls(
            Bottleneck if bottleneck else BasicBlock,
            layers,
            num_classes=(shapes.get("fc.weight") or (1000,))[0],
            groups=groups,
            width_per_group=64 * first[0] // (groups * width) if bottleneck else 64,
            in_channels=stem[1],
            width=width,
            small_images=stem[2] == 3,
        )


class ResNet(PreTrained):
    """x: (B, in_channels, H, W) -> (B, num_classes)"""

    config_class = ResNetConfig
    optional_keys = (r"^fc\.",)

    def __init__(self, config):
        super().__init__(config)
        width = config.width
        self.inplanes = width  # channels so far, while the layers are made
        self.dilation = 1
        dilate = config.replace_stride_with_dilation
        kernel, stride = (3, 1) if config.small_images else (7, 2)
        self.conv1 = nn.Conv2d(config.in_channels, width, kernel, stride, padding=kernel // 2, bias=False)
        self.bn1 = config.norm_layer(width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.layer1 = self._make_layer(width, config.layers[0])
        self.layer2 = self._make_layer(2 * width, config.layers[1], 2, dilate[0])
        self.layer3 = self._make_layer(4 * width, config.layers[2], 2, dilate[1])
        self.layer4 = self._make_layer(8 * width, config.layers[3], 2, dilate[2])
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(8 * width * config.block.expansion, config.num_classes)
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

    def init_weights(self, module):
        """What no file gives keeps the numbers that __init__ drew."""

    @classmethod
    def from_pretrained(
        cls, name_or_folder, *, config=None, ignore_mismatched_sizes=False, dtype=None, device="cpu",
        output_loading_info=False, **config_overrides,
    ):  # fmt: skip
        """The network in a local folder, in one .safetensors file, or of a hub id ("owner/name"), in evaluation mode.

        The weights are named as torchvision's or as Hugging Face's ResNetForImageClassification's. Where config.json is
        not one that `save_pretrained` wrote, their shapes tell which network it is. config_overrides: num_classes=10
        (or num_labels=10) begins `fc` anew, with a warning; in_channels=1 or 3 also takes a network for colour to grey
        images, and back.
        """
        weights = read_weights(name_or_folder)
        fresh = dict(config_overrides)
        if (number := fresh.pop("num_labels", None)) is not None:  # Hugging Face's name
            if type(number) is not int or number < 1:
                raise ValueError(f"num_labels must be a whole number of at least 1, got {number!r}")
            fresh["num_classes"] = number
        known = [field.name for field in dataclasses.fields(cls.config_class)]
        if unknown := [name for name in fresh if name not in known]:
            raise TypeError(f"ResNetConfig has no setting {', '.join(unknown)}; it has {', '.join(known)}")
        if config is None:
            config = cls.read_config(name_or_folder, weights)
        if fresh.get("id2label"):
            fresh.setdefault("num_classes", len(fresh["id2label"]))
        elif fresh.get("num_classes", config.num_classes) != config.num_classes:
            fresh["id2label"] = None
        wanted = dataclasses.replace(config, **fresh)
        if wanted.num_classes != config.num_classes:
            weights = {name: value for name, value in weights.items() if not name.startswith("fc.")}
        if "conv1.weight" in weights:
            weights["conv1.weight"] = for_channels(weights["conv1.weight"], wanted.in_channels)
        model = cls(wanted)
        if dtype is not None:
            model.to(dtype)
        for name, value in model.state_dict().items():
            if name.endswith("num_batches_tracked"):  # files from before it was counted lack it
                weights.setdefault(name, value)
        info = model._load_pretrained(weights, os.fspath(name_or_folder), ignore_mismatched_sizes)
        model.to(device).eval()
        return (model, info) if output_loading_info else model

    @classmethod
    def read_config(cls, name_or_folder, weights):
        """From config.json if it is one of ours, otherwise from the weights, with the classes' names if there are any."""
        values = {}
        if not os.path.isfile(os.path.expanduser(name_or_folder)):
            try:
                values = pretrained.read_json(pretrained.resolve(name_or_folder, pretrained.CONFIG))
            except FileNotFoundError:
                pass
        kind = values.get("model_type", "resnet")
        if kind not in ("resnet", OTHER):
            raise ValueError(
                f"{cls.__name__}: {name_or_folder}'s config.json says model_type {kind!r}, expected 'resnet'"
            )
        config = cls.config_class.from_weights(weights)
        if "block" in values and "transformers_version" not in values:  # it keeps ours, even when it changes its own
            said = cls.config_class.from_dict(values)
            for name in "block layers num_classes groups width_per_group in_channels width small_images".split():
                a, b = getattr(said, name), getattr(config, name)
                if a != b and (name != "num_classes" or "fc.weight" in weights):
                    raise ValueError(f"{name_or_folder}: config.json says {name}={a}, the weights are of {name}={b}")
            return said
        if values.get("downsample_in_bottleneck") or values.get("hidden_act", "relu") != "relu":
            raise ValueError(f"{cls.__name__}: downsample_in_bottleneck and activations but relu are not supported")
        if isinstance(values.get("id2label"), dict) and len(values["id2label"]) == config.num_classes:
            config = dataclasses.replace(config, id2label=values["id2label"])
        return config

    def file_state(self):
        """Under Hugging Face's names, if its ResNet can be this network; the others' files have torchvision's."""
        state = self.state_dict()
        return {to_hugging_face(name): value for name, value in state.items()} if self.config.is_plain() else state

    def forward(self, x):
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))  # (B, 64, 56, 56)
        x = self.layer1(x)
        x = self.layer2(x)  # (B, 128 e, 28, 28), e = block.expansion
        x = self.layer3(x)  # (B, 256 e, 14, 14)
        x = self.layer4(x)  # (B, 512 e, 7, 7)
        x = self.avgpool(x).flatten(1)  # (B, 512 e)
        return self.fc(x)


HUGGING_FACE = (  # their names -> torchvision's
    (r"^resnet\.", ""),
    (r"^embedder\.embedder\.convolution\.", "conv1."),
    (r"^embedder\.embedder\.normalization\.", "bn1."),
    (r"^encoder\.stages\.(\d+)\.layers\.", lambda found: f"layer{int(found[1]) + 1}."),
    (r"\.shortcut\.convolution\.", ".downsample.0."),
    (r"\.shortcut\.normalization\.", ".downsample.1."),
    (r"\.layer\.(\d)\.convolution\.", lambda found: f".conv{int(found[1]) + 1}."),
    (r"\.layer\.(\d)\.normalization\.", lambda found: f".bn{int(found[1]) + 1}."),
    (r"^classifier\.1\.", "fc."),
)
PARTS = {"conv": "convolution", "bn": "normalization"}


def to_hugging_face(name):
    """layer1.0.bn2.weight -> resnet.encoder.stages.0.layers.0.layer.1.normalization.weight"""
    stem = re.fullmatch(r"(conv|bn)1\.(\w+)", name)
    block = re.fullmatch(r"layer(\d)\.(\d+)\.(.*)", name)
    if stem:
        return f"resnet.embedder.embedder.{PARTS[stem[1]]}.{stem[2]}"
    if not block:
        return re.sub(r"^fc\.", "classifier.1.", name)
    inside = re.sub(r"^(conv|bn)(\d)\.", lambda found: f"layer.{int(found[2]) - 1}.{PARTS[found[1]]}.", block[3])
    inside = re.sub(r"^downsample\.(\d)\.", lambda found: f"shortcut.{list(PARTS.values())[int(found[1])]}.", inside)
    return f"resnet.encoder.stages.{int(block[1]) - 1}.layers.{block[2]}.{inside}"


def read_weights(name_or_folder):
    """{name: tensor}, in torchvision's naming."""
    from minitorch.serialization import load_safetensors

    name = os.path.expanduser(os.fspath(name_or_folder))
    if os.path.isfile(name):
        weights = load_safetensors(name)  # which refuses pickles, and says how to convert them
    else:
        if os.path.isdir(name) and not any(file.endswith(".safetensors") for file in os.listdir(name)):
            for file in os.listdir(name):
                if file.endswith((".pth", ".pt")):
                    load_safetensors(os.path.join(name, file))
        weights = pretrained.read_weights(name_or_folder)
    if not any(key.startswith(("resnet.embedder.", "embedder.")) for key in weights):
        return weights
    renamed = {}
    for key, value in weights.items():
        for pattern, name in HUGGING_FACE:
            key = re.sub(pattern, name, key)
        renamed[key] = value
    return renamed


def for_channels(weight, channels):
    """The first convolution for images of other channels.        weight: (F, C, k, k) -> (F, channels, k, k)

    A grey image then gives what the same image in three equal colours gave; a colour image, what its grey mean gave.
    """
    C = weight.shape[1]
    if channels == 1 and C > 1:
        return weight.sum(1, keepdim=True)
    if C == 1 and channels > 1:
        return weight.repeat(1, channels, 1, 1) / channels
    return weight


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
