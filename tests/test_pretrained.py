"""Published weights: MiniLM's outputs, every BERT head there and back, and what is said of files that do not fit."""

import io
import json
import mmap
import os
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
from minitorch.models import bert, pretrained
from minitorch.models.bert import (
    BertConfig,
    BertForMaskedLM,
    BertForNextSentencePrediction,
    BertForPreTraining,
    BertForQuestionAnswering,
    BertForSequenceClassification,
    BertForTokenClassification,
    BertModel,
)

import minitorch
from minitorch import nn
from minitorch.serialization import LoadError, load_safetensors, save_safetensors
from minitorch.utils import hub

SMALL = {
    "vocab_size": 60, "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 40,
    "max_position_embeddings": 16,
}  # fmt: skip
HEADS = [
    "BertModel", "BertForPreTraining", "BertForMaskedLM", "BertForNextSentencePrediction",
    "BertForSequenceClassification", "BertForTokenClassification", "BertForQuestionAnswering",
]  # fmt: skip
TEXTS = [
    "The quick brown fox jumps over the lazy dog.",
    "Ein Beispiel, naïve café — 3.14!",
    "short",
    "A much longer sentence, that goes on and on, with unaffable pieces like antidisestablishmentarianism in it.",
]


@pytest.fixture(scope="module")
def hf():
    pytest.importorskip("torch", reason="compares with PyTorch, which is not installed")
    library = pytest.importorskip("transformers", reason="compares with transformers, which is not installed")
    library.logging.set_verbosity_error()
    library.logging.disable_progress_bar()
    return library


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch", reason="compares with PyTorch, which is not installed")


