"""All checks on a run: a row per finding, a row per healthy stage, and one line that says which stage is to blame."""

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from summarize_rlhf import UserError
from summarize_rlhf.doctor import checks_log, checks_ppo, checks_rm, checks_sft
from summarize_rlhf.doctor.evidence import STAGES, Run, load
from summarize_rlhf.doctor.finding import BROKEN, HEALTHY, SUSPECT
from summarize_rlhf.reading import reading

OWN = {"sft": checks_sft.CHECKS, "rm": checks_rm.CHECKS, "ppo": checks_ppo.CHECKS}
CHECKS = {stage: (*checks_log.CHECKS, *own) for stage, own in OWN.items()}
TITLES = {"sft": "SFT", "rm": "reward model", "ppo": "PPO"}

Row = dict[str, Any]  # stage, status, cause, evidence, next


def examine(run: Run) -> list[Row]:
    """Return what the checks find, stage by stage, what is broken first; a row without a cause for a healthy stage.

    Raises `UserError` for figures that no stage has written.
    """
    rows = []
    for stage in STAGES:
        evidence = getattr(run, stage)
        if evidence is None:
            continue
        with reading(evidence.directory, "figures of the stage in", "are they as the stage wrote them?"):
            found = [finding for check in CHECKS[stage] if (finding := check(evidence)) is not None]
        found.sort(key=lambda finding: finding.status != BROKEN)  # stable: the checks' order within a status
        rows += [{"stage": stage, **finding._asdict()} for finding in found]
        if not found:
            told = f"none of {len(CHECKS[stage])} checks found anything"
            rows.append({"stage": stage, "status": HEALTHY, "cause": None, "evidence": told, "next": None})
    return rows


def blamed(rows: Sequence[Row]) -> Row | None:
    """Return the row to act on first: the first that is broken, else the first suspect. Faults pass downstream."""
    for status in (BROKEN, SUSPECT):
        for row in rows:
            if row["status"] == status:
                return row
    return None


def in_a_line(rows: Sequence[Row]) -> str:
    """Say in one line what is to be done first, or that all is well."""
    row = blamed(rows)
    if row is None:
        stages = dict.fromkeys(TITLES[row["stage"]] for row in rows)
        return f"doctor: {', '.join(stages)} healthy"
    return f"doctor: {TITLES[row['stage']]} {row['status']}, {row['cause']}: {row['evidence']}. Next: {row['next']}"


def print_line(directory: str | Path) -> None:
    """Print `in_a_line` of a stage that has just ended, from its logs alone. A log that cannot be read says nothing."""
    with contextlib.suppress(UserError):
        print(in_a_line(examine(load([directory]))))
