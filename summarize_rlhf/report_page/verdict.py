"""The run in one sentence: does the reward model prefer what PPO made of the SFT model, and does gold agree?"""

from typing import Any

from summarize_rlhf.intervals import paired_bootstrap
from summarize_rlhf.report_page.material import Material
from summarize_rlhf.report_page.numbers import Estimate, estimate, number, parts, rows, with_interval, written

# By the reward model's verdict and by gold, which rises, falls or does neither. "mixed": few posts outweigh the others.
GOLD = {
    ("better", "rises"): "and the gold score agrees",
    ("better", "falls"): "but the gold score falls, so the reward is being gamed",
    ("better", "open"): "while the gold score shows no clear change",
    ("worse", "rises"): "but the gold score rises",
    ("worse", "falls"): "and the gold score agrees",
    ("worse", "open"): "while the gold score shows no clear change",
    ("mixed", "rises"): "while the gold score rises",
    ("mixed", "falls"): "while the gold score falls",
    ("mixed", "open"): "while the gold score shows no clear change",
    ("undecided", "rises"): "while the gold score rises",
    ("undecided", "falls"): "while the gold score falls",
    ("undecided", "open"): "and the gold score shows no clear change either",
}
BEGINNING = {
    "better": "{first} is better than {second} by the reward model",
    "worse": "{first} is worse than {second} by the reward model",
    "undecided": "Between {first} and {second} the reward model is undecided",
}
MIXED = {
    "better": ("{first} beats {second} on most posts by the reward model", "but its mean reward is lower"),
    "worse": ("{first} loses to {second} on most posts by the reward model", "but its mean reward is higher"),
}


def verdict(found: Material) -> dict[str, Any]:
    """Return the `sentence`, its `tone` ("better", "worse", "undecided", "gamed" or "open") and `first`, `second`.

    Where the mean reward contradicts the win rate, beyond its interval, both are said, and the tone is "undecided".
    """
    row = leading(found.evaluation or {})
    if row is None:
        return {"tone": "open", "sentence": unevaluated(found)}
    first, second, said = row["first"], row["second"], row["verdict"]
    mean, begin = estimate(row.get("difference")), BEGINNING[said]
    mixed = mean is not None and ((said == "better" and mean["high"] < 0) or (said == "worse" and mean["low"] > 0))
    if mixed:
        begin, but = MIXED[said]
    sentence = begin.format(first=title(first), second=title(second))
    wins = estimate(row.get("win_rate"))
    if wins:
        sentence += f": it wins {with_interval(wins, 'percent')}" if said != "undecided" else (
            f": {title(first)} wins {with_interval(wins, 'percent')}"
        )  # fmt: skip
        posts = number((found.evaluation or {}).get("posts"))
        sentence += f" of {written(posts)} posts" if posts else " of the posts"
    if said == "undecided" and number(row.get("detectable")):
        sentence += f", where ± {written(row['detectable'], 'points')} points would have shown"
    if mixed:
        sentence += f", {but}, {with_interval(mean, 'signed')}"
    said = "mixed" if mixed else said
    gold = gold_difference(found.samples, first, second)
    tone = "undecided" if mixed else said
    if gold:
        change = "rises" if gold["low"] > 0 else "falls" if gold["high"] < 0 else "open"
        sentence += f", {GOLD[said, change]}, {with_interval(gold, 'signed')}"
        tone = "gamed" if (said, change) == ("better", "falls") else tone
    return {"tone": tone, "sentence": sentence + ".", "first": first, "second": second}


def leading(evaluation: dict[str, Any]) -> dict[str, Any] | None:
    """Return the comparison that the page opens with: the last model against the first, else the first one there is."""
    found = [
        row
        for row in rows(evaluation, "comparisons")
        if row.get("verdict") in BEGINNING and {"first", "second"} <= row.keys()
    ]
    models = list(parts(evaluation, "models"))
    wanted = (models[-1], models[0]) if models else None
    return next((row for row in found if (row["first"], row["second"]) == wanted), next(iter(found), None))


def gold_difference(samples: list[dict[str, Any]], first: str, second: str) -> Estimate | None:
    """Return the gold score of `first` less that of `second`, over the posts that have both, with its interval."""
    pairs = [[number(parts(row, name).get("gold")) for name in (first, second)] for row in samples]
    pairs = [pair for pair in pairs if None not in pair]
    if len(pairs) < 2:
        return None
    found = paired_bootstrap(*zip(*pairs, strict=True))
    return {"value": found["mean"], "low": found["low"], "high": found["high"]}


def unevaluated(found: Material) -> str:
    """Say what training alone shows."""
    rewards = [row["reward/mean"] for stage in found.of("ppo")[:1] for row in stage.metrics if "reward/mean" in row]
    rewards = [reward for reward in rewards if number(reward) is not None]
    if not rewards:
        return "Nothing here has been evaluated yet."
    start, end = (written(reward, "signed") for reward in (rewards[0], rewards[-1]))
    return (
        f"While PPO trained, its reward went from {start} to {end}; no evaluation says yet whether summaries improved."
    )


def title(name: str) -> str:
    """Write a model's name as a reader says it: the three stages in capitals, "the label", others as they are."""
    known = {"sft": "SFT", "ppo": "PPO", "rm": "RM", "label": "the label"}
    return known.get(name, name)
