"""Real English that every machine with Python has: the documentation inside the standard library's own source files.

The docstrings of every module, class and function, and the language reference's topics (what `help("while")` prints).
Files are parsed with `ast`, never imported: nothing runs. Code, examples and tables are left out, sentences are
deduplicated. About 2 MB; it differs a little from one version of Python to the next.
"""

import ast
import collections
import os
import re
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from minitorch.datasets.corpus import Document, hash_share, split_sentences

LEFT_OUT = frozenset(
    "test tests idle_test site-packages dist-packages lib2to3 lib-dynload turtledemo __phello__ __pycache__".split()
)
BULLET = re.compile(r"^(?:[-*+•o]|\(?\d{1,2}[.)]|\(?[a-z]\))\s+(?=\S)")
SIGNATURE = re.compile(r"^[\w.]+\s?\([^)]*\)?[^.]*(?:->.*)?$|^.*->\s*\S+\s*$")
DEFINITION = re.compile(r"^[\w*'\"]+(?:\s*--?\s|:\s|\s\s)")
FIELD = re.compile(r"^:\w+(?:\s+[\w*]+)*:\s*")
ROLE = re.compile(r":[\w:+.-]+:(?=`)")
RULE_OR_TABLE = re.compile(r"^\s*(?:[\W_]+|\|.*)$")
QUOTES = str.maketrans({"“": '"', "”": '"', "‘": "'", "’": "'", "…": "...", "–": "-", "—": "-", "\xa0": " "})
CODE_CHARACTERS = re.compile(r"[=(){}\[\]<>|\\_#;/@%&$^~+*]")


@dataclass
class Found:
    """What was read: the documents, and how many files were read and skipped."""

    documents: list[Document]
    files: int = 0
    skipped: int = 0
    duplicates: int = 0

    @property
    def characters(self) -> int:
        return sum(len(sentence) for document in self.documents for sentence in document.sentences)


def source_files(root: str) -> Iterator[tuple[str, str]]:
    """(module name, path) of the source files under `root`, tests and installed packages left out, in a fixed order."""
    for folder, folders, files in os.walk(root):
        folders[:] = sorted(name for name in folders if name not in LEFT_OUT and not name.startswith("config-"))
        for file in sorted(files):
            if file.endswith(".py"):
                path = os.path.join(folder, file)
                parts = os.path.relpath(path, root)[:-3].split(os.sep)
                yield ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts), path


