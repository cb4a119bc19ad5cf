"""Tokenizer: the ids of `transformers` from a model's files, nothing cut or padded that nobody asked to."""

import json
import os
import shutil
from pathlib import Path

import pytest

tokenizers = pytest.importorskip("tokenizers", reason="needs the extra `text`")

from minitorch.text.tokenizer import Tokenizer  # noqa: E402

PIECES = [
    *"[PAD] [UNK] [CLS] [SEP] [MASK] the The quick Quick fox un ##aff ##able nai ##ve naive caf ##e cafe café".split(),
    *"! , . ' - 3 ##1 ##4 1 4 東 京 a b c ##a ##b ##c É é".split(),
]  # fmt: skip
TEXTS = [
    "The quick fox.", "unaffable naïve CAFÉ!", "", " ", "  leading,   and trailing  ", "3.14 - '1'", "東京abc", "emoji 🤗 here",
    "[MASK] the [SEP] fox", "the\tquick\nfox\u200b\u00a0a", "x" * 150, "É e\u0301", "<|endoftext|> and don't we'll it's",
    "\x00control\x7f", "ﬁ ligature ½", "العربية हिन्दी", "the quick fox " * 40,
]  # fmt: skip


@pytest.fixture(scope="module")
def hf():
    pytest.importorskip("torch", reason="compares with transformers, which needs PyTorch")
    library = pytest.importorskip("transformers", reason="compares with transformers, which is not installed")
    library.logging.set_verbosity_error()
    return library


def write(folder, **files):
    folder.mkdir(exist_ok=True)
    for name, content in files.items():
        name = name.replace("__", ".")
        (folder / name).write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return folder


@pytest.fixture
def bert(tmp_path):
    return write(tmp_path / "bert", vocab__txt="\n".join(PIECES) + "\n", config__json={"model_type": "bert"},
                 tokenizer_config__json={"tokenizer_class": "BertTokenizer", "model_max_length": 64})  # fmt: skip


@pytest.fixture
def gpt2(tmp_path):
    """vocab.json and merges.txt, as GPT-2's, trained on a few words."""
    model = tokenizers.ByteLevelBPETokenizer()
    texts = ["the quick brown fox, and don't we'll", "naïve café 東京", *TEXTS[:6]] * 3
    model.train_from_iterator(texts, vocab_size=330, special_tokens=["<|endoftext|>"], show_progress=False)
    (tmp_path / "gpt2").mkdir()
    model.save_model(str(tmp_path / "gpt2"))
    return write(tmp_path / "gpt2", config__json={"model_type": "gpt2"},
                 tokenizer_config__json={"tokenizer_class": "GPT2Tokenizer", "model_max_length": 128})  # fmt: skip


def minilm():
    if "MINITORCH_DATA" not in os.environ:
        pytest.skip("MINITORCH_DATA is not set: MiniLM is looked for beside the folder that it names")
    folder = Path(os.environ["MINITORCH_DATA"]).parent / "models" / "all-MiniLM-L6-v2"
    if not folder.is_dir():
        pytest.skip(f"{folder} does not exist")
    return folder


def assert_alike(ours, theirs, types=True):
    for text in TEXTS:
        assert ours.encode(text) == theirs(text, truncation=True)["input_ids"], text
        ids = ours.encode(text)
        assert ours.decode(ids) == theirs.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False), (
            text
        )
        assert ours.tokens(ids) == theirs.convert_ids_to_tokens(ids)
    for length in (None, 12):
        options = {"truncation": True} if length is None else {"truncation": True, "max_length": length}
        pairs = list(zip(TEXTS, TEXTS[::-1]))
        expected = theirs([a for a, _ in pairs], [b for _, b in pairs], **options)
        features = ours.features([a for a, _ in pairs], [b for _, b in pairs], max_length=length)
        assert [f["input_ids"] for f in features] == expected["input_ids"]
        if types:
            assert [f["token_type_ids"] for f in features] == expected["token_type_ids"]
            batch = theirs(TEXTS, padding=True, **options)
            for name, value in ours(TEXTS, max_length=length).items():
                assert value.tolist() == batch[name], name
        else:
            assert all(set(f) == {"input_ids"} for f in features) and set(ours(TEXTS)) == {
                "input_ids",
                "attention_mask",
            }
    assert len(ours) == len(theirs)
    for role in ("pad", "unk", "cls", "sep", "mask", "bos", "eos"):
        assert getattr(ours, f"{role}_id") == getattr(theirs, f"{role}_token_id"), role


@pytest.mark.parametrize("lower", [True, False])
@pytest.mark.parity
def test_bert_vocabularies_equal_transformers(hf, bert, lower, tmp_path):
    settings = {"tokenizer_class": "BertTokenizer", "do_lower_case": lower, "model_max_length": 64}
    write(bert, tokenizer_config__json=settings)
    ours = Tokenizer.from_pretrained(bert)
    assert_alike(ours, hf.AutoTokenizer.from_pretrained(bert))
    assert (ours.encode("Quick")[1] == PIECES.index("Quick")) is not lower
    ours.save_pretrained(tmp_path / "again")
    assert_alike(ours, hf.AutoTokenizer.from_pretrained(tmp_path / "again"))
    assert_alike(Tokenizer.from_pretrained(tmp_path / "again"), hf.AutoTokenizer.from_pretrained(bert))