@pytest.fixture(autouse=True)
def warnings_are_errors():
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        yield


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A folder with a small BertForSequenceClassification of three classes."""
    minitorch.manual_seed(0)
    folder = tmp_path_factory.mktemp("saved") / "model"
    BertForSequenceClassification(BertConfig(**SMALL, num_labels=3)).save_pretrained(folder)
    return folder


@pytest.fixture
def folder(saved, tmp_path):
    """A copy to change."""
    return shutil.copytree(saved, tmp_path / "model")


def minilm():
    if "MINITORCH_DATA" not in os.environ:
        pytest.skip("MINITORCH_DATA is not set: MiniLM is looked for beside the folder that it names")
    folder = Path(os.environ["MINITORCH_DATA"]).parent / "models" / "all-MiniLM-L6-v2"
    if not folder.is_dir():
        pytest.skip(f"{folder} does not exist")
    return folder


def edit_config(folder, **changes):
    path = folder / "config.json"
    values = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({name: value for name, value in values.items() if value is not ...}))


def edit_weights(folder, change):
    weights = {name: value.clone() for name, value in load_safetensors(folder / "model.safetensors").items()}
    save_safetensors(change(weights) or weights, folder / "model.safetensors")


def batch():
    rng = np.random.default_rng(0)
    ids, mask, types = rng.integers(5, 60, (3, 10)), np.ones((3, 10), int), np.zeros((3, 10), int)
    mask[1, 7:] = mask[2, 4:] = 0
    types[:, 5:] = 1
    return {"input_ids": ids, "attention_mask": mask, "token_type_ids": types}


def labels_for(name):
    words = np.full((3, 10), -100)
    words[:, 1:4] = [[7, 8, 9]]
    return {
        "BertModel": {},
        "BertForPreTraining": {"labels": words, "next_sentence_label": np.array([0, 1, 1])},
        "BertForMaskedLM": {"labels": words},
        "BertForNextSentencePrediction": {"labels": np.array([0, 1, 1])},
        "BertForSequenceClassification": {"labels": np.array([0, 2, 1])},
        "BertForTokenClassification": {"labels": np.where(words == -100, -100, words % 3)},
        "BertForQuestionAnswering": {"start_positions": np.array([0, 3, 12]), "end_positions": np.array([2, 3, 99])},
    }[name]


def to(library, arrays):
    return {name: library.from_numpy(np.array(value)) for name, value in arrays.items()}


def assert_alike(torch, ours, theirs, name, atol=1e-5):
    """Equal outputs, equal losses, equal gradients."""
    ours.eval(), theirs.eval()
    inputs, labels = batch(), labels_for(name)
    x, y = ours(**to(minitorch, inputs)), theirs(**to(torch, inputs))
    assert len(x.to_tuple()) == len(y.to_tuple())
    for a, b in zip(x.to_tuple(), y.to_tuple()):
        np.testing.assert_allclose(a.tolist(), b.tolist(), atol=atol, rtol=1e-5)
    if labels:
        x, y = ours(**to(minitorch, {**inputs, **labels})), theirs(**to(torch, {**inputs, **labels}))
        assert x.loss.item() == pytest.approx(y.loss.item(), abs=1e-5) and x[0] is x.loss
        for field in ("logits", "start_logits", "end_logits"):
            if hasattr(x, field):
                assert getattr(x, field).shape == getattr(y, field).shape
        x.loss.backward()
        y.loss.backward()
        expected = dict(theirs.named_parameters())
        for key, p in ours.named_parameters():
            np.testing.assert_allclose(p.grad.tolist(), expected[key].grad.tolist(), atol=2e-5, err_msg=key)


def theirs_of(torch, hf, name, **options):
    torch.manual_seed(1)
    options = {"num_labels": 2 if name == "BertForQuestionAnswering" else 3, **options}
    model = getattr(hf, name)(hf.BertConfig(**SMALL, **options))
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.randn_like(p) * 0.1)
    return model


# --- MiniLM ----------------------------------------------------------------------------------------------------------


@pytest.mark.parity
def test_minilm_equals_transformers(torch, hf):
    pytest.importorskip("tokenizers", reason="needs the extra `text`")
    from minitorch.text.tokenizer import Tokenizer

    folder = minilm()
    ours, theirs = BertModel.from_pretrained(folder), hf.BertModel.from_pretrained(folder).eval()
    tokenizer = Tokenizer.from_pretrained(folder)
    pairs = tokenizer(TEXTS, TEXTS[::-1])  # padding and both token types
    assert pairs["attention_mask"].min().item() == 0 and pairs["token_type_ids"].max().item() == 1
    for inputs in (tokenizer(TEXTS), pairs):
        arrays = {name: value.numpy() for name, value in inputs.items()}
        with minitorch.no_grad(), torch.no_grad():
            x = ours(**inputs, output_hidden_states=True)
            y = theirs(**to(torch, arrays), output_hidden_states=True)
        real = arrays["attention_mask"] == 1  # what stands at padding has no meaning, and no firm digits
        assert len(x.hidden_states) == len(y.hidden_states) == 7
        for a, b in zip(x.hidden_states, y.hidden_states):
            np.testing.assert_allclose(a.numpy()[real], b.numpy()[real], atol=1e-5, rtol=0)
        np.testing.assert_allclose(x.pooler_output.numpy(), y.pooler_output.numpy(), atol=1e-5, rtol=0)
        embeddings = []
        for library, out in ((minitorch, x), (torch, y)):
            mask = library.from_numpy(arrays["attention_mask"])[:, :, None]
            mean = (out.last_hidden_state * mask).sum(1) / mask.sum(1)
            embeddings.append(library.nn.functional.normalize(mean, dim=1).numpy())
        np.testing.assert_allclose(*embeddings, atol=1e-6, rtol=0)
        np.testing.assert_allclose((embeddings[0] ** 2).sum(1), 1, atol=1e-5)


def test_minilm_finds_what_is_meant():
    """Without transformers: the sentence embeddings of its model card's task."""
    pytest.importorskip("tokenizers", reason="needs the extra `text`")
    from minitorch.text.tokenizer import Tokenizer

    folder = minilm()
    model, tokenizer = BertModel.from_pretrained(folder), Tokenizer.from_pretrained(folder)
    inputs = tokenizer(["A man eats bread.", "Somebody is having some food.", "The stock market fell on Monday."])
    with minitorch.no_grad():
        x, mask = model(**inputs).last_hidden_state, inputs["attention_mask"][:, :, None]
    near, far = nn.functional.cosine_similarity(*((x * mask).sum(1) / mask.sum(1)).split([1, 2])).tolist()
    assert near > 0.45 and abs(far) < 0.15


# --- there and back --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parity
def test_theirs_to_ours(torch, hf, name, tmp_path):
    theirs = theirs_of(torch, hf, name)
    theirs.save_pretrained(tmp_path)
    ours, info = getattr(bert, name).from_pretrained(tmp_path, output_loading_info=True)
    assert info == {"missing_keys": [], "unexpected_keys": [], "mismatched_keys": []} and not ours.training
    assert set(ours.state_dict()) == set(theirs.state_dict())
    assert_alike(torch, ours, theirs, name)


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parity
def test_ours_to_theirs(torch, hf, name, tmp_path):
    minitorch.manual_seed(2)
    labels = {} if name == "BertForQuestionAnswering" else {"id2label": {0: "no", 1: "yes", 2: "später"}}
    ours = getattr(bert, name)(BertConfig(**SMALL, **labels))
    with minitorch.no_grad():
        for p in ours.parameters():
            p.add_(minitorch.randn_like(p) * 0.1)
    ours.save_pretrained(tmp_path / "new" / "folder", max_shard_size=20_000)
    assert len(list((tmp_path / "new" / "folder").glob("model-*-of-*.safetensors"))) > 1
    theirs, info = getattr(hf, name).from_pretrained(tmp_path / "new" / "folder", output_loading_info=True)
    assert not any(info.values()), info
    assert hf.AutoConfig.from_pretrained(tmp_path / "new" / "folder").architectures == [name]
    if labels:
        assert theirs.config.id2label == labels["id2label"] and theirs.config.label2id["später"] == 2
    assert_alike(torch, ours, theirs, name)
    theirs.save_pretrained(tmp_path / "theirs")  # no tied weight is written twice, and none is lost
    written = [name for file in (tmp_path / "new" / "folder").glob("*.safetensors") for name in stored_names(file)]
    assert sorted(written) == sorted(stored_names(tmp_path / "theirs" / "model.safetensors"))


