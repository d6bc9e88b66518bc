"""Write report.html, report.md and report.json of a run."""

import base64
import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader
from markupsafe import Markup

from summarize_rlhf.handover import RUN_FILE
from summarize_rlhf.reading import printable
from summarize_rlhf.report_page import numbers, plots
from summarize_rlhf.report_page.facts import facts
from summarize_rlhf.report_page.material import find
from summarize_rlhf.report_page.verdict import title
from summarize_rlhf.run.files import write_files

HERE = Path(__file__).resolve().parent
FILES = ("report.html", "report.md", "report.json")


def write_report(directories: Sequence[Path], output_dir: Path) -> None:
    """Write the page of what `directories` hold, all files or none.

    Nothing on it asks for a network, and no text of a run is taken for HTML or Markdown. Raises `UserError` where
    nothing is there or a file is damaged.
    """
    known = json.loads(json.dumps(facts(find(directories))), parse_constant=lambda name: None)  # NaN and infinities
    script, style = (Markup((HERE / name).read_text(encoding="utf-8")) for name in ("report.js", "report.css"))
    sha256 = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    html = environment(autoescape=True).get_template("report.html.jinja")
    markdown = environment(autoescape=False).get_template("report.md.jinja")
    page = html.render(known, script=script, script_sha256=sha256, style=style)
    texts = (page, markdown.render(known), json.dumps(known, indent=1, allow_nan=False) + "\n")
    write_files(output_dir, dict(zip(FILES, texts, strict=True)))


def home_of(directory: Path) -> Path:
    """Return where the page of a run goes: into its folder, but beside a directory that is handed over or a table's."""
    return directory.resolve().parent if (directory / RUN_FILE).is_file() else directory


def environment(autoescape: bool) -> Environment:
    """Return what both templates are rendered with: figures out of records, as `numbers` reads and writes them."""
    made = Environment(
        loader=FileSystemLoader(HERE), autoescape=autoescape, finalize=shown,
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip
    names = ("number", "estimate", "parts", "objects", "rows", "table", "reach", "written", "interval", "with_interval")
    made.filters |= {name: getattr(numbers, name) for name in names} | {"model": title, "fence": fence, "cell": cell}
    made.globals["plots"] = plots
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
    return re.sub(r"[\\|`*_<>\[\]&]", r"\\\g<0>", " ".join(str(value).split()))
