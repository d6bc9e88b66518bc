"""Mutations turn their tests red: a few of each kind here, all of them by `python tests/mutate.py`."""

import subprocess
import sys

import pytest
from mutations import FAST, MUTATIONS

ALL = [mutation for rows in MUTATIONS.values() for mutation in rows]


def test_table_speaks_of_the_code(root) -> None:
    """Each text to change stands exactly once in its file, each test is there, no name twice."""
    assert len({m.name for m in ALL}) == len(ALL)
    assert {m.name for m in ALL} >= FAST
    for m in ALL:
        assert (root / m.file).read_text(encoding="utf-8").count(m.before) == 1, m.name
        file, _, test = m.node.partition("::")
        assert f"def {test}(" in (root / file).read_text(encoding="utf-8"), m.test


def test_fast_mutations_are_red(root) -> None:
    command = [sys.executable, "tests/mutate.py", "fast"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=600, check=False)
    if done.returncode:
        pytest.fail(done.stdout + done.stderr)
