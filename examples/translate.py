"""Translate German into English: a Transformer trained from nothing on 29,000 captions of images (Multi30k).

    python examples/translate.py                                        train, validate, save
    python examples/translate.py --predict "Ein Hund läuft am Strand."  what the saved model says
    python examples/translate.py --evaluate --split test                the saved model on the test split of 2016
    python examples/translate.py --model runs/translate --data FILE --out runs/mine --method lora
                                                     go on from what is learnt, on lines `German TAB English` of your own

The model is minitorch.models.transformer (lesson 11), the training loop minitorch.training.fit. Both languages share one
vocabulary of pieces of words (byte-pair encoding) and one matrix of embeddings.
"""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import common
import sacrebleu
from minitorch.models.transformer import IGNORE, EncoderDecoder, TransformerConfig
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

import minitorch
from minitorch import datasets, no_grad
from minitorch.datasets.corpus import is_held_out
from minitorch.training import parameter_groups, progress_bar, to
from minitorch.utils.data import DataLoader, Sampler

PAD, BOS, EOS = range(3)


def train_tokenizer(texts: Sequence[str], vocab_size: int) -> Tokenizer:
    """Byte-pair encoding (arXiv:1508.07909): frequent words stay whole, rare ones are put together; no word is unknown."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel()
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, min_frequency=2, special_tokens=["<pad>", "<bos>", "<eos>"], show_progress=False,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    )  # fmt: skip
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def encode(tokenizer: Tokenizer, texts: Sequence[str]) -> list[list[int]]:
    return [[*encoding.ids, EOS] for encoding in tokenizer.encode_batch(list(texts))]


class TokenBatches(Sampler):
    """A batch sampler: pairs of similar lengths, at most `tokens` tokens a side with padding, in random order.

    Sorted by length, and equal ones in random order, so that every epoch has the same number of batches.
    """

    def __init__(self, pairs: Sequence[dict], tokens: int):
        self.lengths, self.tokens = [(len(pair["labels"]), len(pair["source"])) for pair in pairs], tokens
        self.count = len(self.cut(range(len(pairs))))

    def cut(self, order: Sequence[int]) -> list[list[int]]:
        batches, longest = [[]], 0
        for i in sorted(order, key=lambda i: self.lengths[i]):
            longest = max(longest, *self.lengths[i])
            if batches[-1] and longest * (len(batches[-1]) + 1) > self.tokens:
                batches.append([])
                longest = max(self.lengths[i])
            batches[-1].append(i)
        return batches

    def __iter__(self) -> Iterator[list[int]]:
        batches = self.cut(minitorch.randperm(len(self.lengths)).tolist())
        yield from (batches[i] for i in minitorch.randperm(len(batches)).tolist())

    def __len__(self) -> int:
        return self.count


def pad(pairs: Sequence[dict]) -> dict[str, minitorch.Tensor]:
    """A batch: source (B, S), filled with PAD, and labels (B, T), filled with what the loss leaves out."""
    batch = {}
    for name, fill in (("source", PAD), ("labels", IGNORE)):
        longest = max(len(pair[name]) for pair in pairs)
        batch[name] = minitorch.tensor([pair[name] + [fill] * (longest - len(pair[name])) for pair in pairs])
    return batch


def warmup_cosine(optimizer, steps: int, warmup: int):
    """The rate rises in a straight line over `warmup` steps, then falls along half a wave to 0 (arXiv:1608.03983)."""

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warmup) / max(1, steps - warmup))))

    return minitorch.optim.lr_scheduler.LambdaLR(optimizer, factor)


def translate(model, tokenizer: Tokenizer, texts: Sequence[str], beams: int, progress: bool = False) -> list[str]:
    """Sentences of similar length together, the results in the order of `texts`."""
    sources = encode(tokenizer, texts)
    order, results = sorted(range(len(texts)), key=lambda i: -len(sources[i])), [""] * len(texts)
    device, size = next(model.parameters()).device, 64
    for start in progress_bar(range(0, len(order), size), "translate", progress):
        rows = order[start : start + size]
        batch = pad([{"source": sources[i], "labels": [EOS]} for i in rows])["source"].to(device)
        most = min(model.config.max_length, 2 * batch.shape[1] + 10)
        found = model.generate(batch, max_new_tokens=most, num_beams=beams).cpu().tolist()
        for i, tokens in zip(rows, found):
            results[i] = tokenizer.decode(tokens).strip()
    return results


@no_grad()
def mean_loss(model, batches: DataLoader) -> float:
    """The mean of -log p over all tokens of all batches, without label smoothing; e to this power is the perplexity."""
    model.eval()
    device, total, count = next(model.parameters()).device, 0.0, 0
    for batch in batches:
        n = int((batch["labels"] != IGNORE).sum().item())
        total, count = total + n * model(**to(batch, device)).loss.item(), count + n
    return total / count


def sentences(args, split: str) -> datasets.Translation:
    """Multi30k, or the lines `source TAB target` of a file of one's own, a tenth of them for validation."""
    if args.data is None or Path(args.data).is_dir():
        return datasets.multi30k(split, root=args.data)
    if split not in ("train", "validation", "all"):
        raise ValueError(f"--data {args.data}: a file has the splits train, validation and all, got {split}")
    pairs = []
    for number, line in enumerate(common.text_lines(args.data), 1):
        if not line.strip():
            continue
        source, _, target = (part.strip() for part in line.partition("\t"))
        if not source or not target or "\t" in target:
            raise ValueError(f"{args.data}, line {number}: expected source TAB target, got {line.rstrip()[:100]!r}")
        if split == "all" or is_held_out(source, 0.1) == (split == "validation"):
            pairs.append((source, target))
    if not pairs:
        raise ValueError(f"{args.data}: too few lines, there is none in the split {split}")
    return datasets.Translation([source for source, _ in pairs], [target for _, target in pairs])


