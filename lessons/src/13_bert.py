# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 13 BERT pretraining
#
# Labels are expensive: somebody has to read a text and say what it is. Text without labels is there for the taking. **What can a network learn from text that nobody has labelled, and how do you know that it learnt anything?** BERT's answer to the
# first half: hide some words and predict them, and tell whether one sentence follows another. The answer to the second half is *baselines*: what you would reach without reading. You will build all of it, from letters to a pretrained mini BERT, on real text
# that is already on your machine.
#
# You need lessons 04 (softmax, cross-entropy, ignored labels), 05 (AdamW, warm-up), 08 (embedding), 10 (attention) and 11 (the Transformer's encoder). Time: 60 minutes.

# %%
import re
import time
from collections import Counter, defaultdict

import matplotlib.pyplot as plt
import numpy as np
from minitorch.models.bert import BertConfig, BertForPreTraining

import minitorch
import minitorch.nn.functional as F
from minitorch import lessons, nn
from minitorch.datasets.pretraining import collate, sentence_pairs
from minitorch.datasets.stdlib import by_module, read_stdlib, split_modules
from minitorch.optim.groups import weight_decay_groups
from minitorch.optim.lr_scheduler import linear_warmup_decay

lesson = lessons.start(13)

# %% [markdown]
# ## A hidden word can be guessed
#
# Python's standard library explains itself in some thousands of docstrings. `read_stdlib` collects them from the source files (it parses the files and runs none of them): sentences, paragraphs, documents.
# A document here is all the prose of one module. A part of the *modules* is held out: neighbouring docstrings repeat one another's phrases, so holding out single sentences would test memory.

# %%
documents = read_stdlib().documents
split = split_modules(documents)
train = by_module(d for d in documents if split[d.module] == "train")
held_out = by_module(d for d in documents if split[d.module] != "train")


def words_of(text):
    """Lower case, cut at white space and punctuation."""
    return re.findall(r"[^\W_]+|_|[^\w\s]", text.lower())


words = Counter(word for document in train for sentence in document.sentences for word in words_of(sentence))
print(
    f"{len(train)} modules to learn from, {len(held_out)} held out; {words.total():,} words, {len(words):,} different ones"
)

# %% [markdown]
# Take a place in a text and cover the word. If you know nothing but how frequent words are (a punctuation mark counts as one), you guess a full stop or "the", and are nearly always wrong. Now look at the words
# on both sides:

# %%
contexts = {"if the ___ is": ("if", "the", "is"), "the number ___": ("the", "number", None)}
found = {name: Counter() for name in contexts}
for document in train:
    for sentence in document.sentences:
        s = words_of(sentence) + [""]
        for i in range(2, len(s) - 1):
            for name, (a, b, c) in contexts.items():
                if s[i - 2] == a and s[i - 1] == b and c in (None, s[i + 1]):
                    found[name][s[i]] += 1

figure, panels = plt.subplots(1, 3, figsize=(11, 3.6))
for axes, (name, counts) in zip(panels, {"___": words, **found}.items()):
    top = counts.most_common(8)[::-1]
    axes.barh([word for word, _ in top], [n / counts.total() for _, n in top], color="C0")
    axes.set(title=f"“{name}”  ({counts.total():,} times)", xlabel="share of the hidden word")
    axes.grid(axis="y", visible=False)
figure.suptitle("What the neighbours say about a hidden word")
plt.show()
assert found["the number ___"].most_common(1)[0][1] / found["the number ___"].total() > 0.5
assert {word for word, _ in words.most_common(2)} == {".", "the"}

# %% [markdown]
# Neighbours turn a hopeless guess into a fair one, and that is all the supervision that BERT gets: the text is its own label. To guess well in *all* places a network has to know which words go together,
# grammar, and something of what the text is about.
#
# ## From letters to pieces
#
# A network needs numbers for words, from a list of fixed size, the *vocabulary*. A list of all words is long and still lacks tomorrow's ("tokenizers"); a list of letters lacks nothing, but makes sequences long and each symbol meaningless. *WordPiece*
# takes the middle: frequent words are one *piece*, rare ones several: `token ##izer ##s`. The mark `##` says "goes on from the piece before".
#
# The vocabulary is learnt from counts. Write every word as its letters. With $n(w)$ the count of word $w$ and $s_1(w), s_2(w), \dots$ its present pieces, the count of a pair of neighbouring pieces is
#
# $$ n(a, b) = \sum_{w} n(w) \sum_{i} \delta_{s_i(w),\,a}\; \delta_{s_{i+1}(w),\,b} \tag{13.1} $$
#
# Join the most frequent pair everywhere; the new piece enters the vocabulary; count again; stop when the vocabulary is full. (Google's own trainer was never published. Another known rule divides $n(a,b)$ by $n(a)\,n(b)$, so that pairs are joined
# which occur together more often than by chance.)
#
# ### Exercise 1: join a pair
#
# From the left, join every occurrence of `pair` in a list of pieces. In `##a ##a ##a` only the first two are joined: a piece is used once.


# %% tags=["exercise"]
def join(pieces, pair):
    """["t", "##o", "##k"], ("t", "##o")  ->  ["to", "##k"]"""
    # --- solution
    out, i = [], 0
    while i < len(pieces):
        if tuple(pieces[i : i + 2]) == pair:
            out.append(pair[0] + pair[1][2:])
            i += 2
        else:
            out.append(pieces[i])
            i += 1
    return out
    # --- stub
    # out, i = [], 0
    # while i < len(pieces):
    #     # are pieces[i] and pieces[i + 1] the pair?  The second one loses its "##" when it is joined.
    #     out.append(pieces[i])
    #     i += 1
    # return out
    # --- end


# %% tags=["check"]
@lesson.check(
    "join", hint="If tuple(pieces[i:i+2]) == pair, append pair[0] + pair[1][2:] and go on two places further."
)
def _(join):
    assert join(["t", "##o", "##k"], ("t", "##o")) == ["to", "##k"], "t ##o ##k with (t, ##o) becomes to ##k."
    assert join(["b", "##a", "##a", "##a"], ("##a", "##a")) == ["b", "##aa", "##a"], (
        "Three ##a in a row: one pair is joined, one piece stays."
    )
    assert join(["a", "##b"], ("##b", "a")) == ["a", "##b"], "A pair has an order: (##b, a) is none."
    twice = ["h", "##a", "##n", "##a", "##n"]
    assert join(twice, ("##a", "##n")) == ["h", "##an", "##an"], "h ##a ##n ##a ##n with (##a, ##n): both are joined."
    assert twice == ["h", "##a", "##n", "##a", "##n"], "The given list was changed: build a new one."
    assert join(["t", "##oo"], ("t", "##o")) == ["t", "##oo"], "##oo is not ##o: pieces are compared as a whole."


