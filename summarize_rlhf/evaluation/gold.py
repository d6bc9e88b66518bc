"""The gold score: how good summaries really are, by a function that knows, where there is one."""

import math
from collections.abc import Callable, Sequence

from summarize_rlhf import UserError

Gold = Callable[[str, str], float]


def gold_values(name: str, gold: Gold, prompts: Sequence[str], texts: Sequence[str]) -> list[float]:
    """Score texts in rows, sample by sample (K·N), under their prompts (N): (K·N).

    Raises `UserError` that names the function where it raises, or returns no finite number.
    """
    found = []
    for row, text in enumerate(texts):
        try:
            found.append(float(gold(prompts[row % len(prompts)], text)))
        except (Exception, SystemExit) as error:
            raise UserError(f"the gold score {name} failed: {type(error).__name__}: {error}") from error
        if not math.isfinite(found[-1]):
            raise UserError(
                f"the gold score {name} returned {found[-1]} for {text[:80]!r}: a finite number is expected"
            )
    return found
