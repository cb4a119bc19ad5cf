"""The mini BERT learns as PyTorch does: the same model file, weights and batches under both, dropout on, step by step."""

from __future__ import annotations

import os
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from minitorch.models import bert

import minitorch

pytestmark = pytest.mark.parity
STEPS = 100


def enwiki() -> Path:
    folder = os.environ.get("MINITORCH_DATA")
    if not folder:
        pytest.skip("MINITORCH_DATA is not set: it names the folder with enwiki/enwiki.txt")
    path = Path(folder) / "enwiki" / "enwiki.txt"
    if not path.exists():
        pytest.skip(f"{path} does not exist")
    return path


def batches(path: Path) -> tuple[int, list[dict[str, np.ndarray]]]:
    pytest.importorskip("tokenizers", reason="the WordPiece vocabulary needs the extra `text`")
    from minitorch.datasets.corpus import TextFileCorpus
    from minitorch.datasets.pretraining import PretrainingBatches
    from minitorch.text.wordpiece import WordPiece

    corpus = TextFileCorpus(path)
    first = [document for document, _ in islice(corpus.documents(), 300)]
    tokenizer = WordPiece.train((s for document in first for s in document.sentences), vocab_size=2000)
    stream = PretrainingBatches(corpus, tokenizer, batch_size=8, max_seq_length=48, seed=1, chunk_documents=256)
    return len(tokenizer), list(islice(stream, STEPS))


def losses(framework, models, words: int, data: list, state=None) -> tuple[list[float], dict]:
    """The losses of STEPS steps as BERT is trained: warmup, clipping, AdamW, dropout 0.1."""
    framework.manual_seed(0)
    config = models.BertConfig(
        vocab_size=words, hidden_size=64, num_hidden_layers=2, num_attention_heads=4, intermediate_size=256,
        max_position_embeddings=48,
    )  # fmt: skip
    model = models.BertForPreTraining(config)
    start = {name: value.detach().numpy().copy() for name, value in model.state_dict().items()}
    if state is not None:
        model.load_state_dict({name: framework.tensor(value) for name, value in state.items()})
    optimizer = framework.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.01)
    schedule = framework.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / 10))
    framework.manual_seed(7)
    history = []
    for arrays in data:
        loss = model(**{name: framework.tensor(value) for name, value in arrays.items()}).loss
        optimizer.zero_grad()
        loss.backward()
        framework.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        history.append(loss.item())
    return history, start


@pytest.mark.parametrize("fast", [True, False], ids=["fast paths", "reference ops"])
def test_mini_bert_learns_as_under_pytorch(fast):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: `make test-parity` installs it")
    from benchmarks.under_torch import load_under_torch

    words, data = batches(enwiki())
    if fast:
        ours, start = losses(minitorch, bert, words, data)
    else:
        with minitorch.reference_ops():
            ours, start = losses(minitorch, bert, words, data)
    theirs, torch_start = losses(torch, load_under_torch("models/bert.py"), words, data, start)
    for name, value in torch_start.items():  # the seed alone gives the same weights
        np.testing.assert_allclose(start[name], value, atol=1e-6, err_msg=name)
    print(f"after {STEPS} steps: minitorch {ours[-1]:.6f}, PyTorch {theirs[-1]:.6f}; "
          f"largest difference {np.abs(np.subtract(ours, theirs)).max():.1e}")  # fmt: skip
    assert ours[-1] < ours[0] - 0.5  # it learns
    np.testing.assert_allclose(ours, theirs, atol=1e-3)
