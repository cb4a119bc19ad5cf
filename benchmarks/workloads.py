"""What is measured: each workload once, written against `lib`, which is minitorch or torch.

A workload is a function of `lib` and its sizes that returns a Job: `job.step()` is one training step, one pass of
inference, one update, one batch. All numbers are float32. The data come from NumPy, the same for everybody.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from . import floor
from .under_torch import load_under_torch

BATCHES = 4  # different ones, used in turn


@cache
def code(lib: ModuleType, name: str) -> ModuleType:
    """A model file under `lib`: "models.bert", "benchmarks.nets"."""
    if lib.__name__ == "torch":
        return load_under_torch(name.replace(".", "/") + ".py")
    return importlib.import_module("minitorch." + name if name.startswith("models.") else name)


@dataclass
class Job:
    """`loss(*batch)` is the forward pass; `products` are the matrix products of a step, for its floor."""

    lib: Any
    loss: Callable[..., Any]
    arrays: Sequence[tuple[np.ndarray, ...]] = ((),)
    model: Any = None
    optimizer: Any = None
    clip: float | None = None
    products: Sequence[floor.Product] = ()
    count: int = 0
    batches: list = field(default_factory=list)

    def __post_init__(self):
        self.batches = [[self.lib.tensor(array) for array in batch] for batch in self.arrays]

    def batch(self) -> list:
        self.count += 1
        return self.batches[self.count % len(self.batches)]

    def step(self) -> Any:
        """One step; returns what must be the same under both libraries."""
        loss = self.loss(*self.batch())
        self.optimizer.zero_grad()
        loss.backward()
        if self.clip is not None:
            self.lib.nn.utils.clip_grad_norm_(self.model.parameters(), self.clip)
        self.optimizer.step()
        return loss.detach()

    def weights(self) -> dict[str, np.ndarray]:
        state = {} if self.model is None else self.model.state_dict()
        return {name: value.detach().numpy().copy() for name, value in state.items()}

    def load(self, weights: dict[str, np.ndarray]) -> None:
        if weights:
            self.model.load_state_dict({name: self.lib.tensor(value) for name, value in weights.items()})


class Inference(Job):
    """A forward pass without a graph."""

    def step(self):
        with self.lib.no_grad():
            return self.loss(*self.batch())


class Call(Job):
    """`loss()` is the whole step."""

    def step(self):
        return self.loss()


@dataclass(frozen=True)
class Workload:
    name: str
    make: Callable[..., Job]
    what: str
    sizes: dict[str, Any]  # other than `make`'s own defaults
    tiny: dict[str, Any]  # sizes for tests
    needs: str | None = None  # a package that PyTorch's side is made with

    def __call__(self, lib: Any, dropout: bool = True, **sizes: Any) -> Job:
        sizes = {**self.sizes, **sizes}
        if not dropout and "dropout" in inspect.signature(self.make).parameters:
            sizes["dropout"] = 0.0
        lib.manual_seed(0)
        return self.make(lib, **sizes)

    def lacks(self) -> bool:
        """Whether PyTorch's side cannot be made here."""
        return self.needs is not None and importlib.util.find_spec(self.needs) is None


WORKLOADS: dict[str, Workload] = {}


def workload(name: str, what: str, tiny: dict[str, Any], needs: str | None = None, **sizes: Any) -> Callable:
    """Puts a function into the table; used twice on it (the lower one comes first), of different sizes."""

    def register(make: Callable) -> Callable:
        WORKLOADS[name] = Workload(name, make, what, sizes, tiny, needs)
        return make

    return register


def chosen(only: str) -> list[Workload]:
    """The workloads of a list with commas; "gpt" names gpt and gpt-large."""
    if not only:
        return list(WORKLOADS.values())
    found: dict[str, Workload] = {}
    for word in only.split(","):
        hits = {n: w for n, w in WORKLOADS.items() if n == word.strip() or n.startswith(word.strip() + "-")}
        if not hits:
            raise SystemExit(f"no workload {word!r}; there are: {', '.join(WORKLOADS)}")
        found |= hits
    return [w for n, w in WORKLOADS.items() if n in found]


def random() -> np.random.Generator:
    return np.random.default_rng(0)


