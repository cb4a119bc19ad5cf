"""models/gpt.py and models/generation.py: GPT-2 and its `generate` are Hugging Face's on the same weights."""

import itertools
import json
import math
from pathlib import Path

import numpy as np
import pytest
from minitorch.models import generation
from minitorch.models.gpt import GPT2Config, GPT2LMHeadModel, GPT2Model

import minitorch
from minitorch.nn import functional as F

SMALL = {
    "vocab_size": 60, "n_positions": 32, "n_embd": 24, "n_layer": 2, "n_head": 3, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
IDS = np.random.default_rng(0).integers(3, 60, (3, 8))
MASK = np.ones_like(IDS)
MASK[1, :3] = MASK[2, :6] = 0  # padding on the left


@pytest.fixture(scope="module")
def hf():
    pytest.importorskip("torch", reason="compares with PyTorch, which is not installed")
    return pytest.importorskip("transformers", reason="compares with transformers, which is not installed")


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch", reason="compares with PyTorch, which is not installed")


def to(lib, array):
    return None if array is None else lib.from_numpy(np.array(array))


def randomized(torch, model):
    """Large random weights, biases included, so that no choice is a tie."""
    torch.manual_seed(0)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.randn_like(p) * 0.2)
    return model.eval()


def pair(torch, hf, kind=GPT2LMHeadModel, **options):
    config = {**SMALL, **options}
    b = randomized(torch, getattr(hf, kind.__name__)(hf.GPT2Config(**config, attn_implementation="eager")))
    a = kind(GPT2Config(**config)).eval()
    a.load_state_dict(b.state_dict())  # strict
    return a, b


@pytest.fixture(scope="module")
def models(torch, hf):
    return pair(torch, hf)


@pytest.fixture(scope="module")
def model():
    minitorch.manual_seed(0)
    model = GPT2LMHeadModel(GPT2Config(**SMALL)).eval()
    with minitorch.no_grad():
        for p in model.parameters():
            p.add_(minitorch.randn(p.shape) * 0.2)
    return model


def close(a, b, atol=1e-5):
    np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), atol=atol, rtol=1e-5)


# --- the network, beside Hugging Face's ------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [
    {}, {"n_inner": 20, "activation_function": "relu", "scale_attn_by_inverse_layer_idx": True},
    {"scale_attn_weights": False, "tie_word_embeddings": False, "activation_function": "gelu"},
])  # fmt: skip
def test_all_that_the_model_returns_equals_hugging_face(torch, hf, options):
    a, b = pair(torch, hf, **options)
    labels = np.where(np.random.default_rng(1).random(IDS.shape) < 0.3, -100, IDS)
    extra = {"output_hidden_states": True, "output_attentions": True}
    x = a(to(minitorch, IDS), labels=to(minitorch, labels), **extra)
    y = b(to(torch, IDS), labels=to(torch, labels), **extra)
    for name in ("loss", "logits"):
        close(x[name], y[name])
    for name in ("hidden_states", "attentions"):
        assert len(x[name]) == len(y[name])
        for p, q in zip(x[name], y[name]):
            close(p, q)
    assert x[0] is x.loss and x[1] is x.logits
    plain = a(to(minitorch, IDS))  # without the attention's weights it takes the fast way
    close(plain.logits, y.logits)
    assert plain.hidden_states is None and plain.attentions is None and plain.loss is None
    close(a(to(minitorch, IDS), logits_to_keep=2).logits, y.logits[:, -2:])
    x.loss.backward()
    y.loss.backward()
    theirs = dict(b.named_parameters())
    assert [name for name, _ in a.named_parameters()] == list(theirs)
    for name, p in a.named_parameters():
        np.testing.assert_allclose(p.grad.numpy(), theirs[name].grad.numpy(), atol=2e-5, err_msg=name)


