"""BERT from its parts: masked words and next sentence, the schedule of the Transformer paper."""

import argparse
import math
import random

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.optim import Adam
from torch.utils.data import DataLoader, Dataset

PAD, UNK, EOS, SOS, MASK = range(5)
SENTENCES = """the cat sat on the mat|it was warm there and the cat slept
rain fell on the old town|people ran home through the streets
she opened the small green book|the first page was empty
the train left at seven|we had missed it by a minute
he planted a tree by the river|years later it gave shade to all
music came from the open window|someone was learning to play
the baker rose before the sun|bread was ready when the town woke
a dog barked far away|then the night was quiet again""".split("\n")


class BERTDataset(Dataset):
    def __init__(self, lines, seq_len):
        self.lines = [line.split("|") for line in lines]
        words = sorted({w for pair in self.lines for sentence in pair for w in sentence.split()})
        self.stoi = {w: i + 5 for i, w in enumerate(words)}
        self.vocab_size, self.seq_len = len(words) + 5, seq_len

    def __len__(self):
        return len(self.lines) * 8

    def __getitem__(self, item):
        t1, t2 = self.lines[item % len(self.lines)]
        is_next = 1
        if random.random() > 0.5:
            t2, is_next = self.lines[random.randrange(len(self.lines))][1], 0
        t1, label1 = self.random_word(t1)
        t2, label2 = self.random_word(t2)
        t1, t2 = [SOS, *t1, EOS], [*t2, EOS]
        segment = ([1] * len(t1) + [2] * len(t2))[: self.seq_len]
        bert_input = (t1 + t2)[: self.seq_len]
        bert_label = ([PAD, *label1, PAD] + [*label2, PAD])[: self.seq_len]
        padding = [PAD] * (self.seq_len - len(bert_input))
        for values in (bert_input, bert_label, segment):
            values.extend(padding)
        output = {
            "bert_input": bert_input,
            "bert_label": bert_label,
            "segment_label": segment,
            "is_next": is_next,
        }
        return {key: torch.tensor(value) for key, value in output.items()}

    def random_word(self, sentence):
        tokens, labels = [], []
        for word in sentence.split():
            token = self.stoi.get(word, UNK)
            prob = random.random()
            if prob < 0.15:
                prob /= 0.15
                tokens.append(MASK if prob < 0.8 else random.randrange(self.vocab_size) if prob < 0.9 else token)
                labels.append(token)
            else:
                tokens.append(token)
                labels.append(PAD)
        return tokens, labels


class PositionalEmbedding(nn.Module):
    def __init__(self, d_model, max_len=64):
        super().__init__()
        pe = torch.zeros(max_len, d_model).float()
        pe.requires_grad = False
        position = torch.arange(0, max_len).float().unsqueeze(1)
        div_term = (torch.arange(0, d_model, 2).float() * -(math.log(10000.0) / d_model)).exp()
        pe[:, 0::2] = torch.sin(position * div_term)
        pe[:, 1::2] = torch.cos(position * div_term)
        self.register_buffer("pe", pe.unsqueeze(0))

    def forward(self, x):
        return self.pe[:, : x.size(1)]


class BERTEmbedding(nn.Module):
    def __init__(self, vocab_size, embed_size, dropout):
        super().__init__()
        self.token = nn.Embedding(vocab_size, embed_size, padding_idx=0)
        self.segment = nn.Embedding(3, embed_size, padding_idx=0)
        self.position = PositionalEmbedding(embed_size)
        self.dropout = nn.Dropout(p=dropout)

    def forward(self, sequence, segment_label):
        return self.dropout(self.token(sequence) + self.position(sequence) + self.segment(segment_label))


class Attention(nn.Module):
    def forward(self, query, key, value, mask=None, dropout=None):
        scores = torch.matmul(query, key.transpose(-2, -1)) / math.sqrt(query.size(-1))
        if mask is not None:
            scores = scores.masked_fill(mask == 0, -1e9)
        p_attn = F.softmax(scores, dim=-1)
        if dropout is not None:
            p_attn = dropout(p_attn)
        return torch.matmul(p_attn, value), p_attn


class MultiHeadedAttention(nn.Module):
    def __init__(self, h, d_model, dropout):
        super().__init__()
        assert d_model % h == 0
        self.d_k, self.h = d_model // h, h
        self.linear_layers = nn.ModuleList([nn.Linear(d_model, d_model) for _ in range(3)])
        self.output_linear = nn.Linear(d_model, d_model)
        self.attention = Attention()
        self.dropout = nn.Dropout(p=dropout)

    def forward(self, query, key, value, mask=None):
        batch_size = query.size(0)
        query, key, value = [
            lin(x).view(batch_size, -1, self.h, self.d_k).transpose(1, 2)
            for lin, x in zip(self.linear_layers, (query, key, value))
        ]
        x, _ = self.attention(query, key, value, mask=mask, dropout=self.dropout)
        x = x.transpose(1, 2).contiguous().view(batch_size, -1, self.h * self.d_k)
        return self.output_linear(x)


