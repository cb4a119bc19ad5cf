"""Pairs and triplets of small pictures through one shared network."""

import argparse
import random

import torch
import torch.nn as nn
import torch.nn.functional as F
import torch.optim as optim
from torch.optim.lr_scheduler import StepLR
from torch.utils.data import DataLoader, Dataset


class Shapes(Dataset):
    """Noisy pictures of four shapes: (first, second, same or not) and a triplet."""

    def __init__(self, count, size=12):
        self.count, self.size = count, size

    def draw(self, kind):
        image = torch.zeros(1, self.size, self.size)
        a, b = sorted(random.sample(range(1, self.size - 1), 2))
        if kind == 0:
            image[:, a : b + 1, a : b + 1] = 1.0
        elif kind == 1:
            image[:, a, :] = 1.0
        elif kind == 2:
            image[:, :, b] = 1.0
        else:
            image[0] = torch.eye(self.size)
        return image + 0.1 * torch.randn(image.shape)

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        kind = index % 4
        other = random.choice([k for k in range(4) if k != kind])
        same = random.random() < 0.5
        pair = self.draw(kind), self.draw(kind if same else other), torch.tensor(float(same))
        return *pair, self.draw(kind), self.draw(kind), self.draw(other)


class SiameseNetwork(nn.Module):
    def __init__(self):
        super().__init__()
        self.cnn = nn.Sequential(
            nn.Conv2d(1, 6, 3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(2),
            nn.Conv2d(6, 8, 3, padding=1), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(3),
        )  # fmt: skip
        self.fc = nn.Sequential(nn.Linear(2 * 72, 32), nn.ReLU(inplace=True), nn.Linear(32, 1))
        self.embed = nn.Linear(72, 8)
        self.sigmoid = nn.Sigmoid()
        self.cnn.apply(self.init_weights)
        self.fc.apply(self.init_weights)

    def init_weights(self, m):
        if isinstance(m, nn.Linear):
            torch.nn.init.xavier_uniform_(m.weight)
            m.bias.data.fill_(0.01)

    def forward_once(self, x):
        output = self.cnn(x)
        return output.view(output.size()[0], -1)

    def forward(self, input1, input2):
        output = torch.cat((self.forward_once(input1), self.forward_once(input2)), 1)
        return self.sigmoid(self.fc(output))

    def embedding(self, x):
        return F.normalize(self.embed(self.forward_once(x)))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--steps", type=int, default=50)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    random.seed(args.seed)
    loader = DataLoader(Shapes(8 * args.steps), batch_size=8)
    model = SiameseNetwork()
    optimizer = optim.Adam(model.parameters(), lr=2e-3)
    scheduler = StepLR(optimizer, step_size=20, gamma=0.7)
    bce, triplet = nn.BCELoss(), nn.TripletMarginLoss(margin=0.5, p=2)
    for step, (first, second, same, anchor, positive, negative) in enumerate(loader):
        optimizer.zero_grad()
        pair_loss = bce(model(first, second).squeeze(), same)
        a, p, n = (model.embedding(x) for x in (anchor, positive, negative))
        triplet_loss = triplet(a, p, n)
        distance = F.pairwise_distance(a, n)
        contrast = torch.clamp(1.0 - distance, min=0.0).pow(2).mean() + F.pairwise_distance(a, p).pow(2).mean()
        loss = pair_loss + triplet_loss + 0.1 * contrast
        loss.backward()
        optimizer.step()
        scheduler.step()
        print(f"step {step} loss {loss.item():.6f} triplet loss {triplet_loss.item():.6f}")


if __name__ == "__main__":
    main()