# %% [markdown]
# Training is a loop over (13.1). Counting everything again for each of a thousand merges would be slow, so the counts are kept, and only the words that hold the joined pair are counted anew.


# %%
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def train_wordpiece(words, size):
    """words: {word: count}. Returns the vocabulary (special tokens, letters, then pieces as they were joined) and the merges."""
    pieces_of = {word: [word[0], *("##" + letter for letter in word[1:])] for word in words}
    vocabulary = SPECIAL + sorted({piece for pieces in pieces_of.values() for piece in pieces})
    pairs, where, merges = Counter(), defaultdict(set), []
    for word, pieces in pieces_of.items():
        for pair in zip(pieces, pieces[1:]):
            pairs[pair] += words[word]
            where[pair].add(word)
    while len(vocabulary) < size:
        best = max(pairs, key=lambda pair: (pairs[pair], pair))
        merges.append((best, pairs[best]))
        vocabulary.append(best[0] + best[1][2:])
        for word in where[best]:
            old, new = pieces_of[word], join(pieces_of[word], best)
            pieces_of[word] = new
            for pair in zip(old, old[1:]):
                pairs[pair] -= words[word]
            for pair in zip(new, new[1:]):
                pairs[pair] += words[word]
                where[pair].add(word)
        del pairs[best], where[best]
    return vocabulary, merges


start = time.process_time()
usual = {word: n for word, n in words.items() if n > 1 and word.isascii()}  # rare letters would fill the list
vocabulary, merges = train_wordpiece(usual, 1000)
print(f"{len(vocabulary)} pieces in {time.process_time() - start:.1f} s; the first merges:")
print("  ".join(f"{a} {b} ({n:,})" for (a, b), n in merges[:10]))
print("the last pieces:", *vocabulary[-12:])

# (13.1): the first merge's count, over all words and places
letters = {word: [word[0], *("##" + letter for letter in word[1:])] for word in usual}
assert merges[0][1] == sum(n * [*zip(letters[w], letters[w][1:])].count(merges[0][0]) for w, n in usual.items())

# %% [markdown]
# Now cut a new word into pieces. WordPiece is greedy: from position $i_k$ of word $w$ it takes the *longest* stretch that the vocabulary $\mathcal V$ holds, and goes on behind it:
#
# $$ i_{k+1} = \max\,\{\, j > i_k : w_{i_k} \dots w_{j-1} \in \mathcal V \,\}, \qquad i_1 = 0 \tag{13.2} $$
#
# with the mark `##` before every stretch but the first: `abcd` begins with the piece `abc`, and goes on with `##d`, not with `d`. Where no stretch fits (a letter that was never seen), the whole word becomes `[UNK]`.
#
# ### Exercise 2: greedy, longest first


# %% tags=["exercise"]
def wordpiece(word, vocabulary):
    """The word as a list of pieces; vocabulary: a set."""
    # --- solution
    pieces, i = [], 0
    while i < len(word):
        for j in range(len(word), i, -1):
            piece = ("##" if i else "") + word[i:j]
            if piece in vocabulary:
                break
        else:
            return ["[UNK]"]
        pieces.append(piece)
        i = j
    return pieces
    # --- stub
    # pieces, i = [], 0
    # while i < len(word):
    #     j = i + 1  # (13.2): try the longest stretch first
    #     pieces.append(word[i:j])
    #     i = j
    # return pieces
    # --- end


# %% tags=["check"]
@lesson.check(
    "wordpiece",
    hint="Let j run from len(word) down to i + 1 and take the first word[i:j], with its mark, that is in the vocabulary.",
)
def _(wordpiece):
    v = {"a", "##a", "ab", "##b", "##c", "##bc", "abc", "##ab", "##d"}
    for word, expected in [("abc", "abc"), ("abcd", "abc ##d"), ("aab", "a ##ab"), ("abbc", "ab ##bc")]:  # (13.2)
        assert wordpiece(word, v) == expected.split(), f"{word} is {expected}, got {' '.join(wordpiece(word, v))}."
    assert wordpiece("abxc", v) == ["[UNK]"], "x is not in the vocabulary: the whole word is [UNK], a list of one."
    assert wordpiece("ba", v) == ["[UNK]"], "##b is in the vocabulary, b is not: a first piece has no mark."


# %%
class Tokenizer:
    """Text to numbers. The interface of minitorch.text.wordpiece.WordPiece, which does the same in compiled code."""

    pad_id, unk_id, cls_id, sep_id, mask_id = special_ids = range(5)

    def __init__(self, vocabulary):
        self.pieces, self.numbers = vocabulary, {piece: i for i, piece in enumerate(vocabulary)}
        self.known = {"[mask]": [self.mask_id]}  # words that were cut before

    def encode(self, text):
        ids = []
        for word in re.findall(r"\[mask\]|[^\W_]+|_|[^\w\s]", text.lower()):
            if word not in self.known:
                self.known[word] = [self.numbers[piece] for piece in wordpiece(word, self.numbers)]
            ids += self.known[word]
        return ids

    def tokens(self, ids):
        return [self.pieces[i] for i in ids]


tokenizer = Tokenizer(vocabulary)
V = len(vocabulary)
for text in ("Return the number of arguments.", "An untokenizable hyperparameter"):
    print(" ".join(tokenizer.tokens(tokenizer.encode(text))))

try:  # the same cuts as the library that published models use, where it is installed
    from minitorch.text.wordpiece import WordPiece

    for document in held_out[:20]:
        assert WordPiece(vocabulary).encode(document.text) == tokenizer.encode(document.text)
except ImportError:
    print("(not compared with the `tokenizers` library: it is not installed)")

tokenized = {
    name: [[ids for sentence in document.sentences if (ids := tokenizer.encode(sentence))] for document in group]
    for name, group in (("train", train), ("held out", held_out))
}
counts = np.bincount(np.concatenate([ids for d in tokenized["train"] for ids in d]), minlength=V)
q = (counts + 0.5) / (counts + 0.5).sum()  # how frequent each piece is
print(f"{counts.sum():,} pieces to learn from, {counts.sum() / words.total():.2f} to a word")

# %% [markdown]
# ## Two sentences, three embeddings
#
# BERT reads *pairs*: `[CLS] A [SEP] B [SEP]`. Half of the time B is the sentence (or sentences) after A, half of the time it comes from another document; which of the two it is, BERT shall tell. `[CLS]` is a place without a word,
# where the network collects what it knows of the whole. The encoder's input at place $t$ is a sum of three table rows, normalized as in lesson 09:
#
# $$ x_t = E_{k_t} + S_{g_t} + P_t \tag{13.3} $$
#
# $k_t$ is the piece's number, $g_t \in \{0, 1\}$ says whether it is in A or in B, $P$ is learnt like the others. $E$ is $(V, D)$, $S$ is $(2, D)$, $P$ is $(T, D)$.
# A pair that is longer than the $T$ places loses pieces at the ends of A and of B, so a stretch may begin in the middle of a word.

