"""A labelled task out of the standard library: which package does a docstring come from?

The classes are the packages with the most docstrings. Their names, and what gives them away as surely, are replaced by
[MASK] in every text, whichever package it is from; no module is in two splits, and no sentence is in two texts.
"""

import collections
import re
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from minitorch.datasets.corpus import Document, hash_share
from minitorch.datasets.stdlib import split_modules

# Words that name a package without holding its name. A word that holds the name ("HTTPServer") needs no line here.
ALIASES = {
    "asyncio": ("async", "asynchronous"),
    "email": ("e-mail", "mail", "mails"),
    "idlelib": ("idle",),
    "importlib": ("import", "imports", "imported", "importing", "importer"),
    "logging": ("log", "logs", "logged", "logger", "loggers"),
    "multiprocessing": ("multiprocess", "multi-processing"),
    "tkinter": ("tk", "ttk", "tcl", "tix"),
    "encodings": ("encoding", "codec", "codecs"),
    "unittest": ("unit test", "unit tests"),
    "urllib": ("url", "urls", "urlopen"),
    "xmlrpc": ("xml-rpc",),
}


@dataclass(frozen=True)
class PackageTask:
    """Texts and labels of three splits; `classes[label]` is the package, `modules[split]` where the texts are from."""

    classes: list[str]
    texts: dict[str, list[str]]
    labels: dict[str, np.ndarray]  # (N,)
    modules: dict[str, set[str]]


def hide_names(text: str, packages: Iterable[str]) -> str:
    """Replace every word that holds a package's name, and the package's aliases, by [MASK]."""
    names = [re.escape(name) for name in packages]
    aliases = [re.escape(alias) for name in packages for alias in ALIASES.get(name, ())]
    pattern = rf"[\w.]*(?:{'|'.join(names)})\w*(?:\.\w+)*" + (
        rf"|(?<!\w)(?:{'|'.join(aliases)})(?!\w)" if aliases else ""
    )
    return re.sub(pattern, "[MASK]", text, flags=re.IGNORECASE)


def package_task(
    documents: Iterable[Document],
    *,
    max_classes: int = 12,
    min_examples: int = 50,
    max_train: int = 150,
    max_test: int = 40,
    min_words: int = 4,
) -> PackageTask:
    """Choose the classes, hide their names, split by module, and cap the large classes so that none dominates.

    A package is a class when it has at least three modules and `min_examples` docstrings of `min_words` words or more.
    """
    documents = [document for document in documents if document.package != "topics"]
    splits = split_modules(documents)
    candidates: dict[str, list[Document]] = collections.defaultdict(list)
    for document in documents:
        if len(document.text.split()) >= min_words:
            candidates[document.package].append(document)
    enough = [
        name for name, group in candidates.items()
        if len(group) >= min_examples and len({document.module for document in group}) >= 3 and not name.startswith("_")
        and {splits[document.module] for document in group} >= {"train", "test"}
    ]  # fmt: skip
    classes = sorted(sorted(enough, key=lambda name: (-len(candidates[name]), name))[:max_classes])
    if len(classes) < 2:
        raise ValueError(
            f"only {len(classes)} package(s) have three modules and {min_examples} docstrings: too few to tell apart. "
            f"Are the sources of the standard library complete?"
        )
    caps = {"train": max_train, "validation": max_test, "test": max_test}
    texts: dict[str, list[str]] = {split: [] for split in caps}
    labels: dict[str, list[int]] = {split: [] for split in caps}
    modules: dict[str, set[str]] = {split: set() for split in caps}
    for label, name in enumerate(classes):
        taken = collections.Counter[str]()
        # In the order of the names' hashes: a capped class keeps docstrings of all its modules.
        for document in sorted(candidates[name], key=lambda document: hash_share(document.name)):
            split = splits[document.module]
            text = hide_names(document.text, classes)
            if taken[split] < caps[split] and len(text.replace("[MASK]", "").split()) >= min_words:
                taken[split] += 1
                texts[split].append(text)
                labels[split].append(label)
                modules[split].add(document.module)
    return PackageTask(classes, texts, {split: np.array(values, np.int64) for split, values in labels.items()}, modules)


def macro_f1(labels: np.ndarray, predictions: np.ndarray, classes: int) -> float:
    """The mean over the classes of 2PR / (P + R); a class that is neither there nor predicted counts as 0."""
    scores = []
    for label in range(classes):
        hit = int(((labels == label) & (predictions == label)).sum())
        scores.append(2 * hit / max(1, int((labels == label).sum()) + int((predictions == label).sum())))
    return float(np.mean(scores))


def encode_texts(texts: list[str], tokenizer, max_seq_length: int) -> dict[str, np.ndarray]:
    """[CLS] text [SEP], cut to `max_seq_length` and padded, as arrays of shape (N, T)."""
    shape = len(texts), max_seq_length
    input_ids = np.full(shape, tokenizer.pad_id, np.int64)
    attention_mask = np.zeros(shape, np.int64)
    for row, ids in enumerate(tokenizer.encode_batch(texts)):
        ids = [tokenizer.cls_id, *ids[: max_seq_length - 2], tokenizer.sep_id]
        input_ids[row, : len(ids)] = ids
        attention_mask[row, : len(ids)] = 1
    return {"input_ids": input_ids, "attention_mask": attention_mask}
