"""A mini BERT learns from real text before your eyes: read, pretrain, fill in words, fine-tune, report. About 5 minutes.

    make demo                             or:  python examples/demo.py --out runs/demo

1. reads the documentation inside the running Python's standard library (nothing is downloaded, nothing imported),
2. trains a WordPiece vocabulary on it, 3. pretrains a mini BERT, L = L_MLM + L_NSP, each figure beside what is reached
without reading, 4. fills in masked words, 5. fine-tunes on a labelled task from the same source, which package a
docstring comes from, three ways, beside two baselines, 6. writes curves, an attention map and a report.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
from minitorch.models.bert import BertForSequenceClassification
from plots import plot_attention, plot_curves
from pretrain_bert import Pretraining, Settings
from tqdm import tqdm

import minitorch
from minitorch import nn
from minitorch.datasets.packages import PackageTask, encode_texts, macro_f1, package_task
from minitorch.optim.groups import weight_decay_groups
from minitorch.optim.lr_scheduler import linear_warmup_decay

LEARNING = 25  # labelled docstrings a class: few, as where one fine-tunes
WAYS = {
    "random weights": (1e-3, 12),
    "pretrained": (1e-3, 12),
    "pretrained, body frozen": (5e-3, 12),
}  # learning rate, epochs
SENTENCES = (
    "Return a list of the [MASK] in the given directory.",
    "Raise an exception if the file does not [MASK].",
    "If the argument is [MASK], the default value is used.",
    "This method is [MASK] when the connection is closed.",
    "The string is converted to lower [MASK].",
)


@minitorch.no_grad()
def fill_masks(run: Pretraining, sentences=SENTENCES, best: int = 3) -> list[str]:
    """Each sentence with the most probable pieces for its [MASK], and their probabilities."""
    run.model.eval()
    lines = []
    for sentence in sentences:
        ids = [run.tokenizer.cls_id, *run.tokenizer.encode(sentence), run.tokenizer.sep_id]
        logits = run.model(run.tensors({"input_ids": np.array([ids])})["input_ids"]).prediction_logits
        p = logits[0, ids.index(run.tokenizer.mask_id)].softmax(-1)
        values, pieces = p.topk(best)
        guesses = ", ".join(f"{run.tokenizer.pieces[i]} {v:.2f}" for v, i in zip(values.tolist(), pieces.tolist()))
        lines.append(f"{sentence}  ->  {guesses}")
    return lines


@minitorch.no_grad()
def attention_map(run: Pretraining, sentence: str, path: Path) -> None:
    ids = [run.tokenizer.cls_id, *run.tokenizer.encode(sentence), run.tokenizer.sep_id]
    run.model.eval()
    out = run.model(run.tensors({"input_ids": np.array([ids])})["input_ids"], output_attentions=True)
    weights = np.stack([a[0].cpu().numpy() for a in out.attentions])  # (layers, heads, T, T)
    plot_attention(weights, run.tokenizer.tokens(ids), path)


# --- the labelled task -----------------------------------------------------------------------------------------------


def fine_tune(run: Pretraining, task: PackageTask, data: dict, way: str, seed: int, bar: tqdm) -> tuple[float, float]:
    """Trains a classifier one way from one seed; accuracy and macro F1 on the test split."""
    lr, epochs = WAYS[way]
    minitorch.manual_seed(seed)
    config = type(run.config)(**{**vars(run.config), "num_labels": len(task.classes), "hidden_dropout_prob": 0.1})
    model = BertForSequenceClassification(config).to(run.settings.device)
    if way != "random weights":
        model.bert.load_state_dict(run.model.bert.state_dict())
    if way == "pretrained, body frozen":
        model.bert.requires_grad_(False)
    ids, mask, labels = data["train"]
    steps, batch_size = epochs * (len(labels) // 32), 32
    optimizer = minitorch.optim.AdamW(weight_decay_groups(model, 0.01), lr=lr)
    schedule = linear_warmup_decay(optimizer, steps // 10, steps)
    order = np.random.default_rng(seed)
    model.train()
    for _ in range(epochs):
        shuffled = order.permutation(len(labels))
        for rows in np.split(shuffled[: len(labels) // batch_size * batch_size], len(labels) // batch_size):
            length = int(mask[rows].sum(1).max())  # no longer than this batch needs
            batch = run.tensors({"i": ids[rows, :length], "m": mask[rows, :length], "y": labels[rows]})
            loss = model(batch["i"], attention_mask=batch["m"], labels=batch["y"]).loss
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            bar.update()
    ids, mask, labels = data["test"]
    model.eval()
    with minitorch.no_grad():
        batch = run.tensors({"i": ids, "m": mask})
        guesses = model(batch["i"], attention_mask=batch["m"]).logits.argmax(-1).cpu().numpy()
    return float((guesses == labels).mean()), macro_f1(labels, guesses, len(task.classes))


def baselines(task: PackageTask) -> dict[str, tuple[float, float]]:
    """The commonest class, and a logistic regression on word counts."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    test = task.labels["test"]
    commonest = np.full_like(test, np.bincount(task.labels["train"]).argmax())
    words = make_pipeline(TfidfVectorizer(sublinear_tf=True), LogisticRegression(max_iter=1000, C=10))
    guesses = words.fit(task.texts["train"], task.labels["train"]).predict(task.texts["test"])
    return {
        name: (float((g == test).mean()), macro_f1(test, g, len(task.classes)))
        for name, g in (("commonest class", commonest), ("bag of words", guesses))
    }


