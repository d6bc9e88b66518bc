"""Stage 3 reads the reward model's card before it starts: told what it will reward, it may refuse to train on it."""

import json
from pathlib import Path
from typing import Any

from reward_model.card_pages import CARD, warnings_of, weights_in
from summarize_rlhf import UserError
from summarize_rlhf.reading import printable, reason

MEASURE = "python reward_model/gptj_reward_test.py --reward_model"


def read_card(path: str | Path) -> tuple[dict[str, Any] | None, str]:
    """Return the card of a reward model (directory or published file), and why there is none: None and a sentence.

    A card that cannot be read, or that is about other weights than those in the directory, counts as none.
    """
    folder = Path(path) if Path(path).is_dir() else Path(path).parent
    file = folder / CARD
    if not file.is_file():
        return None, f"{path} has no {CARD}"
    try:
        card = json.loads(file.read_text(encoding="utf-8"))
        accuracy = card["accuracy"]["value"]
        list(warnings_of(card))
        if not (isinstance(accuracy, float | int) and 0 <= accuracy <= 1):
            raise ValueError(f"its accuracy is {accuracy!r}")
        if not isinstance(card["paragraph"], str):
            raise ValueError("its paragraph is no text")
        about = weights_in(folder)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        return None, f"{file} cannot be read ({reason(error)})"
    if (card.get("weights") or {}) != about:
        return None, f"{file} is about another reward model than the one beside it"
    return card, ""


def card_lines(path: str | Path, least_accuracy: float | None = None) -> list[str]:
    """Return what stage 3 says of its reward model: the card's paragraph and a line for each probe that beats people.

    Without a card, one line. Raises `UserError` where the accuracy is below `least_accuracy`, or unknown where one is
    asked for.
    """
    card, why = read_card(path)
    if card is None:
        if least_accuracy is not None:
            raise UserError(f"task.require_rm is {least_accuracy}, but {why}: {MEASURE} {path} measures it")
        return [f"what this reward model rewards is not known: {why}; {MEASURE} {path} writes its card"]
    found = card["accuracy"]
    if least_accuracy is not None and found["value"] < least_accuracy:
        raise UserError(
            f"the reward model {path} has accuracy {found['value']:.3f} on {card.get('pairs')} pairs, but "
            f"task.require_rm asks for {least_accuracy}: train it longer or on more pairs, or lower task.require_rm"
        )
    return [printable(card["paragraph"]), *(f"warning: {printable(line)}" for line in warnings_of(card))]
