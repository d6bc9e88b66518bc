"""Tables of docs/speed.md and the line of README "Speed", each from raw files alone; says what is not measured yet."""

import statistics

from benchmarks import raw
from benchmarks.raw import BUSY, OURS, PUBLISHED, Record, spread
from summarize_rlhf.report import format_table

Row = dict[str, object]
MISSING = "Not measured with this version yet."
# raw file, what it is, its figure, unit
STAGES = (
    ("rm_1_epoch", "reward model, 1 epoch", "pairs_per_s", "pairs/s"),
    ("sft", "SFT, real tokens a second", "tokens_per_s", "tok/s"),
    ("ppo", "PPO iteration of {rollouts} rollouts", "iteration", "s"),
    ("rm", "reward model, 5 epochs", "pairs_per_s", "pairs/s"),
)
LEAD = STAGES[:3]  # the last one rests on a cache that the published size exceeds: `trunk_cache`
PHASES = ("generate", "reward", "policy + reference", "optimise")
LIMITS = (
    ("sft", "SFT", "tokens_per_s"),
    ("rm_1_epoch", "reward model, 1 epoch", "pairs_per_s"),
    *(("ppo", f"PPO: {phase}", phase) for phase in PHASES),
)
LIBRARIES = (("trl_ppo", "top 2 of 8 blocks trained"), ("trl_ppo_all", "all blocks trained"))


def speed() -> str:
    """Say how many times faster each stage is, in a sentence for the README."""
    shown, threads = [], set()
    for name, what, figure, _ in LEAD:
        record = raw.read(name)
        most = max(record.threads())
        threads.add(_threads(most))
        shown.append(f"{_title(record, what)} {spread(record.times_faster(PUBLISHED, most, figure))}")
    return (
        f"Times faster than the published way of working, same model and texts, {', '.join(sorted(threads))} (median "
        f"and range): {'; '.join(shown)}. {origin(*(name for name, *_ in LEAD))}"
    )


def stages() -> str:
    rows = []
    for name, what, figure, unit in STAGES:
        record = raw.read(name)
        for threads in record.threads():
            row = {"": _title(record, what), "threads": threads} | _medians(record, threads, figure, unit)
            rows.append(row | _faster(record, threads, figure) | {"memory, GB": _memory(record, threads)})
    settings = raw.read("rm_1_epoch").raw["settings"]
    ours = settings.get("micro-batch of ours", settings["update"])
    pairs = f"The reward model takes {settings['update']} pairs an update: ours {ours} a forward pass, published 1."
    return f"{format_table(_even(rows))}\n\n{pairs} {trunk_cache()}\n\n{origin(*(name for name, *_ in STAGES))}"


def trunk_cache() -> str:
    """Explain the assumption of the row with five epochs, at the published size."""
    cache = raw.load("trunk_cache")
    return (
        f"Over five epochs the frozen blocks run once and their outputs are kept on disk. With GPT-J 6B and the "
        f"published pairs these take about {cache['gigabytes']:.0f} GB ({cache['train pairs']:,} pairs and the "
        f"{cache['test pairs']:,} of the evaluation × {cache['tokens a pair']:.0f} tokens × {cache['hidden']:,} "
        f"numbers of {cache['bytes']} bytes), and `--trunk_cache_gb` allows {cache['limit, GB']:.0f} GB by default: "
        f"unless you raise it, each epoch there costs what the first one does."
    )


def phases() -> str:
    record = raw.read("ppo")
    rows = [
        {"phase": phase, "threads": threads} | _medians(record, threads, phase, "s") | _faster(record, threads, phase)
        for phase in PHASES
        for threads in record.threads()
    ]
    rollouts, threads = record.raw["settings"]["rollouts"], max(record.threads())
    seconds = record.median(OURS, threads, "references")  # the human summaries, in the raw files' word
    text = f"Scoring the human summaries, once per run: {seconds:.2f} s for these {rollouts} rows, {_threads(threads)}."
    return f"{format_table(_even(rows))}\n\n{text} {origin('ppo')}"


def limit() -> str:
    """Compare our rate with the matrix rate of the same process."""
    rows = []
    for name, what, figure in LIMITS:
        record, row = raw.read(name), {"10⁹ operations a second, of the machine's": what}
        for threads in record.threads() if record.raw.get("gflop") else ():
            done = statistics.median(record.gflops(threads, figure))
            peak = record.median(OURS, threads, "matrix_gflops")
            shares = [100 * share for share in record.shares(threads, figure)]
            row[_threads(threads)] = f"{done:.0f} of {peak:.0f}: {spread(shares, 0)} %"
        rows.append(row)
    rows = [row for row in rows if len(row) > 1]
    if not rows:
        return MISSING
    names = dict.fromkeys(name for name, *_ in LIMITS)
    return f"{format_table(_even(rows))}\n\n{origin(*names)}"


