"""The documents speak of what is there: files, functions, tests, results."""

import re
import subprocess
from pathlib import Path

import pytest

from benchmarks.report import BLOCKS, DOCUMENTS, MARKED, filled
from quickstart import readme

ROOT = Path(__file__).resolve().parents[1]
# Code by any name; configurations by their path (a bare `run.json` is something that a run writes).
PAGES = ["README.md", *sorted(str(page.relative_to(ROOT)) for page in ROOT.glob("docs/*.md"))]
REFERENCE = re.compile(r"`([\w/.]+\.(?:py|sh)|\w+/[\w/.]+\.(?:json|yaml))(?:: ([\w.]+))?`")


def references(document: str) -> set[tuple[str, str]]:
    """(file, function or "") of each `file: function` in a document."""
    return {(file, name or "") for file, name in REFERENCE.findall((ROOT / document).read_text(encoding="utf-8"))}


def home_of(file: str) -> Path | None:
    """A file named from the root, or by its name alone where that is a test or stands in one of the stages' folders."""
    folders = [ROOT, ROOT / "tests", ROOT / "reward_model", ROOT / "sft"]
    return next((folder / file for folder in folders if (folder / file).is_file()), None)


def has_function(file: Path, name: str) -> bool:
    """Whether a file defines `name`, or the method at the end of `Class.name`."""
    last = name.split(".")[-1]
    return bool(re.search(rf"(def|class) {last}\b|^{last} =", file.read_text(encoding="utf-8"), re.MULTILINE))


@pytest.mark.parametrize("document", PAGES)
def test_files_and_functions_exist(document):
    for file, name in references(document):
        home = home_of(file)
        assert home is not None, f"{document} names {file}, which is not there"
        assert not name or has_function(home, name), f"{document} names {name} in {file}"


def test_where_is():
    """Eight questions; each answer is defined in its file, and among the few lines that the row's grep shows."""
    section = (ROOT / "README.md").read_text(encoding="utf-8").split("## Where is …")[1].split("\n## ")[0]
    rows = [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("|")][2:]
    assert len(rows) == 8
    for question, answer, pattern in rows:
        homes = REFERENCE.findall(answer)
        assert homes, question
        assert all(name and has_function(ROOT / file, name) for file, name in homes), question
        command = ["grep", "-rnI", pattern.strip("`"), "trlx", "summarize_rlhf", "reward_model", "sft"]
        shown = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
        assert homes[0][0] in {line.split(":")[0] for line in shown}, question
        assert len(shown) <= 10, (question, shown)


def test_file_tree():
    tree = (ROOT / "README.md").read_text(encoding="utf-8").split("## File tree")[1].split("```")[1]
    paths = [line.split()[0] for line in tree.strip().splitlines()]
    assert len(paths) > 10
    assert [path for path in paths if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("document", PAGES)
def test_links_lead_somewhere(document):
    page = ROOT / document
    for target in re.findall(r"\]\((?!https?://|#)([^)#]+)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), f"{document} links to {target}"


@pytest.mark.parametrize("document", readme.DOCUMENTS)
def test_results_of_the_quickstart_are_those_of_the_raw_files(document):
    assert readme.filled(document) == (ROOT / document).read_text(encoding="utf-8")


@pytest.mark.parametrize("document", DOCUMENTS)
def test_figures_are_those_of_the_raw_files(document):
    text = (ROOT / document).read_text(encoding="utf-8")
    assert MARKED.search(text)
    assert filled(document) == text


def test_every_figure_that_can_be_shown_is():
    shown = [name for document in DOCUMENTS for _, name, _ in MARKED.findall((ROOT / document).read_text())]
    assert set(shown) == set(BLOCKS)
