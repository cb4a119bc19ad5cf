"""Labelled public data: texts with classes, tagged sentences, translations, images. One function a data set.

    train = sst2("train")                 # texts, labels, classes
    everything = sst2("train+validation")  # splits may be joined

A file is looked for in `root` if it is given, else in the data set's folder in MINITORCH_DATA, else in a cache, where
it is downloaded if it has a public address, or made from an archive that has one (sources.py). It must be the published
one, or what was made; `check=False` reads another one of the same format. The splits are "train", "validation" and
"test". Where the authors offer no validation (or test) split, it is the part of theirs whose texts have a hash in a fixed
interval: the same on every machine, whatever the order, and duplicates (texts that differ only in case and white space,
equal images) are never on two sides:

    hash_share(key) < 0.1    validation
    0.1 <= ... < 0.2         test, where the authors have none
    the rest                 train

Nothing is dropped in silence: a line that is not as expected is an error with its file and number. Blank lines at the end
of a file are allowed.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple, TypeVar

import numpy as np

from ..utils.download import unpacked
from ..utils.files import LoadError
from . import sources
from .corpus import hash_share

__all__ = [
    "Images", "Tagging", "TextClassification", "Translation", "banking77", "chnsenticorp_htl", "cifar10_4k", "conll2003",
    "fashion_mnist", "financial_phrasebank", "imdb", "mnist", "multi30k", "rt_polarity", "sst2", "thucnews_titles", "wnut17",
]  # fmt: skip

MAX_BYTES = 1 << 30  # of a text file, unpacked
Root = str | os.PathLike | None
D = TypeVar("D", bound="_Examples")


# --- what a loader returns -------------------------------------------------------------------------------------------


class _Examples:
    """N examples in columns."""

    columns: tuple[str, ...]

    def __len__(self) -> int:
        return len(getattr(self, self.columns[0]))

    def keys(self) -> list[str]:
        """A string for each example, equal for duplicates: what decides on which side of a cut it is."""
        raise NotImplementedError

    def select(self: D, indices: Sequence[int]) -> D:
        """The examples at these places, in this order."""
        chosen = {name: _take(getattr(self, name), indices) for name in self.columns}
        return replace(self, **chosen)  # type: ignore[type-var]

    def __add__(self: D, other: D) -> D:
        if type(self) is not type(other) or getattr(self, "classes", None) != getattr(other, "classes", None):
            raise ValueError("only data of one type with the same classes can be joined")
        joined = {}
        for name in self.columns:
            a, b = getattr(self, name), getattr(other, name)
            joined[name] = a + b if isinstance(a, list) else np.concatenate([a, b])
        return replace(self, **joined)  # type: ignore[type-var]


def _take(column, indices: Sequence[int]):
    return [column[i] for i in indices] if isinstance(column, list) else column[np.asarray(indices, np.int64)]


@dataclass(frozen=True)
class TextClassification(_Examples):
    """texts: N strings; labels: N integers, each the place of a name in classes."""

    texts: list[str]
    labels: list[int]
    classes: list[str]

    columns = ("texts", "labels")

    def keys(self) -> list[str]:
        return [" ".join(text.lower().split()) for text in self.texts]


@dataclass(frozen=True)
class Tagging(_Examples):
    """sentences: N lists of words; tags: N lists of as many tags, "O", "B-PER", "I-PER"; classes: the tags, "O" first.

    documents: for each document the index of its first sentence, where the file says so (-DOCSTART-); otherwise empty.
    """

    sentences: list[list[str]]
    tags: list[list[str]]
    classes: list[str]
    documents: list[int] = field(default_factory=list)

    columns = ("sentences", "tags")

    def select(self, indices: Sequence[int]) -> Tagging:
        return replace(super().select(indices), documents=[])

    def __add__(self, other: Tagging) -> Tagging:
        documents = [*self.documents, *(start + len(self) for start in other.documents)]
        return replace(super().__add__(other), documents=documents)


@dataclass(frozen=True)
class Translation(_Examples):
    """source, target: N strings each, aligned."""

    source: list[str]
    target: list[str]

    columns = ("source", "target")


@dataclass(frozen=True)
class Images(_Examples):
    """images: uint8 (N, C, H, W), C = 1 grey or 3 red, green, blue; labels: int64 (N,), places in classes."""

    images: np.ndarray
    labels: np.ndarray
    classes: list[str]

    columns = ("images", "labels")

    def keys(self) -> list[str]:
        return [image.tobytes().decode("latin-1") for image in self.images]


# --- splits ----------------------------------------------------------------------------------------------------------


class Part(NamedTuple):
    """A split: all of a file (or of some), or what has its hash in [low, high)."""

    files: tuple[str, ...]
    low: float = 0.0
    high: float = 1.0


def _cut(*files: str, test: tuple[str, ...] = ()) -> dict[str, Part]:
    """train, validation, test: 80, 10, 10 per cent of the files; where there is an official test split, 90 and 10."""
    if test:
        return {"train": Part(files, 0.1), "validation": Part(files, 0, 0.1), "test": Part(test)}
    return {"train": Part(files, 0.2), "validation": Part(files, 0, 0.1), "test": Part(files, 0.1, 0.2)}


def _load(name: str, split: str, parts: dict[str, Part], root: Root, check: bool, read: Callable[..., D]) -> D:
    """The examples of a split, or of several: "train+validation". `read(*paths)` reads a part's files."""
    wanted = [one.strip() for one in split.split("+")] if isinstance(split, str) else [split]
    for one in wanted:
        if one not in parts or wanted.count(one) > 1:
            what = "is named twice" if one in parts else "does not exist"
            raise ValueError(
                f"{name}: the split {one!r} {what}. Splits: {', '.join(parts)}; joined by +, several of them"
            )
    data = None
    for files in dict.fromkeys(parts[one].files for one in wanted):
        try:
            paths = [sources.find(name, file, root, check=check) for file in files]
        except FileNotFoundError as error:
            there = [one for one, part in parts.items() if sources.present(name, part.files, root)]
            raise FileNotFoundError(f"{error}. Splits that are there: {', '.join(there) or 'none'}") from None
        more = read(*paths)
        ranges = [parts[one][1:] for one in wanted if parts[one].files == files]
        if round(sum(high - low for low, high in ranges), 6) < 1:
            shares = [hash_share(text) for text in more.keys()]
            more = more.select([i for i, h in enumerate(shares) if any(low <= h < high for low, high in ranges)])
        data = more if data is None else data + more
    assert data is not None
    return data


