"""A WordPiece vocabulary in BERT's manner: train it, save it, cut text into its pieces.

The cutting is done by the `tokenizers` library, which is what published BERT vocabularies are used with; the file is
BERT's `vocab.txt`, a piece a line.
"""

import collections
import os
from collections.abc import Iterable, Sequence

from minitorch.utils.files import atomic_file

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def _tokenizers():
    try:
        import tokenizers
    except ImportError as error:
        raise ImportError("WordPiece needs the `tokenizers` library: pip install minitorch[text]") from error
    return tokenizers


class WordPiece:
    """Text to token ids and back.

    `pieces` is the vocabulary in the order of its ids. Text is normalised as BERT's is: control characters out, accents
    stripped and letters lowered (unless `lowercase=False`), cut at white space and punctuation.
    """

    def __init__(self, pieces: Sequence[str], lowercase: bool = True):
        tokenizers = _tokenizers()
        self.pieces = list(pieces)
        self.lowercase = lowercase
        ids = {piece: index for index, piece in enumerate(self.pieces)}
        if len(ids) != len(self.pieces):
            twice = next(piece for index, piece in enumerate(self.pieces) if ids[piece] != index)
            raise ValueError(f"the vocabulary holds {twice!r} twice")
        missing = [token for token in SPECIAL_TOKENS if token not in ids]
        if missing:
            raise ValueError(f"the vocabulary of {len(ids)} pieces lacks the special tokens {', '.join(missing)}")
        self.pad_id, self.unk_id, self.cls_id, self.sep_id, self.mask_id = (ids[token] for token in SPECIAL_TOKENS)
        self._tokenizer = tokenizers.Tokenizer(tokenizers.models.WordPiece(ids, unk_token="[UNK]"))
        self._tokenizer.normalizer = tokenizers.normalizers.BertNormalizer(lowercase=lowercase)
        self._tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
        self._tokenizer.decoder = tokenizers.decoders.WordPiece()
        self._tokenizer.add_special_tokens(list(SPECIAL_TOKENS))

    @classmethod
    def train(
        cls, texts: Iterable[str], vocab_size: int, lowercase: bool = True, min_frequency: int = 2
    ) -> "WordPiece":
        """Learn a vocabulary of at most `vocab_size` pieces from texts (an iterator will do: only counts are kept).

        The same texts give the same vocabulary. Left alone, the library's trainer numbers the letters in the order of a
        randomly seeded hash table and breaks ties by these numbers, so here they are numbered beforehand.
        """
        tokenizers = _tokenizers()
        if vocab_size < 200:
            raise ValueError(
                f"vocab_size must be at least 200 (letters, digits and special tokens take that), got {vocab_size}"
            )
        normalizer = tokenizers.normalizers.BertNormalizer(lowercase=lowercase)
        pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
        words: collections.Counter[str] = collections.Counter()
        for text in texts:
            words.update(word for word, _ in pre_tokenizer.pre_tokenize_str(normalizer.normalize_str(text)))
        characters: collections.Counter[str] = collections.Counter()
        for word, count in words.items():
            for character in word:
                characters[character] += count
        frequent = sorted(characters, key=lambda character: (-characters[character], character))
        alphabet = sorted(frequent[: vocab_size // 4])  # the rest, rare scripts mostly, becomes [UNK]
        if not alphabet:
            raise ValueError("there is no text to train a vocabulary on")
        known = set(alphabet)
        trainer = tokenizers.trainers.WordPieceTrainer(
            vocab_size=vocab_size,
            min_frequency=min_frequency,
            special_tokens=[*SPECIAL_TOKENS, *alphabet, *(f"##{character}" for character in alphabet)],
            show_progress=False,
        )
        tokenizer = tokenizers.Tokenizer(tokenizers.models.WordPiece(unk_token="[UNK]"))
        tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
        repeated = (
            " ".join([word] * min(count - start, 10_000))
            for word, count in words.items()
            if known.issuperset(word)
            for start in range(0, count, 10_000)
        )
        tokenizer.train_from_iterator(repeated, trainer)
        vocabulary = tokenizer.get_vocab()
        return cls(sorted(vocabulary, key=vocabulary.__getitem__), lowercase)

    def save(self, path: str | os.PathLike) -> None:
        """Write `vocab.txt`, complete or not at all."""
        with atomic_file(path) as file:
            file.write("".join(piece + "\n" for piece in self.pieces).encode())

    @classmethod
    def load(cls, path: str | os.PathLike, lowercase: bool = True) -> "WordPiece":
        try:
            with open(path, encoding="utf-8", newline="\n") as file:
                pieces = file.read().split("\n")
        except UnicodeDecodeError as error:
            raise ValueError(f"{os.fspath(path)!r} is not a vocabulary: not UTF-8 text at byte {error.start}") from None
        if pieces[-1] == "":
            pieces.pop()
        try:
            return cls([piece.rstrip("\r") for piece in pieces], lowercase)
        except ValueError as error:
            raise ValueError(f"{os.fspath(path)!r}: {error}") from None

    def __len__(self) -> int:
        return len(self.pieces)

    @property
    def special_ids(self) -> tuple[int, ...]:
        return self.pad_id, self.unk_id, self.cls_id, self.sep_id, self.mask_id

    def encode(self, text: str) -> list[int]:
        """Token ids of a text, without [CLS] and [SEP]. "[MASK]" in the text becomes the mask's id."""
        return self._tokenizer.encode(text, add_special_tokens=False).ids

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """`encode` for many texts at once, on all cores."""
        return [encoding.ids for encoding in self._tokenizer.encode_batch(list(texts), add_special_tokens=False)]

    def tokens(self, ids: Iterable[int]) -> list[str]:
        return [self.pieces[index] for index in ids]

    def decode(self, ids: Iterable[int]) -> str:
        """Text again: continuation pieces joined, special tokens kept."""
        return self._tokenizer.decode([int(index) for index in ids], skip_special_tokens=False)
