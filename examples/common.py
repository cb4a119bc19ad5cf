"""What the programs share: their options, the ways to fine-tune, reports and pictures.

The training loop itself is `minitorch.training.fit`.
"""

import argparse
import datetime
import json
import math
import re
import sys
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import minitorch
from minitorch import nn
from minitorch.datasets.sources import SHA256
from minitorch.peft import PeftModel, PrefixTuningConfig
from minitorch.peft.base import TASKS
from minitorch.peft.recipes import METHODS, RATES, apply_method
from minitorch.serialization import LoadError
from minitorch.text.tokenizer import Tokenizer
from minitorch.training import fit, parameter_groups
from minitorch.utils.download import checksum
from minitorch.utils.hub import find, read_json

MODEL = "sentence-transformers/all-MiniLM-L6-v2"
# Of programs that begin with random weights, and with --model go on with what they have saved. What is learnt gets into
# the model's own weights, so that the result is such a model again; that rules out adapter and prefix.
FURTHER = {name: METHODS[name] for name in ("full", "lora", "adalora", "bitfit")} | {"frozen": "only the last layer"}
# Times the rate of random weights: near the best tried for char_gpt on another kind of text, and for digits on more of them.
FURTHER_RATES = {"full": 1, "frozen": 3, "lora": 5, "adalora": 10, "bitfit": 10}