def normal(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.standard_normal(shape, dtype=np.float32)


# --- the workloads, in the order of the table ------------------------------------------------------------------------


@workload("mlp", "MLP 784-256-256-10, batch 128, Adam", {"widths": (20, 8, 8, 10), "batch": 4})
@workload("tiny", "MLP 2-16-2, batch 32, SGD: pure overhead", {}, widths=(2, 16, 2), batch=32, optimizer="SGD", lr=0.1)
def mlp(lib, widths=(784, 256, 256, 10), batch=128, optimizer="Adam", lr=1e-3):
    models, rng = code(lib, "models.mlp"), random()
    model = models.MLP(models.MLPConfig(widths[0], widths[1:-1], widths[-1]))
    arrays = [(normal(rng, batch, widths[0]), rng.integers(0, widths[-1], batch)) for _ in range(BATCHES)]
    return Job(
        lib, lambda x, y: lib.nn.functional.cross_entropy(model(x), y), arrays, model,
        getattr(lib.optim, optimizer)(model.parameters(), lr=lr),
    )  # fmt: skip


def expression(functions: Any, a: Any, b: Any) -> Any:
    """50 operations; `functions` holds tanh and exp of the library."""
    for _ in range(5):
        c = a * b + a
        d = functions.tanh(c) - b
        e = functions.exp(d * 0.5)
        a = a - (e / (e + 1.0)) ** 2
    return a


@workload("scalar", "an expression of 50 ops on 1-element tensors, forward and backward", {})
def scalar(lib):
    a, b = lib.tensor([0.7], requires_grad=True), lib.tensor([0.3], requires_grad=True)

    def step():
        a.grad = b.grad = None
        expression(lib, a, b).backward()
        return a.grad

    return Call(lib, step)


@workload("cnn", "1x28x28, conv 32, conv 64 (3x3), pool, dense 128, batch 64, Adam",
          {"batch": 2, "size": 8, "channels": (2, 4), "hidden": 8})  # fmt: skip
def cnn(lib, batch=64, size=28, channels=(32, 64), hidden=128):
    rng, model = random(), code(lib, "benchmarks.nets").ConvNet(size, channels, hidden)
    arrays = [(normal(rng, batch, 1, size, size), rng.integers(0, 10, batch)) for _ in range(BATCHES)]
    return Job(
        lib, lambda x, y: lib.nn.functional.cross_entropy(model(x), y), arrays, model,
        lib.optim.Adam(model.parameters(), lr=1e-3),
    )  # fmt: skip


@workload("resnet", "8-layer residual net, widths 16-32-64, BatchNorm, 3x32x32, batch 32, SGD with momentum",
          {"batch": 4, "size": 8, "width": 2})  # fmt: skip
def resnet(lib, batch=32, size=32, width=16):
    rng, model = random(), code(lib, "benchmarks.nets").ResNet8(width)
    arrays = [(normal(rng, batch, 3, size, size), rng.integers(0, 10, batch)) for _ in range(BATCHES)]
    return Job(
        lib, lambda x, y: lib.nn.functional.cross_entropy(model(x), y), arrays, model,
        lib.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4),
    )  # fmt: skip


@workload("gru", "GRU 128 to 256, 64 steps, batch 32, Adam",
          {"steps": 3, "batch": 2, "inputs": 4, "hidden": 4}, kind="gru")  # fmt: skip
@workload("lstm", "LSTM 128 to 256, 64 steps, batch 32, Adam",
          {"steps": 3, "batch": 2, "inputs": 4, "hidden": 4}, kind="lstm")  # fmt: skip
def recurrent(lib, kind="lstm", steps=64, batch=32, inputs=128, hidden=256):
    rng, model = random(), code(lib, "benchmarks.nets").Recurrent(kind, inputs, hidden)
    arrays = [(normal(rng, steps, batch, inputs), rng.integers(0, 10, batch)) for _ in range(BATCHES)]
    return Job(
        lib, lambda x, y: lib.nn.functional.cross_entropy(model(x), y), arrays, model,
        lib.optim.Adam(model.parameters(), lr=1e-3),
    )  # fmt: skip


TINY_GPT = {"layers": 1, "heads": 2, "width": 8, "block": 6, "batch": 2, "vocab": 11}


@workload("gpt-large", "characters: 6 layers, 6 heads, width 384, block 256, batch 4, AdamW, clipping",
          TINY_GPT, layers=6, heads=6, width=384, block=256, batch=4)  # fmt: skip
