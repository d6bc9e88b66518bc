"""Compare plans with measured peaks: three stages of four families, each by its launcher on one process without a GPU.

    python benchmarks/plan_peaks.py [--only gptj/sft gptj/sft/zero3 …] [--out docs/results/scale/peaks.json]

Each stage trains for two optimizer steps on rows of full length, and does all else that a run does: it evaluates, saves
and writes its directory. `stage_peak.py` measures main memory. Plans are made from the same settings. With `--only` the
results of earlier runs in the file stay. GPT-J's stages also run on two processes under ZeRO-3, of which the first one
is measured, and with an adapter that alone is trained (LoRA).
"""

import argparse
import json
import os
import random
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import torch
from transformers import AutoModelForCausalLM

from benchmarks import measure, workload
from reward_model.reward_model import RewardModel
from summarize_rlhf.data import write_rows
from summarize_rlhf.handover import run_record, save_run
from summarize_rlhf.plan.measuring import Measured, config_of, prepare
from summarize_rlhf.plan.setups import STAGES, Setup, peft_config
from summarize_rlhf.report import format_table
from summarize_rlhf.tokenizer import load_tokenizer

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent
FAMILIES = ("gptj", "gpt_neox", "llama", "qwen3")
ZERO_3 = "configs/deepspeed/zero3.json"  # on two processes
LORA = {"lora_r": 8, "lora_dropout": 0.1}
SHAPE = {"layers": 8, "width": 768, "heads": 12}  # 60 M weights
WORDS = "cat sister boss car moved broke lost found asked wants money house train week never again today".split()  # noqa: SIM905
TOKENS, SUMMARY, RESPONSE = 250, 90, 16  # of a row, of a summary in words, of a response
COMMON = {"max_length": TOKENS, "max_steps": 2, "eval_steps": 2, "report_to": "none"}
PPO = {
    "method.num_rollouts": 16, "method.chunk_size": 8, "method.ppo_epochs": 1, "model.num_layers_unfrozen": 2,
    "method.gen_kwargs": {"max_new_tokens": RESPONSE},
}  # fmt: skip
BATCH = {"sft": 4, "rm": 2, "ppo": 4}
CHECKPOINTING = {"sft": True, "rm": False, "ppo": False}


class Case(NamedTuple):
    """One run."""

    family: str
    stage: str
    zero_3: bool = False
    lora: bool = False

    @property
    def name(self) -> str:
        return f"{self.family}/{self.stage}{'/zero3' if self.zero_3 else ''}{'/lora' if self.lora else ''}"

    @property
    def processes(self) -> int:
        return 2 if self.zero_3 else 1


CASES = [Case(family, stage) for family in FAMILIES for stage in STAGES]
CASES += [Case("gptj", stage, zero_3=True) for stage in STAGES]
CASES += [Case("gptj", stage, lora=True) for stage in STAGES]


def words(rng: random.Random, count: int) -> str:
    return " ".join(rng.choices(WORDS, k=count))


def make(
    folder: Path, family: str, count: int = 16, shape: dict[str, int] = SHAPE, dtype: torch.dtype = torch.float32
) -> None:
    """Write `count` rows whose posts are longer than a row may be, and in `dtype` a model and a reward model."""
    rng = random.Random(0)
    rows = [
        {"prompt": f"SUBREDDIT: r/pets\nTITLE: {words(rng, 5)}\nPOST: {words(rng, 2 * TOKENS)}\nTL;DR:",
         "label": words(rng, SUMMARY)} for _ in range(count)
    ]  # fmt: skip
    pairs = [workload.as_pair(row["prompt"], row["label"], words(rng, SUMMARY)) for row in rows]
    for name in ("tldr", "pairs", "rm"):
        (folder / name).mkdir()
    for split in ("train", "valid", "test"):
        write_rows(folder / f"tldr/{split}.jsonl", rows[: count if split == "train" else 4])
        write_rows(folder / f"pairs/{split}.jsonl", pairs[: count if split == "train" else 4])
    workload.make(folder / "model", rows, family, **shape)
    tokenizer = load_tokenizer(folder / "model")
    model = AutoModelForCausalLM.from_pretrained(folder / "model", dtype=dtype)
    if dtype != torch.float32:
        model.save_pretrained(folder / "model")
    save_run(folder / "model", run_record("sft", {}, tokenizer, 0, TOKENS, {}))
    RewardModel(model.base_model).save(folder / "rm")
    tokenizer.save_pretrained(folder / "rm")
    save_run(folder / "rm", run_record("rm", {}, tokenizer, 0, TOKENS, {}))


