"""BERT's two pretraining tasks as batches: masked tokens and next sentence (arXiv 1810.04805, appendix A).

Every random choice comes from a stream that is named by (seed, purpose, epoch, place) rather than from one long stream.
So batch k is the same in every run, and a run that stops needs to keep four integers to go on with the very next batch.
"""

from collections.abc import Callable, Iterable, Iterator

import numpy as np

from minitorch.datasets.corpus import Corpus, Document
from minitorch.text.wordpiece import WordPiece

IGNORED = -100  # the label of a position that the loss leaves out
MASKED = 0.15  # the share of tokens that are hidden
Batch = dict[str, np.ndarray]
Pair = tuple[list[int], list[int], int]  # segment A, segment B, 1 if B is random

_PAIRS, _MASKS, _SHUFFLE = range(3)


def stream(seed: int, *place: int) -> np.random.Generator:
    """The random stream of one place; different places give independent streams."""
    return np.random.default_rng([seed, *place])


def tokenize(documents: Iterable[Document], tokenizer: WordPiece) -> list[list[list[int]]]:
    """The token ids of each sentence of each document; empty sentences and documents are left out."""
    documents = list(documents)
    ids = iter(tokenizer.encode_batch([sentence for document in documents for sentence in document.sentences]))
    tokenized = [
        [sentence for sentence in (next(ids) for _ in document.sentences) if sentence] for document in documents
    ]
    return [sentences for sentences in tokenized if sentences]


def sentence_pairs(
    documents: list[list[list[int]]], max_seq_length: int, rng: np.random.Generator, short_probability: float = 0.1
) -> list[Pair]:
    """Segments A and B that fill `max_seq_length` together.

    B goes on from A or, half of the time, is from another document. A tenth of the pairs aims at a shorter length, so that
    short texts are not foreign to the model.
    """
    if len(documents) < 2:
        return []  # there is no other document
    room = max_seq_length - 3  # [CLS] A [SEP] B [SEP]
    pairs: list[Pair] = []
    for index, sentences in enumerate(documents):
        start = 0
        while start < len(sentences):
            target = int(rng.integers(2, room + 1)) if rng.random() < short_probability else room
            stop, length = start, 0
            while stop < len(sentences) and (length < target or stop - start < 2):
                length += len(sentences[stop])
                stop += 1
            if stop - start < 2:
                break  # a lone last sentence has no true successor, and only false ones would tip the balance
            cut = start + int(rng.integers(1, stop - start))
            first = [token for sentence in sentences[start:cut] for token in sentence]
            is_random = int(rng.random() < 0.5)
            if is_random:
                other = int(rng.integers(len(documents) - 1))
                elsewhere = documents[other + (other >= index)]
                begin = int(rng.integers(len(elsewhere)))
                second: list[int] = []
                for sentence in elsewhere[begin:]:
                    if len(second) >= target - len(first) and second:
                        break
                    second.extend(sentence)
                stop = cut  # what followed A was not used: the next pair starts there
            else:
                second = [token for sentence in sentences[cut:stop] for token in sentence]
            first, second = truncate(first, second, room, rng)
            pairs.append((first, second, is_random))
            start = stop
    return pairs


def truncate(first: list[int], second: list[int], room: int, rng: np.random.Generator) -> tuple[list[int], list[int]]:
    """Cut tokens off the longer segment, from its front or its back at random, until both fit."""
    first_start, first_stop, second_start, second_stop = 0, len(first), 0, len(second)
    while (first_length := first_stop - first_start) + (second_length := second_stop - second_start) > room:
        front = rng.random() < 0.5
        if first_length > second_length:
            first_start, first_stop = first_start + front, first_stop - (not front)
        else:
            second_start, second_stop = second_start + front, second_stop - (not front)
    return first[first_start:first_stop], second[second_start:second_stop]


def collate(pairs: list[Pair], tokenizer: WordPiece, max_seq_length: int) -> Batch:
    """[CLS] A [SEP] B [SEP] and padding, as arrays of shape (B, T)."""
    shape = len(pairs), max_seq_length
    input_ids = np.full(shape, tokenizer.pad_id, np.int64)
    token_type_ids = np.zeros(shape, np.int64)
    attention_mask = np.zeros(shape, np.int64)
    for row, (first, second, _) in enumerate(pairs):
        ids = [tokenizer.cls_id, *first, tokenizer.sep_id, *second, tokenizer.sep_id]
        input_ids[row, : len(ids)] = ids
        token_type_ids[row, len(first) + 2 : len(ids)] = 1
        attention_mask[row, : len(ids)] = 1
    is_random = np.array([pair[2] for pair in pairs], np.int64)
    return {
        "input_ids": input_ids,
        "token_type_ids": token_type_ids,
        "attention_mask": attention_mask,
        "next_sentence_label": is_random,
    }


