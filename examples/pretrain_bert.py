"""Pretrain a mini BERT on real text: masked tokens and next sentence, L = L_MLM + L_NSP (arXiv:1810.04805).

    python examples/pretrain_bert.py --corpus stdlib --out runs/bert
    python examples/pretrain_bert.py --corpus articles.txt --steps 20000 --out runs/wiki
    python examples/pretrain_bert.py --out runs/bert --resume          # after an interruption: goes on, bit for bit

The corpus is the standard library's documentation, or a text file: a title line, a paragraph a line, a blank line
between articles; it is streamed. The folder --out gets vocab.txt, config.json, metrics.jsonl, checkpoint.safetensors
(all that resuming needs), and at the end model.safetensors and curves.png.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path

import common
import numpy as np
from minitorch.models.bert import BertConfig, BertForPreTraining
from tqdm import tqdm

import minitorch
from minitorch import nn
from minitorch.datasets.corpus import Document, MemoryCorpus, TextFileCorpus, is_held_out
from minitorch.datasets.pretraining import MASKED, PretrainingBatches, fixed_batches, unigram_counts
from minitorch.datasets.stdlib import by_module, read_stdlib, split_modules
from minitorch.optim.groups import weight_decay_groups
from minitorch.optim.lr_scheduler import linear_warmup_decay
from minitorch.serialization import save_safetensors
from minitorch.text.wordpiece import WordPiece
from minitorch.utils.files import LoadError, atomic_file


@dataclass
class Settings:
    """What decides the result; a checkpoint remembers them, and only goes on with the same ones."""

    corpus: str = "stdlib"
    max_seq_length: int = 32
    layers: int = 2
    hidden: int = 64
    heads: int = 2
    batch_size: int = 32
    steps: int = 5000
    lr: float = 3e-3
    warmup: float = 0.1
    weight_decay: float = 0.01
    dropout: float = 0.0
    vocab_size: int = 4096
    eval_every: int = 500
    save_every: int = 1000
    seed: int = 0
    device: str = "cpu"


HELP = {
    "corpus": "a text file, or stdlib: the documentation in the running Python's standard library",
    "max_seq_length": "tokens in a pair of sentences, with [CLS] and two [SEP]",
    "layers": "encoder layers", "hidden": "width", "heads": "attention heads", "batch_size": "pairs in a step",
    "steps": "training steps", "lr": "the highest learning rate", "warmup": "share of the steps that lead up to it",
    "weight_decay": "AdamW's, for matrices only", "dropout": "in all layers; none by default: in a short run a mini BERT underfits",
    "vocab_size": "word pieces", "eval_every": "steps between evaluations on held-out documents",
    "save_every": "steps between checkpoints", "seed": "of weights, batches, masks and dropout", "device": "cpu or cuda",
}  # fmt: skip


class Pretraining:
    """One run: data, model and optimizer; `run()` trains, from the last checkpoint if `resume`."""

    def __init__(self, settings: Settings, out: str | Path, resume: bool = False, graph: bool = False):
        self.settings, self.out, self.graph = settings, Path(out), graph
        self.update = minitorch.cuda.graph(self.learn, device=settings.device) if graph else self.learn
        check(settings)
        state = self._read_checkpoint(resume)
        self.out.mkdir(parents=True, exist_ok=True)
        self._read_corpus()
        self.eval_batches = fixed_batches(
            self.held_out, self.tokenizer, max_seq_length=settings.max_seq_length, max_batches=16, seed=settings.seed
        )
        self.batches = PretrainingBatches(
            self.corpus, self.tokenizer, batch_size=settings.batch_size, max_seq_length=settings.max_seq_length,
            seed=settings.seed, keep=self.keep,
        )  # fmt: skip
        self.config = BertConfig(
            vocab_size=len(self.tokenizer), hidden_size=settings.hidden, num_hidden_layers=settings.layers,
            num_attention_heads=settings.heads, intermediate_size=4 * settings.hidden,
            hidden_dropout_prob=settings.dropout, attention_probs_dropout_prob=settings.dropout,
            max_position_embeddings=settings.max_seq_length, initializer_range=0.07,  # narrow layers need larger weights
        )  # fmt: skip
        with atomic_file(self.out / "config.json") as file:
            file.write((json.dumps(self.config.to_dict(), indent=1) + "\n").encode())
        minitorch.manual_seed(settings.seed)
        self.model = BertForPreTraining(self.config).to(settings.device)
        frequencies = (self.counts + 0.5) / (self.counts + 0.5).sum()
        with minitorch.no_grad():  # the first guess is the words' frequencies, so no step is spent on learning them
            self.model.cls.predictions.bias.copy_(minitorch.from_numpy(np.log(frequencies)))
        # A rare word's gradient is mostly zero; with Adam's usual eps its rare noise would be blown up to full steps.
        groups = weight_decay_groups(self.model, settings.weight_decay)
        self.optimizer = minitorch.optim.AdamW(groups, lr=settings.lr, eps=1e-5)
        self.schedule = linear_warmup_decay(self.optimizer, round(settings.warmup * settings.steps), settings.steps)
        self.step, self.history = 0, []
        if state is not None:
            self._restore(state)
        self.baselines = self._baselines()

    def _read_corpus(self) -> None:
        """corpus (to train on), held_out (documents), tokenizer; a sample of bounded size stands for a large file."""
        self.keep: Callable[[Document], bool] | None = None
        if self.settings.corpus == "stdlib":
            self.documents = read_stdlib(progress=progress("reading the standard library", "files")).documents
            split = split_modules(self.documents)
            sample = by_module(d for d in self.documents if split[d.module] == "train")
            self.held_out = by_module(d for d in self.documents if split[d.module] != "train")
            self.corpus: MemoryCorpus | TextFileCorpus = MemoryCorpus(sample)
        else:
            self.corpus = TextFileCorpus(self.settings.corpus)
            for share in (0.05, 0.1, 0.2, 0.4):  # a small corpus needs a larger share to have some
                self.held_out = list(islice((d for d, _ in self.corpus.documents() if is_held_out(d.name, share)), 200))
                if len(self.held_out) >= 8:
                    break
            if len(self.held_out) < 2:
                raise ValueError(f"{self.settings.corpus} holds too few articles to hold some of them out")
            self.keep = lambda document: not is_held_out(document.name, share)
            sample = list(islice((d for d, _ in self.corpus.documents() if self.keep(d)), 2000))
        vocabulary = self.out / "vocab.txt"
        if not vocabulary.exists():
            texts = (sentence for document in sample for sentence in document.sentences)
            WordPiece.train(texts, self.settings.vocab_size).save(vocabulary)
        self.tokenizer = WordPiece.load(vocabulary)
        self.counts = unigram_counts(sample, self.tokenizer)

    def _baselines(self) -> dict[str, float]:
        """What is reached without reading: by a uniform guess, by the words' frequencies, by the commonest word, by a coin."""
        share = self.counts / self.counts.sum()
        labels = np.concatenate([b["labels"][b["labels"] >= 0] for b in self.eval_batches])
        random_pairs = np.concatenate([b["next_sentence_label"] for b in self.eval_batches])
        return {
            "mlm_loss_uniform": math.log(len(self.tokenizer)),
            "mlm_loss_unigram": float(-(share[share > 0] * np.log(share[share > 0])).sum()),
            "mlm_accuracy_most_frequent": float((labels == self.counts.argmax()).mean()),
            "nsp_loss_coin": math.log(2),
            "nsp_accuracy_majority": float(max(random_pairs.mean(), 1 - random_pairs.mean())),
        }

    # --- training ----------------------------------------------------------------------------------------------------

    def run(self) -> Pretraining:
        s = self.settings
        with tqdm(total=s.steps, initial=self.step, desc="pretraining", unit="step", disable=None) as bar:
            while self.step < s.steps:
                out = self.train_step()
                bar.update()
                bar.set_postfix(mlm=f"{out['mlm_loss']:.3f}", nsp=f"{out['nsp_loss']:.3f}", refresh=False)
                if self.step % s.eval_every == 0 or self.step == s.steps:
                    record = {"step": self.step, "lr": self.schedule.get_last_lr()[0], **out, **self.evaluate()}
                    self.log(record)
                    bar.write(line(record, self.baselines), file=sys.stdout)
                if self.step % s.save_every == 0 or self.step == s.steps:
                    self.save_checkpoint()
        save_safetensors(self.model.state_dict(), self.out / "model.safetensors")
        return self

    def train_step(self) -> dict[str, float]:
        self.model.train()
        batch = next(self.batches)
        losses = self.update(self.tensors(with_positions(batch) if self.graph else batch))
        self.schedule.step()
        self.step += 1
        return {name: loss.item() for name, loss in losses.items()}

    def learn(self, batch: dict[str, minitorch.Tensor]) -> dict[str, minitorch.Tensor]:
        result = self.model(**batch)
        self.optimizer.zero_grad()
        result.loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        return {"mlm_loss": result.mlm_loss.detach(), "nsp_loss": result.nsp_loss.detach()}

    def tensors(self, batch: dict[str, np.ndarray]) -> dict[str, minitorch.Tensor]:
        return {name: minitorch.from_numpy(array).to(self.settings.device) for name, array in batch.items()}

    @minitorch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """Losses and accuracies on the held-out documents, dropout off."""
        self.model.eval()
        sums = np.zeros(6)  # mlm loss, right, count; nsp loss, right, count
        for batch in self.eval_batches:
            result = self.model(**self.tensors(batch))
            for start, loss, logits, labels in (
                (0, result.mlm_loss, result.prediction_logits, batch["labels"][batch["labels"] >= 0]),
                (3, result.nsp_loss, result.seq_relationship_logits, batch["next_sentence_label"]),
            ):
                right = (logits.argmax(-1).cpu().numpy() == labels).sum()
                sums[start : start + 3] += loss.item() * len(labels), right, len(labels)
        names = ("held_mlm_loss", "held_mlm_accuracy", "held_nsp_loss", "held_nsp_accuracy")
        values = (sums[0] / sums[2], sums[1] / sums[2], sums[3] / sums[5], sums[4] / sums[5])
        return dict(zip(names, map(float, values)))

    # --- metrics and checkpoints -------------------------------------------------------------------------------------

    def log(self, record: dict) -> None:
        self.history.append(record)
        with open(self.out / "metrics.jsonl", "a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")

    def save_checkpoint(self) -> None:
        """Everything that the rest of the run depends on, in one file that is complete or not there."""
        minitorch.save(
            {
                "settings": asdict(self.settings), "step": self.step, "history": self.history,
                "model": self.model.state_dict(), "optimizer": self.optimizer.state_dict(),
                "schedule": self.schedule.state_dict(), "random": minitorch.get_rng_state(),
                "batches": self.batches.state_dict(),
            },
            self.out / "checkpoint.safetensors",
        )  # fmt: skip

    def _read_checkpoint(self, resume: bool) -> dict | None:
        path = self.out / "checkpoint.safetensors"
        if not resume:
            used = [name for name in ("checkpoint.safetensors", "model.safetensors") if (self.out / name).exists()]
            if used:
                raise SystemExit(
                    f"{self.out} holds a run already ({', '.join(used)}): add --resume, or choose another --out"
                )
        if not path.exists():
            for name in ("vocab.txt", "metrics.jsonl"):
                (self.out / name).unlink(missing_ok=True)  # of a run that was stopped before its first checkpoint
        if not resume:
            return None
        if not path.exists():
            print(f"no checkpoint in {self.out} yet: starting from the beginning", file=sys.stderr)
            return None
        state = minitorch.load(path)
        now = asdict(self.settings)
        other = [f"--{k.replace('_', '-')} was {v}, is {now[k]}" for k, v in state["settings"].items() if v != now[k]]
        if other:
            raise SystemExit(f"{path} belongs to a run with other settings: {'; '.join(other)}")
        if not (self.out / "vocab.txt").exists():
            raise SystemExit(
                f"{self.out} has a checkpoint, but the vocabulary that it was trained with, vocab.txt, is gone"
            )
        return state

    def _restore(self, state: dict) -> None:
        self.step, self.history = state["step"], state["history"]
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.batches.load_state_dict(state["batches"])
        minitorch.set_rng_state(state["random"])
        text = "".join(json.dumps(record) + "\n" for record in self.history)
        (self.out / "metrics.jsonl").write_text(text, encoding="utf-8")  # without what came after the checkpoint