def free_port() -> str:
    """Return a port that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def launch(case: Case, folder: Path) -> list[str]:
    """Return the launch of a case, with `stage_peak.py` as its script."""
    stage, script, out = case.stage, str(ROOT / "benchmarks/stage_peak.py"), str(folder / "out" / case.name)
    if stage == "ppo":
        values = {
            "model.model_path": str(folder / "model"), "task.reward_model": str(folder / "rm"),
            "task.dataset": str(folder / "tldr"), "train.checkpoint_dir": out, "train.tracker": None,
            "train.seq_length": TOKENS, "train.batch_size": BATCH[stage], "train.epochs": 2, **PPO,
        }  # fmt: skip
        if case.lora:
            values["model.peft_config"] = peft_config(setup_of(case, folder))
        config = "configs/accelerate/8gpus_zero3.yaml" if case.zero_3 else "configs/default_accelerate_config.yaml"
        start = [str(BIN / "accelerate"), "launch", "--main_process_port", free_port()]
        start += ["--config_file", str(ROOT / config), "--num_processes", str(case.processes)]
        return [*start, script, json.dumps(values)]
    own = {
        "sft": {"dataset": folder / "tldr", "rouge_rows": 2},
        "rm": {"dataset": folder / "pairs", "card_pairs": 0, "trunk_cache_gb": 0},
    }
    values = {"model": folder / "model", "output_dir": out, **COMMON, **own[stage]}
    values |= {"per_device_train_batch_size": BATCH[stage], "per_device_eval_batch_size": BATCH[stage]}
    values |= {"global_batch_size": 2 * case.processes * BATCH[stage], "gradient_checkpointing": CHECKPOINTING[stage]}
    values |= LORA if case.lora else {}
    if case.zero_3:
        values["deepspeed_config"] = ROOT / ZERO_3
    flags = [word for name, x in values.items() for word in (f"--{name}", str(x))]
    start = [str(BIN / "deepspeed"), "--master_port", free_port(), "--num_gpus", str(case.processes)]
    return [*start, script, *flags]


def peak_of(case: Case, folder: Path) -> dict[str, int]:
    """Run a case; return what `stage_peak.py` wrote: bytes before it loaded a weight, and at most."""
    file = folder / "peak.json"
    file.unlink(missing_ok=True)
    given = {"STAGE": case.stage, "PEAK": str(file), "PYTHONPATH": f"{ROOT}:{os.environ.get('PYTHONPATH', '')}"}
    given |= dict.fromkeys(("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"), str(2**16)) | {"MALLOC_ARENA_MAX": "1"}
    done = subprocess.run(launch(case, folder), cwd=folder, env=os.environ | given, capture_output=True, text=True)
    if not file.is_file():
        sys.exit(f"{done.stdout[-2000:]}{done.stderr[-4000:]}\n{case.name} in {folder} was not measured")
    return json.loads(file.read_text(encoding="utf-8"))


def setup_of(case: Case, folder: Path) -> Setup:
    return Setup(
        stage=case.stage, gpus=case.processes, size=None, precision="fp32", offload=False, batch=BATCH[case.stage],
        checkpointing=CHECKPOINTING[case.stage], tokens=TOKENS, file=ZERO_3 if case.zero_3 else None,
        overrides=json.dumps(PPO), reward_model=str(folder / "rm"), keeps_trunk=False,
        **(LORA if case.lora else {}),
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", metavar="FAMILY/STAGE", choices=[case.name for case in CASES])
    parser.add_argument("--out", type=Path, default=ROOT / "docs/results/scale/peaks.json")
    args = parser.parse_args()
    known = json.loads(args.out.read_text(encoding="utf-8"))["runs"] if args.only and args.out.is_file() else []
    found = {Case(**{name: run[name] for name in Case._fields if name in run}).name: run for run in known}
    machine = measure.machine()
    prepare()
    for family in FAMILIES:
        chosen = [case for case in CASES if case.family == family and (not args.only or case.name in args.only)]
        if not chosen:
            continue
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            make(folder, family, dtype=torch.bfloat16)  # in fp32 the file would stay mapped, and its pages not count
            planner = Measured(config_of(str(folder / "model")))
            for case in chosen:
                plan, peak = planner(setup_of(case, folder)).host, peak_of(case, folder)
                measured = peak["most"] - peak["before"]
                run = {**case._asdict(), "planned": plan.bytes, "measured": measured}
                run |= {"ratio": plan.bytes / measured, **peak, "kinds": plan.kinds}
                found[case.name] = run | {"commit": machine["commit"]}
                print(format_table([{k: x for k, x in run.items() if k != "kinds"}]), plan.kinds, flush=True)
                settings = SHAPE | {"tokens": TOKENS, "batch": BATCH, "checkpointing": CHECKPOINTING, "lora": LORA}
                record = {"command": "python benchmarks/plan_peaks.py", "settings": settings, "machine": machine}
                text = json.dumps(record | {"runs": [found[x.name] for x in CASES if x.name in found]}, indent=2)
                args.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
