"""Text into batches: the standard library's documentation, streamed files, WordPiece, BERT's two tasks, the labelled task."""

import ast
import sys
import tracemalloc
from itertools import islice

import numpy as np
import pytest

from minitorch.datasets.corpus import Document, MemoryCorpus, TextFileCorpus, is_held_out, split_sentences
from minitorch.datasets.packages import encode_texts, hide_names, macro_f1, package_task
from minitorch.datasets.pretraining import (
    PretrainingBatches,
    collate,
    fixed_batches,
    mask_tokens,
    sentence_pairs,
    truncate,
)
from minitorch.datasets.stdlib import by_module, docstrings, paragraphs, read_stdlib, split_modules, topics

needs_tokenizers = pytest.mark.skipif(
    __import__("importlib.util").util.find_spec("tokenizers") is None, reason="WordPiece needs the extra `text`"
)


@pytest.fixture(scope="module")
def found():
    return read_stdlib()


@pytest.fixture(scope="module")
def word_piece(found):
    pytest.importorskip("tokenizers", reason="WordPiece needs the extra `text`")
    from minitorch.text.wordpiece import WordPiece

    return WordPiece.train((d.text for d in found.documents[:1500]), 1000)


@pytest.fixture
def articles(tmp_path):
    """200 articles of a few paragraphs, as a file."""
    rng = np.random.default_rng(0)
    words = "the a value list file name is returns when reads writes old new string number of to and in".split()
    path = tmp_path / "articles.txt"
    with open(path, "w", encoding="utf-8") as file:
        for number in range(200):
            file.write(f"Article {number}\n")
            for _ in range(rng.integers(1, 5)):
                sentences = (" ".join(rng.choice(words, 9)).capitalize() + "." for _ in range(rng.integers(1, 4)))
                file.write(" ".join(sentences) + "\n")
            file.write("\n")
    return path


# --- sentences and documents -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text, sentences",
    [
        ("One here. Two here! Three? Four", ["One here.", "Two here!", "Three?", "Four"]),
        ("See e.g. Knuth vol. 3 by D. Knuth. Then go.", ["See e.g. Knuth vol. 3 by D. Knuth.", "Then go."]),
        ('He said "Stop." Then (it was late.) He left.', ['He said "Stop."', "Then (it was late.)", "He left."]),
        ("Version 3.11 is out. 2 files changed.", ["Version 3.11 is out.", "2 files changed."]),
        ("", []),
    ],
)
def test_sentences(text, sentences):
    assert split_sentences(text) == sentences


def test_docstrings_lose_code_doctests_tables_and_signatures():
    text = """frob(x, y) -> int

    Return the ``number`` of frobs in :class:`Bar`.  It may be zero.

    >>> frob(1, 2)
    3

    Example of its use::

        result = frob(1, [2, 3])
        print("this is not English at all")

    Heading of it
    =============

    :param x: the first of the two values,
        which goes on in a deeper line
    - a bullet point that has its own words
    +----+----+
    | a  | b  |
    """
    assert paragraphs(ast.get_docstring(ast.parse(f'def f(): """{text}"""').body[0])) == [
        ["Return the number of frobs in Bar.", "It may be zero."],
        ["Example of its use:"],
        ["Heading of it"],
        ["the first of the two values, which goes on in a deeper line"],
        ["a bullet point that has its own words"],
    ]


def test_docstrings_and_topics_are_parsed_not_run():
    source = 'x = 1/0\nif True:\n    class A:\n        """Doc of A."""\n        async def f(self):\n            """Doc of f."""\n'
    assert list(docstrings(ast.parse(source))) == [("A", "Doc of A."), ("A.f", "Doc of f.")]
    for layout in (
        "topics = {'if': 'text'}",
        "topics: dict = {'if': r'''text'''}",
        "import os\ntopics = {\n'if': 'te'\n'xt'}",
    ):
        assert list(topics(ast.parse(layout))) == [("if", "text")]
    assert list(topics(ast.parse("topics = make()"))) == []


def test_the_standard_library(found):
    assert found.files > 300 and found.characters > 800_000 and found.skipped <= found.files // 100
    sentences = [s for d in found.documents for s in d.sentences]
    assert len({" ".join(s.lower().split()) for s in sentences}) == len(sentences)  # each only once
    assert {"json", "email", "asyncio"} <= {d.package for d in found.documents}
    assert not any({"test", "idle_test", "site-packages"} & set(d.module.split(".")) for d in found.documents)
    assert any(d.package == "topics" for d in found.documents)
    assert not any(">>>" in s or "::=" in s for s in sentences)
    merged = by_module(found.documents)
    assert len({d.name for d in merged}) == len(merged) and sum(len(d.sentences) for d in merged) == len(sentences)


