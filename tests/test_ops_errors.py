"""Calls that must fail, with the words that their errors must hold. Every row of the op table may name some."""

import re

import pytest

from tests.cases import CASES
from tests.cases.harness import Library, call, describe
from tests.cases.table import Sample

ERRORS = [(case, index) for case in CASES for index in range(len(case.failures()))]


@pytest.mark.parametrize(("case", "index"), ERRORS, ids=[f"{case.name}-{index}" for case, index in ERRORS])
def test_fails_and_says_why(case, index):
    error = case.failures()[index]
    sample = Sample(error.args, error.kwargs)
    with pytest.raises((RuntimeError, IndexError, TypeError, ValueError)) as caught:
        call(Library(), case, sample)
    message = str(caught.value)
    what = describe(case, index, sample)
    assert re.search(error.match, message), f"{what}: the error does not hold {error.match!r}: {message}"
    assert len(message) > 15, f"{what}: an error says what was expected and what came: {message!r}"
    assert not re.search(r"operands could not be broadcast|shape-mismatch for|ufunc '|array is \d-dim", message), (
        f"{what}: NumPy's own words: {message}"
    )
