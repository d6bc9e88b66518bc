"""Watch a run for the ways in which PPO fails: a policy that runs away or falls silent, or numbers like NaN."""

import math
from collections.abc import Mapping
from typing import Any

from summarize_rlhf import UserError
from summarize_rlhf.run.values import check_bounds, of_type

DEFAULTS: dict[str, Any] = {
    "action": "warn",  # or "stop"; a loss or a gradient that is no number always stops
    "kl": 50.0,  # nats an episode
    "eos_rate": 0.5,  # share of its value in the first collection, if that was above 0.2
    "length": 0.25,  # the same for the mean response length, in either direction
    "ratio": 2.0,  # mean of π/π_old in an update; or its inverse
}
ADVICE = {
    "kl": "the policy runs away from its start: raise method.init_kl_coef, or lower the learning rate",
    "eos_rate": "responses no longer end: the reward pays for length, or the policy has collapsed",
    "length": "responses have another length altogether: look at samples.jsonl",
    "ratio": "updates are too large: lower the learning rate, or method.ppo_epochs",
}


class Guards:
    """Compare what a run logs with limits (`train.guards`; None switches one off). Each warns once."""

    def __init__(self, options: Mapping[str, Any], loss_is_scaled: bool = False):
        unknown = sorted(set(options) - set(DEFAULTS))
        if unknown:
            raise ValueError(f"train.guards has no option {unknown[0]!r}. Known: {', '.join(DEFAULTS)}.")
        self.limits = {**DEFAULTS, **options}
        self.watched = ["losses/total_loss"]
        if not loss_is_scaled:  # in fp16 a gradient may overflow: the scaler leaves the step out
            self.watched.append("policy/gradient_norm")
        if self.limits["action"] not in ("warn", "stop"):
            raise ValueError(f"train.guards: action is 'warn' or 'stop', not {self.limits['action']!r}.")
        for name in ("kl", "eos_rate", "length", "ratio"):
            limit = of_type(f"train.guards.{name}", self.limits[name], float | None)
            check_bounds(f"train.guards.{name}", limit, {"above": 0})
        self.first: dict[str, float] = {}  # of the first collection
        self.warned: list[str] = []

    def collection(self, stats: Mapping[str, float]) -> list[str]:
        """Return warnings about a collection's statistics. Raises `UserError` where the run is to stop."""
        rate, length = stats["rollouts/eos_rate"], stats["rollouts/response_length"]
        self.first = self.first or {"eos_rate": rate, "length": length}
        limits = self.limits
        found = {}
        if limits["kl"] is not None and abs(stats["policy/kl"]) > limits["kl"]:
            found["kl"] = f"the KL is {stats['policy/kl']:.1f} nats an episode (limit {limits['kl']})"
        if (
            limits["eos_rate"] is not None
            and self.first["eos_rate"] > 0.2
            and rate < limits["eos_rate"] * self.first["eos_rate"]
        ):
            found["eos_rate"] = (
                f"{rate:.0%} of the responses end by themselves, {self.first['eos_rate']:.0%} did at first"
            )
        if limits["length"] is not None and not 1 / limits["length"] > length / self.first["length"] > limits["length"]:
            found["length"] = f"responses have {length:.1f} tokens, {self.first['length']:.1f} at first"
        return self._tell(found)

    def update(self, stats: Mapping[str, float], step: int) -> list[str]:
        """Return warnings about an update's statistics. Always raises where loss or gradient is no number."""
        for name in self.watched:
            if not math.isfinite(stats[name]):
                raise UserError(
                    f"{name} is {stats[name]} at step {step}: lower optimizer.kwargs.lr, or set train.max_grad_norm; "
                    "the last checkpoint is untouched"
                )
        ratio, limit = stats["ratio"], self.limits["ratio"]
        if limit is not None and not 1 / limit <= ratio <= limit:
            return self._tell({"ratio": f"the mean ratio is {ratio:.2f} at step {step} (limit {limit})"})
        return []

    def _tell(self, found: Mapping[str, str]) -> list[str]:
        texts = [f"{text}; {ADVICE[name]}" for name, text in found.items() if name not in self.warned]
        if texts and self.limits["action"] == "stop":
            raise UserError(f"{texts[0]} (train.guards stops here; the last checkpoint is untouched)")
        self.warned += [name for name in found if name not in self.warned]
        return [f"warning: {text}" for text in texts]

    def state_dict(self) -> dict[str, Any]:
        return {"first": self.first, "warned": self.warned}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.first, self.warned = dict(state["first"]), list(state["warned"])
