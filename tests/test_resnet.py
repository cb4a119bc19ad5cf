"""ResNet: torchvision's names, weights and numbers, and what programs do with `torchvision.models`."""

import dataclasses
import json
import warnings
import zlib

import numpy as np
import pytest
from minitorch.models.resnet import BasicBlock, Bottleneck, ResNet, ResNetConfig, resnet18, resnet34, resnet50
from safetensors.numpy import save_file

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


# --- published weights -----------------------------------------------------------------------------------------------


def torchvision_layout(block, layers, classes=6, width=4, counted=True):
    """Names and shapes, as torchvision's state_dict has them."""
    table, C = {"conv1.weight": (width, 3, 7, 7)}, width

    def norm(name, n):
        table.update({f"{name}.{part}": (n,) for part in ("weight", "bias", "running_mean", "running_var")})
        if counted:
            table[f"{name}.num_batches_tracked"] = ()

    norm("bn1", width)
    for i, blocks in enumerate(layers):
        planes = width * 2**i
        out = planes * (4 if block == "bottleneck" else 1)
        for j in range(blocks):
            name = f"layer{i + 1}.{j}"
            convolutions = [(C, planes, 3), (planes, planes, 3)]
            if block == "bottleneck":
                convolutions = [(C, planes, 1), (planes, planes, 3), (planes, out, 1)]
            for k, (a, b, size) in enumerate(convolutions, 1):
                table[f"{name}.conv{k}.weight"] = (b, a, size, size)
                norm(f"{name}.bn{k}", b)
            if j == 0 and C != out:
                table[f"{name}.downsample.0.weight"] = (out, C, 1, 1)
                norm(f"{name}.downsample.1", out)
            C = out
    return {**table, "fc.weight": (classes, C), "fc.bias": (classes,)}


def numbers(layout):
    rng = np.random.default_rng(0)
    return {
        name: np.array(7, np.int64) if name.endswith("tracked") else rng.random(shape, np.float32) + 0.1
        for name, shape in layout.items()
    }


def same(model, weights):
    state = model.state_dict()
    return list(state) == list(weights) and all((state[k].numpy() == weights[k]).all() for k in weights)


@pytest.mark.parametrize("block, layers, build", [
    ("basic", (2, 2, 2, 2), resnet18), ("basic", (3, 4, 6, 3), resnet34), ("bottleneck", (3, 4, 6, 3), resnet50),
])  # fmt: skip
def test_weights_in_torchvisions_naming(block, layers, build, tmp_path, monkeypatch, no_draws):
    weights = numbers(torchvision_layout(block, layers))
    save_file(weights, tmp_path / "model.safetensors")
    wanted = build(num_classes=6, width=4).config
    model = ResNet.from_pretrained(tmp_path / "model.safetensors")  # one file
    assert same(model, weights) and model.config == wanted and not model.training
    assert same(ResNet.from_pretrained(tmp_path), weights)  # a folder without a configuration
    timm = {"architecture": build.__name__, "num_classes": 6, "pretrained_cfg": {"first_conv": "conv1"}}
    (tmp_path / "config.json").write_text(json.dumps(timm))
    monkeypatch.setattr("minitorch.utils.hub.download", lambda hub_id, file: str(tmp_path / file))
    model = models.ResNet.from_pretrained("timm/resnet.tv_in1k")
    assert same(model, weights) and model.config == wanted


def test_networks_are_recognised_by_their_shapes(no_draws):
    for name in ("resnet18", "resnet50", "resnet101", "resnext50_32x4d", "wide_resnet50_2"):
        model = getattr(models, name)()
        assert ResNetConfig.from_weights(model.state_dict()) == model.config
    model = ResNet(ResNetConfig(layers=(1, 2, 1, 1), in_channels=1, width=12, small_images=True, num_classes=3))
    assert ResNetConfig.from_weights(model.state_dict()) == model.config
    assert model(minitorch.zeros(2, 1, 28, 28)).shape == (2, 3) and model.conv1.stride == (1, 1)


