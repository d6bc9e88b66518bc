"""Plans as a table."""

from typing import Any

from summarize_rlhf.plan.advice import CONTEXT, GB, PROCESS
from summarize_rlhf.report import format_table

KINDS = ("weights", "gradients", "optimizer", "buckets", "activations")


def table(plans: list[dict[str, Any]]) -> str:
    """Format plans, as they are recorded: GB of each GPU by kind, and of main memory in all.

    Without GPUs, the kinds are those of a process's main memory.
    """
    rows = []
    for plan in plans:
        on_cpu = plan["size"] is None
        kinds = dict(plan["host" if on_cpu else "gpu"]["kinds"])
        given = {kind: f"{kinds.pop(kind, 0) / GB:.1f}" for kind in KINDS}
        rows.append(
            {
                "stage": plan["stage"],
                "GPUs": f"{plan['gpus']} × {'CPU' if on_cpu else format(plan['size'], 'g')}",
                "rows": plan["batch"],
                **given,
                "others": f"{sum(kinds.values()) / GB:.1f}",
                "each GPU": "" if on_cpu else f"{(plan['gpu']['bytes'] + CONTEXT) / GB:.1f}",
                "main memory": f"{plan['processes'] * (plan['host']['bytes'] + PROCESS) / GB:.1f}",
                "fits": "yes" if plan["fits"] else "no",
            }
        )
    return format_table(rows)
