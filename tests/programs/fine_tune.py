"""A network trained on one task, its layers frozen, a new head trained on another; then all of it, at two rates."""

import argparse
import copy
import os
import tempfile

import torch
import torch.nn as nn
import torch.optim as optim
from torch.optim import lr_scheduler
from torch.utils.data import DataLoader, TensorDataset, random_split


class Net(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv1d(1, 8, 5, padding=2), nn.BatchNorm1d(8), nn.ReLU(), nn.MaxPool1d(2),
            nn.Conv1d(8, 8, 3, padding=1), nn.BatchNorm1d(8), nn.ReLU(), nn.AdaptiveAvgPool1d(4), nn.Flatten(),
        )  # fmt: skip
        self.fc = nn.Linear(32, classes)

    def forward(self, x):
        return self.fc(self.features(x))


def waves(count, classes):
    labels = torch.randint(0, classes, (count,))
    t = torch.linspace(0, 1, 32)
    x = torch.sin(6.28 * (labels.view(-1, 1) + 1) * t + torch.rand(count, 1) * 6.28) + 0.1 * torch.randn(count, 32)
    return TensorDataset(x.unsqueeze(1), labels)


def train_model(model, loaders, criterion, optimizer, scheduler, steps, first):
    best_acc, best_weights = 0.0, copy.deepcopy(model.state_dict())
    step = 0
    while step < steps:
        model.train()
        for inputs, labels in loaders["train"]:
            optimizer.zero_grad()
            with torch.set_grad_enabled(True):
                outputs = model(inputs)
                _, preds = torch.max(outputs, 1)
                loss = criterion(outputs, labels)
                loss.backward()
                optimizer.step()
            print(f"step {first + step} loss {loss.item():.6f} right {torch.sum(preds == labels.data)}")
            step += 1
            if step == steps:
                break
        scheduler.step()
        model.eval()
        corrects = 0
        with torch.set_grad_enabled(False):
            for inputs, labels in loaders["val"]:
                corrects += torch.sum(torch.max(model(inputs), 1)[1] == labels.data)
        acc = corrects.double() / len(loaders["val"].dataset)
        if acc > best_acc:
            best_acc, best_weights = acc, copy.deepcopy(model.state_dict())
    print(f"Best val Acc: {best_acc:4f}")
    model.load_state_dict(best_weights)
    return model


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=50)
    args = parser.parse_args()
    torch.manual_seed(args.seed)

    def loaders(classes):
        train, val = random_split(waves(80, classes), [60, 20], generator=torch.Generator().manual_seed(42))
        return {"train": DataLoader(train, batch_size=10, shuffle=True), "val": DataLoader(val, batch_size=10)}

    criterion = nn.CrossEntropyLoss(label_smoothing=0.05)
    third = args.steps // 3
    model = Net(5)
    optimizer = optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    model = train_model(
        model, loaders(5), criterion, optimizer, lr_scheduler.StepLR(optimizer, step_size=2, gamma=0.9), third, 0
    )
    path = os.path.join(tempfile.mkdtemp(), "pretrained.pt")
    torch.save(model.state_dict(), path)

    model = Net(3)
    weights = {k: v for k, v in torch.load(path).items() if not k.startswith("fc.")}
    missing, unexpected = model.load_state_dict(weights, strict=False)
    assert missing == ["fc.weight", "fc.bias"] and not unexpected
    for param in model.parameters():
        param.requires_grad = False
    model.fc = nn.Linear(model.fc.in_features, 3)
    data = loaders(3)
    optimizer = optim.Adam(filter(lambda p: p.requires_grad, model.parameters()), lr=0.01)
    scheduler = lr_scheduler.ExponentialLR(optimizer, 0.95)
    before = model.features[0].weight.clone()
    model = train_model(model, data, criterion, optimizer, scheduler, third, third)
    assert torch.equal(before, model.features[0].weight) and model.features[0].weight.grad is None

    for param in model.features.parameters():
        param.requires_grad_(True)
    groups = [{"params": model.features.parameters(), "lr": 1e-3}, {"params": model.fc.parameters()}]
    optimizer = optim.AdamW(groups, lr=1e-2, amsgrad=True)
    scheduler = lr_scheduler.ReduceLROnPlateau(optimizer, patience=1)
    scheduler = lr_scheduler.CosineAnnealingLR(optimizer, T_max=5)
    train_model(model, data, criterion, optimizer, scheduler, args.steps - 2 * third, 2 * third)


if __name__ == "__main__":
    main()