def stored_names(path):
    data = path.read_bytes()
    return [name for name in json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")]) if name != "__metadata__"]


@pytest.mark.parity
def test_their_shards_and_half_precision(torch, hf, tmp_path):
    theirs = theirs_of(torch, hf, "BertForMaskedLM")
    theirs.save_pretrained(tmp_path / "shards", max_shard_size="20KB")
    assert len(list((tmp_path / "shards").glob("*.safetensors"))) > 1
    assert_alike(torch, BertForMaskedLM.from_pretrained(tmp_path / "shards"), theirs, "BertForMaskedLM")
    for dtype in ("float16", "bfloat16"):
        half = theirs_of(torch, hf, "BertForMaskedLM").to(getattr(torch, dtype))
        half.save_pretrained(tmp_path / dtype)
        ours = BertForMaskedLM.from_pretrained(tmp_path / dtype)
        assert {p.dtype for p in ours.parameters()} == {minitorch.float32}
        assert_alike(torch, ours, half.float(), "BertForMaskedLM")
        kept = BertForMaskedLM.from_pretrained(tmp_path / dtype, dtype=getattr(minitorch, dtype))
        assert {str(p.dtype).rpartition(".")[2] for p in kept.parameters()} == {dtype}
        kept.save_pretrained(tmp_path / "again")
        assert json.loads((tmp_path / "again" / "config.json").read_text())["dtype"] == dtype
        weight = load_safetensors(tmp_path / "again" / "model.safetensors")["cls.predictions.bias"]
        assert weight.float().tolist() == half.float().cls.predictions.bias.tolist()
    assert minitorch.get_default_dtype() == minitorch.float32


@pytest.mark.parity
def test_a_new_head_begins_as_theirs(torch, hf, tmp_path):
    theirs_of(torch, hf, "BertModel").save_pretrained(tmp_path)
    torch.manual_seed(5)
    theirs = hf.BertForSequenceClassification.from_pretrained(tmp_path, num_labels=3)
    minitorch.manual_seed(5)
    with pytest.warns(UserWarning, match=r"random numbers: classifier\.weight, classifier\.bias\. Train"):
        ours = BertForSequenceClassification.from_pretrained(tmp_path, num_labels=3)
    assert ours.config.num_labels == 3 and ours.classifier.weight.std().item() == pytest.approx(0.02, abs=0.004)
    assert_alike(torch, ours, theirs, "BertForSequenceClassification")


# --- bodies and heads ------------------------------------------------------------------------------------------------


def test_a_round_trip_without_transformers(saved, folder):
    model = BertForSequenceClassification.from_pretrained(saved)
    model.classifier.bias.data.fill_(3)
    before = set(os.listdir(folder))
    model.save_pretrained(str(folder))  # into a folder that is there
    assert set(os.listdir(folder)) == before == {"config.json", "model.safetensors"}
    again = BertForSequenceClassification.from_pretrained(str(folder))
    assert again.config == model.config and again.classifier.bias.tolist() == [3, 3, 3]
    for name, value in model.state_dict().items():
        assert (again.state_dict()[name] == value).all().item(), name
    assert not any(module.training for module in again.modules())
    assert all(p.requires_grad for p in again.parameters())


def test_a_head_of_another_task(saved):
    with pytest.warns(UserWarning) as said:
        model, info = BertForTokenClassification.from_pretrained(
            saved, id2label={0: "O", 1: "B-PER"}, ignore_mismatched_sizes=True, output_loading_info=True
        )
    unused, new = sorted((str(w.message) for w in said), key=len)
    assert unused.endswith(f"does not use these weights of {saved}: bert.pooler.dense.bias, bert.pooler.dense.weight")
    assert "or of another shape, and begin with random numbers: classifier.weight, classifier.bias. Train" in new
    assert said[0].filename == __file__
    assert info["missing_keys"] == [] and len(info["unexpected_keys"]) == 2
    assert info["mismatched_keys"] == [("classifier.weight", (3, 24), (2, 24)), ("classifier.bias", (3,), (2,))]
    assert model.config.label2id == {"O": 0, "B-PER": 1} and model.classifier.weight.shape == (2, 24)
    assert model.classifier.bias.tolist() == [0, 0] and 0 < model.classifier.weight.std().item() < 0.04


def test_a_head_model_into_the_body_and_back(saved, tmp_path):
    with pytest.warns(
        UserWarning, match=r"BertModel does not use these weights of .*: classifier.bias, classifier.weight"
    ):
        body = BertModel.from_pretrained(saved)
    weight = load_safetensors(saved / "model.safetensors")["bert.pooler.dense.weight"]
    assert (body.pooler.dense.weight == weight).all().item()
    body.save_pretrained(tmp_path)
    assert not any(name.startswith("bert.") for name in load_safetensors(tmp_path / "model.safetensors"))
    with pytest.warns(UserWarning, match="random numbers: classifier.weight, classifier.bias"):
        head = BertForSequenceClassification.from_pretrained(tmp_path)
    assert (head.bert.pooler.dense.weight == weight).all().item()


def test_a_head_that_has_no_pooler_gives_a_new_one(tmp_path):
    minitorch.manual_seed(0)
    BertForMaskedLM(BertConfig(**SMALL)).save_pretrained(tmp_path)
    with pytest.warns(UserWarning) as said:
        model = BertForNextSentencePrediction.from_pretrained(tmp_path)
    new = next(str(w.message) for w in said if "random" in str(w.message))
    assert "bert.pooler.dense.weight, bert.pooler.dense.bias, cls.seq_relationship.weight" in new
    assert 0 < model.bert.pooler.dense.weight.std().item() < 0.03 and model.bert.pooler.dense.bias.tolist() == [0] * 24


def test_names_of_older_files(folder):
    """gamma and beta, position numbers among the weights, and the tied matrix once, or twice."""

    def old(weights):
        names = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}
        for name in list(weights):
            for new, was in names.items():
                if name.endswith(new):
                    weights[name.replace(new, was)] = weights.pop(name)
        weights["bert.embeddings.position_ids"] = minitorch.arange(16)[None]

    expected = BertForSequenceClassification.from_pretrained(folder).state_dict()
    edit_weights(folder, old)
    assert any("gamma" in name for name in stored_names(folder / "model.safetensors"))
    for name, value in BertForSequenceClassification.from_pretrained(folder).state_dict().items():
        assert (value == expected[name]).all().item(), name


