"""Sequences out of a model's scores: greedy choice, sampling, beam search. Lessons 11 and 12.

Nothing here knows a model. The functions ask for one step:

    step(tokens, cache) -> scores, cache

    tokens  (N, S)  the sequences so far, whole; a model with a key-value cache reads only the last column of them
    scores  (N, V)  logits or log-probabilities of the next token
    cache           whatever belongs to the N sequences and is needed again: keys and values, an encoder's output, a
                    padding mask. None, a Tensor whose first axis is N, or tuples, lists and dictionaries of these: the
                    search repeats, reorders and drops rows of it. The first step gets the `cache` given to the function

An encoder-decoder begins with `start` full of its first token, (B, 1), and the encoder's output in `cache`. A decoder
begins with the prompts. Generated tokens follow `start`; after the end token `eos` (one, or a list) come `pad`s.
"""

import minitorch
from minitorch.nn import functional as F


@minitorch.no_grad()
def sample(
    step, start, *, max_new_tokens, do_sample=True, temperature=1.0, top_k=None, top_p=None, eos=None, pad=None,
    cache=None, generator=None, draws=1,
):  # fmt: skip
    """Token after token, drawn from the model's distribution; with do_sample=False the most probable one (greedy).

    start: (B, S) -> (B draws, S + at most max_new_tokens). It ends early when every sequence has its eos.
    """
    check_search(start, max_new_tokens)
    check_sampling(temperature, top_k, top_p)
    ends, pad = end_tokens(eos, pad)
    if draws > 1:
        rows = minitorch.arange(len(start), device=start.device).repeat_interleave(draws)
        start, cache = start[rows], take_rows(cache, rows)
    tokens, ended = start, minitorch.zeros(len(start), dtype=minitorch.bool, device=start.device)
    for _ in range(max_new_tokens):
        scores, cache = step(tokens, cache)  # (B, V)
        if do_sample:
            p = F.softmax(warp(scores.float(), temperature, top_k, top_p), dim=-1)
            token = minitorch.multinomial(p, 1, generator=generator)[:, 0]  # (B,)
        else:
            token = scores.argmax(-1)
        token = minitorch.where(ended, pad, token)
        tokens = minitorch.cat([tokens, token[:, None]], dim=1)
        for end in ends:
            ended = ended | (token == end)
        if ends and bool(ended.all()):
            break
    return tokens


@minitorch.no_grad()
def beam_search(
    step, start, *, beams, max_new_tokens, eos=None, pad=None, length_penalty=1.0, cache=None, best=1,
):  # fmt: skip
    """The continuation with the best score among those that a search with `beams` open ones meets.

    score = log p(new tokens) / (number of new tokens) ** length_penalty           a larger penalty favours longer ones

    Every step extends each open one by every token. Of the best, those that end are finished, and the best `beams`
    others stay open. A sequence's search is over when `beams` are finished and no open one is better than the worst of
    them. The same as Hugging Face's generate(num_beams=beams).

    start: (B, S) -> tokens (B best, S + at most max_new_tokens), scores (B best,): the `best` ones of each, at most `beams`
    """
    check_search(start, max_new_tokens)
    if beams < 1:
        raise ValueError(f"beam search needs at least 1 beam, got {beams}")
    ends, pad = end_tokens(eos, pad)
    B = len(start)
    scores, cache = step(start, cache)  # (B, V)
    # Every sequence becomes `beams` equal rows; all but its first count as impossible, or they would stay equal.
    rows = minitorch.arange(B, device=start.device).repeat_interleave(beams)
    tokens, scores, cache = start[rows], scores[rows], take_rows(cache, rows)
    log_p = minitorch.tensor([0.0] + [-1e9] * (beams - 1), device=start.device).repeat(B)  # (B beams,) of the open ones
    finished = [[] for _ in range(B)]  # (score, tokens), the best first
    searching = list(range(B))  # the sequences that the rows belong to
    for length in range(1, max_new_tokens + 1):
        V = scores.shape[-1]
        total = log_p[:, None] + F.log_softmax(scores.float(), dim=-1)  # (rows, V)
        total = total.reshape(len(searching), beams * V)
        # Every beam could end, in each of the end tokens; so many leave enough that do not.
        top = total.topk(min(beams * max(2, 1 + len(ends)), beams * V), dim=-1)
        rows, added, log_p, still = [], [], [], []
        for i, (b, values, places) in enumerate(zip(searching, top.values.tolist(), top.indices.tolist())):
            stay = []
            for rank, (value, place) in enumerate(zip(values, places)):
                row, token = i * beams + place // V, place % V
                if token not in ends and length < max_new_tokens:
                    stay.append((value, row, token))
                elif rank < beams:
                    finished[b].append((value / length**length_penalty, [*tokens[row].tolist(), token]))
            stay = stay[:beams]
            finished[b] = sorted(finished[b], key=lambda pair: -pair[0])[:beams]
            hope = stay[0][0] / length**length_penalty if stay else -float("inf")
            if len(finished[b]) < beams and stay or hope > finished[b][-1][0]:
                still.append(b)
                for value, row, token in stay:
                    log_p.append(value)
                    rows.append(row)
                    added.append(token)
        searching = still
        if not searching:
            break
        rows, added, log_p = (minitorch.tensor(values, device=start.device) for values in (rows, added, log_p))
        tokens = minitorch.cat([tokens[rows], added[:, None]], dim=1)
        scores, cache = step(tokens, take_rows(cache, rows))
    scores, tokens = zip(*(pair for of_one in finished for pair in of_one[:best]))
    longest = max(map(len, tokens))
    tokens = [row + [pad] * (longest - len(row)) for row in tokens]
    return minitorch.tensor(tokens, device=start.device), minitorch.tensor(scores, device=start.device)