def test_padding_positions_and_embeddings_equal_hugging_face(torch, models):
    a, b = models
    positions = np.maximum(MASK.cumsum(1) - 1, 0)
    for given in (
        {"input_ids": IDS, "attention_mask": MASK},
        {"input_ids": IDS, "attention_mask": MASK, "position_ids": positions},
        {"inputs_embeds": np.random.default_rng(2).normal(size=(3, 5, 24)).astype("f")},
    ):
        x = a(**{name: to(minitorch, value) for name, value in given.items()}).logits
        y = b(**{name: to(torch, value) for name, value in given.items()}).logits
        seen = given.get("attention_mask", np.ones(x.shape[:2])) == 1  # what padding says, nobody reads
        np.testing.assert_allclose(x.detach().numpy()[seen], y.detach().numpy()[seen], atol=1e-5)


@pytest.mark.parametrize("cut", [1, 5, 7])
def test_a_cache_changes_nothing(model, cut):
    """The last tokens after a cache of the first, with and without padding: hidden states as of the whole."""
    for mask in (None, to(minitorch, MASK)):
        ids, body = to(minitorch, IDS), model.transformer
        whole = body(ids, attention_mask=mask).last_hidden_state
        first = body(ids[:, :cut], attention_mask=None if mask is None else mask[:, :cut])
        assert len(first.past_key_values) == 2 and first.past_key_values[0][0].shape == (3, 3, cut, 8)
        rest = body(ids[:, cut:], first.past_key_values, mask)
        keep = MASK[:, cut:] == 1 if mask is not None else slice(None)
        np.testing.assert_allclose(
            rest.last_hidden_state.detach().numpy()[keep], whole[:, cut:].detach().numpy()[keep], atol=2e-6
        )
        assert body(ids, use_cache=False).past_key_values is None


def test_weights_travel_both_ways(torch, hf, tmp_path):
    for ours, theirs in ((GPT2LMHeadModel, "GPT2LMHeadModel"), (GPT2Model, "GPT2Model")):
        b = randomized(torch, getattr(hf, theirs)(hf.GPT2Config(**SMALL)))
        b.save_pretrained(tmp_path / theirs)
        a = ours.from_pretrained(tmp_path / theirs)
        assert not a.training
        close(a(to(minitorch, IDS))[0], b(to(torch, IDS))[0])
        a.save_pretrained(tmp_path / "ours" / theirs)
        again, info = getattr(hf, theirs).from_pretrained(tmp_path / "ours" / theirs, output_loading_info=True)
        assert not any(info.values())
        close(a(to(minitorch, IDS))[0], again.eval()(to(torch, IDS))[0])
    body = GPT2Model.from_pretrained(tmp_path / "GPT2LMHeadModel")  # the body of a file with a head, and the other way
    head = GPT2LMHeadModel.from_pretrained(tmp_path / "GPT2Model")
    assert minitorch.equal(head.lm_head.weight, head.transformer.wte.weight)
    assert body.wte.weight.shape == head.lm_head.weight.shape == (60, 24)