def test_broken_files_are_skipped_and_counted(tmp_path):
    (tmp_path / "good.py").write_text('"""This module does some good things."""')
    (tmp_path / "broken.py").write_text("def (:")
    (tmp_path / "zero.py").write_bytes(b'"""a \0 b"""')
    (tmp_path / "test").mkdir()
    (tmp_path / "test" / "left_out.py").write_text('"""This file is one of the tests."""')
    found = read_stdlib(str(tmp_path))
    assert (found.files, found.skipped, [d.name for d in found.documents]) == (3, 2, ["good"])
    (tmp_path / "good.py").unlink()
    with pytest.raises(FileNotFoundError, match="no docstring found.*installed without its sources"):
        read_stdlib(str(tmp_path))


def test_modules_are_split_once_and_fairly(found):
    splits = split_modules(found.documents)
    assert splits == split_modules(found.documents)
    sizes = dict.fromkeys(("train", "validation", "test"), 0)
    for document in found.documents:
        sizes[splits[document.module]] += 1
    total = sum(sizes.values())
    assert 0.6 < sizes["train"] / total < 0.85 and sizes["test"] / total > 0.08 and sizes["validation"] > 0
    asyncio = {splits[d.module] for d in found.documents if d.package == "asyncio"}
    assert asyncio >= {"train", "test"}


# --- streamed files --------------------------------------------------------------------------------------------------


def test_a_file_is_read_from_any_position(articles):
    corpus = TextFileCorpus(articles)
    whole = list(corpus.documents())
    assert len(whole) == 200 and whole[7][0].name == "Article 7"
    for index in (0, 1, 99, 198, 199):
        assert [d for d, _ in corpus.documents(whole[index][1])] == [d for d, _ in whole[index + 1 :]]
    held_out = [d.name for d, _ in whole if is_held_out(d.name, 0.2)]
    assert 20 < len(held_out) < 60 and held_out == [d.name for d, _ in whole if is_held_out(d.name, 0.2)]


def test_memory_does_not_grow_with_the_file(tmp_path):
    def peak(articles):
        path = tmp_path / "big.txt"
        path.write_text("Title\nA sentence of some words is here.\nAnother one follows it now.\n\n" * articles)
        tracemalloc.start()
        assert sum(1 for _ in TextFileCorpus(path).documents()) == articles
        used = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return used

    peak(10)
    assert peak(20_000) < peak(200) + 100_000  # the file is 1.4 MB


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "is empty"),
        (b"Title\nGood line.\nBad \xff line.\n", r"not UTF-8 text: byte 21"),
        (b"Title\n" + b"word " * 500, r"the article at byte 0 is longer than 1000 bytes"),
    ],
)
def test_bad_files(tmp_path, content, message):
    path = tmp_path / "bad.txt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        list(TextFileCorpus(path, max_article_bytes=1000).documents())
    with pytest.raises(FileNotFoundError, match="does not exist"):
        TextFileCorpus(tmp_path / "missing.txt")


def test_line_ends_and_blank_lines(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes("\ufeff\r\n\r\nOne\r\nText of it.\r\n\r\n\r\nOnly a title\r\n\r\nTwo\r\nMore text.".encode())
    read = [d for d, _ in TextFileCorpus(path).documents()]
    assert [(d.name, d.text) for d in read] == [("One", "Text of it."), ("Two", "More text.")]
    with pytest.raises(ValueError, match="outside"):
        list(TextFileCorpus(path).documents(10_000))


# --- WordPiece -------------------------------------------------------------------------------------------------------


def test_word_piece(word_piece, tmp_path):
    ids = word_piece.encode("Return the [MASK] of a Café.")
    assert ids.count(word_piece.mask_id) == 1 and word_piece.unk_id not in ids
    assert word_piece.decode(ids) == "return the [MASK] of a cafe."
    assert word_piece.encode_batch(["a", "a b"]) == [word_piece.encode("a"), word_piece.encode("a b")]
    word_piece.save(tmp_path / "vocab.txt")
    assert type(word_piece).load(tmp_path / "vocab.txt").pieces == word_piece.pieces
    assert len(word_piece) == 1000 and word_piece.pieces[:5] == ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def test_a_vocabulary_is_the_same_in_every_process(word_piece, found):
    import subprocess

    program = (
        "from minitorch.datasets.stdlib import read_stdlib; from minitorch.text.wordpiece import WordPiece; import sys;"
        "print('\\n'.join(WordPiece.train((d.text for d in read_stdlib().documents[:1500]), 1000).pieces))"
    )
    out = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, encoding="utf-8", check=True)
    assert out.stdout.splitlines() == word_piece.pieces


