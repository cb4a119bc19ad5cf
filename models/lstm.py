"""LSTM: a language model, whose state is all that it knows of the text so far, and a classifier of texts. Lesson 08.

    model = LSTMForCausalLM(LSTMConfig(vocab_size=65))
    model = LSTMForSequenceClassification(LSTMConfig(vocab_size=3000, bidirectional=True, num_labels=2))

Hochreiter, Schmidhuber 1997. Padded texts are packed: a step reads the texts that still have a token there and no other,
so padding costs nothing and cannot change a result. (The fast path of `nn.LSTM` takes packed sequences, in both directions.)

Shapes: B sequences of T tokens, width C = embedding_size, H = hidden_size, D directions, L layers, V words.
"""

from dataclasses import dataclass

from minitorch.models import generation
from minitorch.models.bert import IGNORE, SequenceClassifierOutput, check_labels, check_some
from minitorch.models.pretrained import ModelOutput, PreTrained, PreTrainedConfig, complete_labels

import minitorch
from minitorch import Tensor, nn
from minitorch.nn import functional as F
from minitorch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

POOLING = ("max", "mean", "last")


@dataclass
class LSTMConfig(PreTrainedConfig):
    """`tie_word_embeddings`: the language model's output matrix is its embedding (arXiv:1608.05859).

    `pooling`, `num_labels`, and the classes' names `id2label` and `label2id`: for the classifier.
    """

    vocab_size: int = 10000
    embedding_size: int = 256
    hidden_size: int = 256
    num_layers: int = 1
    bidirectional: bool = False
    dropout: float = 0.2  # of the embeddings, of each layer's output
    initializer_range: float = 0.1
    tie_word_embeddings: bool = True
    pooling: str = "max"
    num_labels: int | None = None  # 2
    id2label: dict[int, str] | None = None
    label2id: dict[str, int] | None = None

    model_type = "lstm"

    def __post_init__(self):
        if self.pooling not in POOLING:
            raise ValueError(f"pooling {self.pooling!r} is unknown; there are {', '.join(POOLING)}")
        complete_labels(self)


@dataclass
class LSTMOutput(ModelOutput):
    last_hidden_state: Tensor  # (B, T, D H), zeros at padding
    state: tuple | None = (
        None  # (h, c) after each sequence's last token, (L D, B, H) each; the next call goes on from it
    )


@dataclass
class CausalLMOutput(ModelOutput):
    loss: Tensor | None = None
    logits: Tensor | None = None  # (B, T, V)
    state: tuple | None = None


class LSTMPreTrainedModel(PreTrained):
    config_class = LSTMConfig
    base_model_prefix = "model"


class LSTMModel(LSTMPreTrainedModel):
    """Embedding and LSTM layers: a vector for every token, and the state after the last."""

    def __init__(self, config):
        super().__init__(config)
        self.embedding = nn.Embedding(config.vocab_size, config.embedding_size)
        self.lstm = nn.LSTM(
            config.embedding_size, config.hidden_size, config.num_layers, batch_first=True,
            dropout=config.dropout if config.num_layers > 1 else 0.0, bidirectional=config.bidirectional,
        )  # fmt: skip
        self.dropout = nn.Dropout(config.dropout)
        self.init_weights(self.embedding)

    def forward(self, input_ids, attention_mask=None, state=None):
        """input_ids: (B, T). attention_mask: (B, T), 1 for a token, 0 for the padding after the last one."""
        if input_ids.ndim != 2 or 0 in input_ids.shape:
            raise ValueError(
                f"the LSTM reads a batch of sequences, (B, T); got input of shape {tuple(input_ids.shape)}"
            )
        if attention_mask is None:
            x = self.dropout(self.embedding(input_ids))  # (B, T, C)
            y, state = self.lstm(x, state)  # (B, T, D H)
            return LSTMOutput(self.dropout(y), state)
        lengths = check_mask(attention_mask, input_ids.shape).cpu()
        tokens = pack_padded_sequence(input_ids, lengths, batch_first=True, enforce_sorted=False)
        x = PackedSequence(self.dropout(self.embedding(tokens.data)), *tokens[1:])  # (N, C), N tokens in all
        y, state = self.lstm(x, state)
        y = PackedSequence(self.dropout(y.data), *y[1:])  # (N, D H)
        y, _ = pad_packed_sequence(y, batch_first=True, total_length=input_ids.shape[1])  # (B, T, D H)
        return LSTMOutput(y, state)


