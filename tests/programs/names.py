"""Names, letter by letter: a bigram table, an MLP, recurrent networks and a Transformer behind one interface."""

import argparse
import math
from dataclasses import dataclass

import torch
import torch.nn as nn
from torch.nn import functional as F
from torch.utils.data import Dataset
from torch.utils.data.dataloader import DataLoader

NAMES = """emma olivia ava isabella sophia charlotte mia amelia harper evelyn abigail emily elizabeth mila ella avery
sofia camila aria scarlett victoria madison luna grace chloe penelope layla riley zoey nora lily eleanor hannah lillian
addison aubrey ellie stella natalie zoe leah hazel violet aurora savannah audrey brooklyn bella claire skylar lucy
liam noah oliver elijah james william benjamin lucas henry theodore jack levi alexander jackson mateo daniel michael
mason sebastian ethan logan owen samuel jacob asher aiden john joseph wyatt david leo luke julian hudson grayson""".split()


@dataclass
class ModelConfig:
    block_size: int = None
    vocab_size: int = None
    n_layer: int = 2
    n_embd: int = 24
    n_embd2: int = 24
    n_head: int = 2


class Bigram(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.logits = nn.Parameter(torch.zeros((config.vocab_size, config.vocab_size)))

    def forward(self, idx):
        return self.logits[idx]


class MLP(nn.Module):
    """The letters before, embedded and put side by side."""

    def __init__(self, config):
        super().__init__()
        self.block_size, self.vocab_size = config.block_size, config.vocab_size
        self.wte = nn.Embedding(config.vocab_size + 1, config.n_embd)  # one more for <BLANK>
        self.mlp = nn.Sequential(
            nn.Linear(self.block_size * config.n_embd, config.n_embd2),
            nn.Tanh(),
            nn.Linear(config.n_embd2, self.vocab_size),
        )

    def forward(self, idx):
        embs = []
        for _ in range(self.block_size):
            embs.append(self.wte(idx))
            idx = torch.roll(idx, 1, 1)
            idx[:, 0] = self.vocab_size
        return self.mlp(torch.cat(embs, -1))


class RNNCell(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.xh_to_h = nn.Linear(config.n_embd + config.n_embd2, config.n_embd2)

    def forward(self, xt, hprev):
        return F.tanh(self.xh_to_h(torch.cat([xt, hprev], dim=1)))


class GRUCell(nn.Module):
    def __init__(self, config):
        super().__init__()
        width = config.n_embd + config.n_embd2
        self.xh_to_z, self.xh_to_r, self.xh_to_hbar = (nn.Linear(width, config.n_embd2) for _ in range(3))

    def forward(self, xt, hprev):
        xh = torch.cat([xt, hprev], dim=1)
        r = F.sigmoid(self.xh_to_r(xh))
        hbar = F.tanh(self.xh_to_hbar(torch.cat([xt, r * hprev], dim=1)))
        z = F.sigmoid(self.xh_to_z(xh))
        return (1 - z) * hprev + z * hbar


class RNN(nn.Module):
    """A cell unrolled by hand; the first state is learned."""

    def __init__(self, config, cell):
        super().__init__()
        self.start = nn.Parameter(torch.zeros(1, config.n_embd2))
        self.wte = nn.Embedding(config.vocab_size, config.n_embd)
        self.cell = cell(config)
        self.lm_head = nn.Linear(config.n_embd2, config.vocab_size)

    def forward(self, idx):
        b, t = idx.size()
        emb = self.wte(idx)
        hprev = self.start.expand((b, -1))
        hiddens = []
        for i in range(t):
            hprev = self.cell(emb[:, i, :], hprev)
            hiddens.append(hprev)
        return self.lm_head(torch.stack(hiddens, 1))


class LSTM(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.wte = nn.Embedding(config.vocab_size, config.n_embd)
        self.lstm = nn.LSTM(config.n_embd, config.n_embd2, num_layers=config.n_layer, batch_first=True)
        self.lm_head = nn.Linear(config.n_embd2, config.vocab_size)

    def forward(self, idx):
        out, (h, c) = self.lstm(self.wte(idx))
        assert h.shape == c.shape == (2, idx.size(0), out.size(-1))
        return self.lm_head(out)


class NewGELU(nn.Module):
    def forward(self, x):
        return 0.5 * x * (1.0 + torch.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * torch.pow(x, 3.0))))


class Block(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(config.n_embd), nn.LayerNorm(config.n_embd)
        self.c_attn = nn.Linear(config.n_embd, 3 * config.n_embd)
        self.c_proj = nn.Linear(config.n_embd, config.n_embd)
        self.mlp = nn.Sequential(
            nn.Linear(config.n_embd, 4 * config.n_embd), NewGELU(), nn.Linear(4 * config.n_embd, config.n_embd)
        )
        self.n_head = config.n_head

    def attention(self, x):
        B, T, C = x.size()
        q, k, v = self.c_attn(x).chunk(3, dim=-1)
        q, k, v = (z.view(B, T, self.n_head, -1).transpose(1, 2) for z in (q, k, v))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.c_proj(y.transpose(1, 2).contiguous().view(B, T, C))

    def forward(self, x):
        x = x + self.attention(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class Transformer(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.wte = nn.Embedding(config.vocab_size, config.n_embd)
        self.wpe = nn.Embedding(config.block_size, config.n_embd)
        self.h = nn.Sequential(*[Block(config) for _ in range(config.n_layer)])
        self.ln_f = nn.LayerNorm(config.n_embd)
        self.lm_head = nn.Linear(config.n_embd, config.vocab_size, bias=False)

    def forward(self, idx):
        pos = torch.arange(0, idx.size(1), dtype=torch.long, device=idx.device).unsqueeze(0)
        return self.lm_head(self.ln_f(self.h(self.wte(idx) + self.wpe(pos))))


MODELS = {
    "bigram": Bigram,
    "mlp": MLP,
    "rnn": lambda config: RNN(config, RNNCell),
    "gru": lambda config: RNN(config, GRUCell),
    "lstm": LSTM,
    "transformer": Transformer,
}


class CharDataset(Dataset):
    def __init__(self, words, chars, max_word_length):
        self.words, self.chars, self.max_word_length = words, chars, max_word_length
        self.stoi = {ch: i + 1 for i, ch in enumerate(chars)}
        self.itos = {i: s for s, i in self.stoi.items()}

    def __len__(self):
        return len(self.words)

    def __getitem__(self, idx):
        ix = torch.tensor([self.stoi[w] for w in self.words[idx]], dtype=torch.long)
        x = torch.zeros(self.max_word_length + 1, dtype=torch.long)
        y = torch.zeros(self.max_word_length + 1, dtype=torch.long)
        x[1 : 1 + len(ix)] = ix
        y[: len(ix)] = ix
        y[len(ix) + 1 :] = -1
        return x, y


class InfiniteDataLoader:
    def __init__(self, dataset, **kwargs):
        sampler = torch.utils.data.RandomSampler(dataset, replacement=True, num_samples=int(1e4))
        self.loader = DataLoader(dataset, sampler=sampler, **kwargs)
        self.iterator = iter(self.loader)

    def next(self):
        try:
            return next(self.iterator)
        except StopIteration:
            self.iterator = iter(self.loader)
            return next(self.iterator)


@torch.no_grad()
def generate(model, block_size, count):
    idx = torch.zeros(count, 1, dtype=torch.long)
    for _ in range(block_size - 1):
        probs = F.softmax(model(idx)[:, -1, :], dim=-1)
        idx = torch.cat((idx, torch.multinomial(probs, num_samples=1)), dim=1)
    return idx[:, 1:]


@torch.inference_mode()
def evaluate(model, dataset, batch_size=50):
    model.eval()
    losses = []
    for x, y in DataLoader(dataset, batch_size=batch_size):
        losses.append(F.cross_entropy(model(x).flatten(0, 1), y.flatten(), ignore_index=-1).item())
    model.train()
    return torch.tensor(losses).mean().item()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", help="a file of names, one a line")
    parser.add_argument("--model", default=["mlp"], nargs="+", choices=list(MODELS))
    parser.add_argument("--seed", type=int, default=3407)
    parser.add_argument("--steps", type=int, default=50)
    args = parser.parse_args()
    words = NAMES
    if args.data:
        with open(args.data) as f:
            words = [w.strip() for w in f.read().splitlines()][:2000]
    for model in args.model:
        torch.manual_seed(args.seed)
        run(model, words, args.steps)


def run(name, words, steps):
    chars = sorted(set("".join(words)))
    longest = max(len(w) for w in words)
    order = torch.randperm(len(words)).tolist()
    held = max(1, len(words) // 10)
    train = CharDataset([words[i] for i in order[:-held]], chars, longest)
    test = CharDataset([words[i] for i in order[-held:]], chars, longest)

    config = ModelConfig(block_size=longest + 1, vocab_size=len(chars) + 1)
    model = MODELS[name](config)
    print(f"{name} #params: {sum(p.numel() for p in model.parameters())}")
    rate = 0.1 if name == "bigram" else 5e-3
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.01, betas=(0.9, 0.99), eps=1e-8)
    loader = InfiniteDataLoader(train, batch_size=16, pin_memory=False)
    for step in range(steps):
        X, Y = loader.next()
        logits = model(X)
        loss = F.cross_entropy(logits.view(-1, logits.size(-1)), Y.view(-1), ignore_index=-1)
        model.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        print(f"step {step} loss {loss.item():.6f}")
    print(f"test loss {evaluate(model, test):.6f}")
    for row in generate(model, config.block_size, 5).tolist():
        print("".join(train.itos[i] for i in (row[: row.index(0)] if 0 in row else row)))


if __name__ == "__main__":
    main()