def test_bad_vocabularies(word_piece, tmp_path, monkeypatch):
    WordPiece = type(word_piece)
    path = tmp_path / "vocab.txt"
    for content, message in (
        (b"[PAD]\n[UNK]\nword\n", r"vocab.txt.*lacks the special tokens \[CLS\], \[SEP\], \[MASK\]"),
        (b"[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\na\n", "holds 'a' twice"),
        (b"\xff\xfe", "not UTF-8"),
    ):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=message):
            WordPiece.load(path)
    with pytest.raises(ValueError, match="vocab_size must be at least 200"):
        WordPiece.train(["text"], 50)
    with pytest.raises(ValueError, match="no text"):
        WordPiece.train([], 500)
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(ImportError, match=r"pip install minitorch\[text\]"):
        WordPiece(word_piece.pieces)


# --- masks and pairs -------------------------------------------------------------------------------------------------


def test_masks(word_piece):
    """15% of a row; 80% [MASK], 10% random, 10% unchanged; special tokens never."""
    rng = np.random.default_rng(0)
    ids = rng.integers(5, len(word_piece), (400, 64))
    ids[:, 0], ids[:, 30], ids[:, 60:] = word_piece.cls_id, word_piece.sep_id, word_piece.pad_id
    changed, labels = mask_tokens(ids, word_piece, rng)
    hidden = labels != -100
    assert (hidden.sum(1) == round(0.15 * 58)).all()
    assert not hidden[np.isin(ids, word_piece.special_ids)].any()
    assert (labels[hidden] == ids[hidden]).all() and (changed[~hidden] == ids[~hidden]).all()
    masked, same = (changed[hidden] == word_piece.mask_id).mean(), (changed[hidden] == ids[hidden]).mean()
    assert abs(masked - 0.8) < 0.02 and abs(same - 0.1) < 0.02
    others = changed[hidden & (changed != word_piece.mask_id)]
    assert not np.isin(others, word_piece.special_ids).any()
    short = np.array(
        [[word_piece.cls_id, 7, word_piece.sep_id], [word_piece.cls_id, word_piece.sep_id, word_piece.pad_id]]
    )
    assert (mask_tokens(short, word_piece, rng)[1] != -100).sum(1).tolist() == [1, 0]


def test_pairs_are_what_their_label_says():
    """Documents whose tokens tell where they come from: 1000 * document + place."""
    lengths = np.random.default_rng(1).integers(3, 9, (20, 30))
    documents = []
    for number, row in enumerate(lengths):
        tokens = iter(range(1000 * number, 1000 * (number + 1)))
        documents.append([list(islice(tokens, int(length))) for length in row])
    pairs = sentence_pairs(documents, 32, np.random.default_rng(2))
    assert 0.4 < np.mean([label for _, _, label in pairs]) < 0.6
    for first, second, is_random in pairs:
        assert first and second and len(first) + len(second) + 3 <= 32
        assert first == list(range(first[0], first[0] + len(first)))
        if is_random:
            assert first[0] // 1000 != second[0] // 1000
        else:
            assert first[0] // 1000 == second[0] // 1000 and first[-1] < second[0]
    long = [[list(range(40)) for _ in range(9)] for _ in range(200)]  # sentences longer than a pair: as balanced
    assert 0.45 < np.mean([label for _, _, label in sentence_pairs(long, 32, np.random.default_rng(3))]) < 0.55
    assert sentence_pairs(documents[:1], 32, np.random.default_rng(2)) == []  # no other document
    assert truncate([1, 2, 3], [4], 10, np.random.default_rng(0)) == ([1, 2, 3], [4])


def test_collate(word_piece):
    batch = collate([([10, 11], [12], 0), ([13], [14, 15, 16], 1)], word_piece, 8)
    c, s, p = word_piece.cls_id, word_piece.sep_id, word_piece.pad_id
    assert batch["input_ids"].tolist() == [[c, 10, 11, s, 12, s, p, p], [c, 13, s, 14, 15, 16, s, p]]
    assert batch["token_type_ids"].tolist() == [[0, 0, 0, 0, 1, 1, 0, 0], [0, 0, 0, 1, 1, 1, 1, 0]]
    assert batch["attention_mask"].sum(1).tolist() == [6, 7] and batch["next_sentence_label"].tolist() == [0, 1]


def same(first, second):
    return all((first[name] == second[name]).all() for name in first)


