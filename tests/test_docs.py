"""The documents speak of what is there: files, functions, tests, results."""

import re
import subprocess
from pathlib import Path

import figures
import pytest

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


# ---------------------------------------------------------------------- figures
@pytest.mark.parametrize("document", figures.DOCUMENTS, ids=lambda path: path.name)
def test_figures_are_those_of_the_raw_files(document):
    assert figures.fill(document)[1] == []


def test_every_figure_that_can_be_shown_is():
    shown = [name for page in figures.DOCUMENTS for _, name, *_ in figures.MARKED.findall(page.read_text())]
    assert set(shown) == set(figures.BLOCKS)


@pytest.fixture
def page(tmp_path, monkeypatch) -> Path:
    """A README whose figures are stale, of a repository in `figures.ROOT`."""
    monkeypatch.setattr(figures, "ROOT", tmp_path)
    monkeypatch.setattr(figures, "DOCUMENTS", [tmp_path / "README.md"])
    monkeypatch.setattr(figures, "BLOCKS", {"one": lambda: "1 [raw](docs/results)", "two": lambda: "2"})
    path = tmp_path / "README.md"
    path.write_text("a\n<!-- figures: one -->\n0\n<!-- end -->\nb\n<!-- figures: two -->\n2\n<!-- end -->\n")
    return path


def run_figures(monkeypatch, *arguments: str) -> None:
    monkeypatch.setattr("sys.argv", ["figures.py", *arguments])
    figures.main()


def test_check_names_the_stale_place_and_changes_nothing(page, monkeypatch):
    before = page.read_text()
    with pytest.raises(SystemExit) as end:
        run_figures(monkeypatch, "--check")
    assert "README.md: figures one " in end.value.code  # a text: exit code 1
    assert "two" not in end.value.code
    assert page.read_text() == before
    run_figures(monkeypatch)
    assert page.read_text() == before.replace("\n0\n", "\n1 [raw](docs/results)\n")
    run_figures(monkeypatch, "--check")


def test_links_lead_from_where_a_page_lies(page):
    moved = page.parent / "docs/page.md"
    moved.parent.mkdir()
    page.rename(moved)
    assert "1 [raw](results)" in figures.fill(moved)[0]


def test_an_unknown_figure_is_refused(page, monkeypatch, capsys):
    page.write_text(page.read_text().replace("figures: two", "figures: three"))
    with pytest.raises(SystemExit):
        run_figures(monkeypatch)
    assert "README.md wants figures 'three': known are one, two" in capsys.readouterr().err


def test_take_copies_the_raw_files_of_a_run(page, monkeypatch, capsys):
    run = page.parent / "results/seed_7"
    run.mkdir(parents=True)
    (run / "summary.json").write_text("{}")
    with pytest.raises(SystemExit):
        run_figures(monkeypatch, "--take", str(run))
    assert "has no ppo_curves.png" in capsys.readouterr().err
    (run / "ppo_curves.png").write_text("png")
    (run / "report.html").write_text(f"<p>{run.resolve().parents[2]}/quickstart/model</p>")
    run_figures(monkeypatch, "--take", str(run))
    taken = page.parent / figures.QUICKSTART / "seed_7"
    assert {file.name for file in taken.iterdir()} == {"summary.json", "ppo_curves.png", "report.html"}
    assert (taken / "report.html").read_text() == "<p>quickstart/model</p>", "no paths of this machine"