def test_tied_weights(tmp_path):
    minitorch.manual_seed(0)
    model = BertForPreTraining(BertConfig(**SMALL))
    model.save_pretrained(tmp_path)
    names = stored_names(tmp_path / "model.safetensors")
    assert "cls.predictions.decoder.weight" not in names and "cls.predictions.decoder.bias" not in names
    assert "bert.embeddings.word_embeddings.weight" in names and "cls.predictions.bias" in names
    again = BertForPreTraining.from_pretrained(tmp_path)
    assert again.cls.predictions.decoder.weight is again.bert.embeddings.word_embeddings.weight
    decoder, words = "cls.predictions.decoder.weight", "bert.embeddings.word_embeddings.weight"
    edit_weights(tmp_path, lambda weights: weights.update({decoder: weights[words].clone()}))
    BertForPreTraining.from_pretrained(tmp_path)  # twice, and equal
    edit_weights(tmp_path, lambda weights: {n: v for n, v in weights.items() if n != words})
    again = BertForPreTraining.from_pretrained(tmp_path)  # under the other name only
    assert (again.bert.embeddings.word_embeddings.weight == model.cls.predictions.decoder.weight).all().item()
    edit_weights(tmp_path, lambda weights: weights.update({words: weights[decoder] + 1}))
    with pytest.warns(
        UserWarning, match=f"{words} and {decoder} are one weight in BertForPreTraining, in .* they differ"
    ):
        BertForPreTraining.from_pretrained(tmp_path)


def test_loading_leaves_the_random_stream_alone(saved):
    minitorch.manual_seed(3)
    expected = minitorch.rand(3).tolist()
    minitorch.manual_seed(3)
    BertForSequenceClassification.from_pretrained(saved)
    assert minitorch.rand(3).tolist() == expected
    minitorch.manual_seed(3)
    assert nn.Linear(2, 2).weight.abs().sum().item() > 0


# --- files -----------------------------------------------------------------------------------------------------------


def base_of(array):
    while isinstance(array, np.ndarray):
        array = array.base
    return array.obj if isinstance(array, memoryview) else array