class LSTMForCausalLM(LSTMPreTrainedModel):
    """A language model: each token's state predicts the token that follows."""

    predicts_next = True  # labels are those of the tokens themselves: a loss over all but the first of each row

    def __init__(self, config):
        super().__init__(config)
        if config.bidirectional:
            raise ValueError(
                "a language model reads in one direction: bidirectional=True would show it what it must predict"
            )
        if config.tie_word_embeddings and config.hidden_size != config.embedding_size:
            raise ValueError(
                f"tie_word_embeddings needs hidden_size = embedding_size, got {config.hidden_size} and "
                f"{config.embedding_size}: make them equal, or set tie_word_embeddings=False"
            )
        self.model = LSTMModel(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size)
        self.init_weights(self.lm_head)
        if config.tie_word_embeddings:
            self.lm_head.weight = self.model.embedding.weight

    def forward(self, input_ids, attention_mask=None, labels=None, state=None):
        """labels: (B, T), usually input_ids themselves: token t is predicted from those before it. -100: left out.

        state: an earlier result's, to go on reading the same texts. To train on texts in pieces, cut the graph between
        two of them, `tuple(s.detach() for s in out.state)`: truncated backpropagation through time.
        """
        out = self.model(input_ids, attention_mask, state)
        logits, loss = self.lm_head(out.last_hidden_state), None  # (B, T, V)
        if labels is not None:
            B, T, V = logits.shape
            check_labels("labels", labels, (B, T), V, "vocab_size", ignore=True)
            following = self._following(labels, attention_mask)
            check_some(following, " between the first of its row and the padding, if there is any,")
            loss = F.cross_entropy(logits.reshape(B * T, V), following.reshape(B * T), ignore_index=IGNORE)
        return CausalLMOutput(loss, logits, out.state)

    def _following(self, labels, attention_mask):
        """What each token is to predict, (B, T): the one that follows; nothing at a row's end and before padding."""
        following = minitorch.cat([labels[:, 1:], minitorch.full_like(labels[:, :1], IGNORE)], dim=1)
        if attention_mask is not None:
            following = following.masked_fill(F.pad(attention_mask[:, 1:], (0, 1)) == 0, IGNORE)
        return following

    def count_labels(self, batch):
        """Over how many predicted tokens a batch's loss is the mean, which training.fit weighs it by."""
        following = self._following(batch["labels"], batch.get("attention_mask"))
        return int((following != IGNORE).sum().item())

    @minitorch.no_grad()
    def generate(
        self, input_ids, max_new_tokens, *, do_sample=False, temperature=1.0, top_k=None, top_p=None, num_beams=1,
        length_penalty=1.0, eos_token_id=None, pad_token_id=None, generator=None, num_return_sequences=1,
    ):  # fmt: skip
        """The prompts, continued: (B, S) -> (B num_return_sequences, S + at most max_new_tokens).

        By default always the most probable token. do_sample: drawn from the distribution, sharpened by a temperature
        below 1, flattened by one above it. num_beams > 1: a search for the most probable continuation as a whole.
        The options are those of GPT-2's generate().
        """
        generation.check_search(input_ids, max_new_tokens)
        generation.check_options(do_sample, temperature, top_k, top_p, num_beams, num_return_sequences)

        def step(tokens, state):  # the search wants the sequences first: (B, L, H)
            state = None if state is None else tuple(s.transpose(0, 1).contiguous() for s in state)
            out = self.model(tokens if state is None else tokens[:, -1:], state=state)
            return self.lm_head(out.last_hidden_state[:, -1]), tuple(s.transpose(0, 1) for s in out.state)

        how = {"max_new_tokens": max_new_tokens, "eos": eos_token_id, "pad": pad_token_id}
        was_training = self.training
        self.eval()
        try:
            if num_beams > 1:
                return generation.beam_search(
                    step, input_ids, beams=num_beams, length_penalty=length_penalty, best=num_return_sequences, **how
                )[0]
            return generation.sample(
                step, input_ids, do_sample=do_sample, temperature=temperature, top_k=top_k, top_p=top_p,
                generator=generator, draws=num_return_sequences, **how,
            )  # fmt: skip
        finally:
            self.train(was_training)


class LSTMForSequenceClassification(LSTMPreTrainedModel):
    """A linear layer on one vector for the text: over all tokens the largest or the mean of each number, or the last state."""

    def __init__(self, config):
        super().__init__(config)
        self.model = LSTMModel(config)
        self.classifier = nn.Linear((1 + config.bidirectional) * config.hidden_size, config.num_labels)
        self.init_weights(self.classifier)

    def forward(self, input_ids, attention_mask=None, labels=None):
        """labels: (B,) class numbers."""
        out = self.model(input_ids, attention_mask)
        logits = self.classifier(self.pool(out, attention_mask))  # (B, num_labels)
        if labels is None:
            return SequenceClassifierOutput(None, logits)
        check_labels("labels", labels, (len(logits),), self.config.num_labels, "num_labels", ignore=True)
        return SequenceClassifierOutput(F.cross_entropy(logits, labels), logits)

    def pool(self, out, attention_mask):
        """One vector for each text: (B, D H)."""
        x = out.last_hidden_state
        if self.config.pooling == "last":  # where each direction ends: the last token's state, and the first's
            h = out.state[0]  # (L D, B, H)
            return self.model.dropout(minitorch.cat([h[-2], h[-1]], dim=1) if self.config.bidirectional else h[-1])
        if attention_mask is None:
            return x.mean(1) if self.config.pooling == "mean" else x.amax(1)
        if self.config.pooling == "mean":
            return x.sum(1) / attention_mask.sum(1, keepdim=True)
        return x.masked_fill((attention_mask == 0).unsqueeze(2), -float("inf")).amax(1)


def check_mask(attention_mask, shape):
    """The sequences' lengths, (B,); refuses a mask that is not ones and then zeros."""
    if tuple(attention_mask.shape) != tuple(shape):
        raise ValueError(f"attention_mask has shape {tuple(attention_mask.shape)}, the input has {tuple(shape)}")
    seen = (attention_mask != 0).long()
    if not bool(seen[:, 0].all()) or bool((seen[:, 1:] > seen[:, :-1]).any()):
        raise ValueError("attention_mask: each row must be ones and then zeros, at least one 1: pad on the right")
    return seen.sum(1)
