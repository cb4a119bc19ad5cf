"""BERT: a Transformer encoder pretrained to fill in masked tokens and to tell which sentence follows. arXiv:1810.04805

    model = BertModel.from_pretrained(folder or hub id)
    model = BertForSequenceClassification.from_pretrained(folder, num_labels=3)      and the other heads below

Names, defaults and results are those of Hugging Face's models of the same names.

Shapes: B sequences of T tokens, width C = hidden_size, h heads of d = C / h, V words, M masked positions.
"""

from collections.abc import Callable
from dataclasses import dataclass

from minitorch.models.pretrained import ModelOutput, PreTrained, PreTrainedConfig, complete_labels

import minitorch
from minitorch import Tensor, nn
from minitorch.nn import functional as F

IGNORE = -100  # the label of a token that is not to be predicted


@dataclass
class BertConfig(PreTrainedConfig):
    """The defaults are BERT base.

    For the classifiers: `num_labels`, and the classes' names `id2label` and `label2id`, each of which says the others;
    `classifier_dropout`; `problem_type`, for sequences.
    """

    model_type = "bert"
    only = {
        "position_embedding_type": "absolute", "is_decoder": False, "add_cross_attention": False,
        "is_encoder_decoder": False, "tie_word_embeddings": True, "chunk_size_feed_forward": 0, "pruned_heads": {},
    }  # fmt: skip
    metadata = frozenset({
        "directionality", "pooler_fc_size", "pooler_num_attention_heads", "pooler_num_fc_layers", "pooler_size_per_head",
        "pooler_type",
    })  # fmt: skip

    vocab_size: int = 30522
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    hidden_act: str = "gelu"
    hidden_dropout_prob: float = 0.1
    attention_probs_dropout_prob: float = 0.1
    max_position_embeddings: int = 512
    type_vocab_size: int = 2
    initializer_range: float = 0.02
    layer_norm_eps: float = 1e-12
    pad_token_id: int | None = 0
    classifier_dropout: float | None = None
    num_labels: int | None = None  # 2
    problem_type: str | None = None
    id2label: dict[int, str] | None = None
    label2id: dict[str, int] | None = None

    def __post_init__(self):
        if self.num_attention_heads < 1 or self.hidden_size % self.num_attention_heads != 0:
            raise ValueError(
                f"The hidden size ({self.hidden_size}) is not a multiple of the number of attention heads "
                f"({self.num_attention_heads})"
            )
        if self.hidden_act not in ACTIVATIONS:
            raise ValueError(f"hidden_act {self.hidden_act!r} is unknown; there are {', '.join(ACTIVATIONS)}")
        if self.problem_type not in (None, *PROBLEMS):
            raise ValueError(f"problem_type {self.problem_type!r} is unknown; there are {', '.join(PROBLEMS)}")
        complete_labels(self)


PROBLEMS = ("regression", "single_label_classification", "multi_label_classification")


def gelu_tanh(x):
    return F.gelu(x, approximate="tanh")


ACTIVATIONS: dict[str, Callable] = {
    "gelu": F.gelu,
    "gelu_new": gelu_tanh,
    "gelu_pytorch_tanh": gelu_tanh,
    "relu": F.relu,
    "tanh": F.tanh,
}


@dataclass
class BertOutput(ModelOutput):
    last_hidden_state: Tensor  # (B, T, C)
    pooler_output: Tensor | None = None  # (B, C)
    hidden_states: tuple | None = None  # embeddings and every layer's output, (B, T, C) each
    attentions: tuple | None = None  # every layer's attention, (B, h, T, T) each: [b, head, from, to]


@dataclass
class BertForPreTrainingOutput(ModelOutput):
    loss: Tensor | None = None  # mlm_loss + nsp_loss
    prediction_logits: Tensor | None = None  # (B, T, V); with labels (M, V), the rows of labels != -100
    seq_relationship_logits: Tensor | None = None  # (B, 2): sentence B follows A, is random
    hidden_states: tuple | None = None
    attentions: tuple | None = None
    mlm_loss: Tensor | None = None
    nsp_loss: Tensor | None = None


