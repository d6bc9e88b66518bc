"""The documents speak of what is there: files, functions, tests, results."""

import re
from pathlib import Path

import pytest

from benchmarks.report import BLOCKS, DOCUMENTS, MARKED, filled
from quickstart import readme

ROOT = Path(__file__).resolve().parents[1]
# Code by any name; configurations by their path (a bare `run.json` is something that a run writes).
REFERENCE = re.compile(r"`([\w/.]+\.(?:py|sh)|\w+/[\w/.]+\.(?:json|yaml))(?:: ([\w.]+))?`")


def references(document: str) -> set[tuple[str, str]]:
    """(file, function or "") of each `file: function` in a document."""
    return {(file, name or "") for file, name in REFERENCE.findall((ROOT / document).read_text(encoding="utf-8"))}


def home_of(file: str) -> Path | None:
    """A file named from the root, or by its name alone where that is a test or stands in one of the stages' folders."""
    folders = [ROOT, ROOT / "tests", ROOT / "reward_model", ROOT / "sft"]
    return next((folder / file for folder in folders if (folder / file).is_file()), None)


@pytest.mark.parametrize("document", ["docs/details.md", "docs/speed.md", "docs/reliability.md", "README.md"])
def test_files_and_functions_exist(document):
    found = references(document)
    assert found
    for file, name in found:
        home = home_of(file)
        assert home is not None, f"{document} names {file}, which is not there"
        last = name.split(".")[-1]
        assert not name or re.search(
            rf"(def|class) {last}\b|^{last} =", home.read_text(encoding="utf-8"), re.MULTILINE
        ), f"{document} names {name} in {file}"


def test_links_of_the_readme_lead_somewhere():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for target in re.findall(r"\]\((?!https?://)([^)#]+)", text):
        assert (ROOT / target).exists(), f"README.md links to {target}"


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