# %%
T = 32  # places: a mini BERT reads short stretches
pairs = sentence_pairs([d for d in tokenized["train"] if d], T, np.random.default_rng(0))
batch = collate(pairs[:256], tokenizer, T)
for label, name in ((0, "next"), (1, "random")):
    row = list(batch["next_sentence_label"]).index(label)
    text = " ".join(tokenizer.tokens(i for i in batch["input_ids"][row] if i != tokenizer.pad_id))
    print(f"{name:6} | {text}")
print(f"{len(pairs):,} pairs, {np.mean([p[2] for p in pairs]):.3f} of them random")

# %% [markdown]
# ## Hiding: 80, 10, 10
#
# Of the ordinary pieces 15% are *chosen*. Only these are predicted; all other places get the label $-100$, which cross-entropy ignores (lesson 04). What the network sees at a chosen place is
#
# - in 80% of the cases `[MASK]`,
# - in 10% a piece drawn at random,
# - in 10% the true piece.
#
# Why so complicated? Because after pretraining no text holds a `[MASK]`. If only masks were predicted, the network could learn nothing about the places that it sees. So sometimes it must answer at a place that shows an ordinary piece. What should it
# think of that piece? Let a share $r$ of the chosen places get a drawn piece, a share $a$ keep theirs; let $q_v$ be the frequency of piece $v$ and $V'$ the number of ordinary pieces. A chosen place shows $v$ because it was kept, with probability $a\,q_v$, or
# because $v$ was drawn, with probability $r / V'$. The first among both (Bayes' rule) is
#
# $$ P(\text{kept} \mid \text{chosen, shows } v) = \frac{a\, q_v}{a\, q_v + r / V'} \tag{13.4} $$
#
# - $a = 0$, nothing kept: 0 for every $v$. The shown piece is never the answer, and the network learns to distrust what it sees.
# - $r = 0$, nothing drawn: 1 for every $v$. Copying is always right; nothing is to be learnt there.
# - $a = r$: $q_v / (q_v + 1/V')$. Both happen, so the network has to ask whether the piece fits its neighbours, at *every* place, since it does not know which were chosen.
#
# ### Exercise 3: the masking
#
# `chosen` and `fate` are drawn for you; `fate` is uniform in $[0, 1)$. Fill in what is shown, and the labels.


# %% tags=["exercise"]
def mask(ids, rng, share=0.15):
    """ids: (B, T). Returns what the network sees, and the labels: the true piece where chosen, else -100; (B, T) both."""
    chosen = (ids >= len(SPECIAL)) & (rng.random(ids.shape) < share)  # never a special token
    fate = rng.random(ids.shape)
    drawn = rng.integers(len(SPECIAL), V, ids.shape)
    # --- solution
    shown = np.where(chosen & (fate < 0.8), tokenizer.mask_id, ids)
    shown = np.where(chosen & (fate >= 0.8) & (fate < 0.9), drawn, shown)
    labels = np.where(chosen, ids, -100)
    return shown, labels
    # --- stub
    # shown = np.where(chosen, tokenizer.mask_id, ids)  # only masks, so far
    # labels = ids
    # return shown, labels
    # --- end


# %% tags=["check"]
@lesson.check(
    "mask",
    hint="np.where(chosen & (fate < 0.8), mask_id, ids), then the same for the drawn ones; labels need `chosen`.",
)
def _(mask):
    ids = batch["input_ids"]
    before = ids.copy()
    shown, labels = mask(ids, np.random.default_rng(5))
    assert (ids == before).all(), "The input was changed; work on a copy."
    lessons.same(labels.shape, ids.shape, what="shape of the labels")
    chosen = labels != -100
    share = chosen.sum() / (ids >= len(SPECIAL)).sum()
    assert 0.12 < share < 0.18, f"{share:.0%} of the ordinary pieces have a label, expected 15%."
    assert (labels[chosen] == ids[chosen]).all(), "A label is the piece before the masking."
    assert (shown[~chosen] == ids[~chosen]).all(), "Where nothing was chosen, the network sees the text as it is."
    masked, kept = (shown[chosen] == tokenizer.mask_id).mean(), (shown[chosen] == ids[chosen]).mean()
    assert 0.75 < masked < 0.85, f"{masked:.0%} of the chosen places show [MASK], expected 80%."
    assert 0.06 < kept < 0.14, f"{kept:.0%} of the chosen places show the true piece, expected 10%."
    other = shown[chosen & (shown != tokenizer.mask_id) & (shown != ids)]
    assert len(set(other)) > len(other) / 2, "The last tenth shows drawn pieces, a new one at every place."


# %%
everything = collate(pairs, tokenizer, T)["input_ids"]
rng, kept, drawn = np.random.default_rng(1), np.zeros(V), np.zeros(V)
for _ in range(8):
    shown, labels = mask(everything, rng)
    open_place = (labels != -100) & (shown != tokenizer.mask_id)
    same = open_place & (shown == everything)
    kept += np.bincount(shown[same], minlength=V)
    drawn += np.bincount(shown[open_place & ~same], minlength=V)

ordinary = np.arange(len(SPECIAL), V)
frequency = np.bincount(everything.ravel(), minlength=V)[ordinary]
frequency = frequency / frequency.sum()
order = ordinary[np.argsort(frequency)]
groups = np.array_split(order, 12)  # from rare pieces to frequent ones
at = [frequency[g - len(SPECIAL)].mean() for g in groups]
measured = [kept[g].sum() / (kept[g].sum() + drawn[g].sum()) for g in groups]
grid = np.logspace(np.log10(min(at)) - 0.2, np.log10(max(at)) + 0.2, 100)
plt.semilogx(grid, grid / (grid + 1 / len(ordinary)), color="C0", label="(13.4) with a = r: kept or drawn")
plt.semilogx(at, measured, "o", color="C1", label="measured, 12 groups of pieces")
plt.axhline(1, color="0.5", linestyle="--", linewidth=1)
plt.axhline(0, color="0.5", linestyle="--", linewidth=1)
plt.text(grid[0], 0.95, "nothing drawn: copy always", va="top")
plt.text(grid[-1], 0.05, "nothing kept: copy never", ha="right")
plt.xlabel("frequency of the piece that a chosen place shows")
plt.ylabel("share of true ones")
plt.title("A shown piece may be true or false: the network has to judge")
plt.legend(loc="center left")
plt.show()
weights = [(f + 1 / len(ordinary)).sum() for f in (frequency[g - len(SPECIAL)] for g in groups)]
exact = [frequency[g - len(SPECIAL)].sum() / w for g, w in zip(groups, weights)]
assert np.allclose(measured, exact, atol=0.04)  # (13.4), summed over the pieces of a group

