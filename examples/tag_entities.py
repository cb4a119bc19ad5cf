"""Fine-tune a pretrained BERT to find named entities: persons, places, organisations and others.

    python examples/tag_entities.py --task conll2003                        train, validate, save
    python examples/tag_entities.py --predict "Ada Lovelace lived in London."    what the saved model finds
    python examples/tag_entities.py --evaluate --split test                 the saved model on the test split

Every word gets a tag: B-PER begins a person, I-PER goes on with it, O is no entity. The tokenizer cuts words into
pieces; a word's tag is that of its first piece, the other pieces have the label -100, which the loss leaves out. A
sentence longer than the model can read is cut into overlapping windows, so that every word gets its tag.

A vocabulary without capital letters hides what says most about names. So the model is told how each word is written,
as `token_type_ids`: a row of the type embeddings for each of CASES. It stays an ordinary BERT, which transformers
loads (and which wants these token_type_ids there, too).

The tags of a sentence are the most probable ones together in which no I-PER stands without a beginning (Viterbi).
"""

import os
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import common
import numpy as np
from minitorch.models.bert import BertForTokenClassification
from plots import plot_confusion

import minitorch
from minitorch import datasets, nn
from minitorch.datasets.corpus import is_held_out
from minitorch.nn import functional as F
from minitorch.optim.lr_scheduler import linear_warmup_decay
from minitorch.text.batches import IGNORE, batches
from minitorch.text.tokenizer import Tokenizer
from minitorch.training import predict


@dataclass
class Task:
    """A data set, and the recipe that was found for it on its training and validation sentences."""

    what: str
    load: Callable  # split, root -> sentences, tags, classes
    epochs: int
    lr: float


def own_sentences(split: str, root: str | None) -> datasets.Tagging:
    """A file of one's own: lines `word tag`, a blank line between sentences; four fifths of them to learn from, or all
    (to --evaluate on)."""
    if root is None or not os.path.isfile(root):
        raise FileNotFoundError(f"--task file: --data must name a file of lines `word tag`, got {root}")
    if split not in ("train", "validation", "all"):
        raise ValueError(f"--task file has the splits train, validation and all, got {split}")
    sentences: list[list[tuple[str, str]]] = [[]]
    for number, line in enumerate(common.text_lines(root), 1):
        columns = line.split()
        if not columns:
            sentences.append([])
        elif len(columns) == 2 and re.fullmatch(r"O|[BI](-\S+)?", columns[1]):
            sentences[-1].append((columns[0], columns[1]))
        else:
            expected = "expected `word tag`, the tag O, B, I, B-X or I-X"
            raise ValueError(f"{root}, line {number}: {expected}; got {line[:100]!r}")
    words = [[word for word, _ in rows] for rows in sentences if rows]
    tags = [as_bio([tag for _, tag in rows]) for rows in sentences if rows]
    classes = sorted({"O"}.union(*tags), key=lambda tag: (tag != "O", tag))
    # By the sentence's hash: a sentence that is there twice is on one side.
    sides = [is_held_out(" ".join(sentence).lower(), 0.2) for sentence in words]
    if not words or split != "all" and (len(classes) == 1 or len(set(sides)) < 2):
        raise ValueError(
            f"{root}: {len(words)} sentences of {len(classes)} tags are too few to learn from and to validate"
        )
    data = datasets.Tagging(words, tags, classes)
    if split == "all":
        return data
    return data.select([i for i, side in enumerate(sides) if side == (split == "validation")])


def as_bio(tags: Sequence[str]) -> list[str]:
    """Every entity begins with a B-, though some files begin one with I- where no other one is just before it."""
    starts = {first for _, first, _ in entities(tags)}
    return ["B" + tag[1:] if i in starts else tag for i, tag in enumerate(tags)]


TASKS = {
    "conll2003": Task("persons, places, organisations and others in newswire", datasets.conll2003, 4, 2e-4),
    "wnut17": Task("rare and new entities in social media", datasets.wnut17, 6, 2e-4),
    "file": Task("lines `word tag` in --data FILE", own_sentences, 5, 2e-4),
}


