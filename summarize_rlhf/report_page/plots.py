"""Plots as inline SVG in the page's own colours and type: each colour becomes a CSS variable, so both themes fit."""

import io
import re
from collections.abc import Callable
from typing import Any

import matplotlib
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Drawn in these colours, which stand for the page's.
INK, ACCENT, MUTED, LINE = "#010203", "#040506", "#070809", "#0a0b0c"
COLOURS = {INK: "currentColor", ACCENT: "var(--accent)", MUTED: "var(--muted)", LINE: "var(--line)"}
STYLE = {
    "svg.fonttype": "none", "font.size": 9, "axes.edgecolor": LINE, "axes.labelcolor": MUTED, "xtick.color": LINE,
    "ytick.color": LINE, "xtick.labelcolor": MUTED, "ytick.labelcolor": MUTED, "text.color": MUTED,
    "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.color": LINE,
    "grid.linewidth": 0.6, "lines.linewidth": 1.6, "axes.linewidth": 0.8, "axes.axisbelow": True,
    "xtick.major.size": 0, "ytick.major.size": 0, "axes.unicode_minus": True,
}  # fmt: skip


def svg(name: str, draw: Callable[[Axes], None], size: tuple[float, float] = (3.6, 2.2)) -> Markup:
    """Draw on axes of `size` (inches; the page scales them) and return the `<svg>`. Screen readers get `name`."""
    text = io.StringIO()
    with matplotlib.rc_context(STYLE | {"svg.hashsalt": name}):
        figure = Figure(figsize=size, layout="constrained")
        draw(figure.add_subplot())
        metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(text, format="svg", transparent=True, metadata=metadata)
    drawn = text.getvalue()
    drawn = drawn[drawn.index("<svg ") :]
    drawn = re.sub(r"<style.*?</style>", "", drawn, flags=re.DOTALL)  # it would hold for the whole page
    drawn = re.sub(r"<defs>\s*</defs>|<metadata>.*?</metadata>", "", drawn, flags=re.DOTALL)
    drawn = re.sub(r"font: [^;\"]*;?", "", drawn)  # the page's type
    drawn = re.sub(r"<svg [^>]*?viewBox=\"([^\"]*)\"[^>]*>", Markup(r'<svg viewBox="\1" role="img">'), drawn, count=1)
    drawn = re.sub(r" id=\"(?![mp][0-9a-f]{10}\"|C\d+_)[^\"]*\"", "", drawn)  # but for what is referred to
    for colour, variable in COLOURS.items():
        drawn = drawn.replace(colour, variable)
    title = Markup("<title>{}</title>").format(name)
    return Markup(drawn.replace('role="img">', f'role="img">{title}', 1))


def curve(name: str, plot: dict[str, Any]) -> Markup:
    """Draw one metric by step: training as a thin line, evaluations as points of the accent's colour."""

    def draw(axes: Axes) -> None:
        for kind, style in (
            ("training", {"color": MUTED, "linewidth": 1.2}),
            ("evaluation", {"color": ACCENT, "marker": "o", "markersize": 3.5}),
        ):
            if plot[kind]:
                axes.plot(plot[kind]["step"], plot[kind]["value"], **style)
        alone = plot["training"] and not plot["evaluation"]
        if alone:
            axes.lines[0].set(color=INK)
        axes.margins(x=0.02, y=0.12)
        axes.locator_params(nbins=5)

    return svg(f"{name}: {plot['title']}", draw)


def plane(content: dict[str, Any], height: str) -> Markup | None:
    """Draw `height` ("reward" or "gold") against KL: PPO's path, its collections, and the curve of best-of-N."""
    paths = [(run, run["evaluations" if height == "reward" else "gold"]) for run in content["runs"]]
    best = content["best_of_n"]
    best = best if best and None not in best[height] else None
    if not best and not any(path for _, path in paths):
        return None

    def draw(axes: Axes) -> None:
        for i, (run, path) in enumerate(paths):
            colour = ACCENT if i == 0 else INK
            if height == "reward" and run["rollouts"]:
                axes.scatter(run["rollouts"]["kl"], run["rollouts"]["value"], s=13, color=MUTED, alpha=0.8, lw=0)
            if path:
                axes.plot(path["kl"], path["value"], color=colour, marker="o", markersize=4.5)
                axes.annotate(f"step {path['step'][-1]:g}", (path["kl"][-1], path["value"][-1]), xytext=(7, -3),
                              textcoords="offset points", fontsize=8)  # fmt: skip
        if best:
            axes.plot(best["kl"], best[height], color=INK, linestyle=(0, (4, 3)), linewidth=1.2)
            for n, x, y in zip(best["n"], best["kl"], best[height], strict=True):
                if n in (1, best["n"][-1]):
                    axes.annotate(f"N = {n}", (x, y), xytext=(6, -9), textcoords="offset points", fontsize=8)
        axes.set_xlabel("KL to the SFT model, nats a summary")
        axes.set_ylabel("reward over the label’s" if height == "reward" else "gold score")
        axes.margins(0.1, 0.14)

    return svg(f"{height} against KL", draw, (4.6, 3.2))


def reliability(bins: list[dict[str, float]]) -> Markup:
    """Draw how often the reward model is right against how sure it is; on the diagonal it is as right as it is sure."""

    def draw(axes: Axes) -> None:
        most = max((row["pairs"] or 1) for row in bins)
        x, y = [row["confidence"] for row in bins], [row["accuracy"] for row in bins]
        low = min(0.5, *x, *y)
        axes.plot([low, 1], [low, 1], color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
        axes.plot(x, y, color=ACCENT, linewidth=1)
        axes.scatter(x, y, s=[14 + 70 * (row["pairs"] or 1) / most for row in bins], color=ACCENT, lw=0)
        axes.set_xlabel("confidence")
        axes.set_ylabel("accuracy")
        axes.margins(0.08)

    return svg("Reliability of the reward model", draw, (4.6, 3.4))
