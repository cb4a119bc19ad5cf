"""A published model's tokenizer: its files, on the `tokenizers` library, which Hugging Face's models are used with.

    tokenizer = Tokenizer.from_pretrained(folder or hub id)
    model(**tokenizer(["one text", "another, longer one"]))

`wordpiece.py` trains a vocabulary of one's own.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from typing import Any

from minitorch import Tensor
from minitorch.text.wordpiece import _tokenizers
from minitorch.utils.files import atomic_file
from minitorch.utils.hub import find, read_json, resolve

ROLES = ("pad", "unk", "cls", "sep", "mask", "bos", "eos")
BERT = {  # what tokenizer_config.json need not say
    "tokenizer_class": "BertTokenizer", "pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]",
    "sep_token": "[SEP]", "mask_token": "[MASK]", "do_lower_case": True, "tokenize_chinese_chars": True,
    "strip_accents": None,
}  # fmt: skip
GPT2 = {
    "tokenizer_class": "GPT2Tokenizer", "unk_token": "<|endoftext|>", "bos_token": "<|endoftext|>",
    "eos_token": "<|endoftext|>", "add_prefix_space": False,
}  # fmt: skip
SANE = 1_000_000  # tokens; a model_max_length above it means that there is no limit


class Tokenizer:
    """Text to token ids and back.

    A call gives what a model reads, padded to the longest; `features` gives lists, to be padded batch by batch with
    `pad`. No text gets more than `max_length` tokens, special ones included; by default that is the model's limit, where
    its files give one. `pad_id`, `unk_id`, `cls_id`, `sep_id`, `mask_id`, `bos_id`, `eos_id` are None where the
    vocabulary has no such token.
    """

    def __init__(self, library_tokenizer: Any, settings: dict[str, Any] | None = None):
        """library_tokenizer: a tokenizers.Tokenizer; settings: what tokenizer_config.json holds."""
        self._tokenizer = library_tokenizer
        self._tokenizer.no_padding()  # a file may say "cut and pad all to 128": here the caller says that
        self._tokenizer.no_truncation()
        self._truncation: int | None = None
        self.settings = dict(settings or {})
        limit = self.settings.get("model_max_length")
        self.max_length = limit if isinstance(limit, int) and 0 < limit <= SANE else None
        self.special_tokens = {role: self._special_token(role) for role in ROLES}
        self.pad_id, self.unk_id, self.cls_id, self.sep_id, self.mask_id, self.bos_id, self.eos_id = (
            None if token is None else self._tokenizer.token_to_id(token) for token in self.special_tokens.values()
        )
        # A model that tells pairs apart by [SEP] alone, or reads no pairs (GPT-2), would misread token types.
        names = self.settings.get("model_input_names")
        self.has_types = "token_type_ids" in names if isinstance(names, list) else self.sep_id is not None

    def _special_token(self, role: str) -> str | None:
        """The token with this role, as the settings say; otherwise BERT's, where the vocabulary has it."""
        name = f"{role}_token"
        token = _text_of(self.settings[name] if name in self.settings else BERT.get(name))
        return token if token is not None and self._tokenizer.token_to_id(token) is not None else None

    # ---- files -------------------------------------------------------------------------------------------------------

    @classmethod
    def from_pretrained(cls, name_or_folder: Any) -> Tokenizer:
        """The tokenizer in a model's folder, or of a hub id ("owner/name"), from the first of these files that is there:

        tokenizer.json; vocab.txt (BERT); vocab.json and merges.txt (GPT-2). What they leave open is read from
        tokenizer_config.json and special_tokens_map.json.
        """
        settings: dict[str, Any] = {}
        for name in ("special_tokens_map.json", "tokenizer_config.json"):
            path = find(name_or_folder, name)
            settings.update(read_json(path) if path is not None else {})
        readers = {"tokenizer.json": _read_tokenizer, "vocab.txt": _read_wordpiece, "vocab.json": _read_pairs}
        for name, read in readers.items():
            path = find(name_or_folder, name)
            if path is not None:
                return cls(*read(path, name_or_folder, settings))
        raise FileNotFoundError(
            f"{os.fspath(name_or_folder)!r} has no tokenizer: none of the files {', '.join(readers)}"
        )

    def save_pretrained(self, folder: Any) -> None:
        """Write tokenizer.json and tokenizer_config.json, for from_pretrained here and Hugging Face's."""
        os.makedirs(folder, exist_ok=True)
        settings = {"tokenizer_class": "PreTrainedTokenizerFast", **self.settings}
        settings.update({f"{role}_token": token for role, token in self.special_tokens.items() if token is not None})
        normalizer = self._tokenizer.normalizer
        if isinstance(normalizer, _tokenizers().normalizers.BertNormalizer):
            settings["do_lower_case"], settings["strip_accents"] = normalizer.lowercase, normalizer.strip_accents
            settings["tokenize_chinese_chars"] = normalizer.handle_chinese_chars
        self._tokenizer.no_truncation()
        self._truncation = None
        for name, text in (
            ("tokenizer.json", self._tokenizer.to_str(pretty=True)),
            ("tokenizer_config.json", json.dumps(settings, indent=2, ensure_ascii=False)),
        ):
            with atomic_file(os.path.join(folder, name)) as file:
                file.write(f"{text}\n".encode())

    # ---- text to ids -------------------------------------------------------------------------------------------------

    def __call__(
        self, texts: str | Sequence[str], pairs: str | Sequence[str] | None = None, *, max_length: int | None = None
    ) -> dict[str, Tensor]:
        """input_ids, attention_mask (0: padding), token_type_ids (1: of the pair), (B, T) each, of one text or several.

        No token_type_ids for a model that has none.
        """
        if isinstance(texts, str):
            texts, pairs = [texts], None if pairs is None else [pairs]  # type: ignore[list-item]
        if len(texts) == 0:
            raise ValueError("there is no text to make a batch of")
        return self.pad(self.features(texts, pairs, max_length=max_length))

    def features(
        self, texts: Sequence[str], pairs: Sequence[str] | None = None, *, max_length: int | None = None
    ) -> list[dict[str, list[int]]]:
        """Every text's input_ids and token_type_ids, with special tokens, not padded. On all cores."""
        texts = _list_of_texts(texts)
        inputs: list = texts
        if pairs is not None:
            pairs = _list_of_texts(pairs)
            if len(pairs) != len(texts):
                raise ValueError(
                    f"there are {len(texts)} texts and {len(pairs)} second texts: one for each is expected"
                )
            inputs = list(zip(texts, pairs, strict=True))
        self._truncate(max_length, pairs is not None)
        encoded = self._tokenizer.encode_batch(inputs)
        if not self.has_types:
            return [{"input_ids": e.ids} for e in encoded]
        return [{"input_ids": e.ids, "token_type_ids": e.type_ids} for e in encoded]

    def word_features(
        self, sentences: Sequence[Sequence[str]], *, max_length: int | None = None
    ) -> list[dict[str, list]]:
        """For sentences cut into words: input_ids, and word_ids, the number of each token's word (None: special token)."""
        sentences = [_list_of_texts(words, "a sentence is a list of words") for words in sentences]
        before = self._tokenizer.pre_tokenizer
        if getattr(before, "add_prefix_space", True) is False:
            raise ValueError(
                "this tokenizer tells words by the space before them: add_prefix_space must be true for words"
            )
        self._truncate(max_length)
        encoded = self._tokenizer.encode_batch(sentences, is_pretokenized=True)
        return [{"input_ids": e.ids, "word_ids": e.word_ids} for e in encoded]

    def encode(self, text: str, pair: str | None = None, *, max_length: int | None = None) -> list[int]:
        """The ids of one text, or of a pair, with special tokens."""
        return self.features([text], None if pair is None else [pair], max_length=max_length)[0]["input_ids"]

    def pad(self, features: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
        """Features as a batch of int64 tensors: texts.batches.pad with this tokenizer's padding."""
        from minitorch.text.batches import pad

        return pad(features, 0 if self.pad_id is None else self.pad_id)

    def _truncate(self, max_length: int | None, pair: bool = False) -> None:
        limit = self.max_length if max_length is None else max_length
        if limit is not None and limit <= self._tokenizer.num_special_tokens_to_add(pair):
            special = self._tokenizer.num_special_tokens_to_add(pair)
            raise ValueError(f"max_length={limit} leaves no room for text: {special} are special tokens")
        if limit == self._truncation:
            return
        self._truncation = limit
        if limit is None:
            self._tokenizer.no_truncation()
        else:
            side = "left" if self.settings.get("truncation_side") == "left" else "right"
            self._tokenizer.enable_truncation(limit, direction=side)

    # ---- ids to text -------------------------------------------------------------------------------------------------

    def decode(self, ids: Iterable[int], skip_special_tokens: bool = True) -> str:
        """Text again, as near as the vocabulary allows."""
        return self._tokenizer.decode(_numbers(ids), skip_special_tokens=skip_special_tokens)

    def tokens(self, ids: Iterable[int]) -> list[str]:
        """The pieces of the vocabulary."""
        tokens = []
        for index in _numbers(ids):
            token = self._tokenizer.id_to_token(index) if index >= 0 else None
            if token is None:
                raise IndexError(f"id {index} is not in the vocabulary of {self.vocab_size} tokens")
            tokens.append(token)
        return tokens

    @property
    def vocab_size(self) -> int:
        """Ids are below this number; added tokens count."""
        return self._tokenizer.get_vocab_size()

    def __len__(self) -> int:
        return self.vocab_size


def _numbers(ids: Any) -> list[int]:
    return [int(index) for index in (ids.tolist() if hasattr(ids, "tolist") else ids)]


def _text_of(token: Any) -> str | None:
    """A special token in the settings is text, or an object with its text and flags."""
    token = token.get("content") if isinstance(token, dict) else token
    return token if isinstance(token, str) else None


def _list_of_texts(texts: Any, expected: str = "a list of texts is expected") -> list[str]:
    made = [] if isinstance(texts, str) else list(texts)
    wrong = texts if isinstance(texts, str) else next((text for text in made if not isinstance(text, str)), None)
    if wrong is not None or None in made:
        raise TypeError(f"{expected}, got {'the text' if isinstance(texts, str) else 'in it'} {wrong!r:.80}")
    return made


def _read_tokenizer(path: str, source: Any, settings: dict) -> tuple[Any, dict]:
    """tokenizer.json, all that the library needs; but how to normalise is said by tokenizer_config.json, if it says it."""
    tokenizers = _tokenizers()
    try:
        tokenizer = tokenizers.Tokenizer.from_file(path)
    except Exception as error:  # the library raises nothing more special
        raise ValueError(f"{path} is not a tokenizer: {error}") from None
    normalizer = tokenizer.normalizer
    if isinstance(normalizer, tokenizers.normalizers.BertNormalizer):
        tokenizer.normalizer = _bert_normalizer({
            "do_lower_case": normalizer.lowercase, "strip_accents": normalizer.strip_accents,
            "tokenize_chinese_chars": normalizer.handle_chinese_chars, **settings,
        })  # fmt: skip
    return tokenizer, settings


def _bert_normalizer(settings: dict) -> Any:
    return _tokenizers().normalizers.BertNormalizer(
        lowercase=bool(settings["do_lower_case"]), strip_accents=settings["strip_accents"],
        handle_chinese_chars=bool(settings["tokenize_chinese_chars"]),
    )  # fmt: skip


def _read_wordpiece(path: str, source: Any, settings: dict) -> tuple[Any, dict]:
    """BERT's vocab.txt, a piece a line."""
    tokenizers = _tokenizers()
    settings = {**BERT, **settings}
    try:
        with open(path, encoding="utf-8", newline="\n") as file:
            ids = {line.rstrip("\r\n"): index for index, line in enumerate(file)}
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not a vocabulary: not UTF-8 text at byte {error.start}") from None
    unknown, first, last = (str(_text_of(settings[name])) for name in ("unk_token", "cls_token", "sep_token"))
    missing = [token for token in (unknown, first, last) if token not in ids]
    if missing:
        raise ValueError(f"{path}: the vocabulary of {len(ids)} pieces lacks the special tokens {', '.join(missing)}")
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordPiece(ids, unk_token=unknown))
    tokenizer.normalizer = _bert_normalizer(settings)
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = tokenizers.decoders.WordPiece()
    tokenizer.post_processor = tokenizers.processors.BertProcessing((last, ids[last]), (first, ids[first]))
    _add_tokens(tokenizer, source, settings)
    return tokenizer, settings