def options(
    description: str, *, out: str, epochs: int | None, lr: float | None, batch_size: int,
    methods: Mapping[str, str] = METHODS, model: str | None = MODEL, weights: str = "what this program saved",
    why_not: str = "Adapters and prefixes could not be merged into the weights", batch: str = "examples",
    split: str | None = "validation", patience: int | None = None, unit: str = "epochs", limit: str = "examples",
    predict: Sequence[str] = ("--predict",), data: str | None = None,
) -> argparse.ArgumentParser:  # fmt: skip
    """The parser with what every program has; each adds its own. epochs, lr, split: None where the task decides.

    TASK in `out` stands for the task's name, so that each task has a folder of its own.
    methods: {name: what is trained}. model: what --model is if it is not given. None: random weights; then `weights` says
    what else there is, `why_not` why methods are missing, and the program calls `complete`.
    unit: what the training counts in, and the program has an option for if it is not epochs.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add(
        "--data",
        metavar="PATH",
        help=data or "the folder with the data set's files (default: its folder in $MINITORCH_DATA, else a download)",
    )
    add("--device", default="cpu", help="cpu or cuda (default: cpu)")
    add("--graph", action="store_true", help="capture the training steps as CUDA graphs (with --device cuda)")
    add("--seed", type=int, default=0, help="random seed (default: %(default)s)")
    add("--out", default=out, help=f"the run's folder: model, report, pictures (default: {out})")
    add("--resume", action="store_true", help="go on from the checkpoint in --out")
    if unit == "epochs":
        add(
            "--epochs",
            type=int,
            default=epochs,
            help=f"passes over the training data (default: {epochs or 'as the task needs'})",
        )
    usual = f"(default: {lr or 'as task and model need'})"
    if lr and model is None:
        usual += ", with --model " + ", ".join(f"{lr * FURTHER_RATES[name]:g} {name}" for name in methods)
        lr = None  # complete() finds it
    add("--lr", type=float, default=lr, help=f"the highest learning rate {usual}")
    add("--batch-size", type=int, default=batch_size, help=f"{batch} in a step (default: {batch_size})")
    add(
        "--patience",
        type=int,
        default=patience,
        help=f"stop after this many {unit} without a better validation score (default: {patience or 'never'})",
    )
    add("--limit", type=int, metavar="N", help=f"use only N of the training {limit}: a quick look")
    add("--split", default=split, help=f"the split that is reported (default: {split or 'as the task has one'})")
    add("--evaluate", action="store_true", help="do not train: report on the saved model in --out")
    add(
        *predict, dest="predict", metavar="INPUT", nargs="+",
        help="do not train: print what the saved model in --out makes of these",
    )  # fmt: skip
    ways = "; ".join(f"{name}: {what}" for name, what in methods.items())
    if model is None:
        add("--model", metavar="FOLDER", help=f"a model to begin with: {weights} (default: random weights)")
        add(
            "--method",
            choices=methods,
            default="full",
            help=f"what is trained of --model (default: full). {ways}. {why_not}",
        )
    else:
        add("--method", choices=methods, default="full", help=f"what is trained (default: full). {ways}")
        add(
            "--model",
            default=model,
            help="a folder or a hub id with pretrained weights, or the folder of an earlier run with --method full, of another "
            f"task, too, whose head is kept if its classes have the same names (default: {model})",
        )
    return parser


def learning_rate(method: str, full: float, rates: Mapping[str, float] = RATES) -> float:
    """The highest rate for a method, given that of full fine-tuning, or with FURTHER_RATES that of random weights."""
    return full * rates[method]


def complete(
    args: argparse.Namespace, lr: float, new: Mapping[str, object], free: Mapping[str, object] | None = None
) -> None:
    """Fill in what depends on --model, where the default are random weights: the options whose default in the parser is None.

    lr: of random weights. new, free: a new model's settings. A saved model has them already: one of `new` that is given
    beside it would do nothing, and is refused; one of `free` replaces the saved model's.
    """
    if args.model is None and args.method != "full":
        raise SystemExit(
            f"--method {args.method} trains few weights beside those that --model gives: give --model, too"
        )
    if args.lr is None:
        args.lr = lr if args.model is None else learning_rate(args.method, lr, FURTHER_RATES)
    for name, value in {**new, **(free or {})}.items():
        if args.model is None:
            setattr(args, name, value if getattr(args, name) is None else getattr(args, name))
        elif getattr(args, name) is not None and name in new:
            raise SystemExit(
                f"--{name.replace('_', '-')} is for a new model: that of --model {args.model} stays as it is"
            )


def saved_model(args: argparse.Namespace, run: "Run") -> Path:
    """--model: a saved model, or the folder of the run that saved it."""
    given = Path(args.model)
    found = given / run.model.name if (given / run.model.name).exists() else given
    if not found.exists():
        raise SystemExit(f"--model {args.model}: there is no such model")
    if found.resolve().parent == run.folder.resolve():
        raise SystemExit(f"--model {args.model}: the new run would replace it; give another folder with --out")
    return found


def no_model(path: Path) -> SystemExit:
    """The error for a place where this program has saved nothing."""
    return SystemExit(
        f"there is no saved model of this program in {path}: train one first (the command without --predict, --evaluate)"
    )


def pretrained(kind: type, name: str, label2id: dict[str, int]) -> nn.Module:
    """A pretrained body with a new head, or with the one that it has if that is for the same classes: a model may have
    learnt another task before (arXiv:1811.01088). That the head is new, and that another one is left out, is no news here."""
    if Path(name).is_dir():
        name = str(Path(name).resolve())  # what an adapter remembers holds in other folders, too
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*(begin with random numbers|does not use these weights)")
        model, found = kind.from_pretrained(
            name, label2id=label2id, ignore_mismatched_sizes=True, output_loading_info=True
        )
    wrong = [f"{key} {theirs}, not {ours}" for key, theirs, ours in found["mismatched_keys"]]
    wrong = [line for line in wrong if not line.startswith("classifier.")]
    wrong += [f"{key}, which it lacks" for key in found["unexpected_keys"] if "encoder.layer." in key]
    if wrong:
        raise ValueError(f"{name}: its weights are not those of its config.json: {shortened(wrong)}")
    new = {*found["missing_keys"], *(key for key, *_ in found["mismatched_keys"])}
    if "classifier.weight" not in new:
        keep_head(model, kind.read_config(name).label2id)
    return model


def keep_head(model: nn.Module, before: dict[str, int]) -> None:
    """Put the rows of a head that was loaded where its classes are now; if the classes are others, begin it anew."""
    numbers = {name.lower(): number for name, number in before.items()}
    rows = [numbers.get(name.lower()) for name in model.config.id2label.values()]
    if None in rows:
        model.init_weights(model.classifier)
    else:
        with minitorch.no_grad():
            for value in model.classifier.parameters():
                value.copy_(value[rows])


def tokenizer_of(name: str | Path, model: nn.Module) -> Tokenizer:
    """The tokenizer beside a model, if the model knows all of its pieces."""
    tokenizer = Tokenizer.from_pretrained(name)
    if len(tokenizer) > model.config.vocab_size:
        raise ValueError(
            f"{name}: the tokenizer has {len(tokenizer)} word pieces, and the model knows {model.config.vocab_size}: they do not "
            "belong together"
        )
    return tokenizer


def peft_model(model: nn.Module, args: argparse.Namespace, steps: int, whole: list[str] | None = None) -> nn.Module:
    """`model`, changed so that --method decides which weights learn. steps: of the training, for AdaLoRA's budget.

    whole: modules that learn all of their weights with every method; by default the head.
    """
    model = apply_method(model, args.method, steps, whole)
    if args.method != "full":
        model.print_trainable_parameters()
    return model


def merged(model: nn.Module) -> nn.Module:
    """An ordinary model again, with what --method has learnt in its own weights."""
    return model.merge_and_unload() if isinstance(model, PeftModel) else model


def regularised(loss: Callable) -> Callable:
    """A program's own loss(model, batch), in training with AdaLoRA's regulariser: only a model's own loss has it already."""

    def total(model, batch):
        value = loss(model, batch)
        return value + model.orthogonality_loss() if hasattr(model, "orthogonality_loss") else value

    return total


