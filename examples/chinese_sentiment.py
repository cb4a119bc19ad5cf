"""Learn from scratch, character by character, whether a Chinese hotel review is a good one, or what a news title is about.

    python examples/chinese_sentiment.py                                        train, evaluate, save
    python examples/chinese_sentiment.py --predict 房间很干净，服务也好         read the saved model
    python examples/chinese_sentiment.py --evaluate --split test                evaluate the saved model on a test split
    python examples/chinese_sentiment.py --task news --out runs/chinese_news    titles of news, ten classes
    python examples/chinese_sentiment.py --task file --data FILE --model runs/chinese_sentiment/hotels
                                            go on from what is learnt, on lines `text TAB label` of your own

Chinese writes no spaces between words, and a character already means something, so the characters are the tokens: no
segmentation, and a vocabulary of some 3,000. Three models to compare (--kind): an LSTM (lesson 08), convolutions (lesson
07), and a bag of n-grams: the fastest by far, and with so few texts to learn from no worse. The loop is
minitorch.training.fit.
"""

import argparse
import json
import random
import unicodedata
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import common
import numpy as np
from classify_text import own_texts
from minitorch.models.bert import SequenceClassifierOutput
from minitorch.models.lstm import LSTMConfig, LSTMForSequenceClassification
from minitorch.models.pretrained import PreTrained, PreTrainedConfig, complete_labels
from sklearn.metrics import f1_score

import minitorch
from minitorch import datasets, nn
from minitorch.datasets.corpus import is_held_out
from minitorch.nn import functional as F
from minitorch.optim.lr_scheduler import linear_warmup_decay
from minitorch.text.batches import batches, pad
from minitorch.training import parameter_groups, predict

# ---- text -----------------------------------------------------------------------------------------------------------


class Characters:
    """A tokenizer: every character is a token, and one that is not in the vocabulary is [UNK]. [CLS] comes before each text."""

    SPECIAL = ("[PAD]", "[UNK]", "[CLS]")

    def __init__(self, characters):
        self.characters = [*self.SPECIAL, *characters]
        self.ids = {character: i for i, character in enumerate(self.characters)}

    @classmethod
    def of(cls, texts: list[str], at_least: int) -> "Characters":
        """The characters that occur so often in the training texts, the most frequent first."""
        counts = Counter(character for text in texts for character in cls.normalise(text))
        return cls([character for character, n in counts.most_common() if n >= at_least])

    @staticmethod
    def normalise(text: str) -> str:
        """Full-width letters, digits and punctuation become the usual ones (！ to !), capitals small, white space one space."""
        return " ".join(unicodedata.normalize("NFKC", text).lower().split())

    def features(self, texts: list[str], max_length: int | None = None) -> list[dict]:
        """Unpadded {"input_ids": [...]} for each text; of one that is too long the beginning."""
        unk, cls = self.ids["[UNK]"], self.ids["[CLS]"]
        rows = [[cls, *(self.ids.get(character, unk) for character in self.normalise(text))] for text in texts]
        return [{"input_ids": row[:max_length]} for row in rows]

    def pad(self, features: list[dict]) -> dict:
        return pad(features, self.ids["[PAD]"])

    def save_pretrained(self, folder: Path) -> None:
        (Path(folder) / "characters.json").write_text(json.dumps(self.characters, ensure_ascii=False), encoding="utf-8")

    @classmethod
    def from_pretrained(cls, folder: Path) -> "Characters":
        file = Path(folder) / "characters.json"
        characters = json.loads(file.read_text(encoding="utf-8"))
        special = list(cls.SPECIAL)
        if not isinstance(characters, list) or characters[:3] != special or len({*characters}) != len(characters):
            raise ValueError(f"{file} must hold a list of different characters that begins with {', '.join(special)}")
        return cls(characters[3:])


# ---- models beside the LSTM, with its interface: (input_ids, attention_mask, labels) -> .loss, .logits --------------


@dataclass
class TextConfig(PreTrainedConfig):
    vocab_size: int = 3000
    hidden_size: int = 128
    buckets: int = 1 << 17  # of the bag: n-grams that share a bucket share a vector
    dropout: float = 0.5
    initializer_range: float = 0.1
    num_labels: int | None = None
    id2label: dict[int, str] | None = None
    label2id: dict[str, int] | None = None

    model_type = "text"

    def __post_init__(self):
        complete_labels(self)


class TextModel(PreTrained):
    config_class = TextConfig

    def forward(self, input_ids, attention_mask, labels=None):
        x = self.vector(input_ids, attention_mask != 0)  # (B, C)
        logits = self.classifier(F.dropout(x, self.config.dropout, self.training))  # (B, num_labels)
        return SequenceClassifierOutput(None if labels is None else F.cross_entropy(logits, labels), logits)