def test_files_from_before_batches_were_counted(tmp_path):
    weights = numbers(torchvision_layout("basic", (1, 1, 1, 1), counted=False))
    save_file(weights, tmp_path / "old.safetensors")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = ResNet.from_pretrained(tmp_path / "old.safetensors")
    assert model.bn1.num_batches_tracked.item() == 0
    assert all((model.state_dict()[name].numpy() == value).all() for name, value in weights.items())


def test_another_number_of_classes_begins_a_new_head(tmp_path):
    weights = numbers(torchvision_layout("basic", (1, 1, 1, 1)))
    save_file(weights, tmp_path / "model.safetensors")
    with pytest.warns(UserWarning, match=r"begin with random numbers: fc.weight, fc.bias. Train"):
        model = ResNet.from_pretrained(tmp_path, id2label={0: "cat", 1: "dog"})
    assert model.fc.weight.shape == (2, 32) and model.config.id2label[1] == "dog" and model.config.num_classes == 2
    body = {name: value for name, value in weights.items() if not name.startswith("fc.")}
    assert all((model.state_dict()[name].numpy() == value).all() for name, value in body.items())
    save_file(body, tmp_path / "body.safetensors")
    with pytest.warns(UserWarning, match="fc.weight, fc.bias"):
        model, info = ResNet.from_pretrained(tmp_path / "body.safetensors", num_classes=5, output_loading_info=True)
    assert model.fc.out_features == 5 and info["missing_keys"] == ["fc.weight", "fc.bias"]


def test_grey_and_colour(tmp_path):
    weights = numbers(torchvision_layout("basic", (1, 1, 1, 1)))
    save_file(weights, tmp_path / "model.safetensors")
    colour = ResNet.from_pretrained(tmp_path)
    grey = ResNet.from_pretrained(tmp_path, in_channels=1)
    x = minitorch.rand(2, 1, 40, 40)
    expected = colour(x.expand(2, 3, 40, 40)).detach().numpy()
    np.testing.assert_allclose(grey(x).detach().numpy(), expected, rtol=1e-4)
    grey.save_pretrained(tmp_path / "grey")
    back = ResNet.from_pretrained(tmp_path / "grey", in_channels=3)
    np.testing.assert_allclose(back(x.expand(2, 3, 40, 40)).detach().numpy(), expected, rtol=1e-4)


def test_saved_and_loaded(tmp_path):
    config = ResNetConfig(
        Bottleneck, (1, 1, 1, 1), num_classes=2, width=8, small_images=True, id2label={0: "no", 1: "yes"},
        replace_stride_with_dilation=(False, True, False), zero_init_residual=True,
    )  # fmt: skip
    model = ResNet(config).eval()
    model.save_pretrained(tmp_path / "net")
    loaded = ResNet.from_pretrained(tmp_path / "net")
    assert loaded.config == config and same(loaded, {k: v.numpy() for k, v in model.state_dict().items()})
    x = minitorch.rand(1, 3, 32, 32)
    assert minitorch.equal(model(x), loaded(x))
    model.save_pretrained(tmp_path / "net", max_shard_size=20_000)
    assert minitorch.equal(model(x), ResNet.from_pretrained(tmp_path / "net")(x))
    wrong = json.loads((tmp_path / "net" / "config.json").read_text())
    for name, value, words in (
        ("layers", [1, 1, 1, 2], r"config.json says layers=\(1, 1, 1, 2\), the weights are of layers=\(1, 1, 1, 1\)"),
        ("layers", 3, "layers must be a list"),
        ("width", "64", "width must be of the type int"),
        ("block", ["basic"], "block .* is unknown; there are basic, bottleneck"),
        ("model_type", "vit", "model_type 'vit', expected 'resnet'"),
        ("id2label", {"0": "a"}, "num_classes=2, but id2label names 1"),
    ):
        (tmp_path / "net" / "config.json").write_text(json.dumps({**wrong, name: value}))
        with pytest.raises(ValueError, match=words):
            ResNet.from_pretrained(tmp_path / "net")
    with pytest.raises(ValueError, match="only a ResNet with BatchNorm2d can be saved"):
        ResNet(ResNetConfig(layers=(1, 1, 1, 1), width=4, norm_layer=lambda n: nn.GroupNorm(4, n))).save_pretrained(
            tmp_path / "group"
        )


