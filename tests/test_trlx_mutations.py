"""Mutations of trlx/ turn their tests red: a few of each kind here, all of them by `python tests/mutate.py`."""

import subprocess
import sys

import pytest
from mutate import FAST, MUTATIONS


def test_table_speaks_of_the_code(root) -> None:
    """Each text to change stands exactly once in its file, each test is there, no name twice."""
    assert len({m.name for m in MUTATIONS}) == len(MUTATIONS)
    assert {m.name for m in MUTATIONS} >= FAST
    for m in MUTATIONS:
        assert (root / m.file).read_text(encoding="utf-8").count(m.before) == 1, m.name
        file, _, test = m.test.partition("::")
        assert f"def {test}(" in (root / f"tests/test_trlx_{file}.py").read_text(encoding="utf-8"), m.test


def test_fast_mutations_are_red(root) -> None:
    command = [sys.executable, "tests/mutate.py", "fast"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=600, check=False)
    if done.returncode:
        pytest.fail(done.stdout + done.stderr)
