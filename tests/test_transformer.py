"""The encoder-decoder: it learns, writes the same with and without a cache, and does not see padding or the future."""

import dataclasses

import numpy as np
import pytest
from minitorch.models.transformer import IGNORE, Block, EncoderDecoder, Transformer, TransformerConfig

import minitorch
from minitorch import nn, optim
from minitorch.nn import functional as F

PAD, BOS, EOS = 0, 1, 2
TINY = TransformerConfig(vocab_size=13, max_length=12, width=32, heads=4, layers=1, hidden=64, dropout=0.0)


def reversals(count, generator, longest=4):
    """Numbers, ended by EOS and padded, and the same numbers the other way round."""
    source = np.full((count, longest + 1), PAD)
    labels = np.full((count, longest + 1), IGNORE)
    for row, target in zip(source, labels):
        numbers = generator.integers(3, 13, generator.integers(2, longest + 1))
        row[: len(numbers) + 1] = [*numbers, EOS]
        target[: len(numbers) + 1] = [*numbers[::-1], EOS]
    return minitorch.from_numpy(source), minitorch.from_numpy(labels)


@pytest.fixture(scope="module")
def reverser():
    """A model that has learned to reverse, and its losses."""
    minitorch.manual_seed(0)
    generator = np.random.default_rng(0)
    model = EncoderDecoder(TINY)
    optimizer = optim.Adam(model.parameters(), lr=8e-3, betas=(0.9, 0.98))
    schedule = optim.lr_scheduler.OneCycleLR(optimizer, 8e-3, total_steps=150)
    losses = []
    for _ in range(150):
        source, labels = reversals(64, generator)
        optimizer.zero_grad()
        loss = model(source, labels).loss
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    return model.eval(), losses


def log_p(model, source, tokens):
    """log p of whole targets, up to the first EOS: (B,)"""
    is_end = (tokens == EOS).int()
    labels = tokens.masked_fill(is_end.cumsum(1) - is_end > 0, IGNORE)
    logits = model(source, labels).logits
    nll = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORE, reduction="none")
    return -nll.reshape(labels.shape).sum(1).detach().numpy()


@pytest.fixture(scope="module")
def untrained():
    minitorch.manual_seed(1)
    return EncoderDecoder(dataclasses.replace(TINY, vocab_size=20, layers=2, tied=False)).eval()


@pytest.mark.parametrize("beams", [1, 3])
def test_it_learns_to_reverse(reverser, beams):
    model, losses = reverser
    assert losses[-1] < 0.1 < 2 < losses[0]
    source, labels = reversals(50, np.random.default_rng(1))
    said = model.generate(source, num_beams=beams)
    expected = labels.masked_fill(labels == IGNORE, PAD).numpy()
    right = sum(row[row != PAD].tolist() == want[want != PAD].tolist() for row, want in zip(said.numpy(), expected))
    assert right >= 48


@pytest.mark.parametrize("beams", [1, 4])
def test_the_cache_changes_nothing(untrained, beams):
    source = minitorch.randint(3, 20, (5, 7))
    source[1, 4:] = PAD
    how = {"num_beams": beams, "max_new_tokens": 9, "length_penalty": 0.6}
    with_cache = untrained.generate(source, **how)
    assert with_cache.tolist() == untrained.generate(source, use_cache=False, **how).tolist()
    assert 1 < with_cache.shape[1] <= 9


def test_the_source_is_read_once(untrained, monkeypatch):
    calls = {"encoder": 0, "keys": 0}
    cross = untrained.decoder.blocks[0].cross_attention.keys_values
    for name, module in (("encoder", untrained.encoder), ("keys", cross)):

        def count(*args, name=name, forward=module.forward):
            calls[name] += 1
            return forward(*args)

        monkeypatch.setattr(module, "forward", count)
    untrained.generate(minitorch.randint(3, 20, (2, 7)), max_new_tokens=6, num_beams=2)
    assert calls == {"encoder": 1, "keys": 1}


def test_a_beam_finds_targets_at_least_as_probable(untrained):
    source = minitorch.randint(3, 20, (20, 7), generator=minitorch.Generator().manual_seed(5))
    how = {"max_new_tokens": 10, "length_penalty": 0.0}
    greedy, narrow, wide = (log_p(untrained, source, untrained.generate(source, num_beams=n, **how)) for n in (1, 2, 8))
    assert (wide >= greedy - 1e-4).all() and (narrow >= greedy - 1e-4).mean() > 0.9
    assert wide.mean() > narrow.mean() > greedy.mean()


def test_a_length_penalty_favours_longer_targets(untrained):
    source = minitorch.randint(3, 20, (8, 7), generator=minitorch.Generator().manual_seed(0))
    lengths = [
        (untrained.generate(source, num_beams=4, max_new_tokens=8, length_penalty=penalty) != PAD).sum().item()
        for penalty in (-4.0, 0.0, 4.0)
    ]
    assert lengths[0] <= lengths[1] <= lengths[2] and lengths[0] < lengths[2]


def test_padding_changes_nothing(untrained):
    source, labels = minitorch.randint(3, 20, (2, 5)), minitorch.randint(3, 20, (2, 4))
    wide = F.pad(source, (0, 3), value=PAD)
    filled = F.pad(labels, (0, 2), value=IGNORE)
    out, padded = untrained(source, labels), untrained(wide, filled)
    np.testing.assert_allclose(padded.logits[:, :4].tolist(), out.logits.tolist(), atol=1e-5)
    np.testing.assert_allclose(padded.loss.item(), out.loss.item(), rtol=1e-5)
    assert untrained.generate(wide, max_new_tokens=6).tolist() == untrained.generate(source, max_new_tokens=6).tolist()


