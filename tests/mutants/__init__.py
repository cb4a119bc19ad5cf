"""Mutation testing of the ops: every formula is made wrong in small ways, and the tests must notice each time.

`make mutants` (python -m tests.mutants) runs it; `generate` makes the mutants, `run` tries them, and `equivalent.txt`
lists those that were read and found to compute the same.
"""
