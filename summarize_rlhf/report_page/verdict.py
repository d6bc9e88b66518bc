"""The run in one sentence: does the reward model prefer what PPO made of the SFT model, and does gold agree?"""

from summarize_rlhf.intervals import paired_bootstrap
from summarize_rlhf.records import at, parts
from summarize_rlhf.report_page.material import Material
from summarize_rlhf.report_page.numbers import Record, estimate, number, rows, with_interval, written

TITLES = {"sft": "SFT", "ppo": "PPO", "rm": "RM", "label": "the label"}
BEGINNING = {
    "better": "{} is better than {} by the reward model",
    "worse": "{} is worse than {} by the reward model",
    "undecided": "Between {} and {} the reward model is undecided",
}
MIXED = {  # by the verdict and what the mean reward does, where few posts outweigh the others
    ("better", "falls"): ("{} beats {} on most posts by the reward model", "but its mean reward is lower"),
    ("worse", "rises"): ("{} loses to {} on most posts by the reward model", "but its mean reward is higher"),
}
GOLD = {  # by the verdict and what the gold score does; else "while the gold score rises", say
    ("better", "rises"): "and the gold score agrees",
    ("worse", "falls"): "and the gold score agrees",
    ("better", "falls"): "but the gold score falls, so the reward is being gamed",
    ("worse", "rises"): "but the gold score rises",
    ("undecided", "shows no clear change"): "and the gold score shows no clear change either",
}


def verdict(found: Material) -> Record:
    """Return the `sentence`, its `tone` ("better", "worse", "undecided", "gamed" or "open") and `first`, `second`.

    Where the mean reward contradicts the win rate, beyond its interval, both are said, and the tone is "undecided".
    """
    row = leading(found.evaluation)
    if row is None:
        return {"tone": "open", "sentence": unevaluated(found)}
    first, second, said = row["first"], row["second"], row["verdict"]
    mean, gold = estimate(row.get("difference")), gold_difference(found.samples, first, second)
    begin, objection = MIXED.get((said, mean and change(mean)), (BEGINNING[said], None))
    sentence = begin.format(title(first), title(second))
    if estimate(row.get("win_rate")):
        who, posts = title(first) if said == "undecided" else "it", number(found.evaluation.get("posts"))
        sentence += f": {who} wins {with_interval(row['win_rate'], 'percent')} of "
        sentence += f"{written(posts)} posts" if posts else "the posts"
    if said == "undecided" and number(row.get("detectable")):
        sentence += f", where ± {written(row['detectable'], 'points')} points would have shown"
    if objection:
        sentence += f", {objection}, {with_interval(mean, 'signed')}"
    said, tone = ("mixed", "undecided") if objection else (said, said)
    if gold:
        told = GOLD.get((said, change(gold)), f"while the gold score {change(gold)}")
        sentence += f", {told}, {with_interval(gold, 'signed')}"
        tone = "gamed" if (said, change(gold)) == ("better", "falls") else tone
    return {"tone": tone, "sentence": sentence + ".", "first": first, "second": second}


def unevaluated(found: Material) -> str:
    """Say what training alone shows."""
    rewards = [number(row.get("reward/mean")) for stage in found.of("ppo")[:1] for row in stage.metrics]
    rewards = [written(reward, "signed") for reward in rewards if reward is not None]
    if not rewards:
        return "Nothing here has been evaluated yet."
    told = f"While PPO trained, its reward went from {rewards[0]} to {rewards[-1]}"
    return f"{told}; no evaluation says yet whether summaries improved."


def leading(evaluation: Record | None) -> Record | None:
    """Return the comparison that the page opens with: the last model against the first, else the first one there is."""
    names = ("first", "second", "verdict")
    found = [row for row in rows(evaluation, "comparisons") if all(isinstance(row.get(name), str) for name in names)]
    found = [row for row in found if row["verdict"] in BEGINNING]
    models = list(parts(evaluation, "models"))
    wanted = (models[-1], models[0]) if models else None
    return next((row for row in found if (row["first"], row["second"]) == wanted), found[0] if found else None)


def gold_difference(samples: list[Record], first: str, second: str) -> Record | None:
    """Return the gold score of `first` less that of `second`, over the posts that have both, with its interval."""
    pairs = [[number(at(row, name, "gold")) for name in (first, second)] for row in samples]
    pairs = [pair for pair in pairs if None not in pair]
    if len(pairs) < 2:
        return None
    found = paired_bootstrap(*zip(*pairs, strict=True))
    return {"value": found.pop("mean"), **found}


def change(difference: Record) -> str:
    """Say what a difference does, as far as its interval tells."""
    if (difference["low"] or 0) > 0:
        return "rises"
    return "falls" if (difference["high"] or 0) < 0 else "shows no clear change"


def title(name: str) -> str:
    """Write a model's name as a reader says it."""
    return TITLES.get(str(name), name)