def test_the_decoder_does_not_see_what_follows(untrained):
    source, target = minitorch.randint(3, 20, (2, 5)), minitorch.randint(3, 20, (2, 6))
    changed = target.clone()
    changed[:, 4] = 3 + (changed[:, 4] - 2) % 17
    before, after = untrained(source, target=target).logits, untrained(source, target=changed).logits
    np.testing.assert_allclose(after[:, :4].tolist(), before[:, :4].tolist(), atol=1e-6)
    assert (after[:, 4:] - before[:, 4:]).abs().max().item() > 1e-3


def test_label_smoothing_is_of_training_alone():
    minitorch.manual_seed(0)
    model = EncoderDecoder(dataclasses.replace(TINY, label_smoothing=0.2))
    source, labels = minitorch.randint(3, 13, (3, 5)), minitorch.randint(3, 13, (3, 4))
    out = model(source, labels)
    smooth, plain = (F.cross_entropy(out.logits.flatten(0, 1), labels.flatten(), label_smoothing=e) for e in (0.2, 0.0))
    np.testing.assert_allclose(out.loss.item(), smooth.item(), rtol=1e-6)
    np.testing.assert_allclose(model.eval()(source, labels).loss.item(), plain.item(), rtol=1e-6)


def test_a_tied_matrix_is_one_and_is_saved_once(tmp_path, reverser):
    model, _ = reverser
    assert model.head.weight is model.encoder.tokens.weight is model.decoder.tokens.weight
    free = EncoderDecoder(dataclasses.replace(TINY, tied=False))
    assert sum(p.numel() for p in free.parameters()) - sum(p.numel() for p in model.parameters()) == 2 * 13 * 32
    source, labels = reversals(4, np.random.default_rng(2))
    for one in (model, free):
        one.save_pretrained(tmp_path / "model")
        again = EncoderDecoder.from_pretrained(tmp_path / "model")
        assert again.config == one.config
        assert again(source, labels).logits.tolist() == one.eval()(source, labels).logits.tolist()
        assert (again.head.weight is again.decoder.tokens.weight) == one.config.tied


def test_blocks_are_nn_transformers():
    """The decoder's block has the parts of nn.TransformerDecoderLayer(norm_first=True)."""
    minitorch.manual_seed(0)
    block = EncoderDecoder(TINY).decoder.blocks[0]
    layer = nn.TransformerDecoderLayer(32, 4, 64, dropout=0.0, activation="gelu", batch_first=True, norm_first=True)
    own, cross = block.attention, block.cross_attention
    layer.load_state_dict({
        "self_attn.in_proj_weight": own.qkv.weight, "self_attn.in_proj_bias": own.qkv.bias,
        "self_attn.out_proj.weight": own.out.weight, "self_attn.out_proj.bias": own.out.bias,
        "multihead_attn.in_proj_weight": minitorch.cat([cross.query.weight, cross.keys_values.weight]),
        "multihead_attn.in_proj_bias": minitorch.cat([cross.query.bias, cross.keys_values.bias]),
        "multihead_attn.out_proj.weight": cross.out.weight, "multihead_attn.out_proj.bias": cross.out.bias,
        "linear1.weight": block.feed_forward[0].weight, "linear1.bias": block.feed_forward[0].bias,
        "linear2.weight": block.feed_forward[2].weight, "linear2.bias": block.feed_forward[2].bias,
        **{f"norm{i}.{kind}": getattr(getattr(block, name), kind) for kind in ("weight", "bias")
           for i, name in enumerate(("norm1", "norm_cross", "norm2"), 1)},
    })  # fmt: skip
    x, memory = minitorch.randn(2, 5, 32), minitorch.randn(2, 7, 32)
    padding = minitorch.tensor([[False] * 7, [False] * 4 + [True] * 3])
    expected = layer(
        x, memory, tgt_mask=nn.Transformer.generate_square_subsequent_mask(5), memory_key_padding_mask=padding
    )
    np.testing.assert_allclose(block(x, memory, ~padding[:, None, None]).tolist(), expected.tolist(), atol=1e-5)


def test_a_causal_encoder_hides_padding_and_what_follows():
    model = Transformer(dataclasses.replace(TINY, causal=True)).eval()
    ids, padding = minitorch.randint(3, 13, (2, 6)), minitorch.tensor([[True, True] + [False] * 4] * 2)
    changed = ids.clone()
    changed[:, [0, 1, 5]] = 3
    before, after = model(ids, padding)[:, 2:5], model(changed, padding)[:, 2:5]
    np.testing.assert_allclose(after.tolist(), before.tolist(), atol=1e-6)
    assert isinstance(model.blocks[0], Block) and model.blocks[0].attention.causal


def test_errors(untrained):
    source = minitorch.randint(3, 20, (2, 5))
    for call, error, words in (
        (lambda: untrained(source), ValueError, "labels or a target.*generate"),
        (lambda: untrained(minitorch.zeros(1, 13, dtype=minitorch.int64), source), ValueError, "13 tokens, more than max_length=12"),
        (lambda: untrained.generate(source, max_new_tokens=13), ValueError, "max_new_tokens=13 is more than max_length=12"),
        (lambda: untrained.generate(source, num_beams=0), ValueError, "num_beams must be at least 1, got 0"),
        (lambda: untrained.generate(source[0]), ValueError, r"source.*\(B, S\).*\(5,\)"),
        (lambda: EncoderDecoder({"width": 3}), TypeError, "TransformerConfig, got dict"),
    ):  # fmt: skip
        with pytest.raises(error, match=words):
            call()