def parse(path: str) -> ast.Module | None:
    """The syntax tree of a file, or None if this Python cannot read or parse it."""
    try:
        with open(path, "rb") as file:
            return ast.parse(file.read())
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def docstrings(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """(qualified name, docstring) of the module and all that it defines, in the order of the source."""

    def walk(node: ast.AST, prefix: str) -> Iterator[tuple[str, str]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
                text = ast.get_docstring(child)
                if text:
                    yield prefix + child.name, text
                yield from walk(child, f"{prefix}{child.name}.")
            elif isinstance(child, ast.stmt):
                yield from walk(child, prefix)

    text = ast.get_docstring(tree)
    if text:
        yield "", text
    yield from walk(tree, "")


def topics(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """(topic, text) from `pydoc_data/topics.py`: one literal dictionary, however the version lays it out."""
    for node in tree.body:
        if not isinstance(node, (ast.Assign, ast.AnnAssign)) or node.value is None:
            continue
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        if any(isinstance(target, ast.Name) and target.id == "topics" for target in targets):
            try:
                found = ast.literal_eval(node.value)
            except ValueError:
                return
            yield from ((str(key), str(value)) for key, value in found.items())


def is_prose(text: str) -> bool:
    """Whether a piece of text reads as English rather than as code, a table or a signature."""
    words = re.findall(r"[A-Za-z]{2,}", text)
    letters = sum(character.isalpha() or character == " " for character in text)
    return len(words) >= 3 and letters >= 0.8 * len(text) and len(CODE_CHARACTERS.findall(text)) <= 0.06 * len(text)


def paragraphs(text: str) -> list[list[str]]:
    """Paragraphs of sentences from a docstring: markup, doctests, code blocks and signatures left out."""
    blocks: list[list[str]] = [[]]
    indent, literal_indent, in_example = 0, None, False
    for line in text.expandtabs().translate(QUOTES).splitlines():
        stripped = line.strip()
        depth = len(line) - len(line.lstrip())
        if not stripped:
            blocks.append([])
            in_example = False
            continue
        if stripped.startswith((">>>", "... ")):
            in_example = True  # the output goes on until the blank line
        if literal_indent is not None and depth <= literal_indent:
            literal_indent = None
        if (
            in_example
            or literal_indent is not None
            or RULE_OR_TABLE.match(line)
            or "::=" in line
            or SIGNATURE.match(stripped)
        ):
            blocks.append([])
            continue
        previous = blocks[-1][-1] if blocks[-1] else ""
        if (
            depth < indent
            or any(form.match(stripped) for form in (BULLET, DEFINITION, FIELD))
            or previous.endswith(":")
        ):
            blocks.append([])  # a deeper line goes on with the sentence of the line above, a shallower one does not
        if stripped.endswith("::"):
            literal_indent = depth
            stripped = stripped[:-1]
        blocks[-1].append(FIELD.sub("", BULLET.sub("", stripped)))
        indent = depth
    cleaned = []
    for block in blocks:
        joined = ROLE.sub("", " ".join(block)).replace("`", "").replace("**", "")
        if not is_prose(joined):
            continue
        sentences = [sentence for sentence in split_sentences(joined) if is_prose(sentence)]
        if sentences:
            cleaned.append(sentences)
    return cleaned


def read_stdlib(root: str | None = None, progress=None) -> Found:
    """Every docstring and topic of the standard library under `root` (default: the running Python's) as a Document.

    A sentence that occurs several times, in whatever spelling of its capitals, is kept where it comes first.
    `progress` wraps the list of files (as tqdm's `tqdm` does).
    """
    root = root or sysconfig.get_paths()["stdlib"]
    files = list(source_files(root))
    found = Found([], files=len(files))
    seen: set[str] = set()

    def add(module: str, name: str, text: str) -> None:
        kept = []
        for paragraph in paragraphs(text):
            fresh = []
            for sentence in paragraph:
                key = " ".join(re.findall(r"\w+", sentence.lower()))
                found.duplicates += key in seen
                if key not in seen:
                    seen.add(key)
                    fresh.append(sentence)
            if fresh:
                kept.append(tuple(fresh))
        if kept:
            package = module.split(".")[0]
            found.documents.append(Document(f"{module}:{name}" if name else module, tuple(kept), module, package))

    for module, path in progress(files) if progress else files:
        tree = parse(path)
        if tree is None:
            found.skipped += 1
            continue
        if module == "pydoc_data.topics":
            for topic, text in topics(tree):
                add(f"topics.{topic}", "", text)
        else:
            for name, text in docstrings(tree):
                add(module, name, text)
    if not found.documents:
        raise FileNotFoundError(
            f"no docstring found in the standard library of {sys.executable} under {root!r} ({found.files} source files, "
            f"{found.skipped} of them unreadable): it seems to be installed without its sources. Give a text file as the "
            f"corpus instead"
        )
    return found


def by_module(documents: Iterable[Document]) -> list[Document]:
    """One document a module (or topic), its docstrings as consecutive paragraphs: sentence pairs are drawn from it."""
    grouped: dict[str, list[Document]] = {}
    for document in documents:
        grouped.setdefault(document.module, []).append(document)
    return [
        replace(group[0], name=module, paragraphs=sum((document.paragraphs for document in group), ()))
        for module, group in grouped.items()
    ]


def split_modules(documents: Iterable[Document], validation: float = 0.08, test: float = 0.17) -> dict[str, str]:
    """'train', 'validation' or 'test' for every module: no module is in two splits.

    Every package of three modules or more has some in train and in test.

    Within a package the modules are taken in the order of their names' hashes, each to the split that is furthest below
    its share of the docstrings. A package too small to be shared out goes as a whole where its hash says.
    """
    sizes: dict[str, collections.Counter[str]] = {}
    for document in documents:
        sizes.setdefault(document.package, collections.Counter())[document.module] += 1
    wanted = {"train": 1 - validation - test, "validation": validation, "test": test}
    splits = {}
    for package, modules in sizes.items():
        if len(modules) < 3 or package == "topics":
            for module in modules:
                share = hash_share(module if package == "topics" else package)
                splits[module] = "test" if share < test else "validation" if share < test + validation else "train"
            continue
        filled = dict.fromkeys(wanted, 0)
        total = sum(modules.values())
        # Large modules first: a small one can always be fitted in afterwards.
        for module in sorted(modules, key=lambda name: (-modules[name], hash_share(name))):
            split = max(wanted, key=lambda name: wanted[name] - filled[name] / total)
            splits[module] = split
            filled[split] += modules[module]
    return splits