# --- reading text ----------------------------------------------------------------------------------------------------


def _decoded(path: str, encoding: str = "utf-8") -> str:
    with unpacked(path) as file:
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise LoadError(f"{path}: more than {MAX_BYTES:,} bytes of text")
    data = data.removeprefix(b"\xef\xbb\xbf")  # the byte-order mark
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise LoadError(
            f"{path}, line {line}: expected {encoding} text, got the byte 0x{data[error.start]:02x} ({error.reason})"
        ) from None


def _lines(path: str, encoding: str = "utf-8") -> list[str]:
    """The lines, without blank ones at the end. (str.splitlines would also cut at characters inside of texts.)"""
    lines = [line.removesuffix("\r") for line in _decoded(path, encoding).split("\n")]
    while lines and not lines[-1].strip():
        lines.pop()
    if not lines:
        raise LoadError(f"{path}: the file is empty")
    return lines


def _malformed(path: str, line: int, expected: str, got: object) -> LoadError:
    got = repr(got)
    return LoadError(f"{path}, line {line}: expected {expected}, got {got if len(got) <= 120 else got[:117] + '...'}")


def _rows(path: str, header: list[str]) -> Iterator[tuple[int, list[str]]]:
    """The records of a csv file, each with the number of its first line."""
    reader = csv.reader(io.StringIO(_decoded(path), newline=""), strict=True)
    line = 1
    try:
        first = next(reader, None)
        if first != header:
            raise _malformed(path, 1, f"the header {','.join(header)}", first and ",".join(first))
        line = reader.line_num + 1
        for row in reader:
            if row:  # a blank line between records holds nothing
                if len(row) != len(header):
                    raise _malformed(path, line, f"{len(header)} columns ({','.join(header)})", row)
                yield line, row
            line = reader.line_num + 1
    except csv.Error as error:
        raise LoadError(f"{path}, line {line}: not a csv record ({error})") from None