def test_files_are_mapped_and_the_model_is_independent(folder):
    path = folder / "model.safetensors"
    before = path.read_bytes()
    tensors = load_safetensors(path)
    assert all(isinstance(base_of(value.numpy()), mmap.mmap) for value in tensors.values())
    tensors["classifier.bias"].add_(1)  # a page of one's own: the file does not change
    assert path.read_bytes() == before
    model = BertForSequenceClassification.from_pretrained(folder)
    for p in model.parameters():
        assert not isinstance(base_of(p.detach().numpy()), mmap.mmap)
    value = model.classifier.weight.tolist()
    with open(path, "r+b") as file:
        file.write(b"\0" * len(before))
    assert model.classifier.weight.tolist() == value
    optimizer = minitorch.optim.SGD(model.parameters(), lr=0.1)
    loss = model(minitorch.ones(1, 4, dtype=minitorch.int64), labels=minitorch.tensor([1])).loss
    loss.backward()
    optimizer.step()
    assert model.classifier.weight.tolist() != value


def test_mapped_files_are_checked(tmp_path):
    x = {
        "a": minitorch.arange(5.0),
        "empty": minitorch.zeros(0, 3),
        "b": minitorch.tensor([1, 2, 3], dtype=minitorch.int8),
    }
    path = tmp_path / "x.safetensors"
    save_safetensors(x, path)
    for source in (path, str(path), io.BytesIO(path.read_bytes())):
        read = load_safetensors(source)
        assert {name: value.tolist() for name, value in read.items()} == {n: v.tolist() for n, v in x.items()}
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(LoadError, match=r"altered: tensor 'b' \(3 bytes\) does not have the checksum"):
        load_safetensors(path)
    header = (
        b'{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"b":{"dtype":"F32","shape":[2],"data_offsets":[1,9]}}'
    )
    numbers = np.array([1.5, -2], np.float32).tobytes()
    path.write_bytes(len(header).to_bytes(8, "little") + header + b"\7" + numbers)
    read = load_safetensors(path)  # the numbers do not begin at a multiple of their size: copied
    assert read["b"].tolist() == [1.5, -2] and read["b"].numpy().flags.aligned


def test_shards(saved, tmp_path):
    model = BertForSequenceClassification.from_pretrained(saved)
    model.save_pretrained(tmp_path, max_shard_size="20KB")
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    files = set(index["weight_map"].values())
    assert len(files) > 2 and f"model-00001-of-{len(files):05}.safetensors" in files
    assert index["metadata"]["total_size"] == sum(p.numel() * 4 for p in model.parameters())
    assert all((tmp_path / file).stat().st_size < 30_000 for file in files)
    again = BertForSequenceClassification.from_pretrained(tmp_path)
    assert all((p == q).all().item() for p, q in zip(model.parameters(), again.parameters()))
    model.save_pretrained(tmp_path)  # the shards of before go
    assert sorted(os.listdir(tmp_path)) == ["config.json", "model.safetensors"]
    model.save_pretrained(tmp_path, max_shard_size=20_000)
    assert "model.safetensors" not in os.listdir(tmp_path)

    one = sorted(files)[0]
    path = tmp_path / "model.safetensors.index.json"
    for change, words in (
        (lambda m: m.update({"bert.extra": one}), f"{one} lacks weights that model.safetensors.index.json says it holds: bert.e"),
        (lambda m: m.update({"bert.extra": "../x.safetensors"}), "weight_map must give for every weight the name of a .safe"),
        (lambda m: m.update({"bert.extra": "x.bin"}), "weight_map must give"),
        (lambda m: m.update({"bert.extra": "gone.safetensors"}), "has no gone.safetensors; it holds config.json, model-0"),
    ):  # fmt: skip
        weight_map = dict(index["weight_map"])
        change(weight_map)
        path.write_text(json.dumps({"weight_map": weight_map}))
        with pytest.raises((ValueError, FileNotFoundError), match=words):
            BertForSequenceClassification.from_pretrained(tmp_path)
    path.write_text(json.dumps(index))
    shutil.copy(tmp_path / one, tmp_path / "twice.safetensors")
    weight_map = dict(index["weight_map"])
    weight_map[next(name for name, file in weight_map.items() if file == one)] = "twice.safetensors"
    path.write_text(json.dumps({"weight_map": weight_map}))
    with pytest.raises(ValueError, match="twice.safetensors holds weights that another shard holds, too: "):
        BertForSequenceClassification.from_pretrained(tmp_path)