@dataclass
class ClassifierOutput(ModelOutput):
    loss: Tensor | None = None
    logits: Tensor | None = None  # (B, num_labels); of tokens (B, T, num_labels)
    hidden_states: tuple | None = None
    attentions: tuple | None = None


SequenceClassifierOutput = TokenClassifierOutput = NextSentencePredictorOutput = ClassifierOutput


@dataclass
class MaskedLMOutput(ModelOutput):
    loss: Tensor | None = None
    logits: Tensor | None = None  # (B, T, V)
    hidden_states: tuple | None = None
    attentions: tuple | None = None


@dataclass
class QuestionAnsweringModelOutput(ModelOutput):
    loss: Tensor | None = None
    start_logits: Tensor | None = None  # (B, T): the answer begins at this token
    end_logits: Tensor | None = None  # (B, T): it ends there
    hidden_states: tuple | None = None
    attentions: tuple | None = None


class BertEmbeddings(nn.Module):
    def __init__(self, config):
        super().__init__()
        C = config.hidden_size
        self.word_embeddings = nn.Embedding(config.vocab_size, C, padding_idx=config.pad_token_id)
        self.position_embeddings = nn.Embedding(config.max_position_embeddings, C)
        self.token_type_embeddings = nn.Embedding(config.type_vocab_size, C)
        self.LayerNorm = nn.LayerNorm(C, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)
        positions = minitorch.arange(config.max_position_embeddings).unsqueeze(0)
        self.register_buffer("position_ids", positions, persistent=False)  # (1, max T)

    def forward(self, input_ids, token_type_ids=None, position_ids=None, inputs_embeds=None):
        x = self.word_embeddings(input_ids) if inputs_embeds is None else inputs_embeds  # (B, T, C)
        T = x.shape[1]
        if position_ids is None:
            position_ids = self.position_ids[:, :T]
        if token_type_ids is None:
            token_type_ids = minitorch.zeros_like(position_ids)
        x = x + self.token_type_embeddings(token_type_ids) + self.position_embeddings(position_ids)
        return self.dropout(self.LayerNorm(x))

    def _load_from_state_dict(self, state_dict, prefix, *args):
        for name in ("position_ids", "token_type_ids"):  # older checkpoints hold them
            state_dict.pop(prefix + name, None)
        super()._load_from_state_dict(state_dict, prefix, *args)


class BertSelfAttention(nn.Module):
    """softmax(q k^T / sqrt(d) + mask) v in every head."""

    def __init__(self, config):
        super().__init__()
        C = config.hidden_size
        self.heads, self.d = config.num_attention_heads, C // config.num_attention_heads
        self.query = nn.Linear(C, C)
        self.key = nn.Linear(C, C)
        self.value = nn.Linear(C, C)
        self.dropout = nn.Dropout(config.attention_probs_dropout_prob)

    def forward(self, x, mask=None, output_attentions=False):
        B, T, C = x.shape
        q, k, v = (
            y.reshape(*y.shape[:2], self.heads, self.d).transpose(1, 2)  # (B, h, T, d); a prefix makes k and v longer
            for y in (self.query(x), self.key(x), self.value(x))
        )
        weights = None
        if output_attentions:
            scores = q @ k.transpose(2, 3) * self.d**-0.5  # (B, h, T, T)
            scores = scores if mask is None else scores.masked_fill(~mask, minitorch.finfo(scores.dtype).min)
            weights = self.dropout(F.softmax(scores, dim=-1))
            y = weights @ v
        else:
            y = F.scaled_dot_product_attention(q, k, v, mask, self.dropout.p if self.training else 0.0)
        return y.transpose(1, 2).reshape(B, T, C), weights


class BertResidual(nn.Module):
    """LayerNorm(x + dropout(dense(y))): what attention and feed-forward end with."""

    def __init__(self, config, in_features):
        super().__init__()
        self.dense = nn.Linear(in_features, config.hidden_size)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, y, x):
        return self.LayerNorm(self.dropout(self.dense(y)) + x)


