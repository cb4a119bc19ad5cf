"""Documents, sentences, and the two kinds of corpus: one in memory, one streamed from a file.

A corpus is anything with `documents(start)`: an iterator of (document, position after it), where a position is a plain
integer that can be saved and given back as `start`. That is all that batches need to stop anywhere and go on later.
"""

import hashlib
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

# A full stop after one of these seldom ends a sentence.
ABBREVIATIONS = frozenset(
    "e.g i.e etc vs cf viz al approx ca no nos fig eq sec ch vol pp p ed eds dr mr mrs ms prof st jr sr gen col capt "
    "lt sgt rev hon inc ltd co corp dept est jan feb mar apr jun jul aug sep sept oct nov dec u.s u.k u.n a.m p.m".split()
)
BOUNDARY = re.compile(r"""([.!?]+["')\]]*)\s+(?=["'(\[]*[A-Z0-9])""")


@dataclass(frozen=True)
class Document:
    """A text with its place: paragraphs are lists of sentences."""

    name: str  # unique in its corpus: "email.header:Header.append", or an article's title
    paragraphs: tuple[tuple[str, ...], ...]
    module: str = ""  # for the standard library: "email.header", and its package "email"
    package: str = ""

    @property
    def sentences(self) -> list[str]:
        return [sentence for paragraph in self.paragraphs for sentence in paragraph]

    @property
    def text(self) -> str:
        return " ".join(self.sentences)


class Corpus(Protocol):
    def documents(self, start: int = 0) -> Iterator[tuple[Document, int]]:
        """The documents from position `start` on, each with the position after it."""
        ...

    @property
    def fingerprint(self) -> str:
        """Changes when the corpus does: positions are only worth keeping for the same corpus."""
        ...


def split_sentences(paragraph: str) -> list[str]:
    """Cut a paragraph at full stops, question and exclamation marks that a new sentence follows."""
    sentences, start = [], 0
    for match in BOUNDARY.finditer(paragraph):
        words = paragraph[start : match.start(1)].split()
        last = words[-1].lstrip("([\"'").lower() if words else ""
        if match.group(1)[0] == "." and (last in ABBREVIATIONS or (len(last) == 1 and last.isalpha())):
            continue
        sentences.append(paragraph[start : match.end(1)].strip())
        start = match.end()
    sentences.append(paragraph[start:].strip())
    return [sentence for sentence in sentences if sentence]


def hash_share(name: str) -> float:
    """A number in [0, 1) that depends on the name alone: the same on every machine and in every run."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "big") / 2**64


def is_held_out(name: str, share: float = 0.05) -> bool:
    """Whether the document of this name belongs to the held-out `share`: decided without looking at any other one."""
    return hash_share(name) < share


class MemoryCorpus:
    """Documents in a list; a position is an index."""

    def __init__(self, documents: Iterable[Document]):
        self._documents = list(documents)

    def __len__(self) -> int:
        return len(self._documents)

    def documents(self, start: int = 0) -> Iterator[tuple[Document, int]]:
        for index in range(start, len(self._documents)):
            yield self._documents[index], index + 1

    @property
    def fingerprint(self) -> str:
        digest = hashlib.blake2b(digest_size=8)
        for document in self._documents:
            digest.update(f"{document.name}\0{document.text}\0".encode())
        return digest.hexdigest()


class TextFileCorpus:
    """A text file of articles, streamed: a title line, then a paragraph a line, a blank line between articles.

    A position is a byte offset. One article is in memory at a time, however long the file is; an article or a line of
    more than `max_article_bytes` is refused, since it means that the file is in some other format.
    """

    def __init__(self, path: str | os.PathLike, max_article_bytes: int = 16 << 20):
        self.path = os.fspath(path)
        self.max_article_bytes = max_article_bytes
        if not os.path.isfile(self.path):
            raise FileNotFoundError(f"corpus file {self.path!r} does not exist (or is a folder)")
        if os.path.getsize(self.path) == 0:
            raise ValueError(f"corpus file {self.path!r} is empty")

    @property
    def fingerprint(self) -> str:
        # The size and the first MiB: reading a whole large corpus at every start would cost more than it protects.
        with open(self.path, "rb") as file:
            digest = hashlib.blake2b(file.read(1 << 20), digest_size=8).hexdigest()
        return f"{os.path.getsize(self.path)}-{digest}"

    def documents(self, start: int = 0) -> Iterator[tuple[Document, int]]:
        with open(self.path, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            if not 0 <= start <= size:
                raise ValueError(f"position {start} is outside {self.path!r}, which has {size} bytes")
            file.seek(start)
            while True:
                offset = file.tell()
                lines = self._article(file, offset)
                if lines is None:
                    return
                if len(lines) > 1:
                    paragraphs = tuple(tuple(split_sentences(line)) for line in lines[1:])
                    yield Document(lines[0], paragraphs), file.tell()

    def _article(self, file, offset: int) -> list[str] | None:
        lines: list[str] = []
        used = 0
        while True:
            raw = file.readline(self.max_article_bytes + 1)
            used += len(raw)
            if used > self.max_article_bytes:
                raise ValueError(
                    f"{self.path!r}: the article at byte {offset} is longer than {self.max_article_bytes} bytes. Expected "
                    f"a title line, then a paragraph a line, and a blank line between articles"
                )
            if not raw:
                return lines or None
            try:
                line = " ".join(raw.decode("utf-8-sig" if offset == 0 and not lines else "utf-8").split())
            except UnicodeDecodeError as error:
                raise ValueError(
                    f"{self.path!r} is not UTF-8 text: byte {offset + used - len(raw) + error.start} ({error.reason})"
                ) from None
            if line:
                lines.append(line)
            elif lines:
                return lines