# %% [markdown]
# ## Masked tokens: the loss and its gradient
#
# The encoder turns the places of a sequence into hidden vectors $z_i$, of width $D$ (in BERT a dense layer, GELU and LayerNorm come last). The probability that piece $v$ stands at the chosen place $i$ compares $z_i$ with an *output embedding* for each piece:
#
# $$ P(v \mid i) = \frac{e^{z_i \cdot E_v + b_v}}{\sum_{u} e^{z_i \cdot E_u + b_u}} \tag{13.5} $$
#
# It is a softmax classifier with $V$ classes. (An article that you may meet calls $z$ "the vector after the softmax". It is the hidden vector *before* it: the softmax is the fraction.) The output embeddings could be a table of their own.
# In BERT they are the rows of $E$, the input table of (13.3): the weights are *tied*. A piece has one vector, used for reading and for answering, and the model has $V \cdot D$ weights less.
#
# With $M$ the set of the chosen places and $y_i$ the true piece at place $i$:
#
# $$ L_{\mathrm{MLM}} = -\frac{1}{\vert M\vert} \sum_{i \in M} \log P(y_i \mid i) \tag{13.6} $$
#
# Write $\ell_{iv} = z_i \cdot E_v + b_v$ for the logits. Lesson 04 derived their gradient:
#
# $$ d\ell_{iv} = \frac{P(v \mid i) - \delta_{v, y_i}}{\vert M\vert} \;\text{ for } i \in M, \qquad d\ell_{iv} = 0 \;\text{ elsewhere} \tag{13.7} $$
#
# Now $E$. It enters the loss twice. First through the logits: $\ell_{iv}$ contains $E_{vd}$ with the factor $z_{id}$, and $z_{id}$ with the factor $E_{vd}$, so
#
# $$ dz_{id} = \sum_{v} d\ell_{iv}\, E_{vd}, \qquad dE^{\mathrm{out}}_{vd} = \sum_{i} d\ell_{iv}\, z_{id}, \qquad db_v = \sum_i d\ell_{iv} \tag{13.8} $$
#
# As matrices: $dz = d\ell\, E$, shapes $(T, V)(V, D)$, and $dE^{\mathrm{out}} = d\ell^{\top} z$, shapes $(V, T)(T, D)$. The gradient $dz$ travels back through the encoder and arrives as $dx$, $(T, D)$. There $E$ is met for the second time: $x_t$ contains the row $E_{k_t}$,
# so row $v$ collects from all places that show $v$ (lesson 08):
#
# $$ dE^{\mathrm{in}}_{vd} = \sum_{t} \delta_{v, k_t}\, dx_{td} \tag{13.9} $$
#
# Two paths from $E$ to the loss, so by the rule of lesson 01 the contributions add up:
#
# $$ dE = dE^{\mathrm{out}} + dE^{\mathrm{in}} \tag{13.10} $$
#
# ### Exercise 4: the tied embedding's two gradients
#
# A small stand-in for the encoder: each place mixes its neighbours by a fixed table $A$, and a tanh follows: $z = \tanh(A x)$ with $x = E_k$. The forward pass and $d\ell$ are given; walk back to $E$.


# %% tags=["exercise"]
def tied_backward(k, labels, A, E, b):
    """L, dE (V, D), db (V,).          k, labels: (T,), labels -100 where not chosen; A: (T, T); E: (V, D); b: (V,)"""
    x = E[k]
    z = np.tanh(A @ x)
    logits = z @ E.T + b
    P = np.exp(logits - logits.max(-1, keepdims=True))
    P = P / P.sum(-1, keepdims=True)
    M = np.flatnonzero(labels != -100)
    L = -np.log(P[M, labels[M]]).mean()
    # --- solution
    dl = np.zeros_like(P)
    dl[M] = P[M]
    dl[M, labels[M]] -= 1
    dl = dl / len(M)
    dz = dl @ E
    dE = dl.T @ z
    dx = A.T @ (dz * (1 - z**2))
    np.add.at(dE, k, dx)
    return L, dE, dl.sum(0)
    # --- stub
    # dl = np.zeros_like(P)  # (13.7)
    # dE = dl.T @ z  # (13.8); and where else does E come in?
    # return L, dE, dl.sum(0)
    # --- end


# %% tags=["check"]
@lesson.check(
    "tied_backward",
    hint="dz = dl @ E; through tanh: dz * (1 - z**2); through A: A.T @ ...; then np.add.at(dE, k, dx), as += forgets repeated places.",
)
def _(tied_backward):
    rng = np.random.default_rng(2)
    k, labels = np.array([4, 1, 1, 6, 4]), np.array([-100, 3, -100, 6, 0])
    A, E, b = rng.normal(size=(5, 5)), rng.normal(size=(7, 3)), rng.normal(size=7)
    _, dE, db = tied_backward(k, labels, A, E, b)
    # (13.5), (13.6), (13.7), (13.8), (13.9) and (13.10): one wrong factor, and the differences disagree
    numeric = lessons.numeric_gradient(lambda b: tied_backward(k, labels, A, E, b)[0], b)
    lessons.same(db, numeric, tol=1e-7, what="db")
    numeric = lessons.numeric_gradient(lambda E: tied_backward(k, labels, A, E, b)[0], E)
    lessons.same(dE, numeric, tol=1e-7, what="dE")


# %%
rng = np.random.default_rng(3)
k, labels = rng.integers(0, 12, 9), rng.integers(0, 12, 9)
labels[rng.random(9) < 0.5] = -100
A, E, b = rng.normal(size=(9, 9)) / 3, rng.normal(size=(12, 4)), rng.normal(size=12)
L, dE, db = tied_backward(k, labels, A, E, b)
worst = lessons.show_errors(
    {
        "dE": (dE, lessons.numeric_gradient(lambda E: tied_backward(k, labels, A, E, b)[0], E)),
        "db": (db, lessons.numeric_gradient(lambda b: tied_backward(k, labels, A, E, b)[0], b)),
    },
    title="The tied embedding's gradient, both sources, against differences",
    limit=1e-8,
)
assert worst < 1e-8

tE, tb = minitorch.tensor(E, requires_grad=True), minitorch.tensor(b, requires_grad=True)
z = (minitorch.tensor(A) @ F.embedding(minitorch.tensor(k), tE)).tanh()
loss = F.cross_entropy(F.linear(z, tE, tb), minitorch.tensor(labels))  # ignores -100
loss.backward()
lessons.same(loss, L, tol=1e-12, what="loss")
lessons.same(tE.grad, dE, tol=1e-12, what="dE")
lessons.same(tb.grad, db, tol=1e-12, what="db")
print("minitorch's embedding, linear and cross_entropy give the same loss and gradients")