def _label(path: str, line: int, text: str, names: tuple[str, ...]) -> int:
    """The place of a label among the names it may have."""
    try:
        return names.index(text)
    except ValueError:
        raise _malformed(path, line, f"a label: {', '.join(names)}", text) from None


POLARITY = ("negative", "positive")
DIGITS = tuple("0123456789")


# --- texts with classes ----------------------------------------------------------------------------------------------


def _tab_digit(path: str, classes: list[str]) -> TextClassification:
    """Lines `text TAB label`, the label a digit."""
    texts, labels = [], []
    for number, line in enumerate(_lines(path), 1):
        text, *rest = line.split("\t")
        if len(rest) != 1 or not text.strip():
            raise _malformed(path, number, "text TAB label", line)
        texts.append(text)
        labels.append(_label(path, number, rest[0], DIGITS[: len(classes)]))
    return TextClassification(texts, labels, classes)


def sst2(split: str = "train", root: Root = None, *, check: bool = True) -> TextClassification:
    """Sentences of film reviews, negative or positive: 6,920 train, 872 validation, 1,821 test (held out)."""
    parts = {"train": Part(("train.tsv",)), "validation": Part(("dev.tsv",)), "test": Part(("test.tsv",))}
    return _load("sst2", split, parts, root, check, lambda path: _tab_digit(path, list(POLARITY)))


def imdb(split: str = "train", root: Root = None, *, check: bool = True) -> TextClassification:
    """Film reviews with `<br />` in them: 25,000 for training, a tenth of them for validation; 25,000 test. Half are positive.

    So many are made from the authors' archive. A train.tsv that lacks four of them, 24,996, is known as well, and read
    where you put it. 96 training texts are there twice or more; they are kept, on one side.
    """

    def read(path: str) -> TextClassification:
        lines = _lines(path)
        if lines[0] != "label\trating\tid\ttext":
            raise _malformed(path, 1, "the header label TAB rating TAB id TAB text", lines[0])
        texts, labels = [], []
        for number, line in enumerate(lines[1:], 2):
            columns = line.split("\t")
            if len(columns) != 4 or not columns[3].strip():
                raise _malformed(path, number, "label TAB rating TAB id TAB text", line)
            texts.append(columns[3])
            labels.append(_label(path, number, columns[0], DIGITS[:2]))
        return TextClassification(texts, labels, list(POLARITY))

    return _load("imdb", split, _cut("train.tsv", test=("test.tsv",)), root, check, read)


def rt_polarity(split: str = "train", root: Root = None, *, check: bool = True) -> TextClassification:
    """Sentences of film reviews, 5,331 negative and 5,331 positive, cut 80:10:10. arXiv:cs/0506075"""

    def read(*paths: str) -> TextClassification:
        both = [[line.strip(" ") for line in _lines(path, "latin-1")] for path in paths]
        for path, texts in zip(paths, both, strict=True):
            if "" in texts:
                raise _malformed(path, texts.index("") + 1, "a sentence", "")
        return TextClassification(both[0] + both[1], [0] * len(both[0]) + [1] * len(both[1]), list(POLARITY))

    return _load("rt_polarity", split, _cut("rt-polarity.neg", "rt-polarity.pos"), root, check, read)


