"""ResNet: torchvision's names, weights and numbers, and what programs do with `torchvision.models`."""

import zlib

import numpy as np
import pytest
from minitorch.models.resnet import BasicBlock, Bottleneck, ResNet, ResNetConfig, resnet18, resnet50

import minitorch
from minitorch import nn
from minitorch.nn import functional as F
from minitorch.vision import models

# From torchvision 0.28: the numbers of parameters and of entries in the state_dict; crc32 of "name(shape) name(shape) ..."
NAMES = {
    "resnet18": (11689512, 122, 607380225),
    "resnet34": (21797672, 218, 4190221730),
    "resnet50": (25557032, 320, 458926131),
    "resnet101": (44549160, 626, 705712310),
    "resnet152": (60192808, 932, 2176581755),
    "resnext50_32x4d": (25028904, 320, 2559238024),
    "wide_resnet50_2": (68883240, 320, 1678350043),
}


@pytest.fixture
def no_draws(monkeypatch):
    """Only names and shapes matter: nothing is drawn for 60 million weights."""
    for name in ("kaiming_normal_", "kaiming_uniform_", "uniform_"):
        monkeypatch.setattr(nn.init, name, lambda tensor, *args, **options: tensor)


@pytest.mark.parametrize("name", NAMES)
def test_names_and_shapes_are_torchvisions(name, no_draws):
    model = getattr(models, name)()
    state = model.state_dict()
    keys = " ".join(f"{key}{tuple(value.shape)}" for key, value in state.items())
    assert (sum(p.numel() for p in model.parameters()), len(state), zlib.crc32(keys.encode())) == NAMES[name]


# From torchvision 0.28, seed 0: sums of |w| of four parameters; then, of two images, outputs, sums of |gradient| of three
# parameters, two sums of running statistics, outputs in evaluation.
RUNS = {
    "resnet18": (
        {"num_classes": 4},
        [190.1145, 0.0, 45.8496, 0.1323],
        [0.41345, 0.84449, -0.58489, 0.88482, 0.20245, -0.10915, -0.03304, 0.12493],
        [11040.3654, 9.615, 434.8724],
        (0.53284284, 470.857540),
        [0.0077, 0.05112, -0.03562, 0.03234, -0.01527, 0.05926, -0.04533, 0.03486],
    ),
    "resnet50": (
        {"num_classes": 4, "zero_init_residual": True, "replace_stride_with_dilation": (False, False, True)},
        [189.2483, 0.0, 90.8199, 0.0228],
        [0.18021, -0.0787, 0.16293, -0.5948, 0.34447, -0.43526, 0.31734, -0.48383],
        [976.3758, 0.0, 1119.1892],
        (0.40081124, 469.124662),
        [0.03497, -0.00723, -0.02293, -0.03262, 0.02703, 0.00134, -0.01014, -0.02322],
    ),
}


@pytest.mark.parametrize("name", RUNS)
def test_numbers_are_torchvisions(name):
    options, weights, outputs, gradients, statistics, evaluated = RUNS[name]
    minitorch.manual_seed(0)
    model = {"resnet18": resnet18, "resnet50": resnet50}[name](**options)
    parameters = list(model.parameters())
    total = [parameters[k].double().abs().sum().item() for k in (0, 20, -2, -1)]
    np.testing.assert_allclose(total, weights, atol=1e-4)
    x = minitorch.linspace(-1, 1, 2 * 3 * 32 * 40).reshape(2, 3, 32, 40) ** 2
    y = model(x)
    np.testing.assert_allclose(y.flatten().tolist(), outputs, atol=2e-4)
    F.cross_entropy(y, minitorch.tensor([1, 3])).backward()
    sums = [parameters[k].grad.double().abs().sum().item() for k in (0, 20, -2)]
    np.testing.assert_allclose(sums, gradients, rtol=2e-3)
    mean, var = model.bn1.running_mean, model.layer4[1].bn2.running_var
    np.testing.assert_allclose([mean.abs().sum().item(), var.sum().item()], statistics, rtol=1e-4)
    np.testing.assert_allclose(model.eval()(x).flatten().tolist(), evaluated, atol=2e-4)


def test_one_network_under_both_names():
    config = ResNetConfig(Bottleneck, (1, 1, 1, 1), num_classes=3)
    minitorch.manual_seed(1)
    one = ResNet(config)
    minitorch.manual_seed(1)
    two = models.ResNet(models.Bottleneck, [1, 1, 1, 1], 3)
    assert isinstance(two, ResNet) and two.config == config and str(one) == str(two)
    for (name, a), (other, b) in zip(one.state_dict().items(), two.state_dict().items(), strict=True):
        assert name == other and minitorch.equal(a, b)


def test_it_learns():
    minitorch.manual_seed(0)
    model = ResNet(ResNetConfig(BasicBlock, (1, 1, 1, 1), num_classes=2, zero_init_residual=True))
    x = minitorch.randn(4, 3, 32, 32)
    labels = minitorch.tensor([0, 1, 0, 1])
    optimizer = minitorch.optim.SGD(model.parameters(), lr=0.05)
    losses = []
    for _ in range(3):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 2


def test_other_norms_and_parts():
    model = ResNet(ResNetConfig(BasicBlock, (1, 1, 1, 1), num_classes=2, norm_layer=lambda n: nn.GroupNorm(4, n)))
    assert "bn1.running_mean" not in model.state_dict()
    body = nn.Sequential(*list(model.children())[:-1])  # what programs that want features do
    assert body(minitorch.zeros(1, 3, 32, 32)).shape == (1, 512, 1, 1)


def test_what_is_refused(no_draws):
    with pytest.raises(ValueError, match=r"(?s)resnet18\(weights='DEFAULT'\).*no weights.*load_state_dict"):
        models.resnet18(weights="DEFAULT")
    with pytest.raises(ValueError, match="no weights"):
        models.resnet18(pretrained=True)
    with pytest.raises(ValueError, match="3-element"):
        models.resnet50(replace_stride_with_dilation=[True])
    with pytest.raises(ValueError, match="4 layers"):
        ResNetConfig(layers=(1, 1))
    with pytest.raises(ValueError, match="groups=1"):
        models.resnet18(groups=2)
    with pytest.raises(NotImplementedError, match="Dilation"):
        models.resnet18(replace_stride_with_dilation=[False, False, True])
    with pytest.raises(ValueError, match="Unknown model vgg16; there are resnet101"):
        models.get_model("vgg16")
    with pytest.raises(AttributeError, match="minitorch.vision.models has no 'vgg16'"):
        models.vgg16()
    assert models.get_model("resnet18", num_classes=2).fc.out_features == 2 and "resnet34" in models.list_models()
