"""Plots as inline SVG in the page's own colours and type: each colour becomes a CSS variable, so both themes fit."""

import io
import re
from collections.abc import Callable
from pathlib import Path

import matplotlib
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from summarize_rlhf.report_page.numbers import Record, number, rows

STYLE = Path(__file__).with_name("plots.mplstyle")
INK, ACCENT, MUTED, LINE = "#010203", "#040506", "#070809", "#0a0b0c"  # drawn in these, which stand for the page's
COLOURS = {INK: "currentColor", ACCENT: "var(--accent)", MUTED: "var(--muted)", LINE: "var(--line)"}
DASHED = (0, (4, 3))
# What the page has of its own: colours, styles (one would hold for all of it), fonts; and ids that nothing refers to.
OURS = (*COLOURS, r"<defs>\s*<style.*?</defs>", r"font: [^;\"]*;?", r" id=\"(?![mp][0-9a-f]{10}\"|C\d+_)[^\"]*\"")


def svg(name: str, draw: Callable[[Axes], None], size: tuple[float, float] = (3.6, 2.2)) -> Markup:
    """Draw on axes of `size` (inches; the page scales them) and return the `<svg>`. Screen readers get `name`."""
    file, metadata = io.StringIO(), dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with matplotlib.rc_context({"svg.hashsalt": name}, STYLE):
        figure = Figure(figsize=size, layout="constrained")
        draw(figure.add_subplot())
        figure.savefig(file, format="svg", transparent=True, metadata=metadata)
    _, box, drawn = re.split(r"<svg [^>]*?viewBox=\"([^\"]*)\"[^>]*>", file.getvalue(), maxsplit=1)
    drawn = re.sub("|".join(OURS), lambda found: COLOURS.get(found[0], ""), drawn, flags=re.DOTALL)
    return Markup('<svg viewBox="{}" role="img"><title>{}</title>{}').format(box, name, Markup(drawn))


def curve(name: str, plot: Record) -> Markup:
    """Draw one metric by step: training as a thin line, evaluations as points of the accent's colour."""
    training, evaluation = plot["training"], plot["evaluation"]

    def draw(axes: Axes) -> None:
        if training:
            axes.plot(training["step"], training["value"], color=MUTED if evaluation else INK, linewidth=1.2)
        if evaluation:
            axes.plot(evaluation["step"], evaluation["value"], color=ACCENT, marker="o", markersize=3.5)
        axes.margins(x=0.02, y=0.12)
        axes.locator_params(nbins=5)

    return svg(f"{name}: {plot['title']}", draw)


def plane(content: Record | None, height: str) -> Markup | None:
    """Draw `height` ("reward" or "gold") against KL: PPO's path, its collections, and the curve of best-of-N."""
    runs, best = (content["runs"], content["best_of_n"]) if content else ([], None)
    best = best if best and None not in best[height] else None
    paths = [run["evaluations" if height == "reward" else "gold"] for run in runs]
    if not best and not any(paths):
        return None

    def draw(axes: Axes) -> None:
        note = {"textcoords": "offset points", "fontsize": 8}
        for i, (run, path) in enumerate(zip(runs, paths, strict=True)):
            if height == "reward" and run["rollouts"]:
                axes.scatter(run["rollouts"]["kl"], run["rollouts"]["value"], s=13, color=MUTED, alpha=0.8, lw=0)
            if path:
                axes.plot(path["kl"], path["value"], color=INK if i else ACCENT, marker="o", markersize=4.5)
                axes.annotate(f"step {path['step'][-1]:g}", (path["kl"][-1], path["value"][-1]), xytext=(7, -3), **note)
        if best:
            axes.plot(best["kl"], best[height], color=INK, linestyle=DASHED, linewidth=1.2)
            for n, x, y in zip(best["n"], best["kl"], best[height], strict=True):
                if n in (1, best["n"][-1]):
                    axes.annotate(f"N = {n}", (x, y), xytext=(6, -9), **note)
        axes.set_xlabel("KL to the SFT model, nats a summary")
        axes.set_ylabel("reward over the label’s" if height == "reward" else "gold score")
        axes.margins(0.1, 0.14)

    return svg(f"{height} against KL", draw, (4.6, 3.2))


def reliability(card: Record) -> Markup | None:
    """Draw how often the reward model is right against how sure it is; on the diagonal it is as right as it is sure."""
    bins = rows(card, "calibration", "bins")
    points = [[number(row.get(name)) for name in ("confidence", "accuracy", "pairs")] for row in bins]
    points = [(x, y, pairs or 1) for x, y, pairs in points if None not in (x, y)]
    if not points:
        return None
    x, y, pairs = zip(*points, strict=True)
    low = min(0.5, *x, *y)

    def draw(axes: Axes) -> None:
        axes.plot([low, 1], [low, 1], color=MUTED, linewidth=1, linestyle=DASHED)
        axes.plot(x, y, color=ACCENT, linewidth=1)
        axes.scatter(x, y, s=[14 + 70 * count / max(pairs) for count in pairs], color=ACCENT, lw=0)
        axes.set(xlabel="confidence", ylabel="accuracy")
        axes.margins(0.08)

    return svg("Reliability of the reward model", draw, (4.6, 3.4))
