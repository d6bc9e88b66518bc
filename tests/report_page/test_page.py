"""The page of a run: whole, without network, with every text as text, and with less where there is less."""

import base64
import hashlib
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest
from markupsafe import Markup
from matplotlib.figure import Figure
from report_runs import NASTY, evaluation, make_run, record, write

from summarize_rlhf import UserError
from summarize_rlhf.report_page import __main__ as command
from summarize_rlhf.report_page import plots
from summarize_rlhf.report_page.facts import facts
from summarize_rlhf.report_page.material import find
from summarize_rlhf.report_page.page import FILES, fence, home_of, shown, write_report


class Page(HTMLParser):
    """Elements by name, and the texts of the elements of class "words"."""

    def __init__(self, text: str):
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.inside = 0
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if "words" in (dict(attrs).get("class") or "").split():
            self.words.append("")
            self.inside = True

    def handle_endtag(self, tag):
        self.inside = self.inside and tag not in ("p", "pre")

    def handle_data(self, data):
        if self.inside:
            self.words[-1] += data


@pytest.fixture
def run(tmp_path, monkeypatch) -> Path:
    """A run whose plots are drawn but not written out, which takes the most time."""

    def draw_alone(name, draw, size=(1, 1)) -> Markup:
        draw(Figure().add_subplot())
        return Markup("<svg viewBox></svg>")

    monkeypatch.setattr(plots, "svg", draw_alone)
    return make_run(tmp_path / "seed_3")


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> tuple[str, str, dict]:
    """The three pages of a whole run."""
    return written(make_run(tmp_path_factory.mktemp("whole")))


def written(run: Path) -> tuple[str, str, dict]:
    write_report([run], run)
    html, markdown, content = ((run / name).read_text(encoding="utf-8") for name in FILES)
    return html, markdown, json.loads(content, parse_constant=lambda name: pytest.fail(f"report.json holds {name}"))


def test_a_whole_run_has_every_section_and_lacks_nothing(whole):
    html, markdown, content = whole
    assert content["missing"] == {}
    assert "Not here yet" not in html + markdown
    headings = re.findall(r"<h2>(.*?)</h2>", html)
    assert headings == [
        "Health", "Models", "Why the reward rose", "Reward and KL", "Reward model", "Training", "Summaries", "Recipe",
        "Where it comes from", "Cost",
    ]  # fmt: skip
    assert html.count("<svg viewBox") == 2 + 1 + 1 + 1 + 2  # planes, reliability, curves of sft, rm and ppo
    for heading in ("Models", "Why the reward rose", "Reward model", "Summaries", "Recipe", "Cost"):
        assert f"## {heading}" in markdown
    for text in (html, markdown):
        assert "+1.70" in text  # PPO's reward
        assert "c0ffee" in text
    assert [stage["name"] for stage in content["recipe"]] == ["sft", "rm", "ppo"]
    assert content["recipe"][2]["arguments"] == {"model": "gpt2", "method.init_kl_coef": 0.1, "train.epochs": 3}
    assert re.findall(r"\| ppo \| (.*) \| (.*) \|", markdown) == [("epochs", "3"), ("init\\_kl\\_coef", "0.1")]
    assert "<dt>epochs</dt><dd>3</dd></div>\n<div><dt>init_kl_coef</dt><dd>0.1</dd>" in html


def test_costs_are_seconds_and_the_most_memory(run):
    """Of several lines the largest, for a log may hold the start of several launches; a stage without seconds too."""
    write(run / "rm/metrics.jsonl", *({"step": 5, "memory/peak_host_gb": x} for x in (1.5, 2.5, 2.0)))
    write(run / "ppo/metrics.jsonl", {"step": 9, "memory/peak_host_gb": 3.5, "memory/peak_gpu_gb": 71.25})
    html, markdown, content = written(run)
    assert [tuple(row.values()) for row in content["cost"]] == [
        ("rm", 61.0, 2.5, None), ("ppo", None, 3.5, 71.25), ("sft", 61.0, None, None),
    ]  # fmt: skip
    assert content["seconds_in_all"] == 122
    assert "| PPO | – | 3.50 | 71.25 |" in markdown
    assert "<td>–</td><td>3.50</td><td>71.25</td>" in html
    assert "<th>Sum</th><td><b>122</b>" in html
    shutil.rmtree(run / "seconds")
    html, _, content = written(run)
    assert list(content["missing"]) == ["cost"]
    assert "71.25" in html
    assert "<th>Sum</th>" not in html


def test_texts_of_a_run_stay_texts(whole):
    html, markdown, _ = whole
    page = Page(html)
    assert f"ppo {shown(NASTY)}" in page.words
    assert f"POST: {shown(NASTY)}\nTL;DR:" in page.words
    assert [name for name, _ in page.elements if name in ("script", "img", "twice", "with", "long")] == ["script"]
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f\u202a-\u202e\u2066-\u2069]", html + markdown)
    assert "👩‍👩‍👧 a\u00a0b" in html
    assert "\\x1b[31m\\x00 \\u202egnp.exe" in html