def with_positions(batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The batch with the places of the masked tokens, always as many as can be (mask_tokens hides 15% of each row): a captured
    graph has one shape. Those that are too many have no label."""
    rows, columns = batch["labels"].shape
    most = rows * max(1, round(MASKED * columns))
    places = np.flatnonzero(batch["labels"] >= 0)
    positions = np.zeros(most, np.int64)
    labels = np.full(most, -100, np.int64)
    positions[: len(places)], labels[: len(places)] = places, batch["labels"].reshape(-1)[places]
    return {**batch, "positions": positions, "labels": labels}


def check(s: Settings) -> None:
    """Settings that could only fail later, or do nothing."""
    for name in ("layers", "hidden", "heads", "batch_size", "steps", "eval_every", "save_every"):
        if getattr(s, name) < 1:
            raise SystemExit(f"--{name.replace('_', '-')} must be at least 1, got {getattr(s, name)}")
    if s.hidden % s.heads:
        raise SystemExit(f"--hidden {s.hidden} must be a multiple of --heads {s.heads}")
    for name, least in (("max_seq_length", 8), ("vocab_size", 200), ("seed", 0), ("weight_decay", 0)):
        if getattr(s, name) < least:
            raise SystemExit(f"--{name.replace('_', '-')} must be at least {least}, got {getattr(s, name)}")
    if not 0 <= s.warmup <= 1 or not 0 <= s.dropout < 1 or s.lr <= 0:
        raise SystemExit(
            f"expected 0 <= --warmup <= 1, 0 <= --dropout < 1 and --lr > 0, got {s.warmup}, {s.dropout}, {s.lr}"
        )
    if s.corpus != "stdlib" and not os.path.isfile(s.corpus):
        raise SystemExit(f"--corpus {s.corpus}: there is no such file (and it is not the word stdlib)")


def progress(what: str, unit: str):
    return lambda items: tqdm(items, desc=what, unit=f" {unit}", disable=None, leave=False)


def line(record: dict, baselines: dict) -> str:
    """One evaluation, each figure beside what is reached without reading."""
    return (
        f"step {record['step']:5d}  held out: masked tokens loss {record['held_mlm_loss']:.3f} "
        f"(frequencies {baselines['mlm_loss_unigram']:.3f})"
        f" accuracy {record['held_mlm_accuracy']:.3f} (commonest {baselines['mlm_accuracy_most_frequent']:.3f})"
        f"  next sentence loss {record['held_nsp_loss']:.3f} (coin {baselines['nsp_loss_coin']:.3f})"
        f" accuracy {record['held_nsp_accuracy']:.3f} (majority {baselines['nsp_accuracy_majority']:.3f})"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in asdict(Settings()).items():
        parser.add_argument(
            f"--{name.replace('_', '-')}",
            type=type(default),
            default=default,
            help=f"{HELP[name]} (default: {default})",
        )
    parser.add_argument("--out", default="runs/bert", help="the run's folder (default: runs/bert)")
    parser.add_argument("--resume", action="store_true", help="go on from the folder's checkpoint")
    parser.add_argument(
        "--graph", action="store_true", help="capture the training step as a CUDA graph (with --device cuda)"
    )
    args = vars(parser.parse_args())
    out, resume, graph = args.pop("out"), args.pop("resume"), args.pop("graph")
    if graph:
        common.check_graph(args["device"])
    try:
        run = Pretraining(Settings(**args), out, resume, graph).run()
    except (ValueError, FileNotFoundError, ImportError, LoadError) as error:
        raise SystemExit(f"pretrain_bert.py: {error}") from None
    from plots import plot_curves

    plot_curves(run.history, run.baselines, run.out / "curves.png")
    print(f"done: {run.out}/model.safetensors, curves in {run.out}/curves.png")


if __name__ == "__main__":
    main()