# %% [markdown]
# ## Next sentence
#
# The second task sees one vector: $c$, a dense layer with tanh on the hidden vector of `[CLS]`. Two logits $u = c W^{\top} + b$ with $W$ of shape $(2, D)$, and a softmax over two classes, 0 for "B follows A" and 1 for "B is random".
# In formulas $B$ is the number of pairs in the batch, as always; $c$ is $(B, D)$, $u$ is $(B, 2)$:
#
# $$ P(j \mid c) = \frac{e^{u_j}}{e^{u_0} + e^{u_1}}, \qquad L_{\mathrm{NSP}} = -\frac{1}{B} \sum_{n=1}^{B} \log P(y_n \mid c_n) \tag{13.11} $$
#
# Divide numerator and denominator by $e^{u_1}$: two logits hold one number's worth of information, and the softmax is lesson 03's sigmoid of their difference,
#
# $$ P(1 \mid c) = \frac{1}{1 + e^{-(u_1 - u_0)}} = \sigma(u_1 - u_0) \tag{13.12} $$
#
# The gradient is (13.7) with two classes. Probabilities and targets both sum to 1 over the classes, so the two entries of $du_n$ add up to 0, and so do the two rows of $dW = du^{\top} c$:
#
# $$ du_{nj} = \frac{P(j \mid c_n) - \delta_{j, y_n}}{B}, \qquad du_{n0} = -du_{n1} \tag{13.13} $$


# %%
def next_sentence(c, W, b, y):
    """Loss and dc, dW, db.          c: (B, D)   W: (2, D)   b: (2,)   y: (B,) of 0 and 1"""
    u = c @ W.T + b
    P1 = 1 / (1 + np.exp(-(u[:, 1] - u[:, 0])))  # (13.12)
    P = np.stack([1 - P1, P1], axis=1)
    du = (P - np.eye(2)[y]) / len(y)  # (13.13)
    return -np.log(P[np.arange(len(y)), y]).mean(), du @ W, du.T @ c, du.sum(0)


rng = np.random.default_rng(4)
c, W, b, y = rng.normal(size=(6, 5)), rng.normal(size=(2, 5)), rng.normal(size=2), np.array([0, 1, 1, 0, 1, 0])
L, dc, dW, db = next_sentence(c, W, b, y)
worst = lessons.show_errors(
    {
        "dc": (dc, lessons.numeric_gradient(lambda c: next_sentence(c, W, b, y)[0], c)),
        "dW": (dW, lessons.numeric_gradient(lambda W: next_sentence(c, W, b, y)[0], W)),
        "db": (db, lessons.numeric_gradient(lambda b: next_sentence(c, W, b, y)[0], b)),
    },
    title="Next sentence: gradients against differences",
    limit=1e-8,
)
assert worst < 1e-8
assert np.allclose(dW[0], -dW[1])  # (13.13)

tc, tW, tb = (minitorch.tensor(array, requires_grad=True) for array in (c, W, b))
loss = F.cross_entropy(F.linear(tc, tW, tb), minitorch.tensor(y))  # (13.11)
loss.backward()
for name, tensor, value in (("loss", loss, L), ("dc", tc.grad, dc), ("dW", tW.grad, dW), ("db", tb.grad, db)):
    lessons.same(tensor, value, tol=1e-12, what=name)
print("a sigmoid by hand and minitorch's softmax over two classes: the same")

# %% [markdown]
# ## Two losses, one network
#
# BERT minimises the sum, and the gradient of a sum is the sum of the gradients, for every weight $\theta$ that both tasks use:
#
# $$ L = L_{\mathrm{MLM}} + L_{\mathrm{NSP}}, \qquad \frac{\partial L}{\partial \theta} = \frac{\partial L_{\mathrm{MLM}}}{\partial \theta} + \frac{\partial L_{\mathrm{NSP}}}{\partial \theta} \tag{13.14} $$
#
# The two are means over different things. One chosen piece enters with the factor $1/\vert M\vert$, where $M$ now runs over the whole batch, one pair with $1/B$. So a pair's label weighs as much as
#
# $$ \frac{1/B}{1/\vert M\vert} = \frac{\vert M\vert}{B} \tag{13.15} $$
#
# pieces' labels: the number of chosen pieces in a sequence, about 4 here and 20 in BERT's sequences of 128. Here is the model; `models/bert.py` is lesson 11's encoder with these two heads. Is (13.14) true of it, and (13.10)? A second copy of the embedding, used for the output only, separates
# the two sources.

# %%
LARGE = False  # True: 6,000 steps in place of 600, about three minutes of processor time
D, LAYERS, B, STEPS = 64, 2, 32, 6000 if LARGE else 600


def make_bert():
    minitorch.manual_seed(0)
    config = BertConfig(
        vocab_size=V,
        hidden_size=D,
        num_hidden_layers=LAYERS,
        num_attention_heads=2,
        intermediate_size=4 * D,
        hidden_dropout_prob=0.0,  # a run this short does not over-fit
        attention_probs_dropout_prob=0.0,
        max_position_embeddings=T,
        initializer_range=0.07,
    )
    model = BertForPreTraining(config)
    with minitorch.no_grad():  # the first guess is the pieces' frequencies, so no step is spent on learning them
        model.cls.predictions.bias.copy_(minitorch.tensor(np.log(q), dtype=minitorch.float32))
    return model


def tensors(batch):
    return {name: minitorch.from_numpy(array) for name, array in batch.items()}


def gradients(model, which, batch):
    model.zero_grad()
    out = model(**tensors(batch))
    {"sum": out.loss, "words": out.mlm_loss, "pairs": out.nsp_loss}[which].backward()
    return {n: np.zeros(p.shape) if p.grad is None else p.grad.numpy().copy() for n, p in model.named_parameters()}


batch = collate(pairs[:B], tokenizer, T)
batch["input_ids"], batch["labels"] = mask(batch["input_ids"], np.random.default_rng(0))
model = make_bert()
both, by_words, by_pairs = (gradients(model, which, batch) for which in ("sum", "words", "pairs"))
for name in both:
    lessons.same(both[name], by_words[name] + by_pairs[name], tol=1e-4, what=name)  # (13.14)