def test_nothing_on_the_page_asks_for_a_network(whole):
    html, _, _ = whole
    page = Page(html)
    policy = next(given["content"] for name, given in page.elements if given.get("http-equiv"))
    script = re.search(r"<script>(.*?)</script>", html, re.DOTALL)[1]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy.split("; ")[:3] == [
        "default-src 'none'",
        "style-src 'unsafe-inline'",
        f"script-src 'sha256-{digest}'",
    ]
    loaded = [
        (name, key) for name, given in page.elements for key in given if key in ("src", "href", "srcset", "action")
    ]
    assert [(name, key) for name, key in loaded if name != "use"] == []
    assert all(given["xlink:href"].startswith("#") for name, given in page.elements if name == "use")
    assert "url(http" not in html
    assert "@import" not in html


def test_plots_have_the_pages_colours(whole):
    """In both themes: no colour of their own, and no style for the whole page. What is referred to is there."""
    html, _, _ = whole
    drawn = "".join(re.findall(r"<svg viewBox.*?</svg>", html, re.DOTALL))
    assert set(re.findall(r"#[0-9a-f]{6}\b", drawn)) == set()
    assert "var(--accent)" in drawn
    assert "<style" not in drawn
    ids = re.findall(r'\bid="([^"]*)"', html)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r"(?:url\(#|href=\"#)([^\")]*)", html)) <= set(ids)


PIECES = {
    "sft": "sft", "rm": "rm", "ppo": "ppo", "evaluation": "inference", "card": "rm/card.json",
    "doctor": "doctor.json", "cost": "seconds",
}  # fmt: skip


def remove(run: Path, piece: str) -> None:
    path = run / PIECES[piece]
    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


@pytest.mark.parametrize("piece", PIECES)
def test_a_missing_piece_names_the_command_that_fills_it(run, piece):
    remove(run, piece)
    html, markdown, content = written(run)
    gone = {"rm": ["rm", "card"]}.get(piece, [piece])
    assert list(content["missing"]) == gone
    headings = re.findall(r"<h2>(.*?)</h2>", html)
    empty = {"evaluation": {"Models", "Summaries"}, "doctor": {"Health"}, "cost": {"Cost"}, "card": {"Reward model"}}
    assert not set(headings) & set().union(*(empty.get(name, set()) for name in gone))
    assert headings[-1] == "Not here yet"
    for name in gone:
        assert f"`{content['missing'][name]}`" in markdown
        assert f"<code>{content['missing'][name].replace('&', '&amp;')}</code>" in html


@pytest.mark.parametrize("piece", ["sft", "rm", "ppo", "evaluation", "doctor"])
def test_one_piece_alone_makes_a_page(run, piece):
    for other in PIECES:
        if PIECES[other].split("/")[0] != PIECES[piece].split("/")[0]:
            remove(run, other)
    _, _, content = written(run)
    assert piece not in content["missing"]
    assert len(content["missing"]) >= 5


@pytest.mark.parametrize("value", [None, "x", [], {}, [1], float("nan"), True])
def test_what_is_not_as_agreed_is_left_out(run, value):
    for name in ("posts", "models", "label", "comparisons", "best_of_n", "gain"):
        write(run / "inference/evaluation.json", evaluation(**{name: value}))
        facts(find([run]))
    content = evaluation()
    content["comparisons"].append(dict.fromkeys(content["comparisons"][0], value))
    write(run / "inference/evaluation.json", content)
    facts(find([run]))
    write(run / "inference/evaluation.json", dict.fromkeys(evaluation(), value))
    write(run / "sft/run.json", record("sft") | {"arguments": {"betas": [value]}, "data": value, "versions": value})
    write(run / "rm/card.json", {"calibration": value, "probes": value, "rules": value, "accuracy": value})
    with (run / "inference/samples.jsonl").open("a") as log:
        log.write(json.dumps({"prompt": "x", "sft": {"text": "x", "judge": value}}) + "\n")
    assert "Summaries" in written(run)[0]


@pytest.mark.parametrize(
    ("file", "content", "told"),
    [
        ("inference/evaluation.json", '{"posts": ', r"cannot read the JSON file .*evaluation.json: .*; write it anew"),
        ("rm/card.json", "[1]", r"card.json should hold a JSON object, not a list"),
        ("seconds/sft", "soon", r"cannot read the time of a stage .*seconds/sft"),
    ],
)
def test_a_damaged_file_is_named(run, file, content, told):
    (run / file).write_text(content)
    with pytest.raises(UserError, match=told):
        write_report([run], run)
    assert not (run / "report.html").exists()


def test_the_command(run, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["report_page", str(run / "sft"), str(run / "inference")])
    command.main()
    assert (run / "report.html").is_file()  # beside the directory that is handed over, whose files are listed
    assert not (run / "sft/report.html").exists()
    assert "report.html, report.md, report.json" in capsys.readouterr().out
    assert home_of(run) == run
    (tmp_path / "empty").mkdir()
    for where in ("empty", "nowhere"):
        monkeypatch.setattr("sys.argv", ["report_page", str(tmp_path / where)])
        with pytest.raises(SystemExit) as end:
            command.main()
        assert end.value.code == 2


def test_a_line_that_is_torn_is_left_out(run):
    with (run / "ppo/metrics.jsonl").open("a") as file:
        file.write('{"step": 45, "rew')
    assert written(run)[2]["curves"][2]["curves"][0]["evaluation"]["step"] == [0, 15, 30]


@pytest.mark.parametrize("text", ["a\n```\nb", "````", "x```y ` z", ""])
def test_no_backticks_end_a_block_of_code(text):
    first, *middle, last = fence(text).split("\n")
    assert "\n".join(middle) == text
    assert first == f"{last}text"
    assert not re.search(f"`{{{len(last)},}}", text)
