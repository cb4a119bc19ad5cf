"""MultiheadAttention, TransformerEncoderLayer, TransformerEncoder."""

import math
import warnings

import numpy as np
import pytest

import minitorch
from minitorch import nn


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch", reason="compares with PyTorch, which is not installed")


B, L, S, E, H = 3, 4, 5, 8, 2


def numbers(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def bools(*shape, seed=0):
    mask = np.random.default_rng(seed).random(shape) < 0.3
    mask[..., 0] = False  # no query without a key
    return mask


MASKS = {
    "no mask": {},
    "padding": {"key_padding_mask": bools(B, S)},
    "attention mask": {"attn_mask": bools(L, S, seed=1)},
    "both": {"attn_mask": bools(L, S, seed=1), "key_padding_mask": bools(B, S)},
    "mask for every head": {"attn_mask": bools(B * H, L, S, seed=1)},
    "added numbers": {"attn_mask": numbers(L, S), "key_padding_mask": numbers(B, S)},
}
OPTIONS = {
    "plain": {},
    "batch first": {"batch_first": True},
    "no bias": {"bias": False},
    "widths": {"kdim": 5, "vdim": 6},
    "extra keys": {"add_bias_kv": True, "add_zero_attn": True},
    "widths without bias, batch first": {"kdim": 5, "vdim": 6, "bias": False, "batch_first": True},
}


def run(lib, module, arrays, masks, **options):
    """Outputs, and the gradients of inputs and parameters for one cotangent."""
    tensors = [lib.from_numpy(np.array(a)).requires_grad_() for a in arrays]
    masks = {name: lib.from_numpy(np.array(mask)) for name, mask in masks.items()}
    out, weights = module(*tensors, **masks, **options)
    loss = (out * lib.from_numpy(numbers(*out.shape, seed=7))).sum()
    if weights is not None:
        loss = loss + (weights * lib.from_numpy(numbers(*weights.shape, seed=8))).sum()
    loss.backward()
    grads = [t.grad for t in tensors] + [p.grad for p in module.parameters()]
    return [out.detach().numpy(), *([] if weights is None else [weights.detach().numpy()]), *[g.numpy() for g in grads]]


def same_pair(torch, make):
    """A module and PyTorch's with the same random weights."""
    torch.manual_seed(0)
    theirs, ours = make(torch.nn), make(nn)
    for p in theirs.parameters():
        torch.nn.init.normal_(p, std=0.3)
    ours.load_state_dict({key: value.numpy() for key, value in theirs.state_dict().items()})
    return ours, theirs


def check(torch, ours, theirs, arrays, masks, **options):
    found, expected = run(minitorch, ours, arrays, masks, **options), run(torch, theirs, arrays, masks, **options)
    assert len(found) == len(expected)
    for a, b in zip(found, expected):
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=5e-6)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("need_weights", [True, False])
@pytest.mark.parametrize("masks", MASKS)
@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parity
def test_equals_pytorch(torch, options, masks, need_weights):
    options = OPTIONS[options]
    ours, theirs = same_pair(torch, lambda nn: nn.MultiheadAttention(E, H, **options))
    shapes = [(L, B, E), (S, B, options.get("kdim", E)), (S, B, options.get("vdim", E))]
    if options.get("batch_first"):
        shapes = [(b, a, c) for a, b, c in shapes]
    arrays = [numbers(*shape, seed=i) for i, shape in enumerate(shapes)]
    check(torch, ours, theirs, arrays, MASKS[masks], need_weights=need_weights)


@pytest.mark.parity
def test_self_attention_unbatched_and_per_head_weights_equal_pytorch(torch):
    ours, theirs = same_pair(torch, lambda nn: nn.MultiheadAttention(E, H))

    class Self:
        def __init__(self, module):
            self.module, self.parameters = module, module.parameters

        def __call__(self, x, **options):
            return self.module(x, x, x, **options)

    check(torch, Self(ours), Self(theirs), [numbers(L, B, E)], {})
    check(torch, Self(ours), Self(theirs), [numbers(L, B, E)], {}, average_attn_weights=False)
    for batch_first in (False, True):
        ours.batch_first = theirs.batch_first = batch_first
        masks = {"key_padding_mask": bools(L)}
        check(torch, Self(ours), Self(theirs), [numbers(L, E)], masks, average_attn_weights=False)
        check(torch, Self(ours), Self(theirs), [numbers(L, E)], {}, need_weights=False)
    ours.batch_first = theirs.batch_first = False
    causal = {"attn_mask": np.triu(np.ones((L, L), bool), 1)}
    for need_weights in (True, False):
        check(torch, Self(ours), Self(theirs), [numbers(L, B, E)], causal, is_causal=True, need_weights=need_weights)


