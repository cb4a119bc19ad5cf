"""The tests that need a GPU: `make test-gpu`, or `python3 -m tests.gpu` from a bare checkout."""