@workload("gpt", "characters: 4 layers, 4 heads, width 128, block 64, batch 12, AdamW, clipping", TINY_GPT)
def gpt(lib, layers=4, heads=4, width=128, block=64, batch=12, vocab=65, dropout=0.0):
    rng, model = random(), code(lib, "benchmarks.nets").GPT(vocab, block, layers, heads, width, dropout)
    text = [rng.integers(0, vocab, (batch, block + 1)) for _ in range(BATCHES)]
    arrays = [(t[:, :-1].copy(), t[:, 1:].copy(), np.arange(block)) for t in text]
    parameters = list(model.parameters())
    groups = [  # matrices decay, biases and norms do not
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": 0.1},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    tokens = batch * block
    block_of_layer = [
        *floor.linear(tokens, width, 3 * width), *floor.attention(batch * heads, block, width // heads),
        *floor.linear(tokens, width, width), *floor.feed_forward(tokens, width),
    ]  # fmt: skip
    return Job(
        lib, model, arrays, model, lib.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.99)), 1.0,
        block_of_layer * layers + floor.linear(tokens, width, vocab),
    )  # fmt: skip


def bert_config(models, vocab, width, layers, heads, length, dropout):
    return models.BertConfig(
        vocab_size=vocab, hidden_size=width, num_hidden_layers=layers, num_attention_heads=heads,
        intermediate_size=4 * width, max_position_embeddings=length, hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
    )  # fmt: skip