def optimizer(model: nn.Module, args: argparse.Namespace, layer_decay: float = 1.0) -> minitorch.optim.AdamW:
    """AdamW over what learns, with weight decay on matrices alone."""
    return minitorch.optim.AdamW(parameter_groups(model, args.lr, layer_decay=layer_decay), lr=args.lr)


def most_pieces(model: nn.Module, max_length: int | None, method: str | None = None) -> int:
    """The longest text that the model reads, in word pieces, special ones included. A prefix takes some positions.

    method: what the model is going to be; without, what it is.
    """
    settings = PrefixTuningConfig() if method == "prefix" else getattr(model, "peft_config", {}).get("default")
    positions = model.config.max_position_embeddings - getattr(settings, "num_virtual_tokens", 0)
    return min(max_length or positions, positions)


def text_lines(path: str) -> list[str]:
    """The lines of a file of the user's own."""
    try:
        return Path(path).read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise ValueError(
            f"{path}, line {line}: expected UTF-8 text, got the byte 0x{error.object[error.start]:02x}"
        ) from None


class Run:
    """A run's folder: settings, checkpoint, the saved model, a report and pictures."""

    def __init__(self, args: argparse.Namespace):
        args.out = re.sub("/TASK$", f"/{getattr(args, 'task', '')}", args.out)
        self.args, self.folder, self.start = args, Path(args.out), time.perf_counter()
        self.checkpoint, self.model = self.folder / "checkpoint.ckpt", self.folder / "model"
        self.text: list[str] = []
        self.figures: dict[str, float] = {}
        if (args.predict or args.evaluate) and any(word.split("=")[0] == "--model" for word in sys.argv):
            print(f"--model is for the training: it is {self.model} that answers", file=sys.stderr)
        for path in (self.folder, *self.folder.parents):
            if path.is_file():
                raise SystemExit(f"--out {args.out}: {path} is a file; give a folder, which is made if it is not there")
        if args.data is not None and not Path(args.data).exists():
            raise SystemExit(f"--data {args.data}: there is no such file or folder")
        for name in COUNTS:
            value = getattr(args, name, None)
            if value is not None and value < 1:
                raise SystemExit(f"--{name.replace('_', '-')} must be at least 1, got {value}")
        if args.lr is not None and not 0 < args.lr < math.inf:
            raise SystemExit(f"--lr must be a number above 0, got {args.lr}")
        if not 0 <= (getattr(args, "dropout", 0) or 0) < 1:
            raise SystemExit(f"--dropout must be at least 0 and below 1, got {args.dropout}")
        try:
            minitorch.zeros(1, device=args.device)
        except (RuntimeError, ImportError) as error:
            raise SystemExit(f"--device {args.device}: {error}") from None
        if getattr(args, "graph", False):
            check_graph(args.device)

    def begin(self) -> None:
        """Collect the settings; to resume, compare them with those of the start."""
        args = self.args
        if getattr(args, "model", None) and Path(args.model).exists():
            args.model = str(saved_model(args, self))
        self.check_folder()
        self.settings = settings = {name: value for name, value in vars(args).items() if name not in NOT_SETTINGS}
        if args.data is not None and Path(args.data).is_file():  # a file of one's own may change, or be another one
            settings["data_sha256"] = checksum(args.data, SHA256)
        if args.resume:
            if not self.checkpoint.is_file():
                raise SystemExit(f"--resume: there is no checkpoint in {self.folder} (a finished run has none)")
            before = self.trained_with()
            changed = [
                f"{name} {before.get(name)} -> {value}" for name, value in settings.items() if before.get(name) != value
            ]
            if changed:
                raise SystemExit(
                    f"--resume: the run in {self.folder} was begun with other settings: {', '.join(changed)}"
                )
        minitorch.manual_seed(args.seed)

    def trained_with(self) -> dict:
        """The settings of the run that is in the folder."""
        file = self.folder / "settings.json"
        return read_json(file) if file.is_file() else {}

    def check_folder(self) -> None:
        """Refuse a folder whose files of our names are somebody else's: they would be overwritten."""
        there = [path.name for names in (*OWN_FILES, "settings.json", "model") for path in self.folder.glob(names)]
        if there and not {"seed", "lr", "batch_size"} <= self.trained_with().keys():
            raise SystemExit(
                f"--out {self.folder}: {shortened(there)} would be overwritten, and no run of these programs wrote them: give "
                "another folder"
            )

    def replace(self) -> None:
        """Make the folder ready: the settings are written, what an earlier run left goes. Not before the model and the data
        are there, so that a mistake in an option costs nobody a checkpoint."""
        if not self.args.resume and (self.model.exists() or self.checkpoint.exists()):
            print(
                f"the run that was in {self.folder} is replaced; until this one is done {self.model} stays the earlier one's"
            )
            for names in OWN_FILES:
                for old in self.folder.glob(names):
                    old.unlink()
        self.folder.mkdir(parents=True, exist_ok=True)
        settings = json.dumps(self.settings, indent=1) + "\n"
        (self.folder / "settings.json").write_text(settings, encoding="utf-8")

    def fit(self, model: nn.Module, batches, number: int = 0, **recipe) -> list[dict[str, float]]:
        """training.fit with the options that all programs have, and a picture of how it went.

        number: of the training, where there are several (--average); each has a checkpoint and a picture of its own.
        """
        from plots import plot_history

        args = self.args
        if number == 0:
            self.replace()
        behind = f"_{number + 1}" if number else ""
        checkpoint = self.folder / f"checkpoint{behind}.ckpt"
        history = fit(
            model,
            batches,
            epochs=args.epochs,
            accumulate=getattr(args, "accumulate", 1),
            patience=args.patience,
            checkpoint=checkpoint,
            resume=args.resume and (number == 0 or checkpoint.is_file()),
            graph=args.graph,
            name=f"training {number + 1}, epoch" if getattr(args, "average", 1) > 1 else "train",
            **recipe,
        )
        plot_history(history, self.folder / f"curves{behind}.png")
        return history

    def say(self, text: str = "") -> None:
        """Print it, and keep it for the report."""
        print(text, flush=True)
        self.text.append(text)

    def prefix(self, name: str) -> str:
        """A file's name; with --evaluate the split's name behind it, so that the training's own files stay."""
        return f"{name}_{self.args.split}" if self.args.evaluate else name

    def finish(self) -> None:
        """report.md: all that was said; report.json: settings and figures, for programs. The checkpoint goes.

        Of `--evaluate`: the same in files with the split's name.
        """
        name = self.prefix("report")
        command = " ".join([Path(sys.argv[0]).name, *sys.argv[1:]])
        head = f"# {Path(sys.argv[0]).stem}, {datetime.date.today()}\n\n    {command}\n"
        (self.folder / f"{name}.md").write_text("\n".join([head, *self.text]) + "\n", encoding="utf-8")
        settings = {**vars(self.args), **(self.trained_with() if self.args.evaluate else {})}
        result = {"command": command, "settings": settings, "figures": self.figures}
        (self.folder / f"{name}.json").write_text(
            json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
        )
        if not self.args.evaluate:
            for checkpoint in self.folder.glob("checkpoint*.ckpt"):
                checkpoint.unlink()
        files = ", ".join(sorted(file.name for file in self.folder.iterdir()))
        print(f"{time.perf_counter() - self.start:.0f} s. In {self.folder}: {files}")

    def per_class(self, labels: Sequence[int], predictions: Sequence[int], classes: Sequence[str]) -> None:
        """scikit-learn's table of the classes, and a confusion matrix as a picture."""
        from plots import plot_confusion
        from sklearn.metrics import classification_report, f1_score

        numbers = list(range(len(classes)))
        table = classification_report(
            labels, predictions, labels=numbers, target_names=classes, digits=4, zero_division=0
        )
        self.say(f"```text\n{table}```")
        right = sum(int(a == b) for a, b in zip(labels, predictions))
        self.figures["accuracy"] = right / len(labels)
        self.figures["macro_f1"] = float(
            f1_score(labels, predictions, labels=numbers, average="macro", zero_division=0)
        )
        plot_confusion(labels, predictions, classes, self.folder / f"{self.prefix('confusion')}.png")

    def check_classes(
        self, model: nn.Module, classes: Sequence[str], by_name: bool = False, where: object = None
    ) -> list[str]:
        """The model's classes, by number. Data of other classes are refused. where: the model is, if not in this run's folder.

        by_name: the caller finds a label's number by its name, so that data may lack classes or have them in another order.
        """
        names = list(model.config.id2label.values())
        unknown = [name for name in classes if name not in names]
        if unknown or not by_name and names != list(classes):
            raise SystemExit(
                f"the model in {where or self.model} has the classes {shortened(names)}; --task {self.args.task} has "
                f"{shortened(unknown) + ', too' if by_name else shortened(classes)}"
            )
        return names