# ---- words as pieces ------------------------------------------------------------------------------------------------

CASES = ("other", "lower", "Capital", "UPPER", "miXed", "digits")  # how words are written; "other": special tokens too


def case_of(word: str) -> int:
    letters = [c for c in word if c.isupper() or c.islower()]
    if not letters:
        return CASES.index("digits" if any(c.isdigit() for c in word) else "other")
    first, rest = letters[0], letters[1:]
    if all(c.islower() for c in rest):
        return CASES.index("Capital" if first.isupper() else "lower")
    return CASES.index("UPPER" if all(c.isupper() for c in letters) else "miXed")


def pieces_of(tokenizer: Tokenizer, sentences: Sequence[Sequence[str]]) -> Iterator[list[list[int]]]:
    """For each sentence: the pieces of each word. A word of which the tokenizer leaves nothing becomes [UNK]."""
    if tokenizer.unk_id is None or tokenizer.cls_id is None or tokenizer.sep_id is None:
        raise ValueError("the tokenizer has no [UNK], [CLS] and [SEP]: a BERT's is expected")
    features = tokenizer.word_features(sentences, max_length=sys.maxsize)  # all of it: windows() cuts
    for words, feature in zip(sentences, features):
        pieces: list[list[int]] = [[] for _ in words]
        for piece, word in zip(feature["input_ids"], feature["word_ids"]):
            if word is not None:
                pieces[word].append(piece)
        yield [word or [tokenizer.unk_id] for word in pieces]


def windows(lengths: Sequence[int], size: int) -> list[tuple[int, int, int, int]]:
    """Cut a sentence with words of so many pieces into windows of at most `size` pieces, (start, first, last, stop).

    The words start...stop-1 stand in the window; first...last-1 get their tags there, each word in one window. The
    others are context, a quarter of the window on either side, unless the sentence begins or ends there. Of a word that
    is longer than a window, only the first pieces are read.
    """
    # ends[b] - ends[a] is the number of pieces of the words a...b-1
    ends = np.cumsum([0, *(min(length, size) for length in lengths)])
    count, margin, first, found = len(lengths), size // 4, 0, []
    while first < count:
        start = int(np.searchsorted(ends, max(ends[first] - margin, ends[first + 1] - size, 0)))
        stop = int(np.searchsorted(ends, ends[start] + size, side="right")) - 1
        last = max(first + 1, int(np.searchsorted(ends, ends[stop] - margin, side="right")) - 1)
        last = count if stop == count else last
        found.append((start, first, last, stop))
        first = last
    return found


def features_of(
    tokenizer: Tokenizer, sentences: Sequence, size: int, labels: Sequence[Sequence[int]] | None = None
) -> list[dict]:
    """The windows of all sentences. "places": (position, sentence, word) of the words that get their tags there."""
    features = []
    for number, (words, pieces) in enumerate(zip(sentences, pieces_of(tokenizer, sentences))):
        for start, first, last, stop in windows([len(word) for word in pieces], size - 2):
            ids, types, places = [tokenizer.cls_id], [0], []
            for word in range(start, stop):
                if first <= word < last:
                    places.append((len(ids), number, word))
                ids += pieces[word][: size - 2]
                types += [case_of(words[word])] * (len(ids) - len(types))
            feature: dict[str, list] = {
                "input_ids": [*ids, tokenizer.sep_id],
                "token_type_ids": [*types, 0],
                "places": places,
            }
            if labels is not None:
                feature["labels"] = [IGNORE] * (len(ids) + 1)
                for position, _, word in places:
                    feature["labels"][position] = labels[number][word]
            features.append(feature)
    return features


def padding(tokenizer: Tokenizer) -> Callable:
    """A batch of windows, without what the model does not read."""
    return lambda features: tokenizer.pad(
        [{name: value for name, value in feature.items() if name != "places"} for feature in features]
    )


# ---- the model ------------------------------------------------------------------------------------------------------


