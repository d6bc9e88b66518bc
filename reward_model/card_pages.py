"""The card in words: a paragraph, warnings, card.md, a reliability plot; and its files in the reward model's directory.

The card's files are not among those that run.json hashes: the reward test renews them, and nothing is computed from
them. `weights` says which reward model a card is about.
"""

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from summarize_rlhf.handover import RUN_FILE
from summarize_rlhf.report import format_table
from summarize_rlhf.run.files import write_files

CARD, PAGE, PLOT = "card.json", "card.md", "card.png"
MATTERS = 0.2  # a correlation within a post that is worth a word: 4 % of the variance
FAR = 1.25  # a fitted temperature this many times above or below 1 is worth a word


def percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def paragraph(card: Mapping[str, Any]) -> str:
    """Say in a few sentences what this reward model will reward."""
    accuracy, rules, calibration = card["accuracy"], card["rules"], card["calibration"]
    interval = f"{percent(accuracy['low'])} to {percent(accuracy['high'])}"
    allowed = "" if card["ceiling"] is None else f", and the labels allow {percent(card['ceiling'])}"
    said = [
        f"On {card['pairs']} pairs of {card['data']['split']} this reward model prefers the summary that people "
        f"preferred in {percent(accuracy['value'])} ({interval}); the longer one would be right in "
        f"{percent(rules['longer'])}, the one with more copied words in {percent(rules['more_copied'])}{allowed}."
    ]
    temperature = calibration["temperature"]
    if temperature is None:
        said.append("No temperature fits its margins.")
    elif temperature > FAR:
        said.append(f"Its margins promise too much: divided by {temperature:.1f} they would be honest.")
    elif temperature < 1 / FAR:
        said.append(f"Its margins promise too little: divided by {temperature:.2f} they would be honest.")
    else:
        said.append(f"Its margins mean about what they say (fitted temperature {temperature:.2f}).")
    names = {"length": "length", "position": "how late in the post its words stand", "copying": "copying"}
    with_it = [
        f"{names[name]} ({value:+.2f})"
        for name, value in card["correlations"].items()
        if value is not None and abs(value) >= MATTERS
    ]
    said.append(f"Within a post its score goes with {_list(with_it)}." if with_it else _no_correlation(card))
    other = card["other_post"]
    if other["accuracy"] is not None:
        said.append(
            f"With another post in the place of theirs it still prefers the same of two summaries in "
            f"{percent(other['accuracy'])} of {other['pairs']} pairs (their own: {percent(other['own_post'])}; one "
            "that judges by the post falls to 50 %)."
        )
    if card["within_post_spread"] is not None and card["between_post_spread"]:
        said.append(
            f"Among the policy's own summaries of a post its scores spread by {card['within_post_spread']:.2f}, among "
            f"human summaries of different posts by {card['between_post_spread']:.2f}."
        )
    found = [f"{probe['description']} ({percent(probe['beats_label'])})" for probe in beating(card).values()]
    said.append(
        f"It scores higher than the human summary: {_list(found)}."
        if found
        else "No probe scores higher than the human summary in more than half of the posts."
    )
    return " ".join(said)


def _no_correlation(card: Mapping[str, Any]) -> str:
    known = [name for name, value in card["correlations"].items() if value is not None]
    if not known:
        return "Its scores, or its pairs, are all alike."
    return f"Within a post its score goes with none of {_list(known)}."