@needs_tokenizers
@pytest.mark.parametrize("kind", ["file", "memory"])
def test_batches_go_on_where_they_stopped(articles, word_piece, kind):
    documents = [d for d, _ in TextFileCorpus(articles).documents()]

    def batches():
        corpus = TextFileCorpus(articles) if kind == "file" else MemoryCorpus(documents)
        keep = None if kind == "memory" else (lambda d: not is_held_out(d.name, 0.1))
        return PretrainingBatches(
            corpus, word_piece, batch_size=4, max_seq_length=32, seed=5, keep=keep, chunk_documents=64
        )

    whole = batches()
    states, expected = [], []
    while whole.epoch < 2:
        states.append(whole.state_dict())
        expected.append(next(whole))
    assert len({state["chunk"] for state in states}) > 2
    assert not same(expected[0], expected[len(expected) // 2])  # masks and pairs are new in each epoch
    for stop in {0, 1, len(expected) // 3, len(expected) // 2, len(expected) - 2}:
        resumed = batches()
        resumed.load_state_dict(states[stop])
        for batch in expected[stop : stop + 5]:
            assert same(next(resumed), batch)


@needs_tokenizers
def test_positions_of_other_data_are_refused(articles, word_piece, tmp_path):
    batches = PretrainingBatches(TextFileCorpus(articles), word_piece, batch_size=4, max_seq_length=32, seed=5)
    next(batches)
    state = batches.state_dict()
    other = PretrainingBatches(TextFileCorpus(articles), word_piece, batch_size=8, max_seq_length=32, seed=5)
    with pytest.raises(ValueError, match="other data: batch_size was 4, is 8"):
        other.load_state_dict(state)
    with open(articles, "a") as file:
        file.write("\nOne more\nText of it is here.\n")
    changed = PretrainingBatches(TextFileCorpus(articles), word_piece, batch_size=4, max_seq_length=32, seed=5)
    with pytest.raises(ValueError, match="other data: corpus was"):
        changed.load_state_dict(state)


@needs_tokenizers
def test_settings_that_cannot_work(articles, word_piece):
    corpus = TextFileCorpus(articles)
    for options, message in (
        ({"max_seq_length": 7}, "max_seq_length must be at least 8"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"seed": -1}, "seed must not be negative"),
        ({"mask_probability": 1.5}, "mask_probability must lie between"),
    ):
        with pytest.raises(ValueError, match=message):
            PretrainingBatches(corpus, word_piece, **options)
    with pytest.raises(ValueError, match="holds less than one batch.*batch_size=100000"):
        next(PretrainingBatches(corpus, word_piece, batch_size=100_000, max_seq_length=32))
    with pytest.raises(ValueError, match="no text to evaluate"):
        fixed_batches([Document("one", (("A single one.",),))], word_piece, max_seq_length=32)


@needs_tokenizers
def test_evaluation_batches_are_fixed(articles, word_piece):
    documents = [d for d, _ in TextFileCorpus(articles).documents()]
    first = fixed_batches(documents, word_piece, max_seq_length=32, batch_size=16, max_batches=3)
    second = fixed_batches(documents, word_piece, max_seq_length=32, batch_size=16, max_batches=3)
    assert len(first) == 3 and all(same(a, b) for a, b in zip(first, second))


# --- the labelled task -----------------------------------------------------------------------------------------------


def test_package_task(found):
    task = package_task(found.documents)
    assert len(task.classes) >= 10
    splits = list(task.modules)
    for index, split in enumerate(splits):
        for other in splits[index + 1 :]:
            assert not task.modules[split] & task.modules[other]
            assert not set(task.texts[split]) & set(task.texts[other])
    for split in ("train", "test"):
        counts = np.bincount(task.labels[split], minlength=len(task.classes))
        assert counts.min() >= 5 and counts.max() / counts.sum() < 0.2  # no class dominates
    for texts in task.texts.values():
        for text in texts:
            assert not [name for name in task.classes if name in text.lower()]


def test_names_are_hidden():
    text = "An HTTPServer reads urllib.parse URLs; e-mail is https and Tk too. Talking is fine."
    hidden = "An [MASK] reads [MASK] [MASK]; [MASK] is [MASK] and [MASK] too. Talking is fine."
    assert hide_names(text, ["http", "urllib", "email", "tkinter"]) == hidden


def test_macro_f1_is_scikit_learns():
    metrics = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed")
    rng = np.random.default_rng(0)
    labels, guesses = rng.integers(0, 5, 100), rng.integers(0, 4, 100)
    expected = metrics.f1_score(labels, guesses, average="macro")
    assert macro_f1(labels, guesses, 5) == pytest.approx(expected)


def test_texts_are_cut_and_padded(word_piece):
    encoded = encode_texts(["a", "return the value of the list " * 20], word_piece, 10)
    assert encoded["input_ids"].shape == (2, 10) and encoded["attention_mask"].sum(1).tolist() == [3, 10]
    assert (encoded["input_ids"][:, 0] == word_piece.cls_id).all() and encoded["input_ids"][1, 9] == word_piece.sep_id