class Tagger:
    """BertForTokenClassification with a row of the type embeddings for each of CASES."""

    architecture = "BertForTokenClassification"
    read_config = BertForTokenClassification.read_config

    @staticmethod
    def from_pretrained(folder, output_loading_info=False, **options):
        model, info = BertForTokenClassification.from_pretrained(folder, output_loading_info=True, **options)
        if model.config.type_vocab_size < len(CASES):
            row = model.bert.embeddings.token_type_embeddings.weight[0].detach()
            rows = nn.Embedding(len(CASES), len(row))
            with minitorch.no_grad():
                rows.weight.copy_(row.expand(len(CASES), -1))  # all as row 0: at first the case changes nothing
            model.bert.embeddings.token_type_embeddings = rows.eval()
            model.config.type_vocab_size = len(CASES)
        return (model, info) if output_loading_info else model


def scores_of(model, features: list[dict], tokenizer, sentences: Sequence, progress: bool = False) -> list[np.ndarray]:
    """The log-probabilities of the tags, (words, K) for each sentence."""
    K = model.config.num_labels
    scores = [np.full((len(words), K), np.nan, np.float32) for words in sentences]
    for feature, logits in zip(features, predict(model, features, padding(tokenizer), progress=progress)):
        logits = F.log_softmax(logits, -1).numpy()  # (T, K)
        for position, sentence, word in feature["places"]:
            scores[sentence][word] = logits[position]
    return scores


def tag_words(
    model, tokenizer, sentences: Sequence, max_length: int | None = None, progress: bool = False
) -> list[list[tuple[str, float]]]:
    """For each word its tag and the tag's probability."""
    names = model.config.id2label
    allowed, tagged = may_follow(list(names.values())), []
    features = features_of(tokenizer, sentences, common.most_pieces(model, max_length))
    for scores in scores_of(model, features, tokenizer, sentences, progress):
        tagged.append([(names[k], float(np.exp(row[k]))) for row, k in zip(scores, decode(scores, allowed))])
    return tagged


def decode(scores: np.ndarray, allowed: np.ndarray) -> list[int]:
    """Viterbi: of all sequences of tags whose neighbours are allowed, the one with the highest sum of scores.

    scores: (words, K); allowed[i, j] is whether tag j may follow tag i, (K + 1, K): row K is the sentence's beginning.
    """
    if not len(scores):
        return []
    steps = np.where(allowed, 0.0, -np.inf)
    best, back = scores[0] + steps[-1], []
    for row in scores[1:]:
        through = best[:, None] + steps[:-1]  # (K from, K to)
        back.append(through.argmax(0))
        best = through.max(0) + row
    path = [int(best.argmax())]
    for origin in reversed(back):
        path.append(int(origin[path[-1]]))
    return path[::-1]


def may_follow(classes: Sequence[str]) -> np.ndarray:
    """I-X only after B-X or I-X; (K + 1, K), the last row for the sentence's beginning."""
    return np.array([
        [after[0] != "I" or before[0] != "O" and before[1:] == after[1:] for after in classes]
        for before in [*classes, "O"]
    ])  # fmt: skip


# ---- figures --------------------------------------------------------------------------------------------------------


def entities(tags: Sequence[str]) -> list[tuple[str, int, int]]:
    """(type, first word, last word + 1). As in seqeval's default mode, an I- after another type begins an entity."""
    found: list[tuple[str, int, int]] = []
    before = "O"
    for i, tag in enumerate(tags):
        kind = tag[2:]
        if tag[0] == "B" or tag[0] == "I" and (before == "O" or before[2:] != kind):
            found.append((kind, i, i + 1))
        elif tag != "O":
            found[-1] = (kind, found[-1][1], i + 1)
        before = tag
    return found


def entity_table(truth: Sequence[Sequence[str]], said: Sequence[Sequence[str]]) -> tuple[str, dict[str, float]]:
    """Precision, recall, F1 of whole entities by type: right is who finds both ends and the type."""
    from seqeval.metrics import classification_report, f1_score, precision_score, recall_score

    table = classification_report(truth, said, digits=4, zero_division=0)
    measures = {"precision": precision_score, "recall": recall_score, "f1": f1_score}
    return table, {f"entity_{name}": float(measure(truth, said, zero_division=0)) for name, measure in measures.items()}