class BagOfNgrams(TextModel):
    """The mean of a vector for each character, pair and triple in the text: order counts within a triple only.

    There are too many triples for a table of all, so a number made from the characters chooses a row (arXiv:1607.01759).
    """

    def __init__(self, config):
        super().__init__(config)
        self.embedding = nn.Embedding(config.buckets, config.hidden_size)
        self.classifier = nn.Linear(config.hidden_size, config.num_labels)
        self.init_weights(self.embedding)

    def vector(self, ids, seen):
        total, count, ngram = 0, 0, ids * 0
        for n in range(3):  # a row for each n-gram that ends at this token
            ngram = (F.pad(ngram, (1, 0))[:, :-1] * 1000003 + ids + 7919 * n) % self.config.buckets  # (B, T)
            x = self.embedding(ngram) * seen.unsqueeze(2)  # (B, T, C)
            total, count = total + x.sum(1), count + seen.sum(1, keepdim=True)
        return total / count


class TextCNN(TextModel):
    """Filters that look at 2, 3, 4 and 5 characters, and of each the place where it fits best. arXiv:1408.5882"""

    def __init__(self, config):
        super().__init__(config)
        C = config.hidden_size
        self.embedding = nn.Embedding(config.vocab_size, C)
        self.convolutions = nn.ModuleList([nn.Conv1d(C, C, width) for width in (2, 3, 4, 5)])
        self.classifier = nn.Linear(4 * C, config.num_labels)
        self.init_weights(self.embedding)

    def vector(self, ids, seen):
        x = F.dropout(self.embedding(ids), self.config.dropout / 2, self.training) * seen.unsqueeze(2)  # (B, T, C)
        x = x.transpose(1, 2)  # (B, C, T)
        best = []
        for convolution in self.convolutions:
            before = convolution.kernel_size[0] - 1
            y = F.relu(convolution(F.pad(x, (before, 0))))  # (B, C, T): at each token, what it and those before it give
            best.append((y * seen.unsqueeze(1)).amax(2))  # (B, C); 0 is the least that relu gives
        return minitorch.cat(best, 1)  # (B, 4 C)


def lstm(size: int, labels: dict) -> nn.Module:
    return LSTMForSequenceClassification(LSTMConfig(
        size, embedding_size=128, hidden_size=128, bidirectional=True, dropout=0.4, pooling="max", label2id=labels,
    ))  # fmt: skip


@dataclass
class Recipe:
    make: Callable  # vocabulary's size, label2id -> model
    lr: float
    epochs: int


KINDS = {
    "lstm": Recipe(lstm, 2e-3, 6),
    "cnn": Recipe(lambda size, labels: TextCNN(TextConfig(size, label2id=labels)), 1e-3, 8),
    "bag": Recipe(lambda size, labels: BagOfNgrams(TextConfig(size, 32, label2id=labels)), 1e-2, 4),
}
CLASSES = {"lstm": LSTMForSequenceClassification, "cnn": TextCNN, "bag": BagOfNgrams}
NEW = {"kind": "bag", "at_least": 2}  # the settings of a new model
METHODS = {"full": "all weights", "frozen": "only the last layer", "bitfit": "the last layer, and only biases"}


# ---- data -----------------------------------------------------------------------------------------------------------


def news(split: str, root=None):
    """News titles. Only 20,000 are at hand: the official validation titles are cut into train (9 of 10) and validation."""
    if split == "test":
        return datasets.thucnews_titles("test", root=root)
    data = datasets.thucnews_titles("validation", root=root)
    held_out = [is_held_out(key, 0.1) for key in data.keys()]
    return data.select([i for i, out in enumerate(held_out) if out == (split == "validation")])


TASKS = {"hotels": datasets.chnsenticorp_htl, "news": news, "file": own_texts}


# ---- the program ----------------------------------------------------------------------------------------------------


def choices(model, features: list[dict], tokenizer: Characters, progress: bool = False) -> np.ndarray:
    """The class of each text, (N,)"""
    return minitorch.stack(predict(model, features, tokenizer.pad, progress=progress)).argmax(1).numpy()


def scores(labels, said) -> tuple[float, float]:
    """Accuracy and macro F1."""
    return float((said == np.array(labels)).mean()), float(f1_score(labels, said, average="macro"))


def make_model(args, run: common.Run, data):
    """A new one with the characters of these texts, or that of --model with its own."""
    if args.model is not None:
        folder = common.saved_model(args, run)
        model, tokenizer = load_model(folder, "cpu")
        run.check_classes(model, data.classes, by_name=True, where=folder)
        if args.method == "bitfit" and isinstance(model, BagOfNgrams):
            raise ValueError("--method bitfit: a bag has no biases below its last layer, which --method frozen trains")
        return model, tokenizer
    tokenizer = Characters.of(data.texts, args.at_least)
    numbers = {name: number for number, name in enumerate(data.classes)}
    return KINDS[args.kind].make(len(tokenizer.characters), numbers), tokenizer


