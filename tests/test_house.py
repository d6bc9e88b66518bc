"""The layout: modules import, arrows run one way, imports change nothing, test files are short and stand alone."""

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from import_all import ROOT, files

# Libraries that only their own benchmark wants, in an environment of its own.
OPTIONAL = {"trl", "torchtune"}
STAGES = {"sft.train_gptj_summarize": "sft", "reward_model.train_reward_model_gptj": "reward_model", "trlx": "trlx"}
# Each room imports from itself and from those to its right. Scripts and tools import from all.
BELOW = ("summarize_rlhf.lm", "summarize_rlhf.run", "summarize_rlhf")
# The doctor's checks stand below the stages, each of which ends with them; its probes ask the stages' models.
DOCTOR, PROBES = "summarize_rlhf.doctor", "summarize_rlhf.doctor.probes"
PLAN = ("trlx_gptj_text_summarization", "sft", "reward_model", "trlx", *BELOW)  # a script, though in the package
ARROWS = {
    "summarize_rlhf.plan": PLAN,
    "summarize_rlhf.report_page": BELOW,
    f"{DOCTOR}.__main__": (PROBES, DOCTOR, *BELOW),
    PROBES: ("sft", "reward_model", DOCTOR, *BELOW),
    DOCTOR: BELOW,
    "sft": (DOCTOR, *BELOW),
    "reward_model": (DOCTOR, *BELOW),
    "trlx": BELOW,
    BELOW[0]: BELOW[1:],
    BELOW[1]: BELOW[2:],
    BELOW[2]: (),
}

TESTS = sorted((ROOT / "tests").rglob("*.py"))


@pytest.fixture(scope="module")
def imported() -> dict:
    """What importing each stage loaded, and what importing everything failed at and changed."""
    command = [sys.executable, "tests/import_all.py", *STAGES]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_every_module_imports(imported) -> None:
    """And fetches nothing: in the published example a download stands at import."""
    missing = {file: re.fullmatch(r"No module named '(\w+).*'", told) for file, told in imported["failed"].items()}
    unexcused = [file for file, found in missing.items() if not (found and found[1] in OPTIONAL)]
    assert {file: imported["failed"][file] for file in unexcused} == {}


@pytest.mark.parametrize("module", STAGES)
def test_a_stage_loads_no_other_and_no_engine(imported, module: str) -> None:
    assert imported["loaded"][module] == sorted({STAGES[module], "summarize_rlhf"})


def test_importing_changes_nothing(imported) -> None:
    """No registry, activation or mask of transformers, no filter of logs and warnings, no environment variable."""
    assert imported["changed"] == []


def room_of(module: str) -> str:
    """The room of `summarize_rlhf.lm.kl` is `summarize_rlhf.lm`."""
    return next((room for room in ARROWS if f"{module}.".startswith(f"{room}.")), module.partition(".")[0])


def imports_of(path: Path) -> list[str]:
    """The modules that a file imports, anywhere in it."""
    names = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}:{node.lineno}: a relative import"
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return names


def test_arrows_run_one_way() -> None:
    """Scripts → stages and trlx → summarize_rlhf.lm → summarize_rlhf.run → the contract at the package's top."""
    ours = {room_of(".".join(path.with_suffix("").parts)) for path in files()}
    against = []
    for path in files():
        room = room_of(".".join(path.with_suffix("").parts))
        if room in ARROWS:
            rooms = {room_of(name) for name in imports_of(ROOT / path)} & ours
            against += [f"{path} imports {other}" for other in rooms - {room, *ARROWS[room]}]
    assert against == []


def test_test_files_are_short() -> None:
    lines = {str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines()) for path in TESTS}
    assert {path: count for path, count in lines.items() if count > 250} == {}


def test_test_files_stand_alone() -> None:
    """None imports another or reaches into a function's globals: shared helpers have a module of their own."""
    borrowed = {path.name: [name for name in imports_of(path) if name.startswith("test_")] for path in TESTS}
    assert {name: found for name, found in borrowed.items() if found} == {}
    trees = {path.name: ast.walk(ast.parse(path.read_text(encoding="utf-8"))) for path in TESTS}
    attributes = {name: {x.attr for x in tree if isinstance(x, ast.Attribute)} for name, tree in trees.items()}
    assert [name for name, found in attributes.items() if "__globals__" in found] == []