table = {name: p.detach().numpy() for name, p in model.bert.embeddings.named_parameters()}
x = table["word_embeddings.weight"][batch["input_ids"]]  # (B, T, D)
x = x + table["token_type_embeddings.weight"][batch["token_type_ids"]] + table["position_embeddings.weight"]
x = (x - x.mean(-1, keepdims=True)) / x.std(-1, keepdims=True)  # LayerNorm's weight is 1 yet, its bias 0
ids, segments = (minitorch.tensor(batch[name]) for name in ("input_ids", "token_type_ids"))
lessons.same(model.bert.embeddings(ids, segments), x, tol=1e-4, what="the encoder's input")  # (13.3)
print(f"{sum(p.numel() for p in model.parameters()):,} weights; the two tasks' gradients add up for each of them")
n_chosen = (batch["labels"] >= 0).sum()
print(f"{n_chosen} chosen pieces, {B} pairs: one pair's label weighs {n_chosen / B:.1f} pieces' labels")  # (13.15)
assert 2 < n_chosen / B < 0.15 * T * 1.3

split_model = make_bert()
split_model.cls.predictions.decoder.weight = nn.Parameter(model.cls.predictions.decoder.weight.detach().clone())
apart = gradients(split_model, "words", batch)
E_in = apart["bert.embeddings.word_embeddings.weight"]
E_out = apart["cls.predictions.decoder.weight"]
lessons.same(by_words["bert.embeddings.word_embeddings.weight"], E_in + E_out, tol=1e-5, what="dE")  # (13.10)

shown = batch["input_ids"]
rows = np.argsort(-q)
figure, axes = plt.subplots(figsize=(9, 3.8))
for name, g, color, zorder in (
    ("output: every row, every step", E_out, "C1", 3),
    ("input: only rows of pieces that are shown", E_in, "C0", 2),
):
    norm = np.linalg.norm(g, axis=1)[rows]
    axes.semilogy(
        np.flatnonzero(norm) + 1,
        norm[norm > 0],
        ".",
        color=color,
        label=f"{name}, {(norm > 0).sum()} rows",
        zorder=zorder,
    )
axes.set(
    xlabel="piece, from frequent to rare",
    ylabel="length of the row's gradient",
    title="One batch: where the two gradients of E arrive",
)
axes.legend()
plt.show()
present = np.isin(np.arange(V), shown)
assert (np.linalg.norm(E_in, axis=1)[~present] == 0).all() and (np.linalg.norm(E_out, axis=1)[5:] > 0).all()

# %% [markdown]
# The input side moves the pieces that were read; far right are the special tokens, which nobody counted, and highest of all is `[MASK]`. The output side moves all pieces: the answers of this batch,
# the upper band, towards the places where they stand, all others a little away from there. A training loop that loses one of the two still trains, only worse.
#
# ## What you reach without reading
#
# A loss of 5 for masked words: is that good? Compare with a guesser that gives the same probabilities $p_v$ at every place. Let $q_v$ be the frequencies of the answers. Its mean loss is
# $-\sum_v q_v \log p_v$. Write $p = \mathrm{softmax}(\beta)$; the gradient with respect to $\beta$ is $p - q$ (lesson 04 with the target $q$), which is 0 only at
#
# $$ p_v = q_v \tag{13.16} $$
#
# and there the loss is the *entropy* of the frequencies:
#
# $$ H(q) = -\sum_v q_v \log q_v \;\le\; \log V \tag{13.17} $$
#
# with equality if all pieces are equally frequent. (Why not more: the uniform guess costs $\log V$ whatever $q$ is, and (13.16) is the best of all guesses.) So there is a ladder: $\log V$ for knowing nothing; the unigram entropy for knowing frequencies, which a network can reach with its output bias alone, *without looking at a single word*; and
# everything below comes from reading. On held-out text the frequencies come from the training text, and the loss is the cross-entropy between the two. For accuracy the rung is the most frequent piece; for next sentence a coin, loss $\log 2$.
#
# ### Exercise 5: the baselines


# %% tags=["exercise"]
def baselines(q, answers):
    """The losses of a uniform guess and of the frequencies q, and the accuracy of always guessing the most frequent piece.

    q: (V,), sums to 1        answers: (N,) piece numbers, held out
    """
    # --- solution
    uniform = np.log(len(q))
    unigram = -np.log(q[answers]).mean()
    most_frequent = (answers == q.argmax()).mean()
    return uniform, unigram, most_frequent
    # --- stub
    # uniform = 0.0
    # unigram = 0.0  # the mean of -log q over the answers
    # most_frequent = 0.0
    # return uniform, unigram, most_frequent
    # --- end


# %% tags=["check"]
@lesson.check(
    "baselines",
    hint="log of the number of pieces; the mean of -log q[answers]; how often the answer is q.argmax().",
)
def _(baselines):
    p, answers = np.array([0.5, 0.25, 0.125, 0.125]), np.array([0, 0, 0, 0, 1, 1, 2, 3])
    uniform, unigram, most_frequent = baselines(p, answers)
    lessons.same(uniform, np.log(4), what="loss of the uniform guess, four pieces")
    lessons.same(unigram, 1.75 * np.log(2), what="loss of the frequencies 1/2, 1/4, 1/8, 1/8")  # (13.17)
    lessons.same(most_frequent, 0.5, what="accuracy of the most frequent piece")
    _, unlike, piece_0 = baselines(p, np.array([1, 1, 3]))  # held-out text has frequencies of its own
    lessons.same(unlike, np.log(2) * 7 / 3, what="loss of the same frequencies where the answers are 1, 1, 3")
    lessons.same(piece_0, 0, what="accuracy of the guess 0, q's most frequent piece, where the answers are 1, 1, 3")
    rng = np.random.default_rng(0)
    for _ in range(20):  # (13.16): no other constant guess is better
        other = rng.dirichlet(np.ones(4))
        assert baselines(other, answers)[1] >= unigram, "Another guess has a smaller loss than the frequencies."


# %% [markdown]
# Two more rules reach something without understanding a word, so they belong on the list. One chosen place in ten shows its true piece, and by (13.4) a frequent piece is probably true: *copying what is shown* is right there. And for next sentence a coin is
# too easy: B from another document is often about another subject, so counting the pieces that A and B share might do.

# %%
check_pairs = sentence_pairs([d for d in tokenized["held out"] if d], T, np.random.default_rng(7))
check_pairs = [check_pairs[i] for i in np.random.default_rng(8).permutation(len(check_pairs))[:768]]
held_batches = []
for begin in range(0, len(check_pairs), 64):
    held = collate(check_pairs[begin : begin + 64], tokenizer, T)
    held["input_ids"], held["labels"] = mask(held["input_ids"], np.random.default_rng([9, begin]))
    held_batches.append(held)
answers = np.concatenate([held["labels"][held["labels"] >= 0] for held in held_batches])
uniform, unigram, most_frequent = baselines(q, answers)

