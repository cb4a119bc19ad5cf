"""Which language is a word of? A recurrent network over its letters, packed sequences, and sampling of new words."""

import argparse
import string

import torch
import torch.nn as nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence, pad_sequence

WORDS = {
    "english": "house bridge water mountain garden window kitchen thought through weather".split(),
    "german": "haus bruecke wasser gebirge garten fenster kueche gedanke durch wetter".split(),
    "spanish": "casa puente agua montana jardin ventana cocina pensamiento traves tiempo".split(),
}
all_letters = string.ascii_lowercase
languages = list(WORDS)


def line_to_tensor(line):
    tensor = torch.zeros(len(line), len(all_letters))
    for li, letter in enumerate(line):
        tensor[li][all_letters.find(letter)] = 1
    return tensor


class CharRNN(nn.Module):
    def __init__(self, kind, input_size, hidden_size, output_size):
        super(CharRNN, self).__init__()
        self.kind = kind
        self.rnn = getattr(nn, kind)(input_size, hidden_size, num_layers=2, bidirectional=True, batch_first=True)
        self.h2o = nn.Linear(2 * hidden_size, output_size)
        self.softmax = nn.LogSoftmax(dim=1)

    def forward(self, packed):
        output, hidden = self.rnn(packed)
        padded, lengths = pad_packed_sequence(output, batch_first=True)
        mean = padded.sum(1) / lengths.unsqueeze(1)
        return self.softmax(self.h2o(mean)), hidden


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default="RNN", choices=["RNN", "LSTM", "GRU"])
    parser.add_argument("--seed", type=int, default=2024)
    parser.add_argument("--steps", type=int, default=50)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    pairs = [(word, i) for i, language in enumerate(languages) for word in WORDS[language]]
    model = CharRNN(args.model, len(all_letters), 12, len(languages))
    criterion = nn.NLLLoss()
    optimizer = torch.optim.RMSprop(model.parameters(), lr=2e-3, eps=1e-4, momentum=0.5)
    model.train()
    for step in range(args.steps):
        chosen = [pairs[i] for i in torch.randperm(len(pairs))[:8]]
        lines = [line_to_tensor(word) for word, _ in chosen]
        lengths = torch.tensor([len(line) for line in lines])
        packed = pack_padded_sequence(
            pad_sequence(lines, batch_first=True), lengths, batch_first=True, enforce_sorted=False
        )
        output, hidden = model(packed)
        loss = criterion(output, torch.tensor([label for _, label in chosen]))
        model.zero_grad()
        loss.backward()
        nn.utils.clip_grad_value_(model.parameters(), 0.5)
        optimizer.step()
        last = hidden[0] if isinstance(hidden, tuple) else hidden
        print(f"step {step} loss {loss.item():.6f} state loss {last.norm().item():.6f}")
    model.eval()
    with torch.no_grad():
        right = 0
        for word, label in pairs:
            output, _ = model(nn.utils.rnn.pack_sequence([line_to_tensor(word)]))
            right += int(output.topk(1)[1].item() == label)
    print(f"right {right} of {len(pairs)}")


if __name__ == "__main__":
    main()
