"""A line through points; the batches come from two worker processes."""

import argparse

import torch
from torch.utils.data import DataLoader, Dataset


class Points(Dataset):
    def __init__(self, count):
        generator = torch.Generator().manual_seed(7)
        self.x = torch.rand(count, 3, generator=generator)
        self.y = self.x @ torch.tensor([[2.0], [-1.0], [0.5]]) + 0.3

    def __len__(self):
        return len(self.x)

    def __getitem__(self, index):
        noise = torch.randn(1) * 0.01  # drawn in the worker
        return {"x": self.x[index], "y": self.y[index] + noise}


class LinearRegression(torch.nn.Module):
    def __init__(self):
        super(LinearRegression, self).__init__()
        self.linear = torch.nn.Linear(3, 1)

    def forward(self, x):
        return self.linear(x)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    loader = DataLoader(Points(4 * args.steps), batch_size=4, shuffle=True, num_workers=args.workers)
    model = LinearRegression()
    criterion = torch.nn.MSELoss(reduction="mean")
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for step, batch in enumerate(loader):
        pred = model(batch["x"])
        loss = criterion(pred, batch["y"])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        print(f"step {step} loss {loss.item():.6f}")
    for name, value in model.named_parameters():
        print(name, [round(v, 3) for v in value.detach().flatten().tolist()])


if __name__ == "__main__":
    main()
