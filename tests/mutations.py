"""What the tests must notice: a table per subject, beside its tests as `mutations_<subject>.py`, one mutation a row.

A row is a name, a file, a text that stands in it exactly once, what it becomes, and the test that must then fail:
`lm/test_kl.py::name` is a test below tests/. mutate.py applies them.
"""

import runpy
from pathlib import Path
from typing import NamedTuple


class Mutation(NamedTuple):
    """In `file`, `before` (found there exactly once) becomes `after`; then `test` must fail."""

    name: str
    file: str
    before: str
    after: str
    test: str

    @property
    def node(self) -> str:
        """The test as pytest calls it."""
        return f"tests/{self.test}"


MUTATIONS: dict[str, list[Mutation]] = {
    path.stem.removeprefix("mutations_"): [Mutation(*row) for row in runpy.run_path(str(path))["ROWS"]]
    for path in sorted(Path(__file__).parent.rglob("mutations_*.py"))
}
# Some of each kind: these run with the test suite.
FAST = {
    "whitening over padding",
    "GAE without mask",
    "value aligned one late",
    "KL's sign",
    "score one slot early",
    "policy clip dropped",
    "min for max in the policy loss",
    "reference shares the trained blocks",
    "mask shifted by one",
    "EOS dropped",
    "accumulation summed instead of averaged",
    "SFT: adam_beta2 ignored",
    "RM: ties count as right",
    "schedule steps once a PPO epoch",
    "KL per token to the controller",
    "summaries written in training mode",
    "sampler ignores its seed",
    "labels: length does not matter",
}
