"""The training loop that the example programs share, and the recipe round it: lesson 14.

    model.train()
    for batch in batches:
        optimizer.zero_grad()
        loss(model, batch).backward()
        optimizer.step()

and what a real training adds to these lines: gradient accumulation, clipping, a learning rate that changes, an
evaluation after each epoch, stopping early, keeping the best weights, and a checkpoint to go on from.
"""

import itertools
import math
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import minitorch
from minitorch import Tensor, nn, no_grad, optim
from minitorch.nn import functional as F
from minitorch.peft.base import DeltaLayer
from minitorch.peft.layerwise import count_layers, layer_of
from minitorch.serialization import load, save
from minitorch.text.batches import IGNORE, widen

GRAPHS = 64  # at most, one for each shape of a batch
MULTIPLE = 16  # of the lengths of texts, so that there are few shapes


def fit(
    model: nn.Module,
    batches: Iterable,
    *,
    epochs: int,
    optimizer: optim.Optimizer | None = None,
    schedule: Any = None,
    lr: float = 5e-5,
    loss: Callable | None = None,
    accumulate: int = 1,
    clip: float | None = 1.0,
    evaluate: Callable | None = None,
    patience: int | None = None,
    checkpoint: Any = None,
    resume: bool = False,
    save_every: float = 600,
    graph: bool = False,
    progress: bool = True,
    name: str = "train",
) -> list[dict[str, float]]:
    """Train `model` for `epochs` passes over `batches`, and return a record of each: loss, lr, seconds, what was evaluated.

    batches: dictionaries of tensors, iterated once an epoch (a DataLoader, a list).
    loss(model, batch): the mean loss of a batch; by default `model(**batch).loss`.
    optimizer, schedule: by default AdamW with `lr`, warmed up over a tenth of the steps and then lowered to 0.
    accumulate: batches for one step. Each counts by its number of labels, so the step is that of the one large batch;
    of a loss that is a sum of means over different things (BertForPreTraining's) only nearly so. A model whose own loss
    is not a mean over `labels` says with count_labels(batch) over how many it is.
    clip: the largest norm of all gradients together, None for no limit.
    evaluate(model): a dictionary of numbers after each epoch. Its "score" decides which epoch's weights the model has in
    the end, and whether to stop: after `patience` epochs without a better one.
    checkpoint: a file that is replaced after each epoch and every `save_every` seconds; with `resume`, the training goes
    on from it, to the numbers that it would have had without the break.
    graph: capture the steps as CUDA graphs, one for each shape of a batch (cuda.graph; on a GPU only). So that there are
    few, texts (input_ids with an attention_mask) are padded further, to a length that is a multiple of 16.
    """
    if epochs < 1:
        raise ValueError(f"epochs must be at least 1, got {epochs}")
    if accumulate < 1:
        raise ValueError(f"accumulate must be at least 1, got {accumulate}")
    if clip is not None and not clip > 0:
        raise ValueError(f"clip must be above 0, or None for no limit, got {clip}")
    if patience is not None and (patience < 1 or evaluate is None):
        raise ValueError(f"patience={patience}: at least 1 epoch, and evaluate(model) must say what a better one is")
    if schedule is not None and optimizer is None:
        raise ValueError("a schedule sets the rates of its own optimizer: give that one, too")
    if graph and accumulate > 1 and hasattr(model, "update_and_allocate"):
        raise ValueError(
            f"graph=True with accumulate={accumulate}: AdaLoRA reads the gradients after the step, and the graphs have "
            "zeroed them by then; take larger batches, or graph=False"
        )
    count_labels = label_counter(model, own_loss=loss is None)
    loss = loss or (lambda model, batch: model(**batch).loss)
    if optimizer is None:
        number = length(batches)
        if number is None:
            raise ValueError(
                f"batches, a {type(batches).__name__}, does not say how many there are, as the default schedule must know: "
                "give a list or a DataLoader, or optimizer and schedule"
            )
        optimizer = optim.AdamW(parameter_groups(model, lr), lr=lr)
        steps = epochs * -(-number // accumulate)
        schedule = optim.lr_scheduler.linear_warmup_decay(optimizer, steps // 10, steps)
    state = Progress(model, optimizer, schedule, batches, checkpoint, save_every)
    if resume:
        state.load()
    parameters = [p for p in model.parameters() if p.requires_grad]
    device = parameters[0].device if parameters else None
    make = captured_step if graph else plain_step
    step = make(model, loss, optimizer, parameters, clip, accumulate)

    while state.epoch < epochs and not state.should_stop(patience):
        model.train()
        parts = groups(evened(batches, model) if graph else batches, accumulate, device, count_labels)
        for group in bar(parts, state.epoch, epochs, batches, accumulate, progress, name):
            total = sum(count for _, count in group)
            for mean, count in step(group, total):
                state.add(mean, count)
            if total and hasattr(model, "update_and_allocate"):  # AdaLoRA moves its ranks
                model.update_and_allocate()
            if schedule is not None:
                schedule.step()
            state.save_now_and_then()
        record = state.end_epoch(evaluate, patience)
        if progress:
            print(line(f"{name} {state.epoch}/{epochs}", record), flush=True)
    state.restore_best()
    return state.history


def average_of_runs(
    model: nn.Module,
    train: Callable[[int], Any],
    runs: int,
    seed: int = 0,
    score: Callable[[nn.Module], float] | None = None,
) -> list[int]:
    """Train `runs` times from the same weights; `model` gets the mean of what came out: a model soup (arXiv:2203.05482).

    train(run) trains `model`; run = 0, 1, ...; from the second one on with random numbers of its own, of seed + run.
    score(model): how good it is on validation data. With it the soup is the paper's greedy one: from the best run to the
    worst, each is taken into the mean if that does not lower the mean's score, so the soup is at least as good there as
    the best run. Returns the runs that are in the mean.

    Trainings that start from the same pretrained weights end close to each other. The mean of their weights is then a
    good model too, and errs less where only one of them does; to use it costs as much as to use one. BatchNorm's
    statistics are not those of the mean: they need `optim.swa_utils.update_bn`. All runs' weights are kept in memory.
    """
    if runs < 1:
        raise ValueError(f"runs must be at least 1, got {runs}")
    if runs > 1 and any(isinstance(module, DeltaLayer) for module in model.modules()):
        raise ValueError(
            "the model has (Ada)LoRA layers: the mean of their A and the mean of their B do not give the mean of B A. Train the "
            "model itself, or average models after merge_and_unload()"
        )

    def weights() -> dict[str, Tensor]:
        return {name: value.detach().clone() for name, value in model.state_dict().items()}

    def scored() -> float:
        if score is None or runs == 1:
            return 0.0
        model.eval()
        with no_grad():
            value = score(model)
        if math.isnan(value):
            raise ValueError("score(model) gave nan: no run could be the best")
        return value

    mode, start, ended, scores = model.training, weights(), [], []
    for run in range(runs):
        if run:
            model.train(mode)
            model.load_state_dict(start)
            minitorch.manual_seed(seed + run)
        train(run)
        ended.append(weights())
        scores.append(scored())

    def load_mean(chosen: list[int]) -> None:
        means = ended[chosen[0]].copy()
        for name, value in means.items():
            if value.is_floating_point():
                total = sum((ended[run][name] for run in chosen[1:]), value)
                means[name] = (total / len(chosen)).to(value.dtype)
        model.load_state_dict(means)

    best, *others = sorted(range(runs), key=lambda run: -scores[run])
    soup, reached = [best], scores[best]
    for run in others:
        load_mean([*soup, run])
        if (value := scored()) >= reached:
            soup, reached = [*soup, run], value
    load_mean(soup)
    model.eval()
    return soup


def r_drop(alpha: float) -> Callable:
    """A loss for `fit` that wants the same answer from two passes with different dropout. R-Drop, arXiv:2106.14448.

        loss = (CE(p, y) + CE(q, y)) / 2 + alpha/4 (KL(p || q) + KL(q || p)),   half of the paper's

    p, q: the classes' probabilities, (N, C), in the two passes, which are the two halves of one batch of 2 N rows. A
    step costs twice as much. For models of whole texts, whose logits are (N, C).
    """
    if not 0 <= alpha < math.inf:
        raise ValueError(f"r_drop: alpha must be a number of at least 0, got {alpha}")

    def loss(model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
        output = model(**{name: minitorch.cat([value, value]) for name, value in batch.items()})
        if output.logits.ndim != 2 or output.logits.shape[1] < 2:
            raise ValueError(f"r_drop: expected logits (N, C) of C > 1 classes, got {tuple(output.logits.shape)}")
        if output.loss is None:
            raise ValueError("r_drop: the model gave no loss; are there labels in the batch?")
        if "labels" in batch and batch["labels"].is_floating_point():
            raise ValueError(
                "r_drop: the labels are numbers or several classes for a text; it needs one class, (N,) integers"
            )
        p, q = F.log_softmax(output.logits, -1).chunk(2)
        there = F.kl_div(q, p, reduction="batchmean", log_target=True)  # KL(p || q)
        back = F.kl_div(p, q, reduction="batchmean", log_target=True)
        return output.loss + alpha / 4 * (there + back)

    return loss


def plain_step(
    model: nn.Module, loss: Callable, optimizer: optim.Optimizer, parameters: list, clip: float | None, accumulate: int
) -> Callable:
    """step(group, total): one step on the batches of `group`, with `total` labels together; yields each batch's mean loss
    and its count of labels."""

    def step(group: list[tuple], total: int) -> Iterator[tuple[Tensor, int]]:
        optimizer.zero_grad()
        for batch, count in group:
            if count:  # without: every label is left out, and the mean of none is 0 / 0
                mean = loss(model, batch)
                (mean * (count / total)).backward()
                yield mean.detach(), count
        if clip is not None:
            nn.utils.clip_grad_norm_(parameters, clip)
        optimizer.step()

    return step


def captured_step(
    model: nn.Module, loss: Callable, optimizer: optim.Optimizer, parameters: list, clip: float | None, accumulate: int
) -> Callable:
    """The same as CUDA graphs: the whole step, or where it has several batches one graph for each, and one for the end."""
    device = parameters[0].device if parameters else minitorch.device("cpu")
    if device.type == "cpu":
        raise ValueError(f"graph=True: CUDA graphs need a model on a GPU; this one is on {device}")

    def forward_backward(batch: Any, share: Tensor | None = None) -> Tensor:
        mean = loss(model, batch)
        (mean if share is None else mean * share).backward()
        return mean

    def update() -> None:
        if clip is not None:
            nn.utils.clip_grad_norm_(parameters, clip)
        optimizer.step()

    def whole(batch: Any) -> Tensor:
        optimizer.zero_grad()
        mean = forward_backward(batch)
        update()
        return mean

    def last() -> None:
        update()
        optimizer.zero_grad(set_to_none=False)  # the same gradients for all graphs, which add to them

    graphed = {f: minitorch.cuda.graph(f, device=device, limit=GRAPHS) for f in (whole, forward_backward, last)}

    def step(group: list[tuple], total: int) -> Iterator[tuple[Tensor, int]]:
        group = [(batch, count) for batch, count in group if count]
        if accumulate == 1:
            for batch, count in group:
                yield graphed[whole](batch), count
            return
        for batch, count in group:
            yield graphed[forward_backward](batch, minitorch.full((), count / total, device=device)), count
        if group:
            graphed[last]()

    return step


class Progress:
    """How far a training has come: all that a checkpoint has to hold."""

    def __init__(self, model, optimizer, schedule, batches, checkpoint, save_every):
        self.model, self.optimizer, self.schedule, self.batches = model, optimizer, schedule, batches
        self.file = None if checkpoint is None else Path(checkpoint)
        self.save_every, self.saved = save_every, time.monotonic()
        self.epoch, self.seconds, self.start = 0, 0.0, time.perf_counter()
        self.sums: list[Tensor] = []  # of the epoch: each batch's loss times its count; read only when somebody asks
        self.counts: list[int] = []
        self.history: list[dict[str, float]] = []
        self.best_score, self.best_epoch = -math.inf, 0
        self.best: dict[str, Tensor] | None = None

    def add(self, mean: Tensor, count: int) -> None:
        self.sums.append(mean * count)
        self.counts.append(count)
        if len(self.sums) >= 100:  # now and then, because on a GPU each reading waits for all that is under way
            self.sums, self.counts = [minitorch.stack(self.sums).sum()], [sum(self.counts)]
            self.check(self.sums[0].item())

    def check(self, total: float) -> None:
        if not math.isfinite(total):
            raise FloatingPointError(
                f"the loss became {total} in epoch {self.epoch + 1}: a lower learning rate or a longer warmup may help; "
                f"`with minitorch.autograd.detect_anomaly():` names the operation. The last checkpoint is as it was"
            )

    def check_weights(self) -> None:
        """The last step's result has been in no loss yet."""
        finite = [p.detach().isfinite().all() for p in self.model.parameters() if p.requires_grad]
        if finite and not minitorch.stack(finite).all().item():
            raise FloatingPointError(
                f"a weight became infinite or nan in epoch {self.epoch + 1}: a lower learning rate or a longer warmup may "
                "help. The last checkpoint is as it was"
            )

    def end_epoch(self, evaluate: Callable | None, patience: int | None) -> dict[str, float]:
        if not self.counts:
            raise ValueError("there is no batch to train on: `batches` gave none with labels in this epoch")
        total = minitorch.stack(self.sums).sum().item()
        self.check(total)
        self.check_weights()
        self.epoch += 1
        seconds = self.seconds + time.perf_counter() - self.start
        record = {"epoch": self.epoch, "loss": total / sum(self.counts), "lr": self.optimizer.param_groups[-1]["lr"]}
        record["seconds"] = seconds
        if evaluate is not None:
            self.model.eval()
            with no_grad():
                figures = evaluate(self.model)
            if taken := record.keys() & figures.keys():
                raise ValueError(
                    f"evaluate gives {', '.join(sorted(taken))}, the training's own figures: choose other names"
                )
            record |= figures
            if patience is not None and "score" not in figures:
                raise ValueError(f'patience needs a "score" in what evaluate gives, got {", ".join(figures)}')
            if math.isnan(record.get("score", 0.0)):
                raise ValueError(
                    f"evaluate(model) gave the score nan in epoch {self.epoch}: no epoch could be the best"
                )
            if record.get("score", -math.inf) > self.best_score:
                self.best_score, self.best_epoch = record["score"], self.epoch
                self.best = {key: value.detach().clone() for key, value in self.model.state_dict().items()}
        self.history.append(record)
        self.sums, self.counts, self.seconds = [], [], 0.0
        self.save()
        self.start = time.perf_counter()
        return record

    def should_stop(self, patience: int | None) -> bool:
        return patience is not None and self.epoch - self.best_epoch >= patience

    def restore_best(self) -> None:
        if self.best is not None and self.best_epoch != self.epoch:
            self.model.load_state_dict(self.best)
        self.model.eval()

    def save_now_and_then(self) -> None:
        if time.monotonic() - self.saved > self.save_every and hasattr(self.batches, "state_dict"):
            self.check(minitorch.stack(self.sums).sum().item() if self.sums else 0.0)
            self.save()

    def save(self) -> None:
        if self.file is None:
            return
        self.file.parent.mkdir(parents=True, exist_ok=True)
        state = {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": None if self.schedule is None else self.schedule.state_dict(),
            "batches": self.batches.state_dict() if hasattr(self.batches, "state_dict") else None,
            "random": minitorch.get_rng_state(),
            "cuda_random": minitorch.cuda.get_rng_state_all() if minitorch.cuda.is_initialized() else [],
            "sum": minitorch.stack(self.sums).sum() if self.sums else None,
            "count": sum(self.counts),
            "seconds": self.seconds + time.perf_counter() - self.start,
            **{key: getattr(self, key) for key in ("epoch", "history", "best_score", "best_epoch", "best")},
        }
        save(state, self.file)
        self.saved = time.monotonic()

    def load(self) -> None:
        if self.file is None or not self.file.is_file():
            raise FileNotFoundError(f"there is nothing to resume: the checkpoint {str(self.file)!r} does not exist")
        state = load(self.file)
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.schedule is not None:
            self.schedule.load_state_dict(state["schedule"])
        if state["batches"] is not None:
            self.batches.load_state_dict(state["batches"])
        minitorch.set_rng_state(state["random"])
        if state["cuda_random"]:
            minitorch.cuda.set_rng_state_all(state["cuda_random"])
        self.sums, self.counts = ([state["sum"]], [state["count"]]) if state["count"] else ([], [])
        self.seconds = state["seconds"] if state["count"] else 0.0
        for key in ("epoch", "history", "best_score", "best_epoch", "best"):
            setattr(self, key, state[key])


def targets(batch: Any, shifted: bool = False) -> int:
    """How many labels a batch's mean loss is taken over: what it counts beside the other batches of a step.

    shifted: the model predicts each label from those before it, so the first of each row is none.
    """
    labels = batch.get("labels") if isinstance(batch, dict) else batch[-1]
    if labels is None or labels.is_floating_point():
        return len(next(iter(batch.values()))) if labels is None else len(labels)
    return int(((labels[:, 1:] if shifted else labels) != IGNORE).sum().item())


def label_counter(model: nn.Module, own_loss: bool) -> Callable[[Any], int]:
    """count_labels(batch): how many labels the loss of a batch is a mean of. A model may know that of its own loss."""
    if own_loss and hasattr(model, "count_labels"):
        return model.count_labels
    shifted = own_loss and getattr(model, "predicts_next", False)
    return lambda batch: targets(batch, shifted)


def length(batches: Iterable) -> int | None:
    """How many there are, or None where nobody knows: a generator, a DataLoader over a stream."""
    try:
        return len(batches)  # type: ignore[arg-type]
    except TypeError:
        return None


def groups(batches: Iterable, size: int, device: Any, count_labels: Callable[[Any], int]) -> Iterator[list[tuple]]:
    """The batches of one step at a time, on the model's device, each with its number of labels."""
    batches = iter(batches)
    while group := list(itertools.islice(batches, size)):
        yield [(to(batch, device), count_labels(batch)) for batch in group]  # counted where reading does not wait


def evened(batches: Iterable, model: nn.Module) -> Iterator:
    """The batches, of texts with few lengths."""
    config = getattr(model, "config", None)
    most = getattr(config, "max_position_embeddings", None) or getattr(config, "n_positions", None)
    for batch in batches:
        texts = isinstance(batch, dict) and "attention_mask" in batch and batch["input_ids"].ndim == 2
        yield widen(batch, MULTIPLE, most, getattr(config, "pad_token_id", None) or 0) if texts else batch


def to(batch: Any, device: Any) -> Any:
    if isinstance(batch, dict):
        return {name: value.to(device) for name, value in batch.items()}
    return tuple(value.to(device) for value in batch)


def bar(steps: Iterable, epoch: int, epochs: int, batches: Any, accumulate: int, show: bool, name: str) -> Iterable:
    """A progress bar on a terminal, where tqdm is installed."""
    number = length(batches)
    total = None if number is None else -(-number // accumulate)
    return progress_bar(steps, f"{name} {epoch + 1}/{epochs}", show, total)


def progress_bar(items: Iterable, text: str, show: bool = True, total: int | None = None) -> Iterable:
    try:
        from tqdm import tqdm
    except ImportError:
        return items
    return tqdm(items, desc=text, total=total, disable=None if show else True, leave=False)


def line(head: str, record: dict[str, float]) -> str:
    figures = (f"{key} {value:.4g}" for key, value in record.items() if key not in ("epoch", "score", "lr", "seconds"))
    return f"{head}: {', '.join(figures)} ({record['seconds']:.0f} s)"


def parameter_groups(
    model: nn.Module, lr: float, weight_decay: float = 0.01, layer_decay: float = 1.0, head_lr: float | None = None
) -> list[dict]:
    """Groups for an optimizer: matrices with weight decay; biases and norms (one axis) without.

    layer_decay: each layer learns with the rate of the one above it times this: lr * decay^(layers above). What is
    nearer to the input is more general, and should move less (arXiv:1801.06146). head_lr: another rate for what is not
    part of a layer or of the embeddings.
    """
    layers = count_layers(name for name, _ in model.named_parameters())
    found: dict[tuple, list] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        above = layers + 1 - (layer_of(name, layers) or 0)
        rate = lr * layer_decay**above if above else lr if head_lr is None else head_lr
        found.setdefault((rate, weight_decay if parameter.ndim > 1 else 0.0), []).append(parameter)
    return [{"params": group, "lr": rate, "weight_decay": decay} for (rate, decay), group in found.items()]


@no_grad()
def predict(
    model: nn.Module, features: list, pad: Callable, *, batch_size: int = 64, progress: bool = False
) -> list[Tensor]:
    """The logits of every example, in the order of `features`, on the CPU; `model` in evaluation mode.

    features: dictionaries with "input_ids"; pad: makes a batch of some of them (`tokenizer.pad`). Examples of similar
    length share a batch; the logits of a sequence tagger are cut to the example's own length.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    was_training, device = model.training, next(model.parameters()).device
    order = sorted(range(len(features)), key=lambda i: len(features[i]["input_ids"]))
    results: list = [None] * len(features)
    model.eval()
    try:
        for start in progress_bar(range(0, len(order), batch_size), "predict", progress):
            rows = order[start : start + batch_size]
            batch = to(pad([features[i] for i in rows]), device)
            logits = model(**{name: value for name, value in batch.items() if name != "labels"}).logits.cpu()
            for row, i in enumerate(rows):
                results[i] = logits[row, : len(features[i]["input_ids"])] if logits.ndim == 3 else logits[row]
    finally:
        model.train(was_training)
    return results