def test_attention_by_hand():
    attention = nn.MultiheadAttention(2, 1, bias=False)
    with minitorch.no_grad():
        attention.in_proj_weight.copy_(minitorch.cat([minitorch.eye(2)] * 3))
        attention.out_proj.weight.copy_(minitorch.eye(2))
    query = minitorch.tensor([[math.sqrt(2.0) * math.log(3.0), 0.0]])
    key = minitorch.tensor([[1.0, 0.0], [0.0, 1.0]])
    out, weights = attention(query, key, key)  # scores: log 3 and 0
    np.testing.assert_allclose(weights.tolist(), [[0.75, 0.25]], rtol=1e-6)
    np.testing.assert_allclose(out.tolist(), [[0.75, 0.25]], rtol=1e-6)
    out, weights = attention(query, key, key, key_padding_mask=minitorch.tensor([True, False]))
    assert weights.tolist() == [[0.0, 1.0]] and out.tolist() == [[0.0, 1.0]]
    assert attention(query, key, key, need_weights=False)[1] is None


@pytest.mark.parametrize("need_weights", [True, False])
def test_two_heads_in_numpy(need_weights):
    minitorch.manual_seed(0)
    attention = nn.MultiheadAttention(E, H, kdim=5, vdim=6)
    nn.init.normal_(attention.in_proj_bias)
    query, key, value = numbers(L, B, E), numbers(S, B, 5, seed=1), numbers(S, B, 6, seed=2)
    forbidden, padding, d = bools(L, S, seed=1), bools(B, S), E // H
    p = {name: tensor.numpy() for name, tensor in attention.state_dict().items()}
    q, k, v = (
        x @ p[f"{n}_proj_weight"].T + p["in_proj_bias"][i * E : (i + 1) * E]
        for i, (n, x) in enumerate(zip("qkv", (query, key, value)))
    )
    context, mean = np.zeros((L, B, E)), np.zeros((B, L, S))
    for b in range(B):
        for h in range(H):
            part = slice(h * d, (h + 1) * d)
            scores = np.where(forbidden | padding[b], -np.inf, q[:, b, part] @ k[:, b, part].T / np.sqrt(d))
            weights = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
            context[:, b, part] = weights @ v[:, b, part]
            mean[b] += weights / H
    expected = context @ p["out_proj.weight"].T + p["out_proj.bias"]
    masks = {"attn_mask": forbidden, "key_padding_mask": padding}
    out, weights = attention(
        *(minitorch.from_numpy(x) for x in (query, key, value)),
        **{name: minitorch.from_numpy(mask) for name, mask in masks.items()},
        need_weights=need_weights,
    )
    np.testing.assert_allclose(out.detach().numpy(), expected, atol=1e-5)
    if need_weights:
        np.testing.assert_allclose(weights.detach().numpy(), mean, atol=1e-6)


def test_encoder_layer_from_its_parts():
    minitorch.manual_seed(0)
    x = minitorch.randn(L, B, E)
    for norm_first in (False, True):
        layer = nn.TransformerEncoderLayer(E, H, 16, dropout=0.0, norm_first=norm_first)
        for p in layer.parameters():
            nn.init.normal_(p, std=0.5)
        attend = lambda x: layer.self_attn(x, x, x)[0]  # noqa: B023, E731
        feed = lambda x: layer.linear2(layer.linear1(x).relu())  # noqa: B023, E731
        if norm_first:
            y = x + attend(layer.norm1(x))
            y = y + feed(layer.norm2(y))
        else:
            y = layer.norm1(x + attend(x))
            y = layer.norm2(y + feed(y))
        np.testing.assert_allclose(layer(x).tolist(), y.tolist(), atol=1e-5)


def test_errors():
    x = minitorch.ones(L, B, E)
    attention = nn.MultiheadAttention(E, H)
    mask = minitorch.zeros(L, L, dtype=minitorch.bool)
    for call, error, words in (
        (lambda: nn.MultiheadAttention(7, 2), AssertionError, "embed_dim must be divisible by num_heads"),
        (lambda: nn.MultiheadAttention(0, 2), ValueError, "embed_dim and num_heads must be greater than 0"),
        (lambda: attention(x, x, x, is_causal=True), RuntimeError, "Need attn_mask if specifying the is_causal hint"),
        (
            lambda: attention(x, x, x, attn_mask=mask[:2]),
            RuntimeError,
            r"2D attn_mask is \(2, 4\), but should be \(4, 4\)",
        ),
        (
            lambda: attention(x, x, x, attn_mask=mask[None]),
            RuntimeError,
            r"3D attn_mask is \(1, 4, 4\), but should be \(6, 4, 4\)",
        ),
        (
            lambda: attention(x, x, x, attn_mask=minitorch.zeros(L, L, dtype=minitorch.int64)),
            AssertionError,
            "only bool and floating types of attn_mask are supported",
        ),
        (
            lambda: attention(x, x, x, key_padding_mask=mask),
            AssertionError,
            r"`key_padding_mask` to have shape \(3, 4\)",
        ),
        (
            lambda: attention(x[..., :2], x, x),
            AssertionError,
            "was expecting embedding dimension of 8 for query, but got 2",
        ),
        (lambda: attention(x, x, x[:2]), AssertionError, "do not match value's"),
        (lambda: attention(x[0], x, x), AssertionError, "expected `key` and `value` to be 2-D"),
        (lambda: attention(x[:, :2], x, x), AssertionError, "query has batch size 2"),
        (
            lambda: nn.TransformerEncoderLayer(8, 2, activation="elu"),
            RuntimeError,
            "activation should be relu/gelu, not elu",
        ),
    ):
        with pytest.raises(error, match=words):
            call()