def token_table(truth: Sequence[str], said: Sequence[str], classes: Sequence[str]) -> tuple[str, dict[str, float]]:
    """Precision, recall, F1 of single words by tag, O counted: of the tags that are there, in the truth or as said."""
    from sklearn.metrics import precision_recall_fscore_support

    classes = [name for name in classes if name in {*truth, *said}]
    rows = list(zip(classes, *precision_recall_fscore_support(truth, said, labels=classes, zero_division=0)))
    figures = {}
    for average in ("micro", "macro", "weighted"):
        *values, _ = precision_recall_fscore_support(truth, said, labels=classes, average=average, zero_division=0)
        rows.append((f"{average} avg", *values, len(truth)))
        figures[f"token_{average}_f1"] = float(values[-1])
    width = max(len(row[0]) for row in rows)
    lines = [f"{'':{width}}  precision    recall  f1-score   support\n"]
    for name, precision, recall, f1, support in rows:
        gap = "\n" if name == "micro avg" else ""
        lines.append(f"{gap}{name:>{width}}  {precision:9.4f} {recall:9.4f} {f1:9.4f} {support:9d}")
    return "\n".join(lines) + "\n", figures


def most_frequent(data) -> Callable[[Sequence[str]], list[str]]:
    """The baseline: each word's most frequent tag in the training data; O for a word that is not in it."""
    counts: dict[str, Counter] = defaultdict(Counter)
    for words, tags in zip(data.sentences, data.tags):
        for word, tag in zip(words, tags):
            counts[word][tag] += 1
    best = {word: count.most_common(1)[0][0] for word, count in counts.items()}
    return lambda words: [best.get(word, "O") for word in words]


# ---- the program ----------------------------------------------------------------------------------------------------


