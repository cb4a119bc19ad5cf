"""A language model's loss is 0.00 after a minute. Its samples repeat their first letter for ever.

Tool: the trivial baseline: a model that only repeats its input.       Needs lesson 12.
"""

import minitorch
from minitorch.nn import functional as F


def broken(tokens, length):
    """Inputs and targets (B, length) out of one long text."""
    starts = minitorch.arange(0, len(tokens) - length - 1, length)
    x = minitorch.stack([tokens[s : s + length] for s in starts.tolist()])
    return x, x.clone()


TEXT = minitorch.tensor([ord(c) - 97 for c in "thequickbrownfoxjumpsoverthelazydogandrunsaway"])


def repeats_its_input(x):
    return 20.0 * F.one_hot(x, 26).float()


def symptom(batches):
    x, y = batches(TEXT, 8)
    assert float(F.cross_entropy(repeats_its_input(x).flatten(0, 1), y.flatten())) > 1


def examine(batches):
    x, y = batches(TEXT, 8)
    same = float((x == y).float().mean())
    assert same < 0.5, f"{same:.0%} of the targets are their own inputs"
    assert minitorch.equal(x[:, 1:], y[:, :-1])


# --- the answer ----------------------------------------------------------------------------------------------------
# The target of a position is the next letter. Here it is the letter that the model is given.


def fixed(tokens, length):
    starts = minitorch.arange(0, len(tokens) - length - 1, length).tolist()
    x = minitorch.stack([tokens[s : s + length] for s in starts])
    return x, minitorch.stack([tokens[s + 1 : s + length + 1] for s in starts])
