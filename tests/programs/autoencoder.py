"""Denoising autoencoder: modules in lists and dictionaries, hooks, a learning rate in one cycle, checkpointing."""

import argparse

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint
from torch.utils.data import DataLoader, TensorDataset


class Autoencoder(nn.Module):
    def __init__(self, sizes, activation):
        super().__init__()
        activations = nn.ModuleDict({"elu": nn.ELU(), "softplus": nn.Softplus(), "prelu": nn.PReLU()})
        self.down = nn.ModuleList(nn.Linear(a, b) for a, b in zip(sizes, sizes[1:]))
        self.up = nn.ModuleList(nn.Linear(b, a) for a, b in reversed(list(zip(sizes, sizes[1:]))))
        self.norm = nn.GroupNorm(2, sizes[-1])
        self.activation = activations[activation]
        self.register_buffer("seen", torch.zeros((), dtype=torch.long))

    def encode(self, x):
        for layer in self.down:
            x = self.activation(layer(x))
        return self.norm(x)

    def decode(self, z):
        *hidden, last = self.up
        for layer in hidden:
            z = self.activation(layer(z))
        return torch.tanh(last(z))

    def forward(self, x):
        if self.training:
            self.seen += len(x)
        return self.decode(checkpoint(self.encode, x, use_reentrant=False))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--activation", default="prelu", choices=["elu", "softplus", "prelu"])
    parser.add_argument("--seed", type=int, default=3)
    parser.add_argument("--steps", type=int, default=50)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    basis = torch.randn(3, 20)
    clean = torch.tanh(torch.randn(12 * args.steps, 3) @ basis)
    loader = DataLoader(TensorDataset(clean), batch_size=12, shuffle=True, drop_last=True)
    model = Autoencoder([20, 14, 6], args.activation)
    print(model)
    activity = {}
    handle = model.norm.register_forward_hook(lambda m, inputs, output: activity.update(code=output.detach().std()))
    criterion = nn.SmoothL1Loss(beta=0.5)
    optimizer = torch.optim.NAdam(model.parameters(), lr=1e-3)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=6e-3, total_steps=args.steps)
    for step, (batch,) in enumerate(loader):
        noisy = batch + 0.1 * torch.randn_like(batch)
        loss = criterion(model(noisy), batch)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), max_norm=1.0)
        optimizer.step()
        scheduler.step()
        print(f"step {step} loss {loss.item():.6f} lr {scheduler.get_last_lr()[0]:.4g} code {activity['code']:.4f}")
    handle.remove()
    print("seen", model.seen.item())


if __name__ == "__main__":
    main()