@pytest.mark.parity
def test_gpt2_vocabularies_equal_transformers(hf, gpt2, tmp_path):
    theirs = hf.AutoTokenizer.from_pretrained(gpt2)
    ours = Tokenizer.from_pretrained(gpt2)
    assert_alike(ours, theirs, types=False)
    ours.save_pretrained(tmp_path / "again")
    assert_alike(ours, hf.AutoTokenizer.from_pretrained(tmp_path / "again"), types=False)
    theirs.save_pretrained(tmp_path / "theirs")  # with a tokenizer.json
    assert_alike(Tokenizer.from_pretrained(tmp_path / "theirs"), theirs, types=False)
    assert ours.eos_id == ours.bos_id == ours.unk_id == theirs.eos_token_id and ours.pad_id is None


@pytest.mark.parity
def test_minilm_equals_transformers(hf, tmp_path):
    folder = minilm()
    theirs = hf.AutoTokenizer.from_pretrained(folder)
    ours = Tokenizer.from_pretrained(folder)
    assert_alike(ours, theirs)
    sentences = [["unaffable", "U.S.A.", "", "3,000"], ["Zürich's", "東京"], []]
    expected = theirs(sentences, is_split_into_words=True)
    features = ours.word_features(sentences)
    for i in range(3):
        assert features[i] == {"input_ids": expected["input_ids"][i], "word_ids": expected.word_ids(i)}
    shutil.copy(folder / "vocab.txt", tmp_path)  # without tokenizer.json and settings
    again = Tokenizer.from_pretrained(tmp_path)
    assert again.max_length is None and len(again.encode("a " * 600)) == 602
    assert again.features(TEXTS) == ours.features(TEXTS)


def test_what_a_file_says_of_padding_and_truncation_is_not_done():
    """MiniLM's tokenizer.json says: cut to 128, pad to 128."""
    tokenizer = Tokenizer.from_pretrained(minilm())
    stored = json.loads((minilm() / "tokenizer.json").read_text())
    assert stored["truncation"]["max_length"] == 128 and stored["padding"]["strategy"] == {"Fixed": 128}
    assert len(tokenizer.encode("one word")) == 4
    assert tokenizer(["one word", "x"])["input_ids"].shape == (2, 4)
    assert tokenizer.max_length == 512 and len(tokenizer.encode("word " * 300)) == 302
    assert len(tokenizer.encode("word " * 900)) == 512
    assert len(tokenizer.encode("word " * 900, max_length=1000)) == 902
    assert len(tokenizer.encode("word " * 900, "word " * 900, max_length=101)) == 101
    assert len(tokenizer.encode("word " * 900)) == 512


def test_a_batch(bert):
    tokenizer = Tokenizer.from_pretrained(bert)
    batch = tokenizer(["The fox", "The quick fox !"], ["a b", "c"])
    assert {name: value.dtype.name for name, value in batch.items()} == dict.fromkeys(
        ["input_ids", "token_type_ids", "attention_mask"], "int64"
    )
    the, quick, fox, a, b, c, mark = (PIECES.index(piece) for piece in "the quick fox a b c !".split())
    assert batch["input_ids"].tolist() == [[2, the, fox, 3, a, b, 3, 0], [2, the, quick, fox, mark, 3, c, 3]]
    assert batch["token_type_ids"].tolist() == [[0, 0, 0, 0, 1, 1, 1, 0], [0, 0, 0, 0, 0, 0, 1, 1]]
    assert batch["attention_mask"].tolist() == [[1] * 7 + [0], [1] * 8]
    one = tokenizer("The fox", "a b")
    assert one["input_ids"].tolist() == [batch["input_ids"][0, :7].tolist()]
    assert one["input_ids"].tolist()[0] == tokenizer.encode("The fox", "a b")
    features = [{**f, "labels": i} for i, f in enumerate(tokenizer.features(["a", "a b"]))]
    assert tokenizer.pad(features)["labels"].tolist() == [0, 1]
    assert tokenizer.decode(one["input_ids"][0]) == "the fox a b"
    assert tokenizer.decode([2, the, 3], skip_special_tokens=False) == "[CLS] the [SEP]"
    assert tokenizer.features([]) == [] and tokenizer.vocab_size == len(PIECES)
    assert tokenizer.word_features([["unaffable", "fox"]], max_length=5)[0]["word_ids"] == [None, 0, 0, 0, None]