@pytest.mark.parity
@pytest.mark.parametrize("kind, sizes", [("basic", [8, 16, 32, 64]), ("bottleneck", [32, 64, 128, 256])])
def test_hugging_faces_resnet(kind, sizes, tmp_path):
    torch = pytest.importorskip("torch", reason="compares with PyTorch, which is not installed")
    transformers = pytest.importorskip("transformers", reason="compares with transformers, which is not installed")
    torch.manual_seed(0)
    config = transformers.ResNetConfig(
        embedding_size=8, hidden_sizes=sizes, depths=[1, 2, 1, 1], layer_type=kind, id2label={0: "a", 1: "b", 2: "c"}
    )
    theirs = transformers.ResNetForImageClassification(config).eval()
    for name, value in theirs.state_dict().items():
        if "running" in name:
            value.copy_(torch.rand_like(value) + 0.5)
    theirs.save_pretrained(tmp_path)
    ours = ResNet.from_pretrained(tmp_path)
    assert ours.config.id2label == {0: "a", 1: "b", 2: "c"}
    x = torch.randn(2, 3, 40, 40)
    y = theirs(x).logits.detach().numpy()
    np.testing.assert_allclose(ours(minitorch.from_numpy(x.numpy())).detach().numpy(), y, rtol=1e-4, atol=1e-5)


@pytest.mark.parity
@pytest.mark.parametrize("block", [BasicBlock, Bottleneck])
@pytest.mark.parametrize("id2label", [None, {0: "a", 1: "b", 2: "c"}])
def test_hugging_face_reads_what_is_saved(block, id2label, tmp_path):
    torch = pytest.importorskip("torch", reason="compares with PyTorch, which is not installed")
    transformers = pytest.importorskip("transformers", reason="compares with transformers, which is not installed")
    minitorch.manual_seed(0)
    ours = ResNet(ResNetConfig(block, (1, 2, 1, 1), num_classes=3, width=8, in_channels=1, id2label=id2label))
    x = minitorch.rand(4, 1, 40, 40)
    ours(x)  # moves the running statistics
    ours.eval().save_pretrained(tmp_path)
    theirs, info = transformers.ResNetForImageClassification.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys")), info
    y = theirs.eval()(torch.from_numpy(x.numpy())).logits.detach().numpy()
    np.testing.assert_allclose(ours(x).detach().numpy(), y, rtol=1e-4, atol=1e-5)
    assert theirs.config.id2label == (id2label or {i: f"LABEL_{i}" for i in range(3)})
    back = ResNet.from_pretrained(tmp_path)
    assert back.config == ours.config and same(back, {k: v.numpy() for k, v in ours.state_dict().items()})


@pytest.mark.parity
def test_hugging_face_refuses_a_network_that_it_cannot_be(tmp_path):
    pytest.importorskip("torch", reason="compares with PyTorch, which is not installed")
    transformers = pytest.importorskip("transformers", reason="compares with transformers, which is not installed")
    for number, special in enumerate((
        {"small_images": True}, {"groups": 2}, {"replace_stride_with_dilation": (False, False, True)},
    )):  # fmt: skip
        ours = ResNet(ResNetConfig(Bottleneck, (1, 1, 1, 1), num_classes=3, width=8, **special))
        ours.save_pretrained(tmp_path / str(number))
        with pytest.raises(ValueError, match="minitorch-resnet"):
            transformers.AutoModelForImageClassification.from_pretrained(tmp_path / str(number))
        with pytest.raises(Exception, match="layer_type=minitorch-resnet"):  # not one that it fills with random numbers
            transformers.ResNetForImageClassification.from_pretrained(tmp_path / str(number))
        assert ResNet.from_pretrained(tmp_path / str(number)).config == ours.config