def mask_tokens(
    input_ids: np.ndarray, tokenizer: WordPiece, rng: np.random.Generator, probability: float = MASKED
) -> tuple[np.ndarray, np.ndarray]:
    """Hide 15% of each row's tokens, at least one, never a special token.           input_ids, labels: (B, T)

    Of the hidden ones 80% become [MASK], 10% a random piece, 10% stay as they are: the model cannot tell which of the
    tokens that it sees are true, so it must understand all of them. Returns the changed ids and the labels.
    """
    special = np.isin(input_ids, tokenizer.special_ids)
    candidates = (~special).sum(1)
    wanted = np.maximum(1, np.rint(probability * candidates)).astype(np.int64)
    wanted[candidates == 0] = 0
    order = rng.random(input_ids.shape)
    order[special] = 2.0  # behind every candidate
    rank = order.argsort(1, kind="stable").argsort(1, kind="stable")
    hidden = rank < wanted[:, None]
    labels = np.where(hidden, input_ids, IGNORED)
    fate = rng.random(input_ids.shape)
    ordinary = np.setdiff1d(np.arange(len(tokenizer)), tokenizer.special_ids)
    changed = np.where(hidden & (fate < 0.8), tokenizer.mask_id, input_ids)
    changed = np.where(hidden & (fate >= 0.8) & (fate < 0.9), rng.choice(ordinary, input_ids.shape), changed)
    return changed, labels


