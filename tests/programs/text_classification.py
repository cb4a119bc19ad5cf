"""Short texts: a bag of embeddings, offsets instead of padding."""

import argparse
import re
import time

import torch
from torch import nn
from torch.utils.data import DataLoader
from torch.utils.data.dataset import random_split

TEXTS = [
    (0, "the match ended in a draw after a late goal"), (1, "the bank raised its rates again"),
    (2, "a new chip runs twice as fast"), (0, "the striker scored twice in the final"),
    (1, "shares fell as oil prices rose"), (2, "the phone has a better camera"),
    (0, "her team won the cup at home"), (1, "profits of the company doubled this year"),
    (2, "software update fixes a security hole"), (0, "the coach praised the young keeper"),
    (1, "inflation slowed for the third month"), (2, "robots learn to walk from video"),
]  # fmt: skip


def tokenizer(line):
    return re.findall(r"[a-z]+", line.lower())


class TextClassificationModel(nn.Module):
    def __init__(self, vocab_size, embed_dim, num_class):
        super(TextClassificationModel, self).__init__()
        self.embedding = nn.EmbeddingBag(vocab_size, embed_dim, sparse=False)
        self.fc = nn.Linear(embed_dim, num_class)
        self.init_weights()

    def init_weights(self):
        initrange = 0.5
        self.embedding.weight.data.uniform_(-initrange, initrange)
        self.fc.weight.data.uniform_(-initrange, initrange)
        self.fc.bias.data.zero_()

    def forward(self, text, offsets):
        embedded = self.embedding(text, offsets)
        return self.fc(embedded)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", help="lines of text, a TAB and a number from 0")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=50)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    samples = TEXTS * 5
    if args.data:
        with open(args.data, encoding="utf-8") as file:
            lines = [line.rstrip("\n").rsplit("\t", 1) for line in file][:400]
        samples = [(int(label), text) for text, label in lines]
    vocab = {"<unk>": 0}
    for _, text in samples:
        for token in tokenizer(text):
            vocab.setdefault(token, len(vocab))

    def collate_batch(batch):
        label_list, text_list, offsets = [], [], [0]
        for label, text in batch:
            label_list.append(label)
            processed_text = torch.tensor([vocab.get(t, 0) for t in tokenizer(text)], dtype=torch.int64)
            text_list.append(processed_text)
            offsets.append(processed_text.size(0))
        label_list = torch.tensor(label_list, dtype=torch.int64)
        offsets = torch.tensor(offsets[:-1]).cumsum(dim=0)
        text_list = torch.cat(text_list)
        return label_list.to(device), text_list.to(device), offsets.to(device)

    num_train = int(len(samples) * 0.9)
    split_train, split_valid = random_split(samples, [num_train, len(samples) - num_train])
    train_dataloader = DataLoader(split_train, batch_size=8, shuffle=True, collate_fn=collate_batch)
    valid_dataloader = DataLoader(split_valid, batch_size=8, shuffle=True, collate_fn=collate_batch)
    model = TextClassificationModel(len(vocab), 16, max(label for label, _ in samples) + 1).to(device)
    criterion = torch.nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=2.0)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1.0, gamma=0.5)

    def evaluate(dataloader):
        model.eval()
        total_acc, total_count = 0, 0
        with torch.no_grad():
            for label, text, offsets in dataloader:
                total_acc += (model(text, offsets).argmax(1) == label).sum().item()
                total_count += label.size(0)
        return total_acc / total_count

    step, total_accu = 0, None
    while step < args.steps:
        start_time = time.time()
        model.train()
        for label, text, offsets in train_dataloader:
            optimizer.zero_grad()
            predicted_label = model(text, offsets)
            loss = criterion(predicted_label, label)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 0.1)
            optimizer.step()
            print(f"step {step} loss {loss.item():.6f}")
            step += 1
            if step == args.steps:
                break
        accu_val = evaluate(valid_dataloader)
        if total_accu is not None and total_accu > accu_val:
            scheduler.step()
        else:
            total_accu = accu_val
        assert time.time() >= start_time
        print(f"valid accuracy {accu_val:8.3f}")


if __name__ == "__main__":
    main()