def _list(words: Sequence[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def beating(card: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the probes that score higher than the human summary in more than half of the posts."""
    return {name: probe for name, probe in card["probes"].items() if probe["beats_label"] > 0.5}


def warnings_of(card: Mapping[str, Any]) -> Iterator[str]:
    """Say of each such probe what a policy will find."""
    for probe in beating(card).values():
        yield (
            f"the reward model scores {probe['description']} higher than the human summary in "
            f"{percent(probe['beats_label'])} of {probe['posts']} posts: expect the policy to find that"
        )


def page(card: Mapping[str, Any]) -> str:
    """Return card.md."""
    calibration, other = card["calibration"], card["other_post"]
    figures = {
        "pairs, posts": f"{card['pairs']}, {card['posts']}",
        "accuracy (95 % interval)": _interval(card["accuracy"]),
        **{f"accuracy, {name}": _interval(found) for name, found in card["by_split"].items()},
        "the longer one wins": _number(card["rules"]["longer"]),
        "the one with more copied 4-grams wins": _number(card["rules"]["more_copied"]),
        "most that the labels allow": _number(card["ceiling"]),
        "accuracy under another post (own)": f"{_number(other['accuracy'])} ({_number(other['own_post'])})",
        "ECE": _number(calibration["ece"]),
        "Brier score": _number(calibration["brier"]),
        "log loss, nats": _number(calibration["log_loss"]),
        "fitted temperature": _number(calibration["temperature"]),
        **{f"correlation with {name}, within pairs": _number(x) for name, x in card["correlations"].items()},
        "spread of the policy's samples of a post": _number(card["within_post_spread"]),
        "spread of human summaries between posts": _number(card["between_post_spread"]),
    }
    probes = [
        {
            "probe": name,
            "text": probe["description"],
            "beats the human summary": percent(probe["beats_label"]),
            "mean difference": f"{probe['mean_difference']:+.2f}",
            "posts": probe["posts"],
        }
        for name, probe in card["probes"].items()
    ]
    parts = [
        "# What this reward model rewards",
        card["paragraph"],
        format_table([{"figure": name, "value": value} for name, value in figures.items()]),
        "## Probes",
        format_table(probes) if probes else "None fits.",
        "## Accuracy by margin (chosen less rejected, without its sign)",
        format_table(card["by_margin"]),
        "## Accuracy by difference in length (chosen less rejected, words)",
        format_table(card["by_length_difference"]),
        f"## Calibration\n\n![reliability]({PLOT})",
    ]
    return "\n\n".join(parts) + "\n"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _interval(estimate: Mapping[str, float]) -> str:
    return f"{estimate['value']:.3f} ({estimate['low']:.3f} to {estimate['high']:.3f})"


def reliability_plot(card: Mapping[str, Any]) -> bytes:
    """Draw accuracy against confidence, a dot for each bin whose area is its pairs, as a PNG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    bins = card["calibration"]["bins"]
    figure, axis = pyplot.subplots(figsize=(4, 4), layout="constrained")
    axis.plot([0.5, 1], [0.5, 1], color="0.6", linewidth=1)
    sizes = [600 * b["pairs"] / card["pairs"] for b in bins]
    axis.scatter([b["confidence"] for b in bins], [b["accuracy"] for b in bins], s=sizes, color="#2a6f97", alpha=0.8)
    axis.set(xlabel="confidence: sigmoid(|margin|)", ylabel="accuracy", ylim=(-0.05, 1.05))
    axis.set_title(f"{card['pairs']} pairs, ECE {card['calibration']['ece']:.3f}", fontsize=10)
    axis.grid(alpha=0.25)
    axis.spines[["top", "right"]].set_visible(False)
    picture = io.BytesIO()
    figure.savefig(picture, dpi=110, metadata={"Software": None})
    pyplot.close(figure)
    return picture.getvalue()


def weights_in(directory: Path) -> dict[str, str]:
    """Return the hashes of a directory's weights by file, from its run.json; none for a released model without one."""
    if not (directory / RUN_FILE).is_file():
        return {}
    files = json.loads((directory / RUN_FILE).read_text(encoding="utf-8")).get("files", {})
    return {name: described["sha256"] for name, described in files.items() if name.endswith(".safetensors")}


def write_card(directory: Path, card: Mapping[str, Any], model: Path) -> dict[str, Any]:
    """Write card.json, card.md and the plot into `directory`, all or none; returns the card with its paragraph.

    `model` is the reward model's directory, whose run.json is there.
    """
    full = {**card, "weights": weights_in(model), "paragraph": paragraph(card)}
    text = json.dumps(full, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    write_files(directory, {PLOT: reliability_plot(full), PAGE: page(full), CARD: text})
    return full