def test_a_failed_save_changes_nothing(folder, tmp_path, monkeypatch):
    model = BertForSequenceClassification.from_pretrained(folder)
    before = {file: (folder / file).read_bytes() for file in os.listdir(folder)}

    class Broken:
        def save_pretrained(self, folder):
            raise OSError("no space left")

    for target in (folder, tmp_path / "new"):
        with pytest.raises(OSError, match="no space left"):
            model.save_pretrained(target, tokenizer=Broken())
    assert os.listdir(tmp_path) == ["model"]
    assert {file: (folder / file).read_bytes() for file in os.listdir(folder)} == before
    with pytest.raises(NotADirectoryError, match="config.json' is a file: give the name of a folder"):
        model.save_pretrained(folder / "config.json")
    with pytest.raises(ValueError, match='max_shard_size must be .* such as "500MB" or "5GB", got \'5 apples\''):
        model.save_pretrained(folder, max_shard_size="5 apples")
    sizes = [pretrained.number_of_bytes(s) for s in ("5GB", "1.5 kb", "2MiB", "7B", 9)]
    assert sizes == [5 * 10**9, 1500, 2 * 2**20, 7, 9]


# --- what does not fit is named --------------------------------------------------------------------------------------


@pytest.mark.parametrize("change, error, words", [
    (dict(hidden_size=36), ValueError, r"do not have the shape that BertForSequenceClassification with this configuration "
     r"has:\n    bert.embeddings.word_embeddings.weight: \(60, 24\) in the file, \(60, 36\) in the model\n    bert.emb"),
    (dict(num_hidden_layers=3), ValueError, "lacks weights of BertForSequenceClassification's body .only a head may be new.: "
     "bert.encoder.layer.2.attention.self.query.weight, "),
    (dict(id2label={"0": "a", "1": "b"}), ValueError, r"classifier.weight: \(3, 24\) in the file, \(2, 24\) in the model\n"
     r"    classifier.bias: \(3,\) in the file, \(2,\) in the model\n.*ignore_mismatched_sizes=True"),
    (dict(model_type="gpt2", architectures=["GPT2LMHeadModel"]), ValueError, "reads models of the type 'bert', and .*config.js"
     r"on is that of 'gpt2' \(GPT2LMHeadModel\): use minitorch.models.gpt.GPT2LMHeadModel"),
    (dict(model_type=..., architectures=["GPT2Model"]), ValueError, "use minitorch.models.gpt.GPT2Model"),
    (dict(model_type="roberta", architectures=["RobertaModel"]), ValueError, r"that of 'roberta' \(RobertaModel\): minitorch has "
     "models for bert, gpt2, "),
    (dict(model_type=..., architectures=["T5Model"]), ValueError, "that of 'T5Model': minitorch has models for"),
    (dict(hidden_size="24"), ValueError, "hidden_size must be a whole number of at least 0, got '24'"),
    (dict(num_hidden_layers=-1), ValueError, "num_hidden_layers must be a whole number of at least 0, got -1"),
    (dict(hidden_size=True), ValueError, "hidden_size must be a whole number"),
    (dict(layer_norm_eps="x"), ValueError, "layer_norm_eps must be a number, got 'x'"),
    (dict(hidden_act=3), ValueError, "hidden_act must be text, got 3"),
    (dict(id2label={"0": "a", "2": "b"}), ValueError, "id2label must name the classes 0, 1, ..., got"),
    (dict(id2label={0: "a", 1: "a"}), ValueError, "id2label must give every class a name of its own"),
    (dict(id2label=..., label2id={"a": 0, "b": 2}), ValueError, "label2id must give the names the numbers 0, 1, ..., got"),
    (dict(id2label=[1]), ValueError, "id2label must name the classes"),
    (dict(id2label=..., label2id={"a": 0, "b": 0, "c": 1}), ValueError, "label2id must give every name a number of its own"),
    (dict(num_attention_heads=0), ValueError, "not a multiple of the number of attention heads"),
    (dict(position_embedding_type="relative_key"), ValueError, "only 'absolute'"),
])  # fmt: skip
def test_a_wrong_configuration(folder, change, error, words):
    edit_config(folder, **change)
    with pytest.raises(error, match=words):
        BertForSequenceClassification.from_pretrained(folder)


def test_a_body_without_its_weights(folder):
    edit_weights(folder, lambda w: {n.replace("layer.1", "layer.9"): v for n, v in w.items()})
    with pytest.raises(ValueError, match=r"body .*: bert.encoder.layer.1.attention.self.query.weight, .*\n"
                       "Of the file's weights it does not know bert.encoder.layer.9.att"):  # fmt: skip
        BertForSequenceClassification.from_pretrained(folder)
    edit_weights(
        folder, lambda w: {n: v for n, v in w.items() if n != "bert.embeddings.LayerNorm.bias" and "1" not in n}
    )
    with pytest.raises(ValueError, match="body .*: bert.embeddings.LayerNorm.bias"):
        BertForSequenceClassification.from_pretrained(folder, num_hidden_layers=1)


