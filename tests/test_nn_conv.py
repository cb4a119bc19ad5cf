"""Layers for images and signals: constructor arguments times inputs, against PyTorch and by hand."""

import copy

import numpy as np
import pytest

import minitorch
from minitorch import nn
from tests.guard import GuardArray, guard


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch", reason="compares with PyTorch, which is not installed")


def numbers(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def module(lib, name, args, kwargs):
    lib.manual_seed(0)
    return getattr(lib.nn, name)(*args, **kwargs)


def M(name, *args, x, more=(), **kwargs):
    """A module's name, what it is constructed with, the shape of its input, and further arguments of the call."""
    return name, args, kwargs, x, more


IMAGE, SIGNAL, VOLUME = (2, 4, 7, 6), (2, 4, 9), (2, 4, 4, 5, 3)
MODULES = [
    M("Conv1d", 4, 6, 3, x=SIGNAL),
    M("Conv1d", 4, 6, (2,), 2, 1, 2, 2, x=SIGNAL),
    M("Conv1d", 4, 3, 4, padding="same", x=SIGNAL),
    M("Conv1d", 4, 3, 2, bias=False, x=(4, 9)),
    M("Conv1d", 4, 2, 3, padding=2, padding_mode="circular", x=SIGNAL),
    M("Conv1d", 4, 2, 4, padding="same", padding_mode="replicate", x=SIGNAL),
    M("Conv2d", 4, 6, 3, x=IMAGE),
    M("Conv2d", 4, 6, (3, 2), stride=2, padding=(1, 2), dilation=(2, 1), groups=2, x=IMAGE),
    M("Conv2d", 4, 4, 3, padding="valid", groups=4, bias=False, x=IMAGE),
    M("Conv2d", 4, 2, 3, padding=1, padding_mode="reflect", x=IMAGE),
    M("Conv2d", 4, 2, 3, padding="same", dilation=2, x=IMAGE[1:]),
    M("Conv2d", 4, 2, 1, x=IMAGE),
    M("Conv2d", 4, 2, 3, padding="valid", padding_mode="reflect", x=IMAGE),
    M("Conv3d", 4, 2, 2, x=VOLUME),
    M("Conv3d", 4, 4, (2, 3, 1), (1, 2, 1), 1, groups=2, x=VOLUME),
    M("ConvTranspose1d", 4, 6, 3, x=SIGNAL),
    M("ConvTranspose1d", 4, 2, 3, 3, 1, 2, 2, x=SIGNAL),
    M("ConvTranspose2d", 4, 6, 3, 2, 1, 1, x=IMAGE),
    M("ConvTranspose2d", 4, 2, (3, 2), bias=False, dilation=2, x=IMAGE[1:]),
    M("ConvTranspose2d", 4, 2, 3, 2, 1, x=IMAGE, more=((14, 11),)),
    M("ConvTranspose3d", 4, 2, 2, 2, x=VOLUME),
    M("Unfold", 3, x=IMAGE),
    M("Unfold", (2, 3), dilation=2, padding=1, stride=2, x=IMAGE),
    M("Fold", (4, 5), 2, x=(2, 8, 12)),
    M("Fold", 4, (2, 2), stride=2, x=(2, 8, 4)),
    M("MaxPool1d", 3, x=SIGNAL),
    M("MaxPool1d", 2, 1, 1, 2, ceil_mode=True, x=SIGNAL),
    M("MaxPool2d", 2, x=IMAGE),
    M("MaxPool2d", (3, 2), (2, 1), (1, 0), ceil_mode=True, x=IMAGE),
    M("MaxPool2d", 3, 2, 1, x=IMAGE[1:]),
    M("MaxPool2d", 2, return_indices=True, x=IMAGE),
    M("MaxPool3d", 2, x=VOLUME),
    M("AvgPool1d", 3, x=SIGNAL),
    M("AvgPool1d", 3, 2, 1, True, False, x=SIGNAL),
    M("AvgPool2d", 2, x=IMAGE),
    M("AvgPool2d", (3, 2), 2, 1, True, False, x=IMAGE),
    M("AvgPool2d", 3, divisor_override=4, x=IMAGE[1:]),
    M("AvgPool3d", 2, x=VOLUME),
    M("AdaptiveAvgPool1d", 4, x=SIGNAL),
    M("AdaptiveAvgPool2d", 1, x=IMAGE),
    M("AdaptiveAvgPool2d", (None, 4), x=IMAGE),
    M("AdaptiveAvgPool3d", 2, x=VOLUME),
    M("AdaptiveMaxPool1d", 4, x=SIGNAL),
    M("AdaptiveMaxPool2d", (3, 5), x=IMAGE),
    M("AdaptiveMaxPool2d", 3, True, x=IMAGE),
    M("BatchNorm1d", 4, x=(5, 4)),
    M("BatchNorm1d", 4, x=SIGNAL),
    M("BatchNorm1d", 4, momentum=None, x=SIGNAL),
    M("BatchNorm1d", 4, 1e-3, 0.3, x=SIGNAL),
    M("BatchNorm1d", 4, affine=False, x=SIGNAL),
    M("BatchNorm1d", 4, bias=False, x=SIGNAL),
    M("BatchNorm1d", 4, track_running_stats=False, x=SIGNAL),
    M("BatchNorm2d", 4, x=IMAGE),
    M("BatchNorm3d", 4, x=VOLUME),
    M("GroupNorm", 2, 4, x=IMAGE),
    M("GroupNorm", 1, 4, 1e-3, x=SIGNAL),
    M("GroupNorm", 4, 4, affine=False, x=SIGNAL),
    M("GroupNorm", 1, 4, bias=False, x=(3, 4)),
    M("InstanceNorm1d", 4, x=SIGNAL),
    M("InstanceNorm1d", 4, affine=True, track_running_stats=True, x=SIGNAL),
    M("InstanceNorm1d", 4, affine=True, x=(4, 9)),
    M("InstanceNorm2d", 4, affine=True, x=IMAGE),
    M("InstanceNorm2d", 4, track_running_stats=True, momentum=0.4, x=IMAGE),
    M("InstanceNorm3d", 4, x=VOLUME),
    M("PixelShuffle", 2, x=IMAGE),
    M("PixelUnshuffle", 2, x=(2, 4, 6, 4)),
    M("Upsample", (9, 5), x=IMAGE),
    M("Upsample", scale_factor=2, mode="bilinear", x=IMAGE),
    M("Upsample", scale_factor=(1.5, 2), mode="bicubic", align_corners=True, x=IMAGE),
    M("Upsample", scale_factor=1.7, mode="linear", recompute_scale_factor=True, x=SIGNAL),
    M("UpsamplingNearest2d", scale_factor=2, x=IMAGE),
    M("UpsamplingBilinear2d", 9, x=IMAGE),
    M("ZeroPad1d", 2, x=SIGNAL),
    M("ZeroPad2d", 1, x=IMAGE),
    M("ZeroPad2d", (1, 2, 0, -1), x=IMAGE),
    M("ZeroPad3d", 1, x=VOLUME),
    M("ConstantPad1d", 2, 3.5, x=SIGNAL),
    M("ConstantPad2d", (1, 2, 3, 0), -1.5, x=IMAGE),
    M("ConstantPad3d", 1, 0.5, x=VOLUME),
    M("ReflectionPad1d", 2, x=SIGNAL),
    M("ReflectionPad2d", (1, 2, 3, 0), x=IMAGE),
    M("ReflectionPad2d", 2, x=IMAGE[1:]),
    M("ReflectionPad3d", 1, x=VOLUME),
    M("ReplicationPad1d", 2, x=SIGNAL),
    M("ReplicationPad2d", 1, x=IMAGE),
    M("ReplicationPad3d", 1, x=VOLUME),
    M("CircularPad1d", 2, x=SIGNAL),
    M("CircularPad2d", 1, x=IMAGE),
    M("CircularPad3d", 1, x=VOLUME),
    M("Dropout1d", 0.0, x=SIGNAL),
    M("Dropout2d", 0.0, x=IMAGE),
]


def describe(case):
    name, args, kwargs, x, _ = case
    return f"{name}({', '.join([*map(str, args), *(f'{k}={v}' for k, v in kwargs.items())])}) of {x}".replace(" ", "")


def flat(value):
    return list(value) if isinstance(value, (tuple, list)) else [value]


def run(lib, layer, arrays, more=()):
    """For each input in turn, in training mode, and then in evaluation: outputs, gradients, buffers."""
    found = []
    for i, array in enumerate([*arrays, arrays[-1]]):
        layer.train(i < len(arrays))
        layer.zero_grad()
        x = lib.from_numpy(array.copy()).requires_grad_()
        outputs = flat(layer(x, *more))
        cotangent = lib.from_numpy(numbers(*outputs[0].shape, seed=9))
        outputs[0].backward(cotangent)
        grads = [x.grad, *(p.grad for p in layer.parameters())]
        found += [t.detach().numpy().copy() for t in (*outputs, *grads, *layer.buffers())]
    return found


@pytest.mark.parity
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("case", MODULES, ids=describe)
def test_modules_equal_pytorch(case, torch):
    """The same seed draws the same parameters; outputs, gradients and buffers over three inputs; printed the same."""
    name, args, kwargs, shape, more = case
    ours, theirs = (module(lib, name, args, kwargs) for lib in (minitorch, torch))
    assert repr(ours) == repr(theirs)
    state, expected = ours.state_dict(), theirs.state_dict()
    assert list(state) == list(expected)
    for key in state:
        assert state[key].dtype.numpy.name == expected[key].numpy().dtype.name
        np.testing.assert_allclose(state[key].numpy(), expected[key].numpy(), rtol=1e-6, atol=1e-7, err_msg=key)
    arrays = [numbers(*shape, seed=s) + s for s in range(3)]
    results, references = run(minitorch, ours, arrays, more), run(torch, theirs, arrays, more)
    assert len(results) == len(references)
    for a, b in zip(results, references):
        assert a.dtype == b.dtype and a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=2e-5)
    if state:  # trained statistics travel both ways
        theirs.load_state_dict({key: torch.from_numpy(value.numpy()) for key, value in ours.state_dict().items()})
        fresh = module(minitorch, name, args, kwargs)
        fresh.load_state_dict({key: value.numpy() for key, value in theirs.state_dict().items()})
        for key, value in ours.state_dict().items():
            np.testing.assert_array_equal(fresh.state_dict()[key].numpy(), value.numpy())


