"""Tables of docs/scale.md: what two hosts have sent, from their raw file, and what that predicts for GPUs."""

from typing import Any

from benchmarks import raw, traffic
from summarize_rlhf.report import format_table

FOLDER = "docs/results/scale"
NUMBER = 4  # bytes, fp32
HARDLY = 0.01  # bytes a weight that are not worth a word: of losses, counts and norms
SENT = ("over the cable, MB", "a process sends, MB", "by the papers, MB", "sent / papers")
SENT += ("collectives, times the weights", "sent / rings")
STAGES = {"sft": "SFT", "rm": "reward model", "ppo": "PPO"}
# GPUs and rows of a global batch: as published, one row a GPU, and 16 rows a GPU as on 8 GPUs
RUNS = ((8, 128), (64, 128), (512, 128), (512, 512), (512, 8192))


def two_hosts() -> str:
    """Format each run beside the one on a single process, and its bytes beside what rings would send."""
    record = raw.load("two_hosts", FOLDER)
    runs = record["runs"]
    alone = {run["stage"]: run for run in runs if run["hosts"] == run["processes"] == 1}
    settings, machine = record["settings"], record["machine"]
    commits = ", ".join(f"`{commit[:10]}`" for commit in sorted({run["commit"] for run in runs}))
    counts = {STAGES[stage]: (run["weights"], run["trained"]) for stage, run in alone.items()}
    weights = "; ".join(f"{stage} {n / 1e6:.2f} M weights, {k / 1e6:.2f} M trained" for stage, (n, k) in counts.items())
    lines = [row(run, alone[run["stage"]]) for run in runs]
    lines += [collection(run) for run in runs if "collection" in run and run["zero"] == 3]
    return (
        f"{format_table(lines)}\n\n{weights}; fp32, "
        f"{settings['batch']['sft']} rows of {settings['tokens']} tokens (pairs: of two such texts) in each of "
        f"{settings['steps']} steps, without the first. `{record['command']}`; commit {commits}; "
        f"{machine['hardware']}, one thread a process; torch {machine['versions']['torch']}, deepspeed "
        f"{machine['versions']['deepspeed']}. Others took the named share of the machine meanwhile. Raw file: "
        f"[two_hosts]({FOLDER}/two_hosts.json)."
    )


def row(run: dict[str, Any], alone: dict[str, Any]) -> dict[str, str]:
    """Return a run's line of the table. A process sends what leaves the hosts, and what stays in them, over all."""
    processes = run["hosts"] * run["processes"]
    line = {
        "stage": STAGES[run["stage"]],
        "hosts × processes": f"{run['hosts']} × {run['processes']}",
        "scheme": traffic.SCHEMES[run["zero"]],
        "losses differ by": f"{difference(run, alone):.1e}",
        "tokens/s": f"{run['tokens_per_s']:.0f}",
        "others took": "" if run["others"] is None else f"{run['others']:.0%}",
        "peak of a process, MB": f"{max(run['peak']) / 1e6:.0f}",
    }
    if processes == 1:
        return line | {"scheme": "one process", "losses differ by": ""} | dict.fromkeys(SENT, "")
    counted = run["collectives"]
    paper = NUMBER * traffic.sent(line["scheme"], processes, run["weights"], run["trained"])
    rings = (processes - 1) / processes * sum(traffic.UNITS[kind] * n for kind, n in counted.items())
    sent = sum(run["cable"] + run["loopback"]) / processes
    times = [f"{kind} {n / NUMBER / run['weights']:.2f}" for kind, n in counted.items() if n > HARDLY * run["weights"]]
    figures = (f"{x / 1e6:.1f}" for x in (max(run["cable"]), sent, paper))
    return line | dict(
        zip(SENT, (*figures, f"{sent / paper:.2f}", ", ".join(times), f"{sent / rings:.2f}"), strict=True)
    )


def collection(run: dict[str, Any]) -> dict[str, str]:
    """Return a PPO run's line for its collections, of which the papers say nothing."""
    line = row(run | run["collection"], run) | {"stage": f"{STAGES['ppo']}, a collection"}
    return line | dict.fromkeys(("losses differ by", "peak of a process, MB", "by the papers, MB", "sent / papers"), "")


def difference(run: dict[str, Any], alone: dict[str, Any]) -> float:
    """Return the largest difference between the losses of two runs, step by step, over the latter's mean size.

    A single loss of PPO may be close to nothing.
    """
    size = sum(map(abs, alone["losses"])) / len(alone["losses"])
    pairs = zip(run["losses"], alone["losses"], strict=True)
    return max(abs(loss - expected) for loss, expected in pairs) / size


def on_the_wire() -> str:
    """Format what a GPU sends in a step, and how long that takes."""
    rows = [
        {
            "GPUs": gpus,
            "scheme": scheme,
            "by the papers, GB": f"{paper(scheme, gpus) / 1e9:.1f}",
            "as DeepSpeed does it, GB": f"{traffic.bytes_of(scheme, gpus) / 1e9:.1f}",
            "by the papers, ms": f"{1e3 * traffic.seconds_to_send(paper(scheme, gpus), gpus):.0f}",
            "as DeepSpeed does it, ms": f"{1e3 * traffic.step(scheme, gpus).wire:.0f}",
        }
        for gpus in sorted({gpus for gpus, _ in RUNS})
        for scheme in traffic.SCHEMES
    ]
    return f"{format_table(rows)}\n\n{assumptions()}"


def paper(scheme: str, gpus: int) -> float:
    """Return the bytes that a GPU would send in a step of the run by the papers."""
    return traffic.WIRE * traffic.sent(scheme, gpus, traffic.WEIGHTS, traffic.WEIGHTS)


def efficiency() -> str:
    """Format which share of the GPUs' time is computation, without and with overlap."""
    rows = []
    for gpus, batch in RUNS:
        steps = {scheme: traffic.step(scheme, gpus, batch) for scheme in traffic.SCHEMES}
        one = steps["DDP"]
        row = {"GPUs": gpus, "global batch": batch, "GPUs with rows": f"{one.busy * gpus:.0f}"}
        row |= {"rows of each": f"{batch / (one.busy * gpus):.0f}", "computes, ms": f"{1e3 * one.compute:.0f}"}
        shares = {scheme: (step.without_overlap, step.with_overlap) for scheme, step in steps.items()}
        rows.append(row | {scheme: f"{low:.2f} to {high:.2f}" for scheme, (low, high) in shares.items()})
    return format_table(rows)


def assumptions() -> str:
    """State each constant of traffic.py."""
    return (
        f"Assumed: {traffic.WEIGHTS / 1e9:.2f}e9 weights, {traffic.BLOCKS} blocks × {traffic.WIDTH}, rows of "
        f"{traffic.TOKENS} tokens, one micro-batch a step; {traffic.WIRE} bytes a number on the wire (bf16, gradients "
        f"and weights); {traffic.PEAK / 1e12:.0f} TFLOP/s a GPU in dense bf16 (H100, H200), of which 6 · weights · "
        f"tokens and attention reach {traffic.MFU}; nodes of {traffic.NODE} GPUs and as many network cards; "
        f"{traffic.INSIDE / 1e9:.0f} GB/s that a GPU sends over NVLink, {traffic.BETWEEN / 1e9:.0f} GB/s that a "
        f"network card sends; links reach that. Left out: {traffic.LEFT_OUT}. `benchmarks/traffic.py`."
    )