def test_a_quantised_weight(folder):
    edit_weights(folder, lambda w: w.update({"classifier.weight": w["classifier.weight"].to(minitorch.int8)}))
    with pytest.raises(
        ValueError, match="holds classifier.weight as minitorch.int8, BertFor.* as minitorch.float32: a quant"
    ):
        BertForSequenceClassification.from_pretrained(folder)


def test_a_weight_that_is_there_twice(folder):
    edit_weights(folder, lambda w: w.update({"embeddings.LayerNorm.bias": w["bert.embeddings.LayerNorm.bias"].clone()}))
    with pytest.raises(
        ValueError, match="'bert.embeddings.LayerNorm.bias' twice, as '.*embeddings.LayerNorm.bias' and as"
    ):
        BertForSequenceClassification.from_pretrained(folder)


def test_settings_can_be_changed(saved):
    model = BertForSequenceClassification.from_pretrained(saved, hidden_dropout_prob=0.3, num_labels=3)
    assert model.dropout.p == 0.3 and model.config.id2label == {0: "LABEL_0", 1: "LABEL_1", 2: "LABEL_2"}
    for labels in ({"label2id": {"a": 0, "c": 2, "b": 1}}, {"id2label": {0: "a", 1: "b", 2: "c"}}):
        model = BertForSequenceClassification.from_pretrained(saved, **labels)
        assert model.config.id2label == {0: "a", 1: "b", 2: "c"} and model.config.label2id == {"a": 0, "b": 1, "c": 2}
    named = BertForSequenceClassification.from_pretrained(saved, config=model.config, label2id={"x": 0, "y": 1, "z": 2})
    assert named.config.id2label == {0: "x", 1: "y", 2: "z"} and model.config.id2label[0] == "a"
    with pytest.raises(TypeError, match="BertConfig has no setting num_lables; it has vocab_size, hidden_size"):
        BertForSequenceClassification.from_pretrained(saved, num_lables=3)
    with pytest.raises(ValueError, match=r"num_labels=4, but there are names for 2 classes: \['a', 'b'\]"):
        BertConfig(num_labels=4, id2label={0: "a", 1: "b"})
    with pytest.raises(ValueError, match="num_labels must be a whole number of at least 1, got 0"):
        BertConfig(num_labels=0)
    with pytest.raises(
        TypeError, match=r"made from a BertConfig, got str; a published .* BertModel.from_pretrained\(folder\)"
    ):
        BertModel("bert-base-uncased")


def test_a_pickle_is_refused_with_the_way_out(folder, monkeypatch):
    """The lines that the message holds do convert it."""
    weights = load_safetensors(folder / "model.safetensors")
    expected = {name: value.tolist() for name, value in weights.items()}
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x02never read")
    with pytest.raises(
        ValueError, match="pytorch_model.bin only, a pickle of Python objects.*Convert it once"
    ) as refused:
        BertForSequenceClassification.from_pretrained(folder)
    torch = pytest.importorskip("torch")
    pytest.importorskip("safetensors.torch")
    torch.save({name: torch.tensor(value) for name, value in expected.items()}, folder / "pytorch_model.bin")
    lines = str(refused.value).split("\n\n")[1]
    exec("\n".join(line.removeprefix("    ") for line in lines.splitlines()))
    model = BertForSequenceClassification.from_pretrained(folder)
    assert {name: value.tolist() for name, value in model.state_dict().items()} == expected


def test_folders_that_are_none(tmp_path, folder, monkeypatch):
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="empty' has no config.json; it holds nothing"):
        BertModel.from_pretrained(tmp_path / "empty")
    (tmp_path / "empty" / "adapter_config.json").write_text("{}")
    with pytest.raises(FileNotFoundError, match=r"what a method of minitorch.peft has learnt, .*merge_and_unload\(\)"):
        BertModel.from_pretrained(tmp_path / "empty")
    (folder / "model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match="has no model.safetensors; it holds config.json"):
        BertModel.from_pretrained(folder)
    (folder / "config.json").write_text('{"a": ')
    with pytest.raises(ValueError, match="config.json is not JSON: Expecting value"):
        BertModel.from_pretrained(folder)
    (folder / "config.json").write_text("[]")
    with pytest.raises(ValueError, match="config.json must hold a JSON object, it holds a list"):
        BertModel.from_pretrained(folder)
    with pytest.raises(NotADirectoryError, match="config.json' is a file: give the folder that holds it"):
        BertModel.from_pretrained(folder / "config.json")
    (tmp_path / "deep" / "er").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "deep" / "er")  # nobody else puts an x beside it
    for name in ("/no/such/folder", "a/b/c", "../x"):
        with pytest.raises(
            FileNotFoundError, match=f"there is no folder '{name}', and no model on the hub has such a name"
        ):
            BertModel.from_pretrained(name)