@pytest.mark.parity
@pytest.mark.parametrize("classes", [2, 5])
def test_back_from_hugging_face_with_other_classes(classes, tmp_path):
    """transformers keeps our settings in config.json; those that it changed are stale, and the weights count."""
    torch = pytest.importorskip("torch", reason="compares with PyTorch, which is not installed")
    transformers = pytest.importorskip("transformers", reason="compares with transformers, which is not installed")
    ResNet(ResNetConfig(layers=(1, 1, 1, 1), num_classes=3, width=4)).save_pretrained(tmp_path / "ours")
    theirs = transformers.ResNetForImageClassification.from_pretrained(
        tmp_path / "ours", num_labels=classes, ignore_mismatched_sizes=True
    )
    theirs.eval().save_pretrained(tmp_path / "theirs")
    back, x = ResNet.from_pretrained(tmp_path / "theirs"), minitorch.rand(2, 3, 40, 40)
    y = theirs(torch.from_numpy(x.numpy())).logits.detach().numpy()
    np.testing.assert_allclose(back(x).detach().numpy(), y, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("small_images", [False, True])
def test_folders_from_before_the_layout_was_hugging_faces(small_images, tmp_path):
    ours = ResNet(ResNetConfig(layers=(1, 1, 1, 1), num_classes=3, width=4, small_images=small_images))
    settings = {f.name: getattr(ours.config, f.name) for f in dataclasses.fields(ours.config)}
    settings = {**settings, "model_type": "resnet", "block": "basic", "architectures": ["ResNet"]}
    del settings["norm_layer"]
    (tmp_path / "config.json").write_text(json.dumps(settings))
    minitorch.serialization.save_safetensors(ours.state_dict(), tmp_path / "model.safetensors")
    back = ResNet.from_pretrained(tmp_path)
    assert back.config == ours.config and same(back, {k: v.numpy() for k, v in ours.state_dict().items()})


def test_other_classes_and_unknown_settings(tmp_path):
    ResNet(ResNetConfig(layers=(1, 1, 1, 1), num_classes=3, width=4)).save_pretrained(tmp_path)
    with pytest.warns(UserWarning, match="fc.weight, fc.bias"):
        assert ResNet.from_pretrained(tmp_path, num_labels=5).fc.out_features == 5
    assert ResNet.from_pretrained(tmp_path, num_labels=None).fc.out_features == 3
    for wrong in ("5", 0, True):
        with pytest.raises(ValueError, match="num_labels must be a whole number of at least 1, got"):
            ResNet.from_pretrained(tmp_path, num_labels=wrong)
    with pytest.raises(TypeError, match="ResNetConfig has no setting dropout; it has block, layers, num_classes"):
        ResNet.from_pretrained(tmp_path, dropout=0.1)


def test_what_cannot_be_loaded(tmp_path):
    weights = numbers(torchvision_layout("basic", (1, 1, 1, 1)))
    (tmp_path / "resnet18-5c106cde.pth").write_bytes(b"PK\x03\x04 a zip of pickles")
    for name in (tmp_path / "resnet18-5c106cde.pth", tmp_path):
        with pytest.raises(
            minitorch.serialization.LoadError, match=r"(?s)resnet18-5c106cde.pth: a pickle.*Convert it.*save_file"
        ):
            ResNet.from_pretrained(name)
    save_file({"embeddings.weight": np.zeros((3, 4), np.float32)}, tmp_path / "model.safetensors")
    with pytest.raises(
        ValueError, match="not the weights of a ResNet in torchvision's naming.*there are embeddings.weight"
    ):
        ResNet.from_pretrained(tmp_path)
    lacking = {name: value for name, value in weights.items() if name != "layer2.0.bn2.running_var"}
    save_file(lacking, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match="lacks weights of ResNet's body.*: layer2.0.bn2.running_var"):
        ResNet.from_pretrained(tmp_path)
    save_file({**weights, "layer2.0.bn2.bias": np.zeros(3, np.float32)}, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match=r"layer2.0.bn2.bias: \(3,\) in the file, \(8,\) in the model"):
        ResNet.from_pretrained(tmp_path, num_classes=2)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        ResNet.from_pretrained(tmp_path / "nowhere")
    save_file({**weights, "extra": np.zeros(3, np.float32)}, tmp_path / "model.safetensors")
    with pytest.warns(UserWarning, match="does not use these weights of .*: extra"):
        ResNet.from_pretrained(tmp_path)