def banking77(split: str = "train", root: Root = None, *, check: bool = True) -> TextClassification:
    """Customers' questions to a bank, 77 intents: 10,003 for training, a tenth of them for validation. arXiv:2003.04807"""

    def read(path: str, names: str) -> TextClassification:
        try:
            classes = json.loads(_decoded(names))
        except json.JSONDecodeError as error:
            raise LoadError(f"{names}, line {error.lineno}: not JSON ({error.msg})") from None
        if not isinstance(classes, list) or not all(isinstance(name, str) for name in classes):
            raise LoadError(f"{names}: expected a list of names")
        place = {name: i for i, name in enumerate(classes)}
        texts, labels = [], []
        for number, (text, name) in _rows(path, ["text", "category"]):
            if not text.strip():
                raise _malformed(path, number, "a text", text)
            if name not in place:
                raise _malformed(path, number, f"a category of {names}", name)
            texts.append(text)
            labels.append(place[name])
        return TextClassification(texts, labels, classes)

    parts = _cut("train.csv", "categories.json", test=("test.csv", "categories.json"))
    return _load("banking77", split, parts, root, check, read)


def financial_phrasebank(split: str = "train", root: Root = None, *, check: bool = True) -> TextClassification:
    """Sentences of financial news: 604 negative, 2,879 neutral, 1,363 positive, cut 80:10:10. arXiv:1307.5336"""
    classes = ("negative", "neutral", "positive")

    def read(path: str) -> TextClassification:
        texts, labels = [], []
        for number, line in enumerate(_lines(path), 1):
            text, at, label = line.rpartition("@")
            if not at or not text.strip():
                raise _malformed(path, number, "text@label", line)
            texts.append(text)
            labels.append(_label(path, number, label, classes))
        return TextClassification(texts, labels, list(classes))

    return _load("financial_phrasebank", split, _cut("Sentences_50Agree.txt"), root, check, read)


def thucnews_titles(split: str = "validation", root: Root = None, *, check: bool = True) -> TextClassification:
    """Titles of Chinese news in 10 classes: 10,000 validation, 10,000 test; train.txt is read if you put it there."""
    names = {"train": "train.txt", "validation": "dev.txt", "test": "test.txt"}
    parts = {one: Part((file, "class.txt")) for one, file in names.items()}
    return _load("thucnews_titles", split, parts, root, check, lambda path, names: _tab_digit(path, _lines(names)))


def chnsenticorp_htl(split: str = "train", root: Root = None, *, check: bool = True) -> TextClassification:
    """Chinese hotel reviews, 2,444 negative (one of them empty) and 5,322 positive, cut 80:10:10."""

    def read(path: str) -> TextClassification:
        rows = list(_rows(path, ["label", "review"]))
        labels = [_label(path, number, label, DIGITS[:2]) for number, (label, _) in rows]
        return TextClassification([review for _, (_, review) in rows], labels, list(POLARITY))

    return _load("chnsenticorp_htl", split, _cut("ChnSentiCorp_htl_all.csv"), root, check, read)


# --- tagged sentences ------------------------------------------------------------------------------------------------


def _tagged(path: str, separator: str, kinds: Sequence[str]) -> Tagging:
    """Lines `token tag`, a blank line (white space alone) between sentences, -DOCSTART- before a document.

    An I- tag that follows no tag of its kind begins an entity, as in the shared tasks' own evaluation.
    """
    classes = ["O", *sorted(f"{b}-{kind}" for b in "BI" for kind in kinds)]
    known = frozenset(classes)
    expected = f"token {'TAB' if separator == chr(9) else 'SPACE'} tag"
    sentences: list[list[str]] = []
    tags: list[list[str]] = []
    documents: list[int] = []
    inside = False
    for number, line in enumerate(_lines(path), 1):
        if not line.strip():
            inside = False
            continue
        if line.startswith("-DOCSTART-"):
            documents.append(len(sentences))
            inside = False
            continue
        columns = line.rstrip().split(separator)
        if len(columns) != 2 or not columns[0].strip():
            raise _malformed(path, number, expected, line)
        token, tag = columns
        if tag not in known:
            raise _malformed(path, number, f"a BIO tag: {', '.join(classes)}", tag)
        if not inside:
            sentences.append([])
            tags.append([])
            inside = True
        sentences[-1].append(token)
        tags[-1].append(tag)
    return Tagging(sentences, tags, classes, documents)