class PretrainingBatches:
    """An endless stream of batches over a corpus, epoch after epoch, that can be stopped and resumed at any batch.

    The corpus is read a chunk of `chunk_documents` documents at a time: the pairs of a chunk are drawn and shuffled
    together, and only one chunk is in memory. The pairs left over at the end of a chunk, less than a batch, are not
    used in that epoch. `keep` chooses documents (for instance those that are not held out).
    """

    def __init__(
        self,
        corpus: Corpus,
        tokenizer: WordPiece,
        *,
        batch_size: int = 32,
        max_seq_length: int = 128,
        seed: int = 0,
        keep: Callable[[Document], bool] | None = None,
        chunk_documents: int = 1024,
        mask_probability: float = MASKED,
    ):
        check_sizes(max_seq_length, batch_size=batch_size, chunk_documents=chunk_documents)
        if not 0 < mask_probability < 1:
            raise ValueError(f"mask_probability must lie between 0 and 1, got {mask_probability}")
        if seed < 0:
            raise ValueError(f"seed must not be negative, got {seed}")
        self.corpus, self.tokenizer, self.keep = corpus, tokenizer, keep
        self.batch_size, self.max_seq_length, self.seed = batch_size, max_seq_length, seed
        self.chunk_documents, self.mask_probability = chunk_documents, mask_probability
        # The place of the next batch: epoch, the chunk's number in it and its position in the corpus, batch in the chunk.
        self.epoch = self.chunk = self.position = self.batch = 0
        self._pairs: list[Pair] | None = None
        # start, stop, does the corpus end there?, token ids
        self._tokenized: tuple[int, int, bool, list[list[list[int]]]] | None = None

    def __iter__(self) -> "PretrainingBatches":
        return self

    def __next__(self) -> Batch:
        empty_from = None
        while self._pairs is None or (self.batch + 1) * self.batch_size > len(self._pairs):
            if self._pairs is not None:
                self._next_chunk()
            if self.batch == 0 and self.position == 0:
                if empty_from is not None:
                    raise ValueError(
                        f"the corpus holds less than one batch: a chunk of {self.chunk_documents} documents never gives "
                        f"batch_size={self.batch_size} sentence pairs of length {self.max_seq_length}. Use a smaller batch "
                        f"or a larger corpus"
                    )
                empty_from = self.epoch
            self._load_chunk()
        rows = self._pairs[self.batch * self.batch_size : (self.batch + 1) * self.batch_size]
        batch = collate(rows, self.tokenizer, self.max_seq_length)
        rng = stream(self.seed, _MASKS, self.epoch, self.chunk, self.batch)
        batch["input_ids"], batch["labels"] = mask_tokens(
            batch["input_ids"], self.tokenizer, rng, self.mask_probability
        )
        self.batch += 1
        return batch

    def _next_chunk(self) -> None:
        assert self._tokenized is not None
        _, stop, at_end, _ = self._tokenized
        self.batch = 0
        self.epoch, self.chunk, self.position = (self.epoch + 1, 0, 0) if at_end else (self.epoch, self.chunk + 1, stop)

    def _load_chunk(self) -> None:
        if self._tokenized is None or self._tokenized[0] != self.position:
            chosen: list[Document] = []
            stop, at_end = self.position, True
            for document, after in self.corpus.documents(self.position):
                if len(chosen) == self.chunk_documents:
                    at_end = False
                    break
                stop = after
                if self.keep is None or self.keep(document):
                    chosen.append(document)
            self._tokenized = self.position, stop, at_end, tokenize(chosen, self.tokenizer)
        rng = stream(self.seed, _PAIRS, self.epoch, self.chunk)
        pairs = sentence_pairs(self._tokenized[3], self.max_seq_length, rng)
        order = stream(self.seed, _SHUFFLE, self.epoch, self.chunk).permutation(len(pairs))
        self._pairs = [pairs[index] for index in order]

    def state_dict(self) -> dict:
        """The place of the next batch, and what it belongs to."""
        return {
            "epoch": self.epoch,
            "chunk": self.chunk,
            "position": self.position,
            "batch": self.batch,
            "settings": self._settings(),
        }

    def load_state_dict(self, state: dict) -> None:
        """Go to the place that `state_dict` told; the corpus and the settings must be the same."""
        settings = self._settings()
        different = [f"{key} was {state['settings'].get(key)!r}, is {value!r}" for key, value in settings.items()
                     if state["settings"].get(key) != value]  # fmt: skip
        if different:
            raise ValueError(f"the saved position belongs to other data: {'; '.join(different)}")
        self.epoch, self.chunk = int(state["epoch"]), int(state["chunk"])
        self.position, self.batch = int(state["position"]), int(state["batch"])
        self._pairs = None
        self._tokenized = None

    def _settings(self) -> dict:
        return {
            "corpus": self.corpus.fingerprint,
            "vocabulary": len(self.tokenizer),
            "batch_size": self.batch_size,
            "max_seq_length": self.max_seq_length,
            "seed": self.seed,
            "chunk_documents": self.chunk_documents,
            "mask_probability": self.mask_probability,
        }


def fixed_batches(
    documents: Iterable[Document],
    tokenizer: WordPiece,
    *,
    max_seq_length: int,
    batch_size: int = 64,
    max_batches: int | None = None,
    seed: int = 0,
) -> list[Batch]:
    """Batches for evaluation: the same pairs and masks at every call, the last batch as long as it comes."""
    check_sizes(max_seq_length, batch_size=batch_size)
    pairs = sentence_pairs(tokenize(documents, tokenizer), max_seq_length, stream(seed, _PAIRS))
    if not pairs:
        raise ValueError("the documents hold no text to evaluate on")
    pairs = [pairs[index] for index in stream(seed, _SHUFFLE).permutation(len(pairs))]
    starts: Iterator[int] | range = range(0, len(pairs), batch_size)
    batches = []
    for number, start in enumerate(starts):
        if number == max_batches:
            break
        batch = collate(pairs[start : start + batch_size], tokenizer, max_seq_length)
        rng = stream(seed, _MASKS, number)
        batch["input_ids"], batch["labels"] = mask_tokens(batch["input_ids"], tokenizer, rng)
        batches.append(batch)
    return batches


def unigram_counts(documents: Iterable[Document], tokenizer: WordPiece) -> np.ndarray:
    """How often each piece occurs.                                                    (V,)"""
    counts = np.zeros(len(tokenizer), np.int64)
    for sentences in tokenize(documents, tokenizer):
        for sentence in sentences:
            np.add.at(counts, sentence, 1)
    return counts


def check_sizes(max_seq_length: int, **sizes: int) -> None:
    if max_seq_length < 8:
        raise ValueError(
            f"max_seq_length must be at least 8 (three special tokens and some text), got {max_seq_length}"
        )
    for name, value in sizes.items():
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