# --- the hub ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def fake_hub(monkeypatch, saved):
    """A hub with one model, "owner/name", and a record of what was downloaded."""
    library = pytest.importorskip("huggingface_hub", reason="needs the extra `text`")
    asked = []

    class Response:
        headers, status_code, request, text = {}, 404, None, ""

        def json(self):
            return {}

    def download(repo_id, filename):
        asked.append(filename)
        if repo_id != "owner/name":
            raise library.errors.RepositoryNotFoundError("404 Client Error", response=Response())
        if not (saved / filename).exists():
            raise library.errors.EntryNotFoundError("404 Client Error")
        return str(saved / filename)

    monkeypatch.setattr(library, "hf_hub_download", download)
    monkeypatch.setattr(library, "file_exists", lambda repo_id, filename: filename == "pytorch_model.bin")
    return asked


def test_a_hub_id(fake_hub, saved, monkeypatch):
    model = BertForSequenceClassification.from_pretrained("owner/name")
    assert model.config.num_labels == 3
    assert fake_hub == ["config.json", "model.safetensors"]  # and nothing else
    with pytest.raises(FileNotFoundError, match="no public model of this name on the hub"):
        BertModel.from_pretrained("owner/other")
    with pytest.raises(FileNotFoundError, match="the model 'owner/name' on the hub has no x.json"):
        hub.resolve("owner/name", "x.json")
    assert hub.find("owner/name", "x.json") is None
    monkeypatch.setattr(pretrained, "WEIGHTS", "gone.safetensors")
    with pytest.raises(
        ValueError, match=r"snapshot_download\('owner/name', local_dir='name'\)\n    import glob, torch"
    ):
        BertForSequenceClassification.from_pretrained("owner/name")
    assert "pytorch_model.bin" not in fake_hub  # refused without downloading it


def test_without_a_network(monkeypatch, tmp_path, saved):
    """What is in the cache works; what is not says that the hub cannot be reached."""
    constants = pytest.importorskip("huggingface_hub.constants", reason="needs the extra `text`")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(
        ConnectionError, match="config.json of 'owner/name' is neither .* cache, and the hub cannot be reached"
    ):
        BertModel.from_pretrained("owner/name")
    cached = tmp_path / "models--owner--name"
    (cached / "refs").mkdir(parents=True)
    (cached / "refs" / "main").write_text("0" * 40)
    shutil.copytree(saved, cached / "snapshots" / ("0" * 40))
    assert BertForSequenceClassification.from_pretrained("owner/name").config.num_labels == 3
    assert hub.find("owner/name", "tokenizer.json") is None


def test_without_the_library(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "huggingface_hub", None)
    with pytest.raises(
        ImportError, match=r"no folder 'owner/name' here; .* huggingface_hub is needed: pip install minit"
    ):
        BertModel.from_pretrained("owner/name")


# --- the heads without transformers ----------------------------------------------------------------------------------


def test_a_result_says_what_it_holds():
    model, ids = BertForTokenClassification(BertConfig(**SMALL)), minitorch.ones(2, 4, dtype=minitorch.int64)
    out = model(ids, labels=ids)
    assert "loss" in out and "logits" in out and "hidden_states" not in out and "nothing" not in out
    assert "loss" not in model(ids)


def test_errors_of_the_heads():
    ids = minitorch.ones(2, 4, dtype=minitorch.int64)
    config = BertConfig(**SMALL, num_labels=3)
    for model, labels, words in (
        (BertForTokenClassification(config), {"labels": ids * 3}, r"labels: 3 is out of range: 0 to 2 \(num_labels=3\), or -"),
        (BertForTokenClassification(config), {"labels": ids[0]}, r"labels has shape \(4,\), expected \(2, 4\)"),
        (BertForTokenClassification(config), {"labels": ids * -100}, "every one is -100, so there is no labelled token"),
        (BertForMaskedLM(config), {"labels": ids * 60}, r"60 is out of range: 0 to 59 \(vocab_size=60\)"),
        (BertForMaskedLM(config), {"labels": ids * -100}, "every one is -100, so there is no masked token"),
        (BertForNextSentencePrediction(config), {"labels": ids[:, 0] * 2}, "2 is out of range: 0 to 1"),
        (BertForQuestionAnswering(BertConfig(**SMALL)), {"start_positions": ids[0], "end_positions": ids[0]}, "4 answer positions for 2"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=words):
            model(ids, **labels)
    with pytest.raises(ValueError, match="two scores for a token: num_labels=2, not 3"):
        BertForQuestionAnswering(config)
    assert BertForTokenClassification(BertConfig(**SMALL, classifier_dropout=0.5)).dropout.p == 0.5