def bert_products(batch, length, width, layers, heads, train):
    tokens = batch * length
    layer = [
        *floor.linear(tokens, width, width, train) * 4,
        *floor.attention(batch * heads, length, width // heads, train),
        *floor.feed_forward(tokens, width, train),
    ]
    return layer * layers


@workload("bert", "4 layers, width 256, 4 heads, 32x128 tokens, vocabulary 8192, 614 masked, dropout 0.1, AdamW, clipping",
          {"layers": 1, "width": 8, "heads": 2, "batch": 2, "length": 6, "vocab": 20, "masked": 3})  # fmt: skip
def bert(lib, layers=4, width=256, heads=4, batch=32, length=128, vocab=8192, masked=614, dropout=0.1, places=False):
    """places: the masked positions come as numbers, as a captured graph needs them."""
    models, rng = code(lib, "models.bert"), random()
    model = models.BertForPreTraining(bert_config(models, vocab, width, layers, heads, length, dropout))
    names = ("input_ids", "attention_mask", "token_type_ids", "labels", "next_sentence_label", "positions")
    types = (np.arange(length) >= length // 2).astype(np.int64)[None].repeat(batch, 0)
    arrays = []
    for _ in range(BATCHES):
        ids = rng.integers(5, vocab, (batch, length))
        labels = np.full(ids.size, -100)
        chosen = rng.permutation(ids.size)[:masked]
        labels[chosen] = ids.reshape(-1)[chosen]
        follows = rng.integers(0, 2, batch)
        if places:
            arrays.append((ids, np.ones_like(ids), types, labels[chosen], follows, chosen))
        else:
            arrays.append((ids, np.ones_like(ids), types, labels.reshape(ids.shape), follows))
    words = floor.linear(masked, width, width) + floor.linear(masked, width, vocab)
    pairs = floor.linear(batch, width, width) + floor.linear(batch, width, 2)  # pooler, next sentence
    return Job(
        lib, lambda *batch: model(**dict(zip(names, batch))).loss, arrays, model,
        lib.optim.AdamW(model.parameters(), lr=1e-4), 1.0,
        bert_products(batch, length, width, layers, heads, True) + words + pairs,
    )  # fmt: skip


TINY_BERT = {"layers": 1, "width": 8, "heads": 2, "batch": 2, "length": 6, "vocab": 20}


@workload("bert-infer-32x128", "6 layers, width 384, 12 heads, 32x128 tokens, no_grad", TINY_BERT)
@workload("bert-infer-1x32", "6 layers, width 384, 12 heads, 1x32 tokens, no_grad", TINY_BERT, batch=1, length=32)
def bert_infer(lib, layers=6, width=384, heads=12, batch=32, length=128, vocab=30522):
    models, rng = code(lib, "models.bert"), random()
    model = models.BertModel(bert_config(models, vocab, width, layers, heads, length, 0.1)).eval()
    arrays = [(i, np.ones_like(i)) for i in (rng.integers(5, vocab, (batch, length)) for _ in range(BATCHES))]
    products = bert_products(batch, length, width, layers, heads, False) + floor.linear(batch, width, width, False)
    return Inference(
        lib, lambda ids, mask: model(ids, attention_mask=mask).last_hidden_state, arrays, model, products=products
    )


@workload("minilm", "fine-tuning of MiniLM: 6 layers, width 384, 12 heads, 32x64 tokens, some padding, 2 classes, dropout 0.1, "
          "AdamW, clipping; beside PyTorch with transformers", TINY_BERT, needs="transformers")  # fmt: skip
def minilm(lib, layers=6, width=384, heads=12, batch=32, length=64, vocab=30522, classes=2, dropout=0.1):
    rng = random()
    models = importlib.import_module("transformers") if lib.__name__ == "torch" else code(lib, "models.bert")
    config = bert_config(models, vocab, width, layers, heads, length, dropout)
    config.num_labels = classes
    model = models.BertForSequenceClassification(config).train()
    names = ("input_ids", "attention_mask", "token_type_ids", "labels")
    arrays = []
    for _ in range(BATCHES):
        mask = (np.arange(length) < rng.integers(3 * length // 4, length + 1, batch)[:, None]).astype(np.int64)
        ids = rng.integers(5, vocab, (batch, length)) * mask
        arrays.append((ids, mask, np.zeros_like(ids), rng.integers(0, classes, batch)))
    return Job(
        lib, lambda *batch: model(**dict(zip(names, batch))).loss, arrays, model,
        lib.optim.AdamW(model.parameters(), lr=5e-5), 1.0,
        bert_products(batch, length, width, layers, heads, True)
        + floor.linear(batch, width, width) + floor.linear(batch, width, classes),
    )  # fmt: skip


@workload("optim", "one AdamW step over 10 million parameters in 100 tensors", {"tensors": 3, "shape": (4, 5)})
def optim(lib, tensors=100, shape=(250, 400)):
    rng = random()
    parameters = [lib.nn.Parameter(lib.tensor(normal(rng, *shape))) for _ in range(tensors)]
    for p in parameters:
        p.grad = lib.tensor(normal(rng, *shape))
    optimizer = lib.optim.AdamW(parameters, lr=1e-3)

    def step():
        optimizer.step()
        return parameters[-1].detach()

    return Call(lib, step, optimizer=optimizer)


def endless(loader: Iterable) -> Callable:
    """One batch a call, the epochs one after the other."""

    def batches():
        while True:
            yield from loader

    return batches().__next__


@workload("loader-memory", "batches of 64 images 1x28x28, shuffled, from a set of 10000 in memory",
          {"examples": 20, "batch": 4})  # fmt: skip
def loader_memory(lib, examples=10_000, batch=64):
    rng, data = random(), lib.utils.data
    dataset = data.TensorDataset(
        lib.tensor(normal(rng, examples, 1, 28, 28)), lib.tensor(rng.integers(0, 10, examples))
    )
    following = endless(data.DataLoader(dataset, batch_size=batch, shuffle=True))
    return Call(lib, lambda: following()[0])


@workload("loader-text", "batches of 32x128 bytes, streamed line by line from a text file", {"lines": 20, "batch": 4})
def loader_text(lib, lines=20_000, batch=32, length=128):
    rng, data = random(), lib.utils.data
    folder = tempfile.TemporaryDirectory()  # deleted with the job
    path = Path(folder.name) / "text.txt"
    words = ["".join(chr(c) for c in rng.integers(97, 123, n)) for n in rng.integers(2, 10, 1000)]
    path.write_text("".join(" ".join(rng.choice(words, rng.integers(5, 30))) + "\n" for _ in range(lines)))

    class Lines(data.IterableDataset):
        def __iter__(self):
            with open(path, "rb") as file:
                for line in file:
                    ids = line[:length].ljust(length, b"\0")
                    yield lib.tensor(np.frombuffer(ids, np.uint8).astype(np.int64))

    following = endless(data.DataLoader(Lines(), batch_size=batch))
    job = Call(lib, following)
    job.folder = folder  # type: ignore[attr-defined]
    return job
