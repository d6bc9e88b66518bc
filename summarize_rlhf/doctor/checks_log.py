"""Any stage: what goes wrong with its log as a whole, a function per cause. None: nothing speaks for it."""

from summarize_rlhf.doctor.evidence import PPO, RM, SFT
from summarize_rlhf.doctor.finding import BROKEN, SUSPECT, Finding


def diverged(stage: SFT | RM | PPO) -> Finding | None:
    """A figure that is no finite number: whatever was trained after it is worth nothing."""
    if stage.log.not_finite is None:
        return None
    remedy = "divide the learning rate by 3 to 10, and train in bf16 or fp32 where it was fp16"
    return Finding(BROKEN, "diverged", stage.log.not_finite, remedy)


def nothing_logged(stage: SFT | RM | PPO) -> Finding | None:
    """No log: the other checks have next to nothing to look at, and a clean bill would say nothing."""
    if not stage.log.empty:
        return None
    text = f"{stage.directory} has no metrics.jsonl, or no figure in it: most checks have nothing to look at"
    return Finding(
        SUSPECT, "nothing_logged", text, "name the directory that the stage wrote, not a copy of its weights"
    )


CHECKS = (diverged, nothing_logged)