def compare(run: Pretraining, task: PackageTask, seeds: int) -> dict[str, list[tuple[float, float]]]:
    """Accuracy and macro F1 of every way and seed."""
    T = run.settings.max_seq_length
    data = {}
    for split in ("train", "test"):
        encoded = encode_texts(task.texts[split], run.tokenizer, T)
        data[split] = encoded["input_ids"], encoded["attention_mask"], task.labels[split]
    results: dict[str, list[tuple[float, float]]] = {name: [value] for name, value in baselines(task).items()}
    total = seeds * sum(epochs * (len(task.labels["train"]) // 32) for _, epochs in WAYS.values())
    with tqdm(total=total, desc="fine-tuning", unit="step", disable=None) as bar:
        for way in WAYS:
            results[way] = [fine_tune(run, task, data, way, seed, bar) for seed in range(seeds)]
    return results


def table(results: dict[str, list[tuple[float, float]]]) -> str:
    """Markdown: mean and, over seeds, standard deviation."""

    def cell(values: np.ndarray) -> str:
        return f"{values.mean():.3f}" + (f" ± {values.std(ddof=1):.3f}" if len(values) > 1 else "")

    rows = [
        f"| {name} | {cell(v[:, 0])} | {cell(v[:, 1])} |" for name, v in ((n, np.array(r)) for n, r in results.items())
    ]
    return "\n".join(["| | accuracy | macro F1 |", "|---|---|---|", *rows])


def report(run: Pretraining, task: PackageTask, masks: list[str], results: str, seconds: float, seeds: int) -> str:
    last, base = run.history[-1], run.baselines
    uniform, unigram = f"{base['mlm_loss_uniform']:.3f} (uniform)", f"{base['mlm_loss_unigram']:.3f} (word frequencies)"
    return f"""# A mini BERT, pretrained on the standard library's documentation

{run.settings.layers} layers, width {run.settings.hidden}, {run.settings.heads} heads, {len(run.tokenizer)} word pieces,
{sum(p.numel() for p in run.model.parameters()):,} parameters; {run.settings.steps} steps of {run.settings.batch_size}
pairs of sentences, {run.settings.max_seq_length} tokens each. The whole run took {seconds:.0f} s.

## Pretraining, on documents that were held out

| | without reading | this BERT |
|---|---|---|
| masked tokens: loss | {uniform}, {unigram} | {last["held_mlm_loss"]:.3f} |
| masked tokens: accuracy | {base["mlm_accuracy_most_frequent"]:.3f} (most frequent) | {last["held_mlm_accuracy"]:.3f} |
| next sentence: loss | {base["nsp_loss_coin"]:.3f} (a coin) | {last["held_nsp_loss"]:.3f} |
| next sentence: accuracy | {base["nsp_accuracy_majority"]:.3f} (majority) | {last["held_nsp_accuracy"]:.3f} |

![curves](curves.png)

## Masked words filled in

{chr(10).join("- " + line for line in masks)}

## Fine-tuning: which package does a docstring come from?

{len(task.classes)} classes ({", ".join(task.classes)}); {len(task.labels["train"])} docstrings to learn from, at most
{LEARNING} a class, and {len(task.labels["test"])} from other modules to be tested on. The packages' names are masked.
Mean and standard deviation over {seeds} seeds.

{results}

## Where tokens look

![attention](attention.png)

Files: [metrics.jsonl](metrics.jsonl), [checkpoint](checkpoint.safetensors), [weights](model.safetensors),
[vocabulary](vocab.txt), [fine_tuning.json](fine_tuning.json).
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", default="runs/demo", help="the run's folder (default: runs/demo)")
    parser.add_argument("--resume", action="store_true", help="go on from the folder's checkpoint")
    parser.add_argument("--steps", type=int, default=Settings.steps, help="pretraining steps (default: %(default)s)")
    parser.add_argument("--seeds", type=int, default=3, help="seeds for fine-tuning (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed for pretraining (default: %(default)s)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: cpu)")
    args = parser.parse_args()

    start = time.perf_counter()
    settings = Settings(steps=args.steps, seed=args.seed, device=args.device)
    if not args.resume:  # a demo starts over
        for name in ("checkpoint.safetensors", "model.safetensors"):
            (Path(args.out) / name).unlink(missing_ok=True)
    run = Pretraining(settings, args.out, args.resume)
    print(f"{len(run.documents)} docstrings and topics, {sum(len(d.text) for d in run.documents) / 1e6:.1f} MB of English; "
          f"{len(run.tokenizer)} word pieces")  # fmt: skip
    run.run()
    plot_curves(run.history, run.baselines, run.out / "curves.png")
    attention_map(run, SENTENCES[1], run.out / "attention.png")
    masks = fill_masks(run)
    print("\nMasked words filled in:", *masks, sep="\n  ")

    task = package_task(run.documents, max_train=LEARNING)
    print(f"\nFine-tuning: which of {len(task.classes)} packages does a docstring come from? {len(task.labels['train'])} to learn from, "
          f"{len(task.labels['test'])} from other modules to test on")  # fmt: skip
    results = compare(run, task, args.seeds)
    text = table(results)
    print(text)
    seconds = time.perf_counter() - start
    (run.out / "report.md").write_text(report(run, task, masks, text, seconds, args.seeds), encoding="utf-8")
    (run.out / "fine_tuning.json").write_text(json.dumps(results, indent=1), encoding="utf-8")
    print(f"\n{seconds:.0f} s. Report: {run.out}/report.md, with {run.out}/curves.png and {run.out}/attention.png")


if __name__ == "__main__":
    main()
