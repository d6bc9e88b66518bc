"""The short form of fuzz.py: a few inputs of each kind, the same ones each time."""

import pytest
from fuzz import run
from fuzz_documents import ALL


@pytest.mark.parametrize("name", ALL)
def test_read_or_refused(name: str) -> None:
    run(name, 40, derandomize=True)