def conll2003(split: str = "train", root: Root = None, *, check: bool = True) -> Tagging:
    """Newswire with persons, places, organisations and others: 14,041 train, 3,250 validation, 3,453 test (held out).

    The texts are restricted: get them yourself, and never pass them on. arXiv:cs/0306050
    """
    parts = {"train": Part(("train.bio",)), "validation": Part(("valid.bio",)), "test": Part(("test.bio",))}
    kinds = ["LOC", "MISC", "ORG", "PER"]
    return _load("conll2003", split, parts, root, check, lambda path: _tagged(path, " ", kinds))


def wnut17(split: str = "train", root: Root = None, *, check: bool = True) -> Tagging:
    """Social media with rare and new entities: 3,394 train, 1,009 validation sentences, a test split (held out)."""
    parts = {
        "train": Part(("wnut17train.conll",)),
        "validation": Part(("emerging.dev.conll",)),
        "test": Part(("emerging.test.annotated",)),
    }
    kinds = ["corporation", "creative-work", "group", "location", "person", "product"]
    return _load("wnut17", split, parts, root, check, lambda path: _tagged(path, "\t", kinds))


# --- translations ----------------------------------------------------------------------------------------------------


def multi30k(
    split: str = "train", source: str = "de", target: str = "en", root: Root = None, *, check: bool = True
) -> Translation:
    """Captions of images in German and English: 29,000 train, 1,014 validation, 1,000 test (2016; held out)."""
    for language in (source, target):
        if language not in ("de", "en"):
            raise ValueError(f"multi30k: expected the language 'de' or 'en', got {language!r}")
    names = {"train": "train", "validation": "val", "test": "test_2016_flickr"}
    parts = {one: Part((f"{name}.{source}.gz", f"{name}.{target}.gz")) for one, name in names.items()}

    def read(*paths: str) -> Translation:
        both = [_lines(path) for path in paths]
        for path, lines in zip(paths, both, strict=True):
            if empty := [number for number, line in enumerate(lines, 1) if not line.strip()]:
                raise _malformed(path, empty[0], "a sentence", lines[empty[0] - 1])
        if len(both[0]) != len(both[1]):
            raise LoadError(
                f"{paths[0]} has {len(both[0]):,} lines, {paths[1]} {len(both[1]):,}: expected as many, aligned"
            )
        return Translation(*both)

    return _load("multi30k", split, parts, root, check, read)


# --- images ----------------------------------------------------------------------------------------------------------


def _digits(name: str, kind: str, split: str, root: Root, check: bool) -> Images:
    from ..vision import datasets as vision

    train, test = ((f"{s}-images-idx3-ubyte.gz", f"{s}-labels-idx1-ubyte.gz") for s in ("train", "t10k"))
    classes = list(getattr(vision, kind).classes)

    def read(images: str, labels: str) -> Images:
        pictures, numbers = vision.read_labelled_idx(images, labels, len(classes))
        return Images(pictures[:, None], numbers, classes)  # (N, H, W) -> (N, 1, H, W)

    return _load(name, split, _cut(*train, test=test), root, check, read)


def mnist(split: str = "train", root: Root = None, *, check: bool = True) -> Images:
    """Handwritten digits, (N, 1, 28, 28): 60,000 for training, a tenth of them for validation; 10,000 test."""
    return _digits("mnist", "MNIST", split, root, check)


def fashion_mnist(split: str = "train", root: Root = None, *, check: bool = True) -> Images:
    """Clothes, (N, 1, 28, 28): 60,000 for training, a tenth of them for validation; 10,000 test. arXiv:1708.07747"""
    return _digits("fashion_mnist", "FashionMNIST", split, root, check)


def cifar10_4k(split: str = "train", root: Root = None, *, check: bool = True) -> Images:
    """The first 4,000 training photographs of CIFAR-10, (N, 3, 32, 32), cut 80:10:10."""
    from ..vision import datasets as vision

    def read(path: str) -> Images:
        images, labels = vision.read_records(path)
        pixels = np.ascontiguousarray(images.transpose(0, 3, 1, 2))  # (N, H, W, C) -> (N, C, H, W)
        return Images(pixels, np.array(labels, np.int64), list(vision.CIFAR10.classes))

    return _load("cifar10_4k", split, _cut("cifar10_first4000_lossless.bin"), root, check, read)