def warp(scores, temperature=1.0, top_k=None, top_p=None):
    """The scores to draw from: divided by the temperature, then only the top k, of them only the top p. (N, V)

    With a temperature each row's largest score is 0, which softmax does not see.
    """
    if temperature != 1:  # however small, nothing overflows to inf - inf: in the limit the most probable is chosen
        scores = (scores - scores.amax(-1, keepdim=True)) / max(temperature, 1e-30)
    scores = keep_top_k(scores, top_k) if top_k else scores
    return scores if top_p is None else keep_top_p(scores, top_p)


def keep_top_k(scores, k):
    """-inf for all but the k largest (and those equal to the k-th).       scores: (N, V)"""
    least = scores.topk(min(k, scores.shape[-1]), dim=-1).values[:, -1:]  # (N, 1)
    return scores.masked_fill(scores < least, -float("inf"))


def keep_top_p(scores, p):
    """-inf for all but the fewest tokens that together have probability p.       scores: (N, V), lesson 12: (12.15)

    A token goes if it and all less probable ones have together at most 1 - p: small numbers are added first.
    """
    ascending, order = scores.sort(dim=-1)
    gone = F.softmax(ascending, dim=-1).cumsum(-1) <= 1 - p
    gone[:, -1] = False  # the most probable stays, whatever p
    return scores.masked_fill(minitorch.zeros_like(gone).scatter(1, order, gone), -float("inf"))


def take_rows(cache, rows):
    """The cache of sequences `rows`, (M,), in this order."""
    if cache is None:
        return None
    if isinstance(cache, minitorch.Tensor):
        return cache[rows]
    if isinstance(cache, dict):
        return {name: take_rows(value, rows) for name, value in cache.items()}
    return type(cache)([take_rows(value, rows) for value in cache])


def end_tokens(eos, pad):
    """The set of end tokens, and the padding token: unless given the first end token."""
    ends = [] if eos is None else list(eos) if isinstance(eos, (list, tuple)) else [eos]
    return ends, (ends[0] if ends else 0) if pad is None else pad


def check_search(start, max_new_tokens):
    if start.ndim != 2 or 0 in start.shape:
        raise ValueError(
            f"generation begins with at least one token in each of B sequences, (B, S); got {tuple(start.shape)}"
        )
    if max_new_tokens < 1:
        raise ValueError(f"max_new_tokens must be at least 1, got {max_new_tokens}")


def check_options(do_sample, temperature, top_k, top_p, num_beams, num_return_sequences):
    """Refuse options of `generate` that contradict each other."""
    if num_beams < 1:
        raise ValueError(f"num_beams must be at least 1, got {num_beams}")
    check_sampling(temperature, top_k, top_p)
    if do_sample and num_beams > 1:
        raise ValueError("do_sample=True draws tokens, num_beams > 1 searches: choose one of them")
    if not do_sample and (temperature, top_k or None, top_p) != (1.0, None, None):
        raise ValueError("temperature, top_k and top_p are for sampling: add do_sample=True, or leave them out")
    if num_return_sequences < 1:
        raise ValueError(f"num_return_sequences must be at least 1, got {num_return_sequences}")
    if not do_sample and num_return_sequences > num_beams:
        raise ValueError(
            f"num_return_sequences={num_return_sequences} is more than num_beams={num_beams}, and a search has no more "
            "texts than beams: add beams, or do_sample=True"
        )


def check_sampling(temperature, top_k, top_p):
    if not temperature > 0:
        raise ValueError(f"temperature must be above 0, got {temperature}; do_sample=False is the limit at 0")
    if top_k is not None and top_k < 0:
        raise ValueError(f"top_k must be at least 1, got {top_k}; None or 0 keeps every token")
    if top_p is not None and not 0 < top_p <= 1:
        raise ValueError(f"top_p must be in (0, 1], got {top_p}; None keeps every token")