def train(args, task: Task, run: common.Run):
    data, validation = task.load("train", root=args.data), task.load("validation", root=args.data)
    data = data.select(range(min(args.limit or len(data), len(data))))
    run.say(f"{args.task}, {task.what}: {len(data)} sentences to learn from, {len(validation)} to validate")

    numbers = {name: number for number, name in enumerate(data.classes)}
    model = common.pretrained(Tagger, args.model, numbers)
    tokenizer = common.tokenizer_of(args.model, model)
    size = common.most_pieces(model, args.max_length, args.method)
    labels = [[numbers[tag] for tag in tags] for tags in data.tags]
    training = batches(features_of(tokenizer, data.sentences, size, labels), padding(tokenizer), args.batch_size)
    held_out = features_of(tokenizer, validation.sentences, size)
    allowed = may_follow(data.classes)
    steps = args.epochs * -(-len(training) // args.accumulate)

    model = common.peft_model(model, args, steps, whole=["classifier", "token_type_embeddings"]).to(args.device)
    optimizer = common.optimizer(model, args)

    def evaluate(model):
        scores = scores_of(model, held_out, tokenizer, validation.sentences)
        said = [[data.classes[i] for i in decode(row, allowed)] for row in scores]
        _, figures = entity_table(validation.tags, said)
        return {"validation_f1": figures["entity_f1"], "score": figures["entity_f1"]}

    schedule = linear_warmup_decay(optimizer, steps // 10, steps)
    run.fit(model, training, optimizer=optimizer, schedule=schedule, evaluate=evaluate)
    common.save_model(model, tokenizer, run.model)
    return model, tokenizer


def report(args, task: Task, data, run: common.Run, model, tokenizer) -> None:
    """Tables of entities and of words on the chosen split, and the baseline's beside them."""
    classes = run.check_classes(model, data.classes, by_name=True)
    truth = data.tags
    tagged = tag_words(model, tokenizer, data.sentences, args.max_length, progress=True)
    said = [[tag for tag, _ in row] for row in tagged]
    every_truth, every_said = [tag for tags in truth for tag in tags], [tag for tags in said for tag in tags]

    entity_text, figures = entity_table(truth, said)
    token_text, more = token_table(every_truth, every_said, classes)
    run.figures |= {**figures, **more}
    run.say(f"\n## {args.task}, split {args.split}: {len(truth)} sentences, {len(every_truth)} words\n")
    run.say(f"Whole entities, both ends and the type right:\n\n```text\n{entity_text}```\n")
    run.say("Words by tag, O counted (so the micro average is the accuracy, and mostly says how many O there are):\n")
    run.say(f"```text\n{token_text}```\n")
    baseline, why_not = None, "all of --data is evaluated on"
    if args.split != "all":
        try:
            baseline = most_frequent(task.load("train", root=args.data))
        except (FileNotFoundError, RuntimeError) as error:  # not there, or not to be downloaded
            why_not = str(error)
    if baseline is None:
        run.say(f"No baseline, it learns from the training split: {why_not}")
    else:
        simple = [baseline(words) for words in data.sentences]
        _, base = entity_table(truth, simple)
        _, more = token_table(every_truth, [tag for tags in simple for tag in tags], classes)
        base |= more
        run.figures |= {f"baseline_{name}": value for name, value in base.items()}
        run.say("| | entity F1 | token micro | token macro | token weighted |\n|---|---|---|---|---|")
        for name, row in (("each word's most frequent tag", base), ("this model", run.figures)):
            columns = ("entity_f1", "token_micro_f1", "token_macro_f1", "token_weighted_f1")
            run.say(f"| {name} | {' | '.join(f'{row[column]:.4f}' for column in columns)} |")
    numbers = {name: number for number, name in enumerate(classes)}
    plot_confusion(
        [numbers[tag] for tag in every_truth], [numbers[tag] for tag in every_said], classes,
        run.folder / f"{run.prefix('confusion')}.png",
    )  # fmt: skip


# Words as in the training data: punctuation apart, but U.S., EU-wide, 47,600 and @name whole, and Germany 's in two.
WORD = re.compile(r"https?://\S+|(?:[^\W\d_]\.){2,}|['’]s\b|[@#]?\w+(?:(?!['’]s\b)[-.,'’&/@]\w+)*|[^\w\s]")


def show_entities(model, tokenizer, texts: Sequence[str], max_length: int | None = None) -> None:
    """Each text, and below it its entities with the mean of their words' probabilities."""
    found = [list(WORD.finditer(text)) for text in texts]
    tagged = tag_words(model, tokenizer, [[word.group() for word in words] for words in found], max_length)
    for text, words, tags in zip(texts, found, tagged):
        print(text)
        for kind, first, last in entities([name for name, _ in tags]):
            chance = np.mean([chance for _, chance in tags[first:last]])
            print(f"  {kind} {chance:.3f}  {text[words[first].start() : words[last - 1].end()]}")


def main() -> None:
    parser = common.options(__doc__, out="runs/tag_entities/TASK", epochs=None, lr=None, batch_size=16)
    parser.add_argument("--task", choices=TASKS, default="conll2003", help="what to learn (default: conll2003)")
    parser.add_argument(
        "--max-length", type=int, help="longest window in word pieces (default: what the model can read)"
    )
    parser.add_argument("--accumulate", type=int, default=1, help="batches for one step (default: 1)")
    args = parser.parse_args()
    if args.max_length is not None and args.max_length < 3:
        raise SystemExit(f"--max-length must be at least 3, for a piece between [CLS] and [SEP]; got {args.max_length}")
    task = TASKS[args.task]
    args.epochs = task.epochs if args.epochs is None else args.epochs
    args.lr = common.learning_rate(args.method, task.lr) if args.lr is None else args.lr
    run = common.Run(args)
    if args.predict or args.evaluate:
        model, tokenizer = common.load_model(Tagger, run.model, args.device)
    if args.predict:
        show_entities(model, tokenizer, args.predict, args.max_length)
        return
    data = task.load(args.split, root=args.data)  # before the training: it might not be there
    if not args.evaluate:
        run.begin()
        model, tokenizer = train(args, task, run)
    report(args, task, data, run, model, tokenizer)
    run.finish()


if __name__ == "__main__":
    common.main(main)