@pytest.mark.parametrize("case", MODULES, ids=describe)
def test_modules_run_on_the_guard(case):
    minitorch.backend.register_namespace("guard", guard, GuardArray)
    name, args, kwargs, shape, more = case
    layer = module(minitorch, name, args, kwargs)
    there = copy.deepcopy(layer).to("guard")
    x = minitorch.from_numpy(numbers(*shape))
    for mode in (True, False):
        for module_ in (layer, there):
            module_.train(mode)
        for a, b in zip(flat(layer(x, *more)), flat(there(x.to("guard"), *more))):
            np.testing.assert_allclose(b.detach().cpu().numpy(), a.detach().numpy(), rtol=1e-6, atol=1e-6)
    for a, b in zip(layer.buffers(), there.buffers()):
        np.testing.assert_allclose(b.cpu().numpy(), a.numpy(), rtol=1e-6)


def test_convolution_by_hand():
    """Lesson 07's example: an edge detector, its output and its gradient."""
    x = minitorch.tensor([[[0.0, 0, 1, 1, 1, 0]]], requires_grad=True)
    w = minitorch.tensor([[[-1.0, 1.0]]], requires_grad=True)
    y = nn.functional.conv1d(x, w)
    assert y.tolist() == [[[0.0, 1.0, 0.0, 0.0, -1.0]]]
    y.backward(minitorch.tensor([[[0.0, 10.0, 0.0, 0.0, 1.0]]]))
    assert x.grad.tolist() == [[[0.0, -10.0, 10.0, 0.0, -1.0, 1.0]]]
    assert w.grad.tolist() == [[[1.0, 10.0]]]