def test_added_tokens_and_settings(bert, hf=None):
    write(bert, added_tokens__json={"[NEW]": len(PIECES)}, special_tokens_map__json={"pad_token": "[NEW]"})
    settings = {
        "model_max_length": 10**30, "truncation_side": "left", "model_input_names": ["input_ids", "attention_mask"],
        "mask_token": {"content": "the", "lstrip": False}, "cls_token": None,
        "added_tokens_decoder": {str(len(PIECES) + 1): {"content": "<x>", "special": True, "normalized": False}},
    }  # fmt: skip
    write(bert, tokenizer_config__json={**settings, "cls_token": "[CLS]"})
    tokenizer = Tokenizer.from_pretrained(bert)
    assert tokenizer.max_length is None and tokenizer.pad_id == len(PIECES) and tokenizer.mask_id == PIECES.index("the")
    assert tokenizer.tokens(tokenizer.encode("a[NEW]b<x>")) == ["[CLS]", "a", "[NEW]", "b", "<x>", "[SEP]"]
    assert tokenizer.tokens(tokenizer.encode("a b c", max_length=4)) == ["[CLS]", "b", "c", "[SEP]"]
    assert set(tokenizer(["a", "a b"])) == {"input_ids", "attention_mask"}
    assert tokenizer("a")["input_ids"].tolist() and tokenizer(["a", "a b"])["input_ids"][0, -1].item() == len(PIECES)
    tokenizer.save_pretrained(bert / "again")
    again = Tokenizer.from_pretrained(bert / "again")
    assert again.features(TEXTS) == tokenizer.features(TEXTS) and again.pad_id == tokenizer.pad_id


@pytest.mark.parametrize("files, words", [
    ({}, "has no tokenizer: none of the files tokenizer.json, vocab.txt, vocab.json"),
    ({"tokenizer__json": "{}"}, "tokenizer.json is not a tokenizer: "),
    ({"tokenizer__json": "\x00"}, "tokenizer.json is not a tokenizer: "),
    ({"tokenizer_config__json": "{"}, "tokenizer_config.json is not JSON"),
    ({"tokenizer_config__json": "[]"}, "tokenizer_config.json must hold a JSON object, it holds a list"),
    ({"vocab__txt": "a\nb\n[UNK]\n"}, r"vocab.txt: the vocabulary of 3 pieces lacks the special tokens \[CLS\], \[SEP\]"),
    ({"vocab__txt": "\n".join(PIECES), "added_tokens__json": {"[NEW]": 1000}}, r"\[NEW\]' .* should have the id 1000, but the "
     f"vocabulary has {len(PIECES)}"),
    ({"vocab__json": {"a": 0}}, "has no merges.txt; it holds vocab.json"),
    ({"vocab__json": {"a": 0}, "merges__txt": "a b\n"}, "are not a vocabulary of byte pairs"),
])  # fmt: skip
def test_files_that_do_not_fit(tmp_path, files, words):
    with pytest.raises((ValueError, FileNotFoundError), match=words):
        Tokenizer.from_pretrained(write(tmp_path / "folder", **files))


def test_vocabulary_that_is_not_text(tmp_path):
    (tmp_path / "vocab.txt").write_bytes(b"[PAD]\n\xff\n")
    with pytest.raises(ValueError, match="vocab.txt is not a vocabulary: not UTF-8 text at byte 6"):
        Tokenizer.from_pretrained(tmp_path)


def test_errors_of_a_call(bert, gpt2):
    tokenizer = Tokenizer.from_pretrained(bert)
    for call, error, words in (
        (lambda: tokenizer([]), ValueError, "there is no text to make a batch of"),
        (lambda: tokenizer.pad([]), ValueError, "pad: there are no features, and a batch has at least one"),
        (lambda: tokenizer(["a", None]), TypeError, "a list of texts is expected, got in it None"),
        (lambda: tokenizer(["a", 3]), TypeError, "a list of texts is expected, got in it 3"),
        (lambda: tokenizer.features("a"), TypeError, "a list of texts is expected, got the text 'a'"),
        (lambda: tokenizer.features(["a"], ["b", "c"]), ValueError, "there are 1 texts and 2 second texts"),
        (lambda: tokenizer.features(["a"], "b"), TypeError, "a list of texts is expected, got the text 'b'"),
        (lambda: tokenizer.encode("a", max_length=2), ValueError, "max_length=2 leaves no room for text: 2 are special"),
        (lambda: tokenizer.encode("a", "b", max_length=3), ValueError, "max_length=3 leaves no room for text: 3 are spe"),
        (lambda: tokenizer.word_features(["a b"]), TypeError, "a sentence is a list of words, got the text 'a b'"),
        (lambda: tokenizer.tokens([10**6]), IndexError, f"id 1000000 is not in the vocabulary of {len(PIECES)} tokens"),
        (lambda: tokenizer.tokens([-1]), IndexError, "id -1 is not in the vocabulary"),
        (lambda: Tokenizer.from_pretrained(gpt2).word_features([["a"]]), ValueError, "add_prefix_space must be true"),
    ):  # fmt: skip
        with pytest.raises(error, match=words):
            call()


def test_without_the_library(bert, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "tokenizers", None)
    with pytest.raises(ImportError, match=r"needs the `tokenizers` library: pip install minitorch\[text\]"):
        Tokenizer.from_pretrained(bert)