def shortened(names: Sequence[str]) -> str:
    return ", ".join([*names[:6], *(["..."] if len(names) > 6 else [])])


COUNTS = (
    "epochs steps eval_every batch_size limit patience max_length accumulate average width blocks size layers heads "
    "block vocab_size beams at_least length"
).split()
OWN_FILES = ("checkpoint*.ckpt", "report*.md", "report*.json", "confusion*.png", "curves*.png")
ADAPTER = ("adapter_*", "labels.json", "base.json")
NOT_SETTINGS = ("out", "resume", "predict", "evaluate", "split", "device", "data", "graph")


def check_graph(device: str) -> None:
    """--graph is for a GPU."""
    if minitorch.device(device).type != "cuda":
        raise SystemExit(f"--graph: CUDA graphs need a GPU: add --device cuda (got --device {device})")


def save_model(model: nn.Module, tokenizer, folder: Path) -> None:
    """The whole model; of a parameter-efficient one only what it adds, with the name of the model that it belongs to."""
    # What an earlier run with another --method left would answer in this one's place.
    others = ("config.json", "model*.safetensors*") if isinstance(model, PeftModel) else ADAPTER
    for pattern in others:
        for old in folder.glob(pattern):
            old.unlink()
    model.save_pretrained(folder)
    if isinstance(model, PeftModel):
        base = model.peft_config["default"].base_model_name_or_path
        for name, content in (("labels", model.base_model.config.label2id), ("base", {"sha256": weights_hash(base)})):
            (folder / f"{name}.json").write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    tokenizer.save_pretrained(folder)


