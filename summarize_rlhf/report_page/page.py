"""Write report.html, report.md and report.json of a run."""

import base64
import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from summarize_rlhf.handover import RUN_FILE
from summarize_rlhf.reading import printable
from summarize_rlhf.report_page import plots
from summarize_rlhf.report_page.facts import FILLS, facts
from summarize_rlhf.report_page.material import find
from summarize_rlhf.report_page.numbers import interval, with_interval, written
from summarize_rlhf.report_page.verdict import title
from summarize_rlhf.run.files import write_files

HERE = Path(__file__).resolve().parent
FILES = ("report.html", "report.md", "report.json")


def write_report(directories: Sequence[Path], output_dir: Path) -> dict[str, Any]:
    """Write the page of what `directories` hold, all files or none, and return what it says.

    Raises `UserError` where nothing is there or a file is damaged.
    """
    known = facts(find(directories))
    texts = (html(known), markdown(known), json.dumps(known, indent=1, allow_nan=False) + "\n")
    write_files(output_dir, dict(zip(FILES, texts, strict=True)))
    return known


def home_of(directory: Path) -> Path:
    """Return where the page of a run goes: into its folder, but beside a directory that is handed over or a table's."""
    return directory.resolve().parent if (directory / RUN_FILE).is_file() else directory


def html(known: dict[str, Any]) -> str:
    """Return the page. Nothing in it asks for a network, and no text of a run is taken for HTML."""
    script = (HERE / "report.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    plane, card = known["plane"], known["card"]
    drawn = {
        "curves": [[plots.curve(stage["name"], plot) for plot in stage["curves"]] for stage in known["curves"]],
        "planes": list(filter(None, (plots.plane(plane, height) for height in ("reward", "gold")))) if plane else [],
        "reliability": plots.reliability(card["bins"]) if card and card["bins"] else None,
    }
    style = Markup((HERE / "report.css").read_text(encoding="utf-8"))
    template = environment(autoescape=True).get_template("report.html.jinja")
    return template.render(known, drawn=drawn, script=Markup(script), script_sha256=digest, style=style)


def markdown(known: dict[str, Any]) -> str:
    """Return the same as Markdown, where a text of a run stands in a block of code."""
    return environment(autoescape=False).get_template("report.md.jinja").render(known)


def environment(autoescape: bool) -> Environment:
    made = Environment(
        loader=FileSystemLoader(HERE), autoescape=autoescape, undefined=StrictUndefined, finalize=shown,
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip
    made.globals["fills"] = FILLS
    made.filters |= {
        "written": written, "interval": interval, "with_interval": with_interval, "model": title, "fence": fence,
        "cell": cell,
    }  # fmt: skip
    return made


def shown(value: Any) -> Any:
    """Escape control characters and changes of direction in a text; what is HTML of our own stays."""
    if isinstance(value, Markup) or not isinstance(value, str):
        return value
    return re.sub(r"[^\n\u00a0\u2000-\u200a\u202f\u3000]+", lambda found: printable(found[0]), value)  # blanks stay


def fence(text: str) -> str:
    """Return a Markdown block of code with `text`, which no backticks in it can end."""
    longest = max(map(len, re.findall("`+", text)), default=0)
    ticks = "`" * max(3, longest + 1)
    return f"{ticks}text\n{text}\n{ticks}"


def cell(value: Any) -> str:
    """Return `value` for a cell of a Markdown table."""
    text = " ".join(str(value).split())
    for special in "\\|`*_<>[]&":
        text = text.replace(special, f"\\{special}")
    return text