def test_transposed_convolution_is_the_transpose():
    """<y, conv(x)> = <conv_transpose(y), x>, whatever the stride, padding, dilation and groups."""
    for stride, padding, dilation, groups in ((1, 0, 1, 1), (2, 1, 1, 2), (3, 2, 2, 1)):
        w, x = minitorch.randn(4, 6 // groups, 3, 3).double(), minitorch.randn(2, 6, 11, 10).double()
        y = minitorch.randn_like(nn.functional.conv2d(x, w, None, stride, padding, dilation, groups))
        extra = [n - ((m - 1) * stride - 2 * padding + 2 * dilation + 1) for n, m in zip(x.shape[2:], y.shape[2:])]
        back = nn.functional.conv_transpose2d(y, w, None, stride, padding, extra, groups, dilation)
        left = (y * nn.functional.conv2d(x, w, None, stride, padding, dilation, groups)).sum().item()
        np.testing.assert_allclose(left, (back * x).sum().item(), rtol=1e-9)


def test_a_convolution_is_a_product_with_the_unfolded_input():
    x, w = minitorch.randn(2, 3, 6, 5), minitorch.randn(4, 3, 3, 2)
    columns = nn.functional.unfold(x, (3, 2), padding=1)
    product = (w.reshape(4, -1) @ columns).reshape(2, 4, 6, 6)
    np.testing.assert_allclose(nn.functional.conv2d(x, w, padding=1).numpy(), product.numpy(), atol=1e-5)


def test_batch_norm_by_hand():
    layer = nn.BatchNorm1d(2, eps=0.0)
    y = layer(minitorch.tensor([[1.0, 10.0], [3.0, 30.0]]))
    assert y.tolist() == [[-1.0, -1.0], [1.0, 1.0]]
    np.testing.assert_allclose(layer.running_mean.numpy(), [0.2, 2.0], rtol=1e-6)  # 0.9 * 0 + 0.1 * mean
    np.testing.assert_allclose(layer.running_var.numpy(), [0.9 + 0.1 * 2, 0.9 + 0.1 * 200], rtol=1e-6)  # n - 1
    assert layer.num_batches_tracked.item() == 1
    before = layer.running_mean.clone()
    layer.eval()(minitorch.randn(3, 2))
    assert layer.running_mean.tolist() == before.tolist() and layer.num_batches_tracked.item() == 1
    layer.reset_running_stats()
    assert layer.running_mean.tolist() == [0.0, 0.0] and layer.running_var.tolist() == [1.0, 1.0]
    old = {key: value for key, value in layer.state_dict().items() if key != "num_batches_tracked"}
    layer.load_state_dict(old)  # files from before it was counted


def test_batch_norm_removes_scale_and_shift():
    """Invariant under x -> a x + b, so dx is orthogonal to ones and to x, channel by channel."""
    x = minitorch.randn(6, 3, 4).double().requires_grad_()
    y = nn.BatchNorm1d(3, eps=0.0, affine=False, dtype=minitorch.float64)(x)
    other = nn.BatchNorm1d(3, eps=0.0, affine=False, dtype=minitorch.float64)(x * 5 - 2)
    np.testing.assert_allclose(y.detach().numpy(), other.detach().numpy(), atol=1e-9)
    y.backward(minitorch.randn_like(y))
    np.testing.assert_allclose(x.grad.sum((0, 2)).numpy(), 0, atol=1e-9)
    np.testing.assert_allclose((x.grad * x.detach()).sum((0, 2)).numpy(), 0, atol=1e-9)


def test_group_norm_lies_between_layer_and_instance_norm():
    x = minitorch.randn(2, 4, 3, 3)
    whole, single = nn.GroupNorm(1, 4)(x), nn.GroupNorm(4, 4)(x)
    np.testing.assert_allclose(whole.detach().numpy(), nn.LayerNorm((4, 3, 3))(x).detach().numpy(), atol=1e-5)
    np.testing.assert_allclose(single.detach().numpy(), nn.InstanceNorm2d(4)(x).numpy(), atol=1e-5)


def test_unpooling_puts_the_maxima_back():
    pool, unpool = nn.MaxPool2d(2, return_indices=True), nn.MaxUnpool2d(2)
    x = minitorch.randn(2, 3, 6, 4)
    y, where = pool(x)
    back = unpool(y, where)
    assert back.shape == x.shape and ((back == 0) | (back == x)).all().item() and (back != 0).sum().item() == y.numel()
    assert unpool(y, where, output_size=(2, 3, 7, 5)).shape == (2, 3, 7, 5)


def test_pixel_shuffle_and_unshuffle_are_inverse():
    x = minitorch.randn(2, 8, 3, 2)
    assert nn.PixelUnshuffle(2)(nn.PixelShuffle(2)(x)).tolist() == x.tolist()


def test_dropout_takes_whole_channels():
    minitorch.manual_seed(0)
    for layer, shape in ((nn.Dropout1d(0.25), (50, 40, 5)), (nn.Dropout2d(0.25), (50, 40, 3, 2))):
        y = layer(minitorch.ones(shape)).numpy().reshape(50 * 40, -1)
        assert set(np.unique(y).tolist()) == {0.0, np.float32(1 / 0.75).item()}
        assert (y == y[:, :1]).all() and abs((y[:, 0] == 0).mean() - 0.25) < 0.04
        assert layer.eval()(minitorch.ones(shape)).min().item() == 1.0


def test_a_small_network_learns():
    """Bars, upright or level: convolution, BatchNorm, pooling and their gradients together."""
    minitorch.manual_seed(0)
    rng = np.random.default_rng(0)
    images, labels = np.zeros((64, 1, 8, 8), np.float32), rng.integers(0, 2, 64)
    for image, upright in zip(images, labels):
        place = rng.integers(0, 8)
        image[0, :, place] = upright
        image[0, place, :] += 1 - upright
    x, y = minitorch.from_numpy(images + 0.1 * numbers(64, 1, 8, 8)), minitorch.from_numpy(labels)
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 4, 3),
        nn.ReLU(), nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(4, 2),
    )  # fmt: skip
    optimizer = minitorch.optim.Adam(model.parameters(), lr=0.03)
    for _ in range(40):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.1
    assert (model.eval()(x).argmax(1) == y).float().mean().item() > 0.95


