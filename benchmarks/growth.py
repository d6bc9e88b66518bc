"""Measure how time and memory grow with text length, batch size, trained blocks and rollouts.

    python benchmarks/growth.py [--quick] [--out FILE]

Prints one table for a training step of stage 1 (forward and backward pass on rows of equal length, so without padding),
one for an iteration of stage 3. Each cell runs in its own process, so peak memory is its own.
"""

import json
import sys
import tempfile
import time
from pathlib import Path

import torch

from benchmarks import bench_ppo, machine, measure, published, workload
from benchmarks.measure import Figures
from benchmarks.raw import OURS, PUBLISHED
from sft.loss import SupervisedLM
from summarize_rlhf.lm.weights import load_causal_lm
from summarize_rlhf.report import format_table

LENGTHS, BATCHES = (128, 256, 512, 1024), (1, 4, 16)
UNFROZEN, ROLLOUTS = (1, 2, 8), (16, 32, 64)


def training_step(folder: Path, side: str, length: int, batch: int) -> Figures:
    """Time a forward and a backward pass over (batch, length) tokens: the faster of two, after a warm-up."""
    ids = torch.randint(1, workload.VOCABULARY, (batch, length))
    if side == OURS:
        model = SupervisedLM(load_causal_lm(folder)).train()
        inputs = {"input_ids": ids, "labels": ids}
    else:
        model = published.load_model(folder).train()
        inputs = {"input_ids": ids, "labels": ids, "attention_mask": torch.ones_like(ids)}
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        model(**inputs)["loss"].backward()
        model.zero_grad()
        seconds.append(time.perf_counter() - start)
    return {"seconds": min(seconds[1:])}


def iteration(folder: Path, side: str, unfrozen: int, rollouts: int) -> Figures:
    rows = bench_ppo.prompts_of(folder)[: bench_ppo.WARM_UP + rollouts]
    return {"seconds": bench_ppo.one_side(folder, side, rows, unfrozen)["iteration"]}


CELLS = {"step": training_step, "iteration": iteration}


def row(folder: Path, what: str, names: tuple[str, str], values: tuple[int, int]) -> dict[str, object]:
    """Measure both sides at one setting."""
    ours, theirs = (
        measure.run(measure.this_script(side, ["--folder", str(folder), "--what", what, "--values", *map(str, values)]))
        for side in (OURS, PUBLISHED)
    )
    return dict(zip(names, values, strict=True)) | {
        "ours, s": ours["seconds"],
        "published, s": theirs["seconds"],
        "ratio": theirs["seconds"] / ours["seconds"],
        "ours, GB": ours["peak_rss_gb"],
        "published, GB": theirs["peak_rss_gb"],
    }


def main() -> None:
    parser = measure.parser(__doc__)
    parser.add_argument("--what", choices=list(CELLS), help="one cell")
    parser.add_argument("--values", type=int, nargs=2)
    args = parser.parse_args()
    if args.side:
        figures = CELLS[args.what](args.folder, args.side, *args.values)
        print(json.dumps({**figures, "peak_rss_gb": machine.peak_gb()}))
        return
    busy = measure.check_idle()
    lengths, batches = (LENGTHS, BATCHES) if not args.quick else ((64, 128), (2,))
    unfrozen, rollouts = (UNFROZEN, ROLLOUTS) if not args.quick else ((1,), (bench_ppo.UPDATE,))
    shape = {"layers": 2} if args.quick else {}
    with tempfile.TemporaryDirectory() as folder:
        bench_ppo.make(Path(folder), max(rollouts), args.family, **shape)
        names = ("tokens a row", "rows")
        steps = [row(Path(folder), "step", names, (t, b)) for t in lengths for b in batches]
        print(f"\nStage 1, forward and backward pass\n{format_table(steps)}", flush=True)
        names = ("blocks trained", "rollouts")
        middle = rollouts[len(rollouts) // 2]
        pairs = [(k, middle) for k in unfrozen] + [(2, n) for n in rollouts if n != middle]
        iterations = [row(Path(folder), "iteration", names, pair) for pair in pairs]
        print(f"\nStage 3, an iteration\n{format_table(iterations)}")
    record = {"bench": "growth", "step": steps, "iteration": iterations, "machine": measure.machine() | {"busy": busy}}
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(record), file=sys.stdout)


if __name__ == "__main__":
    main()