# The settings of a new model, and those that may be changed of a saved one.
NEW = {"vocab_size": 6000, "layers": 3, "width": 256, "heads": 4, "hidden": 512, "max_length": 100}
FREE = {"dropout": 0.1, "label_smoothing": 0.1}


def make_model(args, run: common.Run, texts: Sequence[str]) -> tuple[EncoderDecoder, Tokenizer]:
    """A new one with a vocabulary of these texts, or that of --model with its own."""
    free = {name: getattr(args, name) for name in FREE if getattr(args, name) is not None}
    if args.model is not None:
        return load(common.saved_model(args, run), **free)
    tokenizer = train_tokenizer(texts, args.vocab_size)
    config = TransformerConfig(
        vocab_size=tokenizer.get_vocab_size(), max_length=args.max_length, width=args.width, heads=args.heads,
        layers=args.layers, hidden=args.hidden, pad=PAD, bos=BOS, eos=EOS, **free,
    )  # fmt: skip
    return EncoderDecoder(config), tokenizer


def train(args, run: common.Run):
    data, validation = (sentences(args, split) for split in ("train", "validation"))
    if args.limit:
        data = data.select(range(min(args.limit, len(data))))
    model, tokenizer = make_model(args, run, [*data.source, *data.target])
    most = model.config.max_length

    def pairs(data) -> list[dict]:
        both = zip(encode(tokenizer, data.source), encode(tokenizer, data.target))
        return [{"source": source, "labels": target} for source, target in both]

    every, held_out = pairs(data), pairs(validation)
    longest = max(len(side) for pair in held_out for side in pair.values())
    name = "--max-length" if args.model is None else f"the longest that --model {args.model} reads,"
    if longest > most:
        raise SystemExit(f"{name} {most}: a validation sentence has {longest} pieces of words")
    examples = [pair for pair in every if max(map(len, pair.values())) <= most]
    if len(examples) < len(every):
        run.say(f"{len(every) - len(examples)} pairs are longer than {name} {most} and are left out")
    batches = DataLoader(examples, batch_sampler=TokenBatches(examples, args.batch_size), collate_fn=pad)
    held_out = DataLoader(held_out, batch_size=64, collate_fn=pad)
    run.say(
        f"{len(examples)} pairs to learn from, {len(validation)} to validate, {model.config.vocab_size} pieces of words, "
        f"{sum(p.numel() for p in model.parameters()) / 1e6:.1f} million parameters, {len(batches)} steps an epoch"
    )

    def evaluate(model):
        bleu = sacrebleu.corpus_bleu(translate(model, tokenizer, validation.source, beams=1), [validation.target]).score
        return {"validation_loss": mean_loss(model, held_out), "validation_bleu": bleu, "score": bleu}

    model = common.peft_model(model, args, args.epochs * len(batches)).to(args.device)
    groups = parameter_groups(model, args.lr, args.weight_decay)
    optimizer = minitorch.optim.AdamW(groups, lr=args.lr, betas=(0.9, 0.98))
    schedule = warmup_cosine(optimizer, args.epochs * len(batches), args.warmup)
    history = run.fit(model, batches, optimizer=optimizer, schedule=schedule, evaluate=evaluate)
    model = common.merged(model)
    model.save_pretrained(run.model)
    tokenizer.save(str(run.model / "tokenizer.json"))
    run.figures |= {"epochs": len(history), "training_seconds": sum(record["seconds"] for record in history)}
    run.say(f"{len(history)} epochs in {run.figures['training_seconds']:.0f} s, the evaluations not counted")
    return model, tokenizer