frequent = set(np.argsort(-q)[:150])  # "the" and its like are in both anyway
shared = np.array([len(set(A) & set(B) - frequent) for A, B, _ in check_pairs])
random_pair = np.array([r for _, _, r in check_pairs])
coin, overlap = max(random_pair.mean(), 1 - random_pair.mean()), ((shared == 0) == random_pair).mean()
places = np.concatenate([held["input_ids"][held["labels"] >= 0] for held in held_batches])
copied = np.where(places == tokenizer.mask_id, q.argmax(), places)
copying = (copied == answers).mean()
print(f"chosen pieces: loss {uniform:.2f} uniform, {unigram:.2f} frequencies")
print(
    f"               accuracy {most_frequent:.3f} most frequent, {copying:.3f} “answer what is shown, else the most frequent”"
)
print(
    f"next sentence: accuracy {coin:.3f} always the same answer, {overlap:.3f} “no rare piece in common means random”"
)
assert unigram < uniform and overlap > coin and copying > 2 * most_frequent

# %% [markdown]
# ## Pretraining
#
# Everything is there: pairs, masks, model, loss. AdamW with weight decay for matrices only, a warm-up of a tenth of the steps, then down to 0; gradients longer than 1 are shortened. Every epoch draws new pairs, and every batch new masks.


# %%
def batches(seed, masking):
    rng = np.random.default_rng(seed)
    while True:
        epoch = sentence_pairs([d for d in tokenized["train"] if d], T, rng)
        order = rng.permutation(len(epoch))
        for begin in range(0, len(epoch) - B + 1, B):
            batch = collate([epoch[i] for i in order[begin : begin + B]], tokenizer, T)
            batch["input_ids"], batch["labels"] = masking(batch["input_ids"], rng)
            yield batch


@minitorch.no_grad()
def evaluate(model, held_batches):
    """On held-out pairs: loss at the chosen places, accuracy at [MASK] and at shown pieces; accuracy of next sentence."""
    model.eval()
    total = np.zeros(8)
    for held in held_batches:
        out, words, follows = model(**tensors(held)), held["labels"][held["labels"] >= 0], held["next_sentence_label"]
        right = out.prediction_logits.numpy().argmax(-1) == words
        at_mask = held["input_ids"][held["labels"] >= 0] == tokenizer.mask_id
        right_pairs = (out.seq_relationship_logits.numpy().argmax(-1) == follows).sum()
        n, m = len(words), len(follows)
        total += (
            out.mlm_loss.item() * n,
            n,
            (right & at_mask).sum(),
            at_mask.sum(),
            (right & ~at_mask).sum(),
            (~at_mask).sum(),
            right_pairs,
            m,
        )
    model.train()
    return total[::2] / total[1::2]


