"""Numbers in words, translated into digits: GRU encoder, GRU decoder with attention, teacher forcing now and then."""

import argparse
import random

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import optim
from torch.utils.data import DataLoader, RandomSampler, TensorDataset

SOS_token, EOS_token = 0, 1
ONES = "zero one two three four five six seven eight nine".split()
TENS = "ten twenty thirty forty fifty sixty seventy eighty ninety".split()
MAX_LENGTH = 4


class Lang:
    def __init__(self, name):
        self.name = name
        self.word2index = {}
        self.index2word = {0: "SOS", 1: "EOS"}
        self.n_words = 2

    def add_sentence(self, sentence):
        for word in sentence.split(" "):
            if word not in self.word2index:
                self.word2index[word] = self.n_words
                self.index2word[self.n_words] = word
                self.n_words += 1

    def tensor(self, sentence):
        ids = [self.word2index[word] for word in sentence.split(" ")] + [EOS_token]
        return ids + [0] * (MAX_LENGTH - len(ids))


class EncoderRNN(nn.Module):
    def __init__(self, input_size, hidden_size, dropout_p=0.1):
        super(EncoderRNN, self).__init__()
        self.embedding = nn.Embedding(input_size, hidden_size)
        self.gru = nn.GRU(hidden_size, hidden_size, batch_first=True)
        self.dropout = nn.Dropout(dropout_p)

    def forward(self, input):
        embedded = self.dropout(self.embedding(input))
        output, hidden = self.gru(embedded)
        return output, hidden


class BahdanauAttention(nn.Module):
    def __init__(self, hidden_size):
        super(BahdanauAttention, self).__init__()
        self.Wa = nn.Linear(hidden_size, hidden_size)
        self.Ua = nn.Linear(hidden_size, hidden_size)
        self.Va = nn.Linear(hidden_size, 1)

    def forward(self, query, keys):
        scores = self.Va(torch.tanh(self.Wa(query) + self.Ua(keys)))
        scores = scores.squeeze(2).unsqueeze(1)
        weights = F.softmax(scores, dim=-1)
        context = torch.bmm(weights, keys)
        return context, weights


class AttnDecoderRNN(nn.Module):
    def __init__(self, hidden_size, output_size, dropout_p=0.1):
        super(AttnDecoderRNN, self).__init__()
        self.embedding = nn.Embedding(output_size, hidden_size)
        self.attention = BahdanauAttention(hidden_size)
        self.gru = nn.GRU(2 * hidden_size, hidden_size, batch_first=True)
        self.out = nn.Linear(hidden_size, output_size)
        self.dropout = nn.Dropout(dropout_p)

    def forward(self, encoder_outputs, encoder_hidden, target_tensor=None):
        batch_size = encoder_outputs.size(0)
        decoder_input = torch.empty(batch_size, 1, dtype=torch.long).fill_(SOS_token)
        decoder_hidden = encoder_hidden
        decoder_outputs, attentions = [], []
        for i in range(MAX_LENGTH):
            output, decoder_hidden, attn_weights = self.forward_step(decoder_input, decoder_hidden, encoder_outputs)
            decoder_outputs.append(output)
            attentions.append(attn_weights)
            if target_tensor is not None:
                decoder_input = target_tensor[:, i].unsqueeze(1)
            else:
                _, topi = output.topk(1)
                decoder_input = topi.squeeze(-1).detach()
        decoder_outputs = torch.cat(decoder_outputs, dim=1)
        return F.log_softmax(decoder_outputs, dim=-1), decoder_hidden, torch.cat(attentions, dim=1)

    def forward_step(self, input, hidden, encoder_outputs):
        embedded = self.dropout(self.embedding(input))
        query = hidden.permute(1, 0, 2)
        context, attn_weights = self.attention(query, encoder_outputs)
        output, hidden = self.gru(torch.cat((embedded, context), dim=2), hidden)
        return self.out(output), hidden, attn_weights


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--dropout", type=float, default=0.1)
    args = parser.parse_args()
    random.seed(args.seed)
    torch.manual_seed(args.seed)
    pairs = []
    for n in range(10, 100):
        words = TENS[n // 10 - 1] + (" and " + ONES[n % 10] if n % 10 else "")
        pairs.append((words if len(words.split(" ")) < MAX_LENGTH else words.replace(" and", ""), " ".join(str(n))))
    source, target = Lang("words"), Lang("digits")
    for first, second in pairs:
        source.add_sentence(first)
        target.add_sentence(second)
    data = TensorDataset(
        torch.LongTensor([source.tensor(a) for a, _ in pairs]), torch.LongTensor([target.tensor(b) for _, b in pairs])
    )
    loader = DataLoader(data, sampler=RandomSampler(data), batch_size=16)
    encoder = EncoderRNN(source.n_words, 24, args.dropout)
    decoder = AttnDecoderRNN(24, target.n_words, args.dropout)
    encoder_optimizer = optim.Adam(encoder.parameters(), lr=0.01)
    decoder_optimizer = optim.Adam(decoder.parameters(), lr=0.01)
    criterion = nn.NLLLoss()
    step = 0
    while step < args.steps:
        for input_tensor, target_tensor in loader:
            encoder_optimizer.zero_grad()
            decoder_optimizer.zero_grad()
            encoder_outputs, encoder_hidden = encoder(input_tensor)
            forced = target_tensor if random.random() < 0.5 else None
            decoder_outputs, _, _ = decoder(encoder_outputs, encoder_hidden, forced)
            loss = criterion(decoder_outputs.view(-1, decoder_outputs.size(-1)), target_tensor.view(-1))
            loss.backward()
            encoder_optimizer.step()
            decoder_optimizer.step()
            print(f"step {step} loss {loss.item():.6f}")
            step += 1
            if step == args.steps:
                break
    encoder.eval()
    decoder.eval()
    with torch.no_grad():
        words, digits = pairs[37]
        outputs, _, attention = decoder(*encoder(torch.tensor(source.tensor(words)).unsqueeze(0)))
        decoded = [target.index2word[i.item()] for i in outputs.topk(1)[1].squeeze()]
        print(f"> {words} = {digits} < {' '.join(decoded)}; attention loss {attention.sum().item():.6f}")


if __name__ == "__main__":
    main()