class GELU(nn.Module):
    def forward(self, x):
        return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * torch.pow(x, 3))))


class SublayerConnection(nn.Module):
    def __init__(self, size, dropout):
        super().__init__()
        self.norm, self.dropout = nn.LayerNorm(size), nn.Dropout(dropout)

    def forward(self, x, sublayer):
        return x + self.dropout(sublayer(self.norm(x)))


class TransformerBlock(nn.Module):
    def __init__(self, hidden, heads, dropout):
        super().__init__()
        self.attention = MultiHeadedAttention(heads, hidden, dropout)
        self.feed_forward = nn.Sequential(
            nn.Linear(hidden, hidden * 4), GELU(), nn.Dropout(dropout), nn.Linear(hidden * 4, hidden)
        )
        self.input_sublayer = SublayerConnection(hidden, dropout)
        self.output_sublayer = SublayerConnection(hidden, dropout)
        self.dropout = nn.Dropout(p=dropout)

    def forward(self, x, mask):
        x = self.input_sublayer(x, lambda _x: self.attention.forward(_x, _x, _x, mask=mask))
        x = self.output_sublayer(x, self.feed_forward)
        return self.dropout(x)


class BERT(nn.Module):
    def __init__(self, vocab_size, hidden=32, n_layers=2, attn_heads=4, dropout=0.1):
        super().__init__()
        self.hidden = hidden
        self.embedding = BERTEmbedding(vocab_size, hidden, dropout)
        self.transformer_blocks = nn.ModuleList(
            [TransformerBlock(hidden, attn_heads, dropout) for _ in range(n_layers)]
        )

    def forward(self, x, segment_info):
        mask = (x > 0).unsqueeze(1).repeat(1, x.size(1), 1).unsqueeze(1)
        x = self.embedding(x, segment_info)
        for transformer in self.transformer_blocks:
            x = transformer.forward(x, mask)
        return x


class BERTLM(nn.Module):
    def __init__(self, bert, vocab_size):
        super().__init__()
        self.bert = bert
        self.next_sentence = nn.Sequential(nn.Linear(bert.hidden, 2), nn.LogSoftmax(dim=-1))
        self.mask_lm = nn.Sequential(nn.Linear(bert.hidden, vocab_size), nn.LogSoftmax(dim=-1))

    def forward(self, x, segment_label):
        x = self.bert(x, segment_label)
        return self.next_sentence(x[:, 0]), self.mask_lm(x)


class ScheduledOptim:
    """The learning rate that rises for n_warmup_steps and falls with the square root of the step."""

    def __init__(self, optimizer, d_model, n_warmup_steps):
        self._optimizer, self.n_warmup_steps = optimizer, n_warmup_steps
        self.n_current_steps, self.init_lr = 0, d_model**-0.5

    def step_and_update_lr(self):
        self.n_current_steps += 1
        scale = min(self.n_current_steps**-0.5, self.n_warmup_steps**-1.5 * self.n_current_steps)
        for group in self._optimizer.param_groups:
            group["lr"] = self.init_lr * scale
        self._optimizer.step()

    def zero_grad(self):
        self._optimizer.zero_grad()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--dropout", type=float, default=0.1)
    args = parser.parse_args()
    random.seed(args.seed)
    torch.manual_seed(args.seed)

    dataset = BERTDataset(SENTENCES, seq_len=20)
    loader = DataLoader(dataset, batch_size=8, shuffle=True, drop_last=True, num_workers=0)
    device = torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    model = BERTLM(BERT(dataset.vocab_size, dropout=args.dropout), dataset.vocab_size).to(device)
    optim = Adam(model.parameters(), lr=1e-3, betas=(0.9, 0.999), weight_decay=0.01)
    schedule = ScheduledOptim(optim, model.bert.hidden, n_warmup_steps=20)
    criterion = nn.NLLLoss(ignore_index=0)
    next_criterion = nn.NLLLoss()
    print("Total Parameters:", sum(p.nelement() for p in model.parameters()))

    step, correct, seen = 0, 0, 0
    model.train()
    while step < args.steps:
        for data in loader:
            if step == args.steps:
                break
            data = {key: value.to(device) for key, value in data.items()}
            next_sent_output, mask_lm_output = model.forward(data["bert_input"], data["segment_label"])
            next_loss = next_criterion(next_sent_output, data["is_next"])
            mask_loss = criterion(mask_lm_output.transpose(1, 2), data["bert_label"])
            loss = next_loss + mask_loss
            schedule.zero_grad()
            loss.backward()
            schedule.step_and_update_lr()
            correct += next_sent_output.argmax(dim=-1).eq(data["is_next"]).sum().item()
            seen += data["is_next"].nelement()
            print(f"step {step} loss {loss.item():.6f} next loss {next_loss.item():.6f}")
            step += 1
    print(f"next sentence accuracy {correct * 100.0 / seen:.1f}%")


if __name__ == "__main__":
    main()