WRONG = [
    (lambda: nn.Conv2d(3, 4, 3, groups=2), "in_channels must be divisible by groups.*3.*2"),
    (lambda: nn.Conv2d(4, 3, 3, groups=2), "out_channels must be divisible by groups.*3.*2"),
    (lambda: nn.Conv2d(4, 4, 3, groups=0), "groups must be a positive integer.*0"),
    (lambda: nn.Conv2d(4, 4, 3, padding="wide"), "Invalid padding string 'wide'"),
    (lambda: nn.Conv2d(4, 4, 3, 2, padding="same"), "strided"),
    (lambda: nn.Conv2d(4, 4, 3, padding_mode="mirror"), "padding_mode.*'mirror'"),
    (lambda: nn.ConvTranspose2d(4, 4, 3, padding_mode="reflect"), "zeros"),
    (lambda: nn.ConvTranspose2d(4, 4, 3, 2)(minitorch.ones(1, 4, 3, 3), (9, 9)), r"\[9, 9\].*\[7, 7\] to \[8, 8\]"),
    (lambda: nn.Conv2d(4, 4, 3)(minitorch.ones(1, 3, 5, 5)), "to have 4 channels, but got 3"),
    (lambda: nn.Conv2d(4, 4, 3)(minitorch.ones(5, 5)), "3D .unbatched. or 4D .batched. input to conv2d"),
    (lambda: nn.BatchNorm2d(4)(minitorch.ones(2, 4)), "expected 4D input .got 2D input"),
    (lambda: nn.BatchNorm1d(4)(minitorch.ones(2, 4, 3, 3)), "expected 2D or 3D input .got 4D input"),
    (lambda: nn.BatchNorm1d(4)(minitorch.ones(1, 4)), "more than 1 value per channel"),
    (lambda: nn.BatchNorm2d(4)(minitorch.ones(2, 3, 2, 2)), "number of channels.*4.*2, 3, 2, 2"),
    (lambda: nn.GroupNorm(3, 4), "num_channels .4. must be divisible by num_groups .3."),
    (lambda: nn.InstanceNorm2d(4)(minitorch.ones(4, 3)), "expected 3D or 4D input .got 2D input"),
    (lambda: nn.InstanceNorm1d(4, affine=True)(minitorch.ones(2, 3, 5)), "num_features .4..*3"),
    (lambda: nn.InstanceNorm1d(4)(minitorch.ones(2, 4, 1)), "more than 1 spatial element"),
    (lambda: nn.MaxPool2d(2)(minitorch.ones(1, 1, 1, 1)), "too small"),
    (lambda: nn.Upsample(3, 2)(minitorch.ones(1, 1, 2)), "only one of size or scale_factor"),
    (lambda: nn.Dropout2d(1.5), "between 0 and 1, but got 1.5"),
    (lambda: nn.PixelShuffle(2)(minitorch.ones(3, 2, 2)), "upscale_factor"),
]


@pytest.mark.parametrize("number", range(len(WRONG)))
def test_errors_say_what_is_wrong(number):
    call, words = WRONG[number]
    with pytest.raises((ValueError, RuntimeError), match=words):
        call()
