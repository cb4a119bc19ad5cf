"""minitorch beside PyTorch, in one run. See README.md in this folder."""