def weights_hash(name: str) -> str | None:
    """The SHA-256 of a model's weights; None if they are in several files."""
    path = find(name, "model.safetensors")
    return path and checksum(path, SHA256)


def check_kind(folder: Path, wanted: str) -> None:
    """Refuse another program's model. An adapter's file says the task, a model's the class."""
    if (folder / "adapter_config.json").is_file():
        task = read_json(folder / "adapter_config.json").get("task_type")
        named = [f"Bert{ending}" for ending, name in TASKS.items() if name == task]
    else:
        named = read_json(folder / "config.json").get("architectures") if (folder / "config.json").is_file() else None
    if named and wanted not in named:
        raise SystemExit(
            f"{folder} holds a {named[0]}, and what this program saves and reads is a {wanted}: another --out"
        )


def load_model(kind: type, folder: Path, device: str = "cpu"):
    """The saved model and its tokenizer, by `save_model`."""
    if not folder.is_dir():
        raise no_model(folder)
    check_kind(folder, getattr(kind, "architecture", kind.__name__))
    adapter, labels = folder / "adapter_config.json", folder / "labels.json"
    if not adapter.is_file():
        model = kind.from_pretrained(folder).to(device)
        return model, tokenizer_of(folder, model)
    if not labels.is_file():
        raise ValueError(f"{labels}, which names the classes, is gone: train again, or put it back")
    base, label2id = read_json(adapter).get("base_model_name_or_path"), read_json(labels)
    if not isinstance(base, str):
        raise ValueError(f"{adapter} does not say to which model it belongs: base_model_name_or_path is {base!r}")
    try:
        model = pretrained(kind, base, label2id)
    except (OSError, ValueError) as error:
        raise ValueError(f"{folder} holds what was learnt on top of the model {base}: {error}") from None
    known = folder / "base.json"
    if known.is_file() and read_json(known).get("sha256") != weights_hash(base):
        raise ValueError(
            f"{folder} holds what was learnt on top of the model {base}, and that has other weights by now: train again, or put "
            "the old ones back"
        )
    return PeftModel.from_pretrained(model, folder).eval().to(device), tokenizer_of(folder, model)


def main(program) -> None:
    """Run it; what a user can mend ends with one line, not with a traceback."""
    try:
        program()
    except (ValueError, OSError, ImportError, LoadError, FloatingPointError) as error:
        raise SystemExit(f"{Path(sys.argv[0]).name}: {error}") from None
    except KeyboardInterrupt:
        raise SystemExit("\nstopped; --resume goes on from the last checkpoint, if there is one yet") from None