def pretrain(model, steps, masking, every):
    optimizer = minitorch.optim.AdamW(weight_decay_groups(model, 0.01), lr=3e-3 if LARGE else 4e-3, eps=1e-5)
    schedule = linear_warmup_decay(optimizer, steps // 10, steps)
    history = []
    for step, batch in zip(range(1, steps + 1), batches(1, masking)):
        out = model(**tensors(batch))
        optimizer.zero_grad()
        out.loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % every == 0 or step == 1:
            history.append((step, *evaluate(model, held_batches)))
    return np.array(history)


start = time.process_time()
model = make_bert()
history = pretrain(model, STEPS, mask, every=STEPS // 12)
step, word_loss, at_mask, at_shown, pair_accuracy = history.T
print(f"{STEPS} steps in {time.process_time() - start:.0f} s of processor time")

figure, panels = plt.subplots(1, 3, figsize=(12, 3.8))
panels[0].plot(step, word_loss, color="C0")
panels[1].plot(step, at_mask, color="C0", label="at [MASK]")
panels[1].plot(step, at_shown, color="C1", label="where a piece is shown")
panels[2].plot(step, pair_accuracy, color="C0")
for axes, title, lines in (
    (panels[0], "Chosen pieces: loss", {"uniform": uniform, "frequencies": unigram}),
    (panels[1], "Chosen pieces: accuracy", {"most frequent": most_frequent}),
    (panels[2], "Next sentence: accuracy", {"always the same": coin, "shared pieces": overlap}),
):
    for name, height in lines.items():
        axes.axhline(height, color="0.4", linestyle="--", linewidth=1)
        below = name == "most frequent"  # not across the curve
        axes.text(STEPS, height, name, ha="right", va="top" if below else "bottom", fontsize=9)
    axes.set(title=title, xlabel="step")
panels[1].legend(loc="center right")
panels[1].set_ylim(bottom=-0.02)
panels[2].set_ylim(0.4, 0.8)
figure.suptitle("Held-out modules; dashed: what is reached without reading")
plt.show()
print(
    f"loss {word_loss[-1]:.2f} against {unigram:.2f}; accuracy {at_mask[-1]:.3f} at [MASK], {at_shown[-1]:.3f} at shown pieces"
)
assert word_loss[-1] < unigram - 0.2 and at_shown[-1] > 0.3
assert LARGE or at_mask[-1] < 0.5 * at_shown[-1]

# %% [markdown]
# Read this picture slowly; it is the point of the lesson.
#
# The loss lies well below the frequencies'. "It beats the unigram baseline, so it reads": that would be wrong. The middle picture splits the accuracy, and the whole gain comes from the places that *show* a piece, where the network has learnt to copy. At
# `[MASK]`, where reading is the only way, it is hardly better than the most frequent piece. After 600 steps **it does not read yet**. And next sentence beats a coin but not the rule that counts shared pieces; nothing says that it has learnt more than that rule.
#
# Why so slow? Only 15% of the places have a label: 600 steps are about 75,000 labels for a vocabulary of 1000. Attention must learn to look next door *before* the embeddings can learn what stands there, and each of the two is useless without the other, so both start
# slowly: a *plateau*. With `LARGE = True` the same network trains for 6,000 steps. One such run, recorded:
#
# | steps | loss of chosen pieces | accuracy at `[MASK]` | next sentence |
# |---|---|---|---|
# | 1,000 | 5.5 | 0.06 | 0.48 |
# | 2,000 | 5.4 | 0.06 | 0.52 |
# | 3,000 | 5.3 | 0.07 | 0.57 |
# | 4,000 | 4.6 | 0.14 | 0.56 |
# | 5,000 | 4.1 | 0.20 | 0.56 |
# | 6,000 | 3.9 | 0.23 | 0.60 |
#
# For 3,000 steps nothing seems to happen, then reading begins, and within 2,000 steps every fifth hidden piece is right: “If the file does `[MASK]` exist” gets “not” with probability 0.68. Whoever stops at 2,000 steps concludes that the program is broken. Next sentence stays below the rule that counts shared pieces.
#
# BERT base trained for a million steps of 256 sequences with up to 512 places: some hundred thousand times the labels of your run.
#
# What does the network answer?

# %%
for text in (
    "Return the [MASK] of bytes.",
    "If the file does [MASK] exist, an exception is raised.",
    "This method [MASK] called when the connection is closed.",
    "Return true if the string [MASK] empty.",
    "The default value [MASK] none.",
):
    ids = np.array([[tokenizer.cls_id, *tokenizer.encode(text), tokenizer.sep_id]])
    with minitorch.no_grad():
        p = model.eval()(minitorch.tensor(ids)).prediction_logits.softmax(-1).numpy()
    p = p[0, list(ids[0]).index(tokenizer.mask_id)]
    print(f"{text:62}", "  ".join(f"“{vocabulary[v]}” {p[v]:.2f}" for v in np.argsort(-p)[:4]))

# %% [markdown]
# After 600 steps the answers are the same for every sentence, the frequencies with a small correction: what the split accuracy said. Whoever looks at answers notices; whoever looks at the loss alone does not.
#
# ## What goes wrong
#
# ### Exercise 6: too good to be true
#
# A colleague rewrote the masking, "without all these `where`". With it the loss falls to a fraction of yours within 60 steps. You know the ladder of baselines; a mini BERT cannot get that far in seconds. Find the line.


# %% tags=["exercise"]
def quick_mask(ids, rng, share=0.15):
    """As `mask`.            ids: (B, T)"""
    # --- solution
    shown = ids.copy()
    # --- stub
    # shown = ids
    # --- end
    chosen = (ids >= len(SPECIAL)) & (rng.random(ids.shape) < share)
    fate = rng.random(ids.shape)
    shown[chosen & (fate < 0.8)] = tokenizer.mask_id
    drawn = chosen & (fate >= 0.8) & (fate < 0.9)
    shown[drawn] = rng.integers(len(SPECIAL), V, ids.shape)[drawn]
    return shown, np.where(chosen, ids, -100)


# %% tags=["check"]
@lesson.check("quick_mask", hint="Which pieces do the labels hold? Two names may stand for one array: what is `shown`?")
def _(quick_mask):
    ids = collate(pairs[:B], tokenizer, T)["input_ids"]
    shown, labels = quick_mask(ids.copy(), np.random.default_rng(0))
    assert (labels != tokenizer.mask_id).all(), (
        f"{(labels == tokenizer.mask_id).sum()} of {(labels >= 0).sum()} labels are [MASK]: the network is asked for what it sees."
    )
    chosen = labels >= 0
    assert (labels[chosen] == ids[chosen]).all(), "A label is the piece before the masking."
    assert (shown[~chosen] == ids[~chosen]).all() and (shown[chosen] == tokenizer.mask_id).any(), "The masks are gone."
    other = shown[chosen & (shown != tokenizer.mask_id) & (shown != ids)]
    assert len(other), "The drawn pieces are gone."
    given = ids.copy()
    quick_mask(given, np.random.default_rng(0))
    assert (given == ids).all(), (
        "The labels are right, but the caller's text was masked for ever: the next epoch reads it."
    )


# %% [markdown]
# In NumPy `shown = ids` makes no copy, so the labels were read from the array that had been masked already: "what stands at this `[MASK]`?" "A `[MASK]`." Here is what the colleague saw, and the one question that unmasks it: what does the model *answer*?


# %%
def bad_mask(ids, rng):
    shown, labels = mask(ids, rng)
    return shown, np.where(labels >= 0, shown, -100)


bad = make_bert()
optimizer = minitorch.optim.AdamW(bad.parameters(), lr=2e-3, eps=1e-5)
curve = []
for _, batch in zip(range(60), batches(2, bad_mask)):
    out = bad(**tensors(batch))
    optimizer.zero_grad()
    out.loss.backward()
    optimizer.step()
    curve.append(out.mlm_loss.item())

plt.plot(range(1, 61), curve, color="C3", label="labels read after masking")
plt.axhline(unigram, color="0.4", linestyle="--", linewidth=1)
plt.text(60, unigram, "frequencies, without reading", ha="right", va="bottom", fontsize=9)
plt.axhline(word_loss[-1], color="C0", linestyle="--", linewidth=1)
plt.text(60, word_loss[-1] - 0.1, f"yours after {STEPS} steps", ha="right", va="top", fontsize=9)
plt.xlabel("step")
plt.ylabel("loss of masked pieces")
plt.ylim(bottom=0)
plt.title("Better than reading allows: the labels are [MASK]")
plt.legend(loc="upper right")
plt.show()
with minitorch.no_grad():
    guess = bad(**tensors(held_batches[0])).prediction_logits.numpy().argmax(-1)
print(f"its answer is [MASK] in {np.mean(guess == tokenizer.mask_id):.0%} of the places")
assert min(curve) < word_loss[-1] / 2 and np.mean(guess == tokenizer.mask_id) > 0.6

# %% [markdown]
# A loss that falls is no proof. Beside the baselines from below, keep one from above: how good can it be at all? What beats it is a leak. In the zoo (`lessons/zoo/`) 08, *Half of a shared weight*, and 24, *Too good to be true*, are of this kind.
#
# ## Summary

# %% [markdown] tags=["summary"]
# | equation | what | op | test |
# |---|---|---|---|
# | (13.1) | how often two pieces are neighbours | `minitorch/text/wordpiece.py::WordPiece` | here |
# | (13.2) | greedy cutting, longest piece first | `minitorch/text/wordpiece.py::WordPiece` | here |
# | (13.3) | the encoder's input: piece, segment, place | `models/bert.py::BertEmbeddings` | here |
# | (13.4) | is the piece that a chosen place shows the true one? | `minitorch/datasets/pretraining.py::mask_tokens` | here |
# | (13.5), (13.6) | a masked piece's probability (F12), its loss | `models/bert.py::BertLMPredictionHead`, `CrossEntropy` | here, cases:nn.functional.cross_entropy |
# | (13.7) | gradient of the logits, 0 where nothing was chosen | `CrossEntropy` | here, cases:nn.functional.cross_entropy |
# | (13.8), (13.9), (13.10) | the tied embedding's two gradients | `models/bert.py::BertForPreTraining` | here |
# | (13.11), (13.12), (13.13) | next sentence (F13): two-class softmax, as a sigmoid, its gradient | `models/bert.py::BertPreTrainingHeads`, `CrossEntropy` | here |
# | (13.14), (13.15) | the two losses added (F11), what one label weighs | `models/bert.py::BertForPreTraining` | here |
# | (13.16), (13.17) | the best guess without reading, its loss: entropy | `examples/pretrain_bert.py::Pretraining` | here |
#
# `python examples/pretrain_bert.py` trains on any text file, as long as you like, and resumes after an interruption. Next, 14 Fine-tuning: what pretraining is good for when labels are few.