def report(args, run: common.Run, model, tokenizer: Tokenizer, data: datasets.Translation) -> None:
    """BLEU, greedy and with a beam, and translations beside the references."""
    own = args.data is not None and Path(args.data).is_file()
    name = args.data if own else "German to English, Multi30k"
    run.say(f"\n## {name}, split {args.split}: {len(data)} sentences\n")
    metric = sacrebleu.BLEU()
    for name, beams in (("greedy", 1), (f"beam {args.beams}", args.beams)):
        said = translate(model, tokenizer, data.source, beams, progress=True)
        score = metric.corpus_score(said, [data.target]).score
        run.say(f"BLEU {score:.2f} ({name})")
        run.figures["bleu_greedy" if beams == 1 else "bleu_beam"] = score
    run.say(f"sacrebleu {metric.get_signature()}\n\n| source | translation | reference |\n|---|---|---|")
    for i in range(0, len(data), max(1, len(data) // 12)):
        run.say(f"| {data.source[i]} | {said[i]} | {data.target[i]} |")


def load(folder: Path, device: str = "cpu", **changed) -> tuple[EncoderDecoder, Tokenizer]:
    """A saved model, with some of its settings changed, and its vocabulary."""
    file = folder / "tokenizer.json"
    if not file.is_file():
        raise common.no_model(folder)
    return EncoderDecoder.from_pretrained(folder, device=device, **changed), Tokenizer.from_file(str(file))


def main() -> None:
    parser = common.options(
        __doc__, out="runs/translate", epochs=6, lr=1e-3, batch_size=1200, methods=common.FURTHER, model=None,
        batch="tokens a side",
        data="a folder with Multi30k's files, or a file of lines source TAB target (default: Multi30k, from $MINITORCH_DATA "
        "or downloaded)",
    )  # fmt: skip
    add = parser.add_argument
    add("--vocab-size", type=int, help="pieces of words, of both languages together (default: 6000)")
    add("--layers", type=int, help="of the encoder and of the decoder (default: 3)")
    add("--width", type=int, help="of the vectors (default: 256)")
    add("--heads", type=int, help="of the attention (default: 4)")
    add("--hidden", type=int, help="width of the feed-forward networks (default: 512)")
    add("--max-length", type=int, help="longest sentence in pieces of words (default: 100)")
    add("--dropout", type=float, help="share of the activations left out (default: 0.1, or as in --model)")
    add("--label-smoothing", type=float, help="share of the target given to all words (default: 0.1, or as in --model)")
    add("--weight-decay", type=float, default=0.01, help="of AdamW (default: 0.01)")
    add("--warmup", type=int, default=300, help="steps until the full rate (default: 300)")
    add("--beams", type=int, default=5, help="open translations of the beam search (default: 5)")
    args = parser.parse_args()
    common.complete(args, 1e-3, NEW, FREE)
    if args.hidden is not None and args.hidden < 1:  # other counts are Run's to check
        raise SystemExit(f"--hidden must be at least 1, got {args.hidden}")
    run = common.Run(args)
    if args.predict or args.evaluate:
        model, tokenizer = load(run.model, args.device)
    if args.predict:
        print(*translate(model, tokenizer, args.predict, args.beams), sep="\n")
        return
    data = sentences(args, args.split)
    if not args.evaluate:
        run.begin()
        model, tokenizer = train(args, run)
    report(args, run, model, tokenizer, data)
    run.finish()


if __name__ == "__main__":
    common.main(main)
