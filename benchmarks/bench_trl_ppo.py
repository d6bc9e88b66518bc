"""Compare stage 3's iteration with TRL's last PPO (1.12.0) and torchtune's (0.6.1), each in its own environment.

    python benchmarks/bench_trl_ppo.py [--quick] [--threads 1 2] [--unfrozen -1]

The same Llama, the same prompts as token ids, the same reward model's weights, 64 rollouts of up to 50 tokens, four
PPO epochs, micro-batches of 4, 16 rollouts an update, samples and scores in chunks of 16. `--unfrozen 2` (as published,
8 of 28) trains only the top blocks on all sides, -1 everything. All three run in fp32 without activation checkpointing.
Otherwise their methods differ: ours groups prompts by length and keeps the frozen blocks' outputs; the others pad all
prompts to the longest one and have a value model of the policy's size. TRL steps its optimizer once an epoch, since it
accumulates over all micro-batches. Scoring the human summaries, once per run in ours, is not part of the iteration. A
short warm-up iteration does not count.
"""

import sys
from pathlib import Path

from transformers import AutoModelForSequenceClassification

from benchmarks import bench_ppo, measure, ppo_task
from benchmarks.raw import OURS
from reward_model.reward_model import RewardModel
from summarize_rlhf.tokenizer import load_tokenizer

HERE = Path(__file__).resolve().parent
TRL, TORCHTUNE = "TRL", "torchtune"


def write_task(folder: Path, unfrozen: int) -> None:
    """Write prompts as ids, and the reward model as a sequence classifier, which the others load."""
    tokenizer, rows = load_tokenizer(folder), bench_ppo.prompts_of(folder)
    ids = [tokenizer(row["prompt"]).input_ids for row in rows]
    config = bench_ppo.settings(folder, len(rows), unfrozen)
    ppo_task.Task(
        warm_up=ids[: bench_ppo.WARM_UP], prompts=ids[bench_ppo.WARM_UP :], new_tokens=bench_ppo.NEW,
        chunk=bench_ppo.CHUNK, micro_batch=bench_ppo.BATCH, accumulation=bench_ppo.ACCUMULATION,
        epochs=config.method.ppo_epochs, unfrozen=unfrozen, kl_coef=config.method.init_kl_coef,
        vf_coef=config.method.vf_coef, learning_rate=config.optimizer.kwargs["lr"],
    ).write(folder)  # fmt: skip
    reward_model = RewardModel.from_pretrained(folder / "rm")
    classifier = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=1)
    classifier.base_model.load_state_dict(reward_model.transformer.state_dict())
    classifier.score.load_state_dict(reward_model.v_head.state_dict())
    classifier.save_pretrained(folder / ppo_task.CLASSIFIER)


def python_of(given: Path | None, name: str) -> Path:
    """Return the Python of a library's environment; where there is none, exit with the command that makes it."""
    folder = HERE / f".venv-{name}"
    python = given or folder / "bin" / "python"
    if not python.is_file():
        sys.exit(
            f"no Python at {python}. To make one, from the repository's root:\n"
            f"    {make_command(name)}\nor name one with --{name}_python, or leave it out with --without {name}"
        )
    return python


def make_command(name: str) -> str:
    folder = f"benchmarks/.venv-{name}"
    return f"python -m venv {folder} && {folder}/bin/pip install -r benchmarks/requirements-{name}.txt"


def main() -> None:
    parser = measure.parser(__doc__)
    parser.set_defaults(family="llama")
    parser.add_argument("--rollouts", type=int, help="rollouts of the measured iteration; default 64, quick 16")
    parser.add_argument("--unfrozen", type=int, default=2, help="blocks trained, from the top; -1: all")
    parser.add_argument("--trl_python", type=Path, help="default: benchmarks/.venv-trl/bin/python")
    parser.add_argument("--torchtune_python", type=Path, help="default: benchmarks/.venv-torchtune/bin/python")
    parser.add_argument("--without", nargs="+", choices=["trl", "torchtune"], default=[], help="leave these out")
    args = parser.parse_args()
    rollouts = args.rollouts or (16 if args.quick else 64)
    if rollouts % bench_ppo.UPDATE:
        parser.error(f"--rollouts must be a multiple of {bench_ppo.UPDATE}, one update of TRL and torchtune")
    if args.family != "llama" and "torchtune" not in args.without:
        parser.error(f"--family {args.family}: torchtune has no such model; leave it out with --without torchtune")
    commands = {}
    if not args.side and "trl" not in args.without:
        commands[TRL] = [str(python_of(args.trl_python, "trl")), str(HERE / "ppo_by_trl.py")]
    if not args.side and "torchtune" not in args.without:
        commands[TORCHTUNE] = [str(python_of(args.torchtune_python, "torchtune")), str(HERE / "ppo_by_torchtune.py")]

    def work(folder: Path, side: str) -> dict[str, float]:
        return bench_ppo.ours(folder, bench_ppo.prompts_of(folder), args.unfrozen)

    def prepare(folder: Path) -> dict[str, object]:
        kind = bench_ppo.make(folder, rollouts, args.family, **({"layers": 4} if args.quick else {}))
        write_task(folder, args.unfrozen)
        return {"texts": kind, "rollouts": rollouts, "unfrozen": args.unfrozen}

    measure.compare(
        "trl_ppo", args, prepare, work, "iteration", (OURS, *commands), commands=commands, ratios=bench_ppo.PHASES
    )  # fmt: skip


if __name__ == "__main__":
    main()
