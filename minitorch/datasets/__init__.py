"""Corpora for pretraining, and labelled public data: one function a data set, imported when it is asked for."""

from importlib import import_module
from typing import Any

HOMES = {
    "labelled": [
        "Images", "Tagging", "TextClassification", "Translation", "banking77", "chnsenticorp_htl", "cifar10_4k",
        "conll2003", "fashion_mnist", "financial_phrasebank", "imdb", "mnist", "multi30k", "rt_polarity", "sst2",
        "thucnews_titles", "wnut17",
    ],
    "unlabelled": ["MovieLens", "enwiki", "movielens", "names", "tinyshakespeare"],
}  # fmt: skip
__all__ = sorted(name for names in HOMES.values() for name in names)


def __getattr__(name: str) -> Any:
    for module, names in HOMES.items():
        if name in names:
            return getattr(import_module(f".{module}", __name__), name)
    raise AttributeError(f"minitorch.datasets has no {name!r}; it has {', '.join(__all__)}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