def train(args, run: common.Run):
    data, validation = (TASKS[args.task](split, root=args.data) for split in ("train", "validation"))
    if args.limit:
        data = data.select(random.Random(args.seed).sample(range(len(data)), min(args.limit, len(data))))
    model, tokenizer = make_model(args, run, data)
    vocabulary = "those of the model" if args.model else f"characters seen at least {args.at_least} times"
    run.say(
        f"{args.task}, {kind_of(model)}: {len(data)} texts to learn from, {len(validation)} to validate; "
        f"{len(tokenizer.characters)} tokens, {vocabulary}"
    )
    numbers = model.config.label2id
    labels, truth = ([numbers[part.classes[n]] for n in part.labels] for part in (data, validation))
    features = tokenizer.features(data.texts, args.max_length)
    loader = batches([{**f, "labels": n} for f, n in zip(features, labels)], tokenizer.pad, args.batch_size)
    held_out = tokenizer.features(validation.texts, args.max_length)

    run.say(f"{sum(p.numel() for p in model.parameters()):,} parameters")
    steps = args.epochs * len(loader)
    model = common.peft_model(model, args, steps).to(args.device)
    optimizer = minitorch.optim.AdamW(parameter_groups(model, args.lr), lr=args.lr)

    def evaluate(model):
        accuracy, macro_f1 = scores(truth, choices(model, held_out, tokenizer))
        return {"validation_accuracy": accuracy, "validation_macro_f1": macro_f1, "score": accuracy}

    schedule = linear_warmup_decay(optimizer, steps // 10, steps)
    run.fit(model, loader, optimizer=optimizer, schedule=schedule, evaluate=evaluate)
    model = common.merged(model)
    common.save_model(model, tokenizer, run.model)
    return model, tokenizer


def kind_of(model: nn.Module) -> str:
    return next(kind for kind, made in CLASSES.items() if isinstance(model, made))


def read_kind(folder: Path) -> str:
    """Of which kind the saved model is: lstm, cnn or bag."""
    file = folder / "config.json"
    if not file.is_file():
        raise common.no_model(folder)
    named = "".join(json.loads(file.read_text(encoding="utf-8")).get("architectures") or [])
    for kind, made in CLASSES.items():
        if made.__name__ == named:
            return kind
    raise SystemExit(f"{folder} holds a {named}; this program makes {', '.join(c.__name__ for c in CLASSES.values())}")


def load_model(folder: Path, device: str):
    """The saved model, of whichever kind it is, and its characters."""
    return CLASSES[read_kind(folder)].from_pretrained(folder).to(device), Characters.from_pretrained(folder)


def report(args, data, run: common.Run, model, tokenizer) -> None:
    """The classes' table, beside what is reached without reading."""
    classes = run.check_classes(model, data.classes, by_name=True)
    labels = [classes.index(data.classes[n]) for n in data.labels]
    said = choices(model, tokenizer.features(data.texts, args.max_length), tokenizer, progress=True)
    run.say(f"\n## {args.task}, split {args.split}: {len(data)} texts\n")
    run.per_class(labels, said, classes)
    largest = np.full(len(data), np.bincount(labels).argmax())
    for name, guess in (("this model", said), ("the largest class", largest)):
        accuracy, macro_f1 = scores(labels, guess)
        run.say(f"{name}: accuracy {accuracy:.4f}, macro F1 {macro_f1:.4f}")


def options() -> argparse.ArgumentParser:
    parser = common.options(
        __doc__, out="runs/chinese_sentiment/TASK", epochs=None, lr=None, batch_size=32, methods=METHODS, model=None,
        why_not="LoRA is for linear layers, of which these models have one, the last",
    )  # fmt: skip
    add = parser.add_argument
    add(
        "--task",
        choices=TASKS,
        default="hotels",
        help="hotel reviews, news titles, or lines text TAB label in --data FILE (default: hotels)",
    )
    add("--kind", choices=KINDS, help="what learns (default: bag)")
    add("--max-length", type=int, default=256, help="characters that are read; the rest is cut off (default: 256)")
    add("--at-least", type=int, help="rarer characters in the training texts are [UNK] (default: 2)")
    return parser


def main() -> None:
    args = options().parse_args()
    run = common.Run(args)
    kind = args.kind or NEW["kind"]
    if args.model is not None and not (args.predict or args.evaluate):
        kind = read_kind(common.saved_model(args, run))
    common.complete(args, KINDS[kind].lr, NEW)
    args.epochs = KINDS[kind].epochs if args.epochs is None else args.epochs
    if args.predict or args.evaluate:
        model, tokenizer = load_model(run.model, args.device)
    if args.predict:
        features = tokenizer.features(args.predict, args.max_length)
        for text, logits in zip(args.predict, predict(model, features, tokenizer.pad)):
            chances = F.softmax(logits, -1)
            best = chances.argmax().item()
            print(f"{model.config.id2label[best]} {chances[best].item():.3f}  {text}")
        return
    data = TASKS[args.task](args.split, root=args.data)  # before the training: it might not be there
    if not args.evaluate:
        run.begin()
        model, tokenizer = train(args, run)
    report(args, data, run, model, tokenizer)
    run.finish()


if __name__ == "__main__":
    common.main(main)