def _read_pairs(path: str, source: Any, settings: dict) -> tuple[Any, dict]:
    """GPT-2's vocab.json and merges.txt: pieces of bytes, and which of them are joined, in this order."""
    tokenizers = _tokenizers()
    settings = {**GPT2, **settings}
    merges = resolve(source, "merges.txt")
    try:
        tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE.from_file(path, merges))
    except Exception as error:
        raise ValueError(f"{path} and {merges} are not a vocabulary of byte pairs: {error}") from None
    space = bool(settings["add_prefix_space"])
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=space)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    tokenizer.post_processor = tokenizers.processors.ByteLevel(trim_offsets=False)
    _add_tokens(tokenizer, source, settings)
    return tokenizer, settings


def _add_tokens(tokenizer: Any, source: Any, settings: dict) -> None:
    """The special tokens, which are never cut, and those that were added to the vocabulary, in the order of their ids."""
    path = find(source, "added_tokens.json")
    added = {index: {"content": token} for token, index in (read_json(path) if path is not None else {}).items()}
    described = settings.get("added_tokens_decoder")
    for index, token in described.items() if isinstance(described, dict) else ():
        added[int(index)] = token if isinstance(token, dict) else {"content": token}
    AddedToken = _tokenizers().AddedToken
    roles = (_text_of(settings.get(f"{role}_token")) for role in ROLES)
    special = {token for token in roles if token is not None}
    for index, token in sorted(added.items()):
        flags = {name: bool(token[name]) for name in ("single_word", "lstrip", "rstrip", "normalized") if name in token}
        content = _text_of(token)
        if content is None:
            raise ValueError(f"token {index} that was added to the vocabulary of {source} has no text")
        is_special = bool(token.get("special")) or content in special
        (tokenizer.add_special_tokens if is_special else tokenizer.add_tokens)([AddedToken(content, **flags)])
        if tokenizer.token_to_id(content) != index:
            raise ValueError(f"the added token {content!r} of {source} should have the id {index}, but the vocabulary "
                             f"has {tokenizer.token_to_id(content)} for it")  # fmt: skip
    known = [token for token in sorted(special) if tokenizer.token_to_id(token) is not None]
    tokenizer.add_special_tokens(known)