# --- encoder ---------------------------------------------------------------------------------------------------------


class WithoutWeights:
    """An encoder layer with the two results of an attention."""

    def __init__(self, module):
        self.module, self.parameters = module, module.parameters

    def __call__(self, *args, **options):
        return self.module(*args, **options), None


@pytest.mark.parametrize("norm_first", [False, True])
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("activation", ["relu", "gelu", "function"])
@pytest.mark.parity
def test_encoder_layer_equals_pytorch(torch, norm_first, batch_first, activation):
    def make(nn):
        act = nn.functional.tanh if activation == "function" else activation
        return nn.TransformerEncoderLayer(
            E, H, 16, dropout=0.0, activation=act, norm_first=norm_first, batch_first=batch_first, layer_norm_eps=1e-4
        )

    ours, theirs = same_pair(torch, make)
    shape = (B, L, E) if batch_first else (L, B, E)
    for masks in ({}, {"src_mask": np.triu(np.ones((L, L), bool), 1), "src_key_padding_mask": bools(B, L)}):
        ours.zero_grad()
        theirs.zero_grad()
        check(torch, WithoutWeights(ours), WithoutWeights(theirs), [numbers(*shape)], masks)


@pytest.mark.parity
def test_encoder_equals_pytorch(torch):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ours, theirs = same_pair(
            torch,
            lambda nn: nn.TransformerEncoder(nn.TransformerEncoderLayer(E, H, 16, dropout=0.0), 2, nn.LayerNorm(E)),
        )
    x, mask = numbers(L, B, E), np.triu(np.ones((L, L), bool), 1)
    for options in ({}, {"mask": mask}, {"src_key_padding_mask": bools(B, L)}):
        a = ours(minitorch.from_numpy(x), **{k: minitorch.from_numpy(v) for k, v in options.items()})
        b = theirs(torch.from_numpy(x), **{k: torch.from_numpy(v) for k, v in options.items()})
        np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=2e-5, atol=5e-6)


def intel():
    try:
        with open("/proc/cpuinfo") as info:
            return "GenuineIntel" in info.read()
    except OSError:
        return False


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("norm_first", [False, True])
@pytest.mark.parity
def test_training_with_dropout_equals_pytorch(torch, batch_first, norm_first):
    """The same draws in the same order: also for a tensor whose memory is not in the order of its indices."""
    if intel():
        pytest.skip("on Intel processors PyTorch draws dropout with MKL, which gives other numbers")
    ours, theirs = same_pair(
        torch,
        lambda nn: nn.TransformerEncoderLayer(E, H, 16, dropout=0.4, batch_first=batch_first, norm_first=norm_first),
    )
    x = numbers(L, B, E)
    minitorch.manual_seed(4)
    torch.manual_seed(4)
    for _ in range(2):
        a, b = ours(minitorch.from_numpy(x)), theirs(torch.from_numpy(x))
        np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=2e-5, atol=5e-6)
    np.testing.assert_array_equal(minitorch.rand(2).numpy(), torch.rand(2).numpy())
    attention, other = same_pair(torch, lambda nn: nn.MultiheadAttention(E, H, dropout=0.5))
    for need_weights in (True, False):
        minitorch.manual_seed(4)
        torch.manual_seed(4)
        a = attention(*[minitorch.from_numpy(x)] * 3, need_weights=need_weights)[0]
        b = other(*[torch.from_numpy(x)] * 3, need_weights=need_weights)[0]
        np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=2e-5, atol=5e-6)


def test_encoder_meaning():
    minitorch.manual_seed(0)
    encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(E, H, 16, batch_first=True), 2)
    first, second = encoder.layers
    assert first.linear1.weight is not second.linear1.weight
    assert first.linear1.weight.tolist() == second.linear1.weight.tolist()
    encoder.eval()
    x = minitorch.from_numpy(numbers(B, L, E))
    causal = minitorch.from_numpy(np.triu(np.ones((L, L), bool), 1))
    y = encoder(x, mask=causal)
    changed = x.clone()
    changed[:, -1] = 9.0
    z = encoder(changed, mask=causal)
    np.testing.assert_allclose(
        y[:, :-1].tolist(), z[:, :-1].tolist(), atol=1e-6
    )  # earlier tokens cannot see the last one
    assert (y[:, -1] - z[:, -1]).abs().max().item() > 0.1
    padding = minitorch.from_numpy(np.array([[False] * (L - 1) + [True]] * B))
    y, z = (encoder(t, src_key_padding_mask=padding)[:, :-1] for t in (x, changed))
    np.testing.assert_allclose(y.tolist(), z.tolist(), atol=1e-6)
    assert encoder(x[0]).shape == (L, E)