class BertAttention(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.self = BertSelfAttention(config)
        self.output = BertResidual(config, config.hidden_size)

    def forward(self, x, mask=None, output_attentions=False):
        y, weights = self.self(x, mask, output_attentions)
        return self.output(y, x), weights


class BertIntermediate(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.intermediate_size)
        self.activation = ACTIVATIONS[config.hidden_act]

    def forward(self, x):
        return self.activation(self.dense(x))


class BertLayer(nn.Module):
    """Attention and a feed-forward network, each with a residual connection and LayerNorm after it."""

    def __init__(self, config):
        super().__init__()
        self.attention = BertAttention(config)
        self.intermediate = BertIntermediate(config)
        self.output = BertResidual(config, config.intermediate_size)

    def forward(self, x, mask=None, output_attentions=False):
        x, weights = self.attention(x, mask, output_attentions)
        return self.output(self.intermediate(x), x), weights


class BertEncoder(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.layer = nn.ModuleList([BertLayer(config) for _ in range(config.num_hidden_layers)])

    def forward(self, x, mask=None, output_attentions=False, output_hidden_states=False):
        states = (x,) if output_hidden_states else None
        attentions = () if output_attentions else None
        for layer in self.layer:
            x, weights = layer(x, mask, output_attentions)
            if output_hidden_states:
                states += (x,)
            if output_attentions:
                attentions += (weights,)
        return x, states, attentions


class BertPooler(nn.Module):
    """tanh(dense(the first token's state)): the sequence as one vector."""

    def __init__(self, config):
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(self, x):
        return F.tanh(self.dense(x[:, 0]))  # (B, C)


class BertPredictionHeadTransform(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.activation = ACTIVATIONS[config.hidden_act]
        self.LayerNorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(self, x):
        return self.LayerNorm(self.activation(self.dense(x)))


class BertLMPredictionHead(nn.Module):
    """Scores for every word: the transformed state times the word embeddings, plus a bias."""

    def __init__(self, config):
        super().__init__()
        self.transform = BertPredictionHeadTransform(config)
        self.decoder = nn.Linear(config.hidden_size, config.vocab_size)
        self.bias = nn.Parameter(minitorch.zeros(config.vocab_size))

    def forward(self, x):
        return self.decoder(self.transform(x))  # (..., V)


class BertPreTrainingHeads(nn.Module):
    def __init__(self, config, words=True, following=True):
        super().__init__()
        if words:
            self.predictions = BertLMPredictionHead(config)
        if following:
            self.seq_relationship = nn.Linear(config.hidden_size, 2)

    def forward(self, x, pooled):
        return self.predictions(x), self.seq_relationship(pooled)


class BertPreTrainedModel(PreTrained):
    """What the models have in common: the configuration, the initialisation, loading and saving."""

    config_class = BertConfig
    base_model_prefix = "bert"
    ignored_keys = (r"embeddings\.(position_ids|token_type_ids)$",)
    optional_keys = (r"^(bert\.)?pooler\.",)  # heads that do not use the pooler are saved without it

    def init_weights(self, module):
        super().init_weights(module)
        if isinstance(module, BertLMPredictionHead):
            nn.init.zeros_(module.bias)


class BertModel(BertPreTrainedModel):
    """The encoder: token numbers in, a vector for every token and one for the sequence out."""

    def __init__(self, config, add_pooling_layer=True):
        super().__init__(config)
        self.embeddings = BertEmbeddings(config)
        self.encoder = BertEncoder(config)
        self.pooler = BertPooler(config) if add_pooling_layer else None
        self.apply(self.init_weights)

    def forward(
        self, input_ids=None, attention_mask=None, token_type_ids=None, position_ids=None, inputs_embeds=None, *,
        output_attentions=False, output_hidden_states=False,
    ):  # fmt: skip
        """input_ids, token_type_ids (0: sentence A, 1: sentence B), attention_mask (0: padding): (B, T).

        inputs_embeds (B, T, C) may stand for input_ids.
        """
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("You must specify exactly one of input_ids or inputs_embeds")
        shape = tuple(input_ids.shape if inputs_embeds is None else inputs_embeds.shape[:-1])
        self._check_shapes(shape, attention_mask, token_type_ids)
        x = self.embeddings(input_ids, token_type_ids, position_ids, inputs_embeds)  # (B, T, C)
        mask = None if attention_mask is None else (attention_mask != 0)[:, None, None, :]  # (B, 1, 1, T)
        x, states, attentions = self.encoder(x, mask, output_attentions, output_hidden_states)
        return BertOutput(x, None if self.pooler is None else self.pooler(x), states, attentions)

    def _check_shapes(self, shape, attention_mask, token_type_ids):
        if len(shape) != 2:
            raise ValueError(f"BERT reads a batch of sequences, (B, T); got input of shape {shape}")
        if shape[1] == 0:
            raise ValueError(f"BERT reads sequences of at least one token; got input of shape {shape}")
        if shape[1] > self.config.max_position_embeddings:
            raise ValueError(
                f"the sequences have {shape[1]} tokens, more than max_position_embeddings="
                f"{self.config.max_position_embeddings}: truncate them or make the model with more positions"
            )
        for name, tensor in (("attention_mask", attention_mask), ("token_type_ids", token_type_ids)):
            if tensor is not None and tuple(tensor.shape) != shape:
                raise ValueError(f"{name} has shape {tuple(tensor.shape)}, the input has {shape}")


# The heads. `inputs` and `options` of every forward() are BertModel's.


class BertForPreTraining(BertPreTrainedModel):
    """BERT with both heads of its pretraining: L = L_MLM + L_NSP."""

    def __init__(self, config):
        super().__init__(config)
        self.bert = BertModel(config)
        self.cls = BertPreTrainingHeads(config)
        self.cls.apply(self.init_weights)
        tie_words(self)

    def forward(self, *inputs, labels=None, next_sentence_label=None, positions=None, **options):
        """labels: (B, T), the words to predict, -100 elsewhere. next_sentence_label: (B,), 0: B follows A, 1: random.

        With labels the vocabulary's scores are computed at the masked positions only: 15% of the work with 15% masked.
        positions: (M,), these places, counted through all B T tokens, if they are known; then labels is (M,). A captured
        CUDA graph needs them, since M must not depend on numbers; what is too many is filled up with labels of -100.
        """
        out = self.bert(*inputs, **options)
        x, mlm_loss, nsp_loss = out.last_hidden_state, None, None
        if positions is not None:
            if labels is None:
                raise ValueError("positions says where the labels stand: labels, of the same shape, are missing")
            check_labels("labels", labels, tuple(positions.shape), self.config.vocab_size, "vocab_size", ignore=True)
            x = x.flatten(0, 1)[positions]  # (M, C)
        elif labels is not None:
            masked = predicted(labels, tuple(x.shape[:2]), self.config.vocab_size, "vocab_size", "masked")
            x, labels = x[masked], labels[masked]  # (M, C), (M,)
        words, follows = self.cls(x, out.pooler_output)  # (B, T, V) or (M, V); (B, 2)
        if labels is not None:
            mlm_loss = F.cross_entropy(words, labels)
        if next_sentence_label is not None:
            label = next_sentence_label.reshape(-1)
            check_labels("next_sentence_label", label, (len(follows),), 2, "the number of classes")
            nsp_loss = F.cross_entropy(follows, label)
        losses = [loss for loss in (mlm_loss, nsp_loss) if loss is not None]
        loss = sum(losses[1:], losses[0]) if losses else None
        return BertForPreTrainingOutput(loss, words, follows, out.hidden_states, out.attentions, mlm_loss, nsp_loss)


class BertForMaskedLM(BertPreTrainedModel):
    """BERT that predicts the words behind [MASK]."""

    def __init__(self, config):
        super().__init__(config)
        self.bert = BertModel(config, add_pooling_layer=False)
        self.cls = BertPreTrainingHeads(config, following=False)
        self.cls.apply(self.init_weights)
        tie_words(self)

    def forward(self, *inputs, labels=None, **options):
        """labels: (B, T), the words to predict, -100 elsewhere. The scores are those of every position, (B, T, V)."""
        out = self.bert(*inputs, **options)
        logits, loss = self.cls.predictions(out.last_hidden_state), None  # (B, T, V)
        if labels is not None:
            loss = token_loss(logits, labels, "vocab_size", "masked")
        return MaskedLMOutput(loss, logits, out.hidden_states, out.attentions)


class BertForNextSentencePrediction(BertPreTrainedModel):
    """BERT that says whether sentence B follows sentence A (class 0) or is a random one (class 1)."""

    def __init__(self, config):
        super().__init__(config)
        self.bert = BertModel(config)
        self.cls = BertPreTrainingHeads(config, words=False)
        self.cls.apply(self.init_weights)

    def forward(self, *inputs, labels=None, **options):
        """labels: (B,), 0: B follows A, 1: random."""
        out = self.bert(*inputs, **options)
        logits, loss = self.cls.seq_relationship(out.pooler_output), None  # (B, 2)
        if labels is not None:
            labels = labels.reshape(-1)
            check_labels("labels", labels, (len(logits),), 2, "the number of classes", ignore=True)
            loss = F.cross_entropy(logits, labels)
        return NextSentencePredictorOutput(loss, logits, out.hidden_states, out.attentions)


class BertClassifier(BertPreTrainedModel):
    """A linear layer on BERT's states: what the two classifiers have in common."""

    def __init__(self, config, add_pooling_layer):
        super().__init__(config)
        self.bert = BertModel(config, add_pooling_layer)
        p = config.hidden_dropout_prob if config.classifier_dropout is None else config.classifier_dropout
        self.dropout = nn.Dropout(p)
        self.classifier = nn.Linear(config.hidden_size, config.num_labels)
        self.init_weights(self.classifier)


class BertForSequenceClassification(BertClassifier):
    """BERT with a linear layer on the pooled state: a class for the sequence."""

    def __init__(self, config):
        super().__init__(config, add_pooling_layer=True)

    def forward(self, *inputs, labels=None, **options):
        """labels: (B,) class numbers; or (B, num_labels) of 0. and 1., several at once; or (B,) numbers, a regression.

        Which of them is the configuration's problem_type; without one, num_labels and the labels' dtype decide.
        """
        out = self.bert(*inputs, **options)
        logits = self.classifier(self.dropout(out.pooler_output))  # (B, num_labels)
        loss = None if labels is None else self._loss(logits, labels)
        return SequenceClassifierOutput(loss, logits, out.hidden_states, out.attentions)

    def _loss(self, logits, labels):
        B, classes = logits.shape
        problem = self.config.problem_type
        if problem is None:
            several = "multi_label_classification" if labels.is_floating_point() else "single_label_classification"
            problem = "regression" if classes == 1 else several
        if problem == "single_label_classification":
            labels = labels.reshape(-1)
            check_labels("labels", labels, (B,), classes, "num_labels", ignore=True)
            return F.cross_entropy(logits, labels)
        if labels.numel() != logits.numel():
            raise ValueError(f"labels of shape {tuple(labels.shape)} do not fit logits of shape {tuple(logits.shape)}")
        labels = labels.reshape(logits.shape)
        return (
            F.mse_loss(logits, labels)
            if problem == "regression"
            else F.binary_cross_entropy_with_logits(logits, labels)
        )


class BertForTokenClassification(BertClassifier):
    """BERT with a linear layer on every token's state: a class for each token."""

    def __init__(self, config):
        super().__init__(config, add_pooling_layer=False)

    def forward(self, *inputs, labels=None, **options):
        """labels: (B, T) class numbers, -100 for tokens that do not count."""
        out = self.bert(*inputs, **options)
        logits, loss = self.classifier(self.dropout(out.last_hidden_state)), None  # (B, T, num_labels)
        if labels is not None:
            loss = token_loss(logits, labels, "num_labels", "labelled")
        return TokenClassifierOutput(loss, logits, out.hidden_states, out.attentions)


class BertForQuestionAnswering(BertPreTrainedModel):
    """BERT that finds the answer in a text: scores for every token to be its first, and to be its last."""

    def __init__(self, config):
        super().__init__(config)
        if config.num_labels != 2:
            raise ValueError(f"question answering has two scores for a token: num_labels=2, not {config.num_labels}")
        self.bert = BertModel(config, add_pooling_layer=False)
        self.qa_outputs = nn.Linear(config.hidden_size, 2)
        self.init_weights(self.qa_outputs)

    def forward(self, *inputs, start_positions=None, end_positions=None, **options):
        """start_positions, end_positions: (B,) tokens. Those of T and more, cut off by truncation, do not count."""
        out = self.bert(*inputs, **options)
        start, end = self.qa_outputs(out.last_hidden_state).unbind(-1)  # (B, T) each
        loss = None
        if start_positions is not None and end_positions is not None:
            losses = [self._loss(start, start_positions), self._loss(end, end_positions)]
            loss = (losses[0] + losses[1]) / 2
        return QuestionAnsweringModelOutput(loss, start, end, out.hidden_states, out.attentions)

    def count_labels(self, batch):
        """Over how many answers a batch's loss is the mean, which training.fit weighs it by: those with both ends inside."""
        words = batch.get("input_ids")
        T = (batch["inputs_embeds"] if words is None else words).shape[1]
        start, end = (self._inside(batch[name], T) for name in ("start_positions", "end_positions"))
        return int(((start != T) & (end != T)).sum().item())

    def _inside(self, positions, T):
        """The answers' tokens, (B,); T for those that do not count."""
        return positions.reshape(-1).clamp(0, T)

    def _loss(self, logits, positions):
        B, T = logits.shape
        positions = self._inside(positions, T)
        if len(positions) != B:
            raise ValueError(f"there are {len(positions)} answer positions for {B} sequences")
        return F.cross_entropy(logits, positions, ignore_index=T)


def tie_words(model):
    """The output embedding is the input embedding; both of its names stay in the state_dict."""
    predictions = model.cls.predictions
    predictions.decoder.weight = model.bert.embeddings.word_embeddings.weight
    predictions.decoder.bias = predictions.bias


def token_loss(logits, labels, limit, kind):
    """The mean cross-entropy of the labels (B, T) that are not -100. logits: (B, T, K).

    The others' scores are left out; on a GPU, where one would have to wait to know how many there are, they are multiplied by 0.
    """
    B, T, K = logits.shape
    if labels.is_cpu:
        chosen = predicted(labels, (B, T), K, limit, kind)
        return F.cross_entropy(logits[chosen], labels[chosen])
    check_labels("labels", labels, (B, T), K, limit, ignore=True)
    return F.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORE)


def predicted(labels, shape, classes, limit, kind):
    """Where the labels are not -100: (B, T) of bools."""
    check_labels("labels", labels, shape, classes, limit, ignore=True)
    chosen = labels != IGNORE
    if not bool(chosen.any()):
        raise ValueError(f"labels: every one is {IGNORE}, so there is no {kind} token to predict")
    return chosen


def check_some(labels, where=""):
    """Refuse labels of which every one is -100: their mean loss is 0 / 0."""
    if labels.is_cpu and not bool((labels != IGNORE).any()):
        raise ValueError(f"labels: every one{where} is {IGNORE}, so there is no token to predict")


def check_labels(name, labels, shape, classes, limit, ignore=False):
    """Refuse labels of the wrong shape or outside 0 ... classes - 1 (and, with `ignore`, -100)."""
    if tuple(labels.shape) != shape:
        raise ValueError(f"{name} has shape {tuple(labels.shape)}, expected {shape}")
    if not labels.is_cpu:
        return  # cross_entropy finds them there, without waiting for the GPU
    wrong = (labels < 0) | (labels >= classes)
    if ignore:
        wrong = wrong & (labels != IGNORE)
    if bool(wrong.any()):
        also = f", or {IGNORE} to ignore a position" if ignore else ""
        raise ValueError(
            f"{name}: {labels[wrong][0].item()} is out of range: 0 to {classes - 1} ({limit}={classes}){also}"
        )