def test_old_checkpoints_hold_the_causal_mask(model, tmp_path):
    state = dict(model.transformer.state_dict())
    for i in range(2):
        state[f"h.{i}.attn.bias"] = minitorch.ones(1, 1, 32, 32).tril()
        state[f"h.{i}.attn.masked_bias"] = minitorch.tensor(-1e4)
    other = GPT2Model(GPT2Config(**SMALL)).eval()
    other.load_state_dict(state)
    minitorch.serialization.save_safetensors(state, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(
        json.dumps({**SMALL, "model_type": "gpt2", "n_ctx": 32, "eos_token_id": None})
    )
    for got in (other, GPT2Model.from_pretrained(tmp_path)):  # warnings are errors here: none comes
        close(got(to(minitorch, IDS))[0], model.transformer(to(minitorch, IDS))[0])


def test_the_first_weights():
    minitorch.manual_seed(0)
    model = GPT2LMHeadModel(GPT2Config(vocab_size=500, n_positions=64, n_embd=128, n_layer=8, n_head=4))
    for name, p in model.named_parameters():
        if p.ndim == 2:
            expected = 0.02 / 4 if "c_proj" in name else 0.02  # sqrt(2 * 8 layers)
            assert p.std().item() == pytest.approx(expected, rel=0.04), name
        else:
            assert (p == (1 if "ln" in name and "weight" in name else 0)).all(), name
    assert model.lm_head.weight is model.transformer.wte.weight
    loss = model(ids := minitorch.randint(500, (4, 32)), labels=ids).loss.item()
    assert loss == pytest.approx(math.log(500), rel=0.02)  # it has learned nothing yet


# --- generate, beside Hugging Face's ---------------------------------------------------------------------------------


@pytest.mark.parametrize("mask", [None, MASK], ids=["even", "padded"])
@pytest.mark.parametrize("how", [
    {}, {"eos_token_id": 7}, {"num_beams": 3}, {"num_beams": 4, "eos_token_id": [7, 35], "length_penalty": 0.0},
    {"num_beams": 4, "eos_token_id": 27, "length_penalty": 2.0},
    {"num_beams": 2, "eos_token_id": 35, "length_penalty": -1.0},
    {"num_beams": 4, "eos_token_id": [7, 35], "num_return_sequences": 3}, {"num_beams": 2, "num_return_sequences": 2},
])  # fmt: skip
def test_greedy_and_beams_equal_hugging_face(torch, models, how, mask):
    a, b = models
    how = {"pad_token_id": 1, **how}
    seen = to(torch, np.ones_like(IDS) if mask is None else mask)
    y = b.generate(to(torch, IDS), max_new_tokens=12, do_sample=False, attention_mask=seen, **how)
    for use_cache in (True, False):
        x = a.generate(to(minitorch, IDS), 12, attention_mask=to(minitorch, mask), use_cache=use_cache, **how)
        assert x.tolist() == y.tolist()


@pytest.mark.parametrize("how", [
    {}, {"top_k": 5}, {"top_p": 0.7}, {"temperature": 1.7, "top_k": 20, "top_p": 0.5}, {"temperature": 0.3},
    {"num_return_sequences": 2, "top_k": 0},
])  # fmt: skip
def test_samples_equal_hugging_face(torch, models, how):
    """The same seed draws the same text."""
    a, b = models
    how = {"do_sample": True, "eos_token_id": 7, "pad_token_id": 1, **how}
    minitorch.manual_seed(3)
    x = a.generate(to(minitorch, IDS), 12, **how).tolist()
    generator = minitorch.Generator().manual_seed(3)
    assert a.generate(to(minitorch, IDS), 12, generator=generator, **how).tolist() == x
    if intel() and torch.backends.mkl.is_available():
        pytest.skip("on Intel processors PyTorch samples from MKL's generator")
    torch.manual_seed(3)
    y = b.generate(to(torch, IDS), max_new_tokens=12, attention_mask=torch.ones(3, 8), **{"top_k": 0, **how})
    assert x == y.tolist()


def intel():
    cpu = Path("/proc/cpuinfo")
    return not cpu.exists() or "GenuineIntel" in cpu.read_text()


def test_filters_equal_hugging_face(torch, hf):
    rng = np.random.default_rng(0)
    scores = np.concatenate([rng.normal(size=(20, 50)) * rng.uniform(0.1, 5, (20, 1)), np.zeros((1, 50))]).astype("f")
    for k in (1, 3, 50, 80):
        y = hf.TopKLogitsWarper(k)(None, to(torch, scores))
        assert generation.keep_top_k(to(minitorch, scores), k).tolist() == y.tolist()
    for p in (1e-9, 0.1, 0.5, 0.9, 0.999):
        y = hf.TopPLogitsWarper(p)(None, to(torch, scores[:20]))
        assert generation.keep_top_p(to(minitorch, scores[:20]), p).tolist() == y.tolist()
    scores = scores - scores.max(-1, keepdims=True)
    y = hf.TopPLogitsWarper(0.8)(None, hf.TopKLogitsWarper(9)(None, to(torch, scores[:20]) / 0.7))
    close(generation.warp(to(minitorch, scores[:20]), 0.7, 9, 0.8), y, 1e-6)


# --- generate, without another library -------------------------------------------------------------------------------


def test_greedy_is_the_argmax_and_padding_does_not_matter(model):
    ids = to(minitorch, IDS[:1])
    expected = ids
    for _ in range(6):
        expected = minitorch.cat([expected, model(expected).logits[:, -1].argmax(-1)[:, None]], dim=1)
    assert model.generate(ids, 6).tolist() == expected.tolist()
    padded, mask = F.pad(ids, (3, 0), value=5), F.pad(minitorch.ones_like(ids), (3, 0))
    assert model.generate(padded, 6, attention_mask=mask)[:, 3:].tolist() == expected.tolist()
    end = expected[0, 10].item()
    first = expected[0, 8:].tolist().index(end)
    got = model.generate(ids.repeat(2, 1), 6, eos_token_id=end)
    assert got.tolist() == expected[:, : 9 + first].repeat(2, 1).tolist()  # no step more than needed
    model.train()
    assert model.generate(ids, 6).tolist() == expected.tolist() and model.training  # without dropout, and back
    model.eval()


def test_samples_follow_the_distribution(model):
    ids = to(minitorch, IDS[:1])
    p = F.softmax(generation.warp(model(ids).logits[:, -1], 2.0, 6, None), dim=-1)[0].detach().numpy()
    minitorch.manual_seed(0)
    drawn = model.generate(ids.repeat(4000, 1), 1, do_sample=True, temperature=2.0, top_k=6)[:, -1].numpy()
    np.testing.assert_allclose(np.bincount(drawn, minlength=60) / 4000, p, atol=0.03)
    assert set(drawn) == set(np.flatnonzero(p))


@pytest.mark.parametrize("temperature", [1e-6, 1e-30, 1e-40, 5e-324])
def test_a_tiny_temperature_is_greedy(model, temperature):
    ids = to(minitorch, IDS)
    for top in ({}, {"top_k": 3}, {"top_p": 0.9}):
        drawn = model.generate(ids, 5, do_sample=True, temperature=temperature, **top)
        assert drawn.tolist() == model.generate(ids, 5).tolist()


def test_several_texts_for_each_prompt(model):
    ids, mask = to(minitorch, IDS), to(minitorch, MASK)
    three = model.generate(ids, 6, do_sample=True, top_k=0, attention_mask=mask, num_return_sequences=3)
    assert three.shape == (9, 14) and three[:, :8].tolist() == ids.repeat_interleave(3, dim=0).tolist()
    assert len(set(map(tuple, three[:3].tolist()))) > 1
    beams = {"num_beams": 3, "attention_mask": mask, "eos_token_id": []}
    best = model.generate(ids, 6, num_return_sequences=2, **beams)
    assert best.shape == (6, 14) and best[::2].tolist() == model.generate(ids, 6, **beams).tolist()
    assert (best[::2] != best[1::2]).any(1).all()


@pytest.mark.parametrize("penalty", [0.0, 1.0])
def test_wide_beams_find_the_best_of_all_texts(penalty):
    """Against the enumeration of every continuation: 3 words and an end, up to 4 long."""
    rng = np.random.default_rng(0)
    table = rng.normal(size=(4, 4, 4)).astype("f") * 2  # scores of what follows the last two
    log_p = table - np.log(np.exp(table).sum(-1, keepdims=True))

    def step(tokens, cache):
        assert len(cache["row"]) == len(cache["deep"][0]) == len(tokens)
        assert cache["row"].tolist() == tokens[:, 0].tolist()  # rows that move take their cache along
        return minitorch.from_numpy(table)[tokens[:, -2], tokens[:, -1]], cache

    def best(start):
        texts = {}
        for n in range(1, 5):
            for text in itertools.product(range(4), repeat=n):
                if 0 not in text[:-1] and (text[-1] == 0 or n == 4):
                    path = [*start, *text]
                    total = sum(log_p[path[i], path[i + 1], path[i + 2]] for i in range(n))
                    texts[tuple(text)] = total / n**penalty
        return max(texts.items(), key=lambda item: item[1])

    start = minitorch.tensor([[1, 2], [2, 3], [3, 1]])
    cache = {"row": start[:, 0], "deep": (start, None)}
    tokens, scores = generation.beam_search(
        step, start, beams=81, max_new_tokens=4, eos=0, length_penalty=penalty, cache=cache
    )
    for row, score, first in zip(tokens.tolist(), scores.tolist(), start.tolist()):
        text, expected = best(first)
        assert score == pytest.approx(expected, rel=1e-5)
        assert tuple(row[2 : 2 + len(text)]) == text and not any(row[2 + len(text) :])
    greedy = generation.sample(step, start, max_new_tokens=4, do_sample=False, eos=0, cache=cache)
    one, _ = generation.beam_search(step, start, beams=1, max_new_tokens=4, eos=0, cache=cache)
    assert one.tolist() == greedy.tolist()


def test_the_cache_saves_the_work(model):
    """Counted, not timed: tokens that pass through the first block."""
    seen = []
    handle = model.transformer.h[0].register_forward_pre_hook(lambda module, args: seen.append(args[0].shape[1]))
    model.generate(to(minitorch, IDS), 10, eos_token_id=[])
    cached, _ = list(seen), seen.clear()
    model.generate(to(minitorch, IDS), 10, eos_token_id=[], use_cache=False)
    handle.remove()
    assert cached == [8] + [1] * 9 and seen == list(range(8, 18))


@pytest.mark.parametrize("call, message", [
    ({"max_new_tokens": 30}, "prompts of 8 tokens and max_new_tokens=30 are more than n_positions=32"),
    ({"max_new_tokens": 0}, "max_new_tokens must be at least 1, got 0"),
    ({"input_ids": np.zeros((2, 0), int)}, r"at least one token.*got \(2, 0\)"),
    ({"input_ids": np.zeros(4, int)}, r"\(B, S\).*got \(4,\)"),
    ({"do_sample": True, "temperature": 0.0}, "temperature must be above 0, got 0.0; do_sample=False"),
    ({"do_sample": True, "temperature": math.nan}, "temperature must be above 0"),
    ({"do_sample": True, "top_k": -1}, "top_k must be at least 1, got -1; None or 0 keeps"),
    ({"do_sample": True, "top_p": 0.0}, r"top_p must be in \(0, 1\], got 0.0"),
    ({"do_sample": True, "top_p": 1.1}, r"top_p must be in \(0, 1\], got 1.1"),
    ({"temperature": 0.5}, "add do_sample=True"),
    ({"num_beams": 0}, "num_beams must be at least 1, got 0"),
    ({"num_beams": 2, "do_sample": True}, "choose one of them"),
    ({"num_return_sequences": 0}, "num_return_sequences must be at least 1, got 0"),
    ({"num_return_sequences": 2}, "num_return_sequences=2 is more than num_beams=1.*or do_sample=True"),
    ({"num_return_sequences": 3, "num_beams": 2}, "num_return_sequences=3 is more than num_beams=2"),
    ({"attention_mask": MASK[:, :4]}, r"attention_mask has shape \(3, 4\), input_ids \(3, 8\)"),
    ({"attention_mask": MASK[:, ::-1]}, "pad on the left"),
    ({"attention_mask": MASK * 0}, "pad on the left"),
    ({"input_ids": IDS + 60}, "index 6[0-9] is out of range|out of range"),
])  # fmt: skip
def test_what_cannot_be_generated(model, call, message):
    call = {"input_ids": IDS, "max_new_tokens": 4, **call}
    call = {name: to(minitorch, value) if isinstance(value, np.ndarray) else value for name, value in call.items()}
    with pytest.raises((ValueError, IndexError), match=message):
        model.generate(**call)


def test_what_the_model_refuses(model):
    ids = to(minitorch, IDS)
    for call, message in (
        ({}, "exactly one of input_ids or inputs_embeds"),
        ({"input_ids": ids[0]}, r"\(B, T\); got input of shape \(8,\)"),
        ({"input_ids": ids.repeat(1, 5)}, "40 tokens, more than n_positions=32"),
        ({"input_ids": ids, "attention_mask": ids[:, 1:]}, r"attention_mask has shape \(3, 7\), expected \(3, 8\)"),
        ({"input_ids": ids, "labels": ids[:, 1:]}, r"labels has shape \(3, 7\), expected \(3, 8\)"),
        ({"input_ids": ids, "labels": ids + 60}, r"out of range: 0 to 59 \(vocab_size=60\), or -100"),
        ({"input_ids": ids[:, :1], "labels": ids[:, :1]}, "every one after the first of its row, if there is any"),
        ({"input_ids": ids, "labels": ids * 0 - 100}, "is -100, so there is no token to predict"),
        ({"input_ids": ids[:, :0]}, r"GPT-2 reads sequences of at least one token; got input of shape \(3, 0\)"),
    ):
        with pytest.raises(ValueError, match=message):
            model(**call)
    for values, message in (
        ({"n_head": 5}, "n_embd=24 is not a multiple .* n_head=5"),
        ({"n_head": 0}, "n_head=0"),
        ({"activation_function": "swish"}, "'swish' is unknown; there are gelu"),
        ({"add_cross_attention": True}, "add_cross_attention=True is not supported"),
        ({"model_type": "bert"}, "model_type='bert' is not supported, only 'gpt2'"),
    ):
        with pytest.raises(ValueError, match=message):
            GPT2Config.from_dict({**SMALL, **values})
    with pytest.raises(TypeError, match="GPT2Config"):
        GPT2Model({"n_embd": 24})


def test_a_batch_may_be_empty(model):
    none = minitorch.zeros(0, 5, dtype=minitorch.int64)
    for options in ({}, {"attention_mask": none}, {"output_attentions": True}):
        assert model(none, **options).logits.shape == (0, 5, 60)


@pytest.mark.filterwarnings("ignore:invalid value")  # -inf - -inf, where padding sees nothing; set to 0 afterwards
@pytest.mark.parametrize("how", [
    {}, {"num_beams": 3, "eos_token_id": 7}, {"attention_mask": MASK, "eos_token_id": [7, 35]},
    {"use_cache": False, "attention_mask": MASK},
])  # fmt: skip
def test_it_generates_on_a_device_that_refuses_numpy(model, how):
    from tests.guard import GuardArray, guard

    minitorch.backend.register_namespace("guard", guard, GuardArray)
    other = GPT2LMHeadModel(GPT2Config(**SMALL))
    other.load_state_dict(model.state_dict())
    results = []
    for device, each in (("cpu", model), ("guard", other.to("guard"))):
        minitorch.manual_seed(0)
        given = {name: to(minitorch, v).to(device) if isinstance(v, np.ndarray) else v for name, v in how.items()}
        results.append(each.generate(to(minitorch, IDS).to(device), 6, **given))
    scores = minitorch.from_numpy(np.random.default_rng(0).normal(size=(4, 50)).astype("f"))
    warped = generation.warp(scores.to("guard"), 0.7, 9, 0.8)  # the draw itself is the device's own
    assert warped.tolist() == generation.warp(scores, 0.7, 9, 0.8).tolist()
    assert results[1].device == minitorch.device("guard") and results[0].tolist() == results[1].tolist()