def libraries() -> str:
    """Compare TRL's and torchtune's PPO with ours: iteration and memory, then phases."""
    names = [name for name, _ in LIBRARIES if raw.exists(name)]
    if not names:
        return MISSING
    rows, by_phase = [], []
    for name, what in LIBRARIES:
        record = raw.read(name) if name in names else None
        for threads in record.threads() if record else ():
            row = {"an iteration": what, "threads": threads} | _medians(record, threads, "iteration", "s")
            rows.append(row | _faster(record, threads, "iteration") | {"memory, GB": _memory(record, threads)})
            by_phase += [
                {"phase": phase, "trained": what, "threads": threads} | _medians(record, threads, phase, "s")
                for phase in PHASES
                if threads == max(record.threads())
            ]
    tables = f"{format_table(_even(rows))}\n\n{format_table(_even(by_phase))}"
    order = "Memory is in the order of the columns."
    return f"{tables}\n\n{order} {origin(*names)}"


TRL = {
    f"trl_{stage}_{family}{attention}": f"{title}, {shown}{' under eager attention' if attention else ''}"
    for stage, title in (("sft", "SFT"), ("rm", "reward model, 1 epoch"))
    for family, shown, attention in (
        ("gptj", "GPT-J", ""), ("gptj", "GPT-J", "_eager"), ("gpt_neox", "GPT-NeoX", ""), ("llama", "Llama", ""),
    )
}  # fmt: skip


def trl() -> str:
    figures, rows = {"sft": ("tokens_per_s", "tok/s"), "rm": ("pairs_per_s", "pairs/s")}, []
    for name, what in TRL.items():
        record, (figure, unit) = raw.read(name), figures[name.split("_")[1]]
        for threads in record.threads():
            row = {"": what, "threads": threads} | _medians(record, threads, figure, unit)
            rows.append(row | _faster(record, threads, figure) | {"memory, GB": _memory(record, threads)})
    return f"{format_table(_even(rows))}\n\n{origin(*TRL)}"


def head() -> str:
    """Compare our loss over the vocabulary with torch's, by CPU time and peak memory of the process."""
    if not raw.exists("head"):
        return MISSING
    record, rows = raw.read("head"), []
    (threads,), settings = record.threads(), record.raw["settings"]
    for side in record.sides():
        faster = "" if side == OURS else spread(record.times_faster(side, threads, "tokens_per_s"))
        row = {"way": side, "tokens a second": _short(record.median(side, threads, "tokens_per_s"))}
        memory = f"{record.median(side, threads, 'peak_rss_gb'):.2f}"
        rows.append(row | {"ours, times faster": faster, "memory, GB": memory})
    sizes = ", ".join(f"{name} {value:,}" for name, value in settings.items())
    return f"{format_table(rows)}\n\n{sizes[0].upper()}{sizes[1:]}; seconds of CPU time. {origin('head')}"


def growth() -> str:
    record = raw.load("growth")
    return "\n\n".join(
        [
            "A training step of stage 1 (forward and backward pass; every row is as long as said):",
            format_table(record["step"]),
            "An iteration of stage 3:",
            format_table(record["iteration"]),
            origin("growth"),
        ]
    )


def origin(*names: str, folder: str = raw.FOLDER) -> str:
    """State commit, machine and versions of raw files, link them, and say whether others used the machine."""
    files = {name: raw.load(name, folder) for name in names}
    machines = [found["machine"] for found in files.values()]
    commits = ", ".join(sorted({f"`{machine['commit'][:10]}`" for machine in machines}))
    hardware = "; ".join(
        sorted({f"{machine['hardware']}, threads: {_list(machine['threads'])}" for machine in machines})
    )
    libraries = {f"torch {m['versions']['torch']}, transformers {m['versions']['transformers']}" for m in machines}
    links = ", ".join(f"[{name}]({folder}/{name}.json)" for name in names)
    shares = [Record(found).busy() if "runs" in found and "bench" in found else None for found in files.values()]
    most = max((share for share in shares if share is not None), default=0.0)
    busy = f" The machine was not idle: others took up to {most:.0%} of it." if most > BUSY else ""
    return f"Commit {commits}; {hardware}; {'; '.join(sorted(libraries))}.{busy} Raw files: {links}."


def _title(record: Record, what: str) -> str:
    return what.format(**record.raw["settings"])


def _medians(record: Record, threads: int, figure: str, unit: str) -> Row:
    return {side: f"{_short(record.median(side, threads, figure))} {unit}" for side in record.sides()}


def _faster(record: Record, threads: int, figure: str) -> Row:
    others = [side for side in record.sides() if side != OURS]
    return {
        "times faster" if len(others) == 1 else f"times faster than {other}": spread(
            record.times_faster(other, threads, figure)
        )
        for other in others
    }


def _memory(record: Record, threads: int) -> str:
    return " : ".join(f"{record.median(side, threads, 'peak_rss_gb'):.2f}" for side in record.sides())


def _even(rows: list[Row]) -> list[Row]:
    """Give all rows the columns of any of them, in the order of the row with most."""
    columns = dict.fromkeys(column for row in sorted(rows, key=len, reverse=True) for column in row)
    return [{column: row.get(column, "") for column in columns} for row in rows]


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _threads(number: int) -> str:
    return f"{number} thread{'s' if number > 1 else ''}"


def _list(numbers: int | list[int]) -> str:
    return " and ".join(map(str, numbers)) if isinstance(numbers, list) else str(numbers)
