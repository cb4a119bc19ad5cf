"""Balancing a pole by policy gradients: REINFORCE, or with a critic."""

import argparse
import math
import random
from collections import deque, namedtuple

import torch
import torch.nn as nn
import torch.nn.functional as F
import torch.optim as optim
from torch.distributions import Categorical

SavedAction = namedtuple("SavedAction", ["log_prob", "value"])


class CartPole:
    """A cart on a track, pushed left or right; over when the pole leans by 12 degrees or the cart leaves."""

    def __init__(self, seed):
        self.random = random.Random(seed)

    def reset(self):
        self.state = [self.random.uniform(-0.05, 0.05) for _ in range(4)]
        return list(self.state)

    def step(self, action):
        x, v, angle, spin = self.state
        force = 10.0 if action == 1 else -10.0
        cosine, sine = math.cos(angle), math.sin(angle)
        push = (force + 0.05 * spin**2 * sine) / 1.1
        turning = (9.8 * sine - cosine * push) / (0.5 * (4.0 / 3.0 - 0.1 * cosine**2 / 1.1))
        moving = push - 0.05 * turning * cosine / 1.1
        self.state = [x + 0.02 * v, v + 0.02 * moving, angle + 0.02 * spin, spin + 0.02 * turning]
        done = abs(self.state[0]) > 2.4 or abs(self.state[2]) > 12 * math.pi / 180
        return list(self.state), 1.0, done


class Policy(nn.Module):
    def __init__(self, critic):
        super(Policy, self).__init__()
        self.affine1 = nn.Linear(4, 32)
        self.action_head = nn.Linear(32, 2)
        self.value_head = nn.Linear(32, 1) if critic else None
        self.saved_actions = []
        self.rewards = []

    def forward(self, x):
        x = F.relu(self.affine1(x))
        probs = F.softmax(self.action_head(x), dim=-1)
        return probs, self.value_head(x) if self.value_head is not None else None


def select_action(model, state):
    state = torch.tensor(state, dtype=torch.float32)
    probs, value = model(state)
    m = Categorical(probs)
    action = m.sample()
    model.saved_actions.append(SavedAction(m.log_prob(action), value))
    return action.item(), m.entropy()


def finish_episode(model, optimizer, gamma, eps):
    R = 0
    policy_losses, value_losses, returns = [], [], deque()
    for r in model.rewards[::-1]:
        R = r + gamma * R
        returns.appendleft(R)
    returns = torch.tensor(returns)
    returns = returns / (returns.std() + eps)
    for (log_prob, value), R in zip(model.saved_actions, returns):
        advantage = R - value.item() if value is not None else R
        policy_losses.append(-log_prob * advantage)
        if value is not None:
            value_losses.append(F.smooth_l1_loss(value, torch.tensor([R])))
    optimizer.zero_grad()
    loss = torch.stack(policy_losses).sum()
    if value_losses:
        loss = loss + torch.stack(value_losses).sum()
    loss.backward()
    optimizer.step()
    del model.rewards[:]
    del model.saved_actions[:]
    return loss.item()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--algorithm", default="reinforce", choices=["reinforce", "actor-critic"])
    parser.add_argument("--gamma", type=float, default=0.99)
    parser.add_argument("--seed", type=int, default=543)
    parser.add_argument("--steps", type=int, default=50, help="episodes")
    parser.add_argument("--longest", type=int, default=60)
    args = parser.parse_args()
    env = CartPole(args.seed)
    torch.manual_seed(args.seed)
    model = Policy(critic=args.algorithm == "actor-critic")
    optimizer = optim.Adam(model.parameters(), lr=1e-2)
    eps = torch.finfo(torch.float32).eps
    running_reward = 10
    for i_episode in range(args.steps):
        state, ep_reward = env.reset(), 0
        for _ in range(args.longest):
            action, entropy = select_action(model, state)
            state, reward, done = env.step(action)
            model.rewards.append(reward)
            ep_reward += reward
            if done:
                break
        running_reward = 0.05 * ep_reward + (1 - 0.05) * running_reward
        loss = finish_episode(model, optimizer, args.gamma, eps)
        print(f"step {i_episode} loss {loss:.6f} reward {ep_reward} average {running_reward:.2f} {entropy.item():.4f}")


if __name__ == "__main__":
    main()
