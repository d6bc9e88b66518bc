"""Will it fit? Each stage's own step is run on fake tensors, and the memory that it takes is added up.

    python -m summarize_rlhf.plan --model EleutherAI/gpt-j-6B --gpus 2x24 --stage ppo

prints what a stage needs on each GPU and in main memory, the command that starts it so, and, where it does not fit, the
nearest configuration that does. "Others" are reference, reward model, keys, values and kept trunks. A model's config is
all that is read. The figures are those of the longest rows that the settings allow. A GB is 1e9 bytes.
"""

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from summarize_rlhf import UserError
from summarize_rlhf.lm.weights import check_positions
from summarize_rlhf.plan.advice import GB, filled, nearest, needs
from summarize_rlhf.plan.measuring import DEFAULT, Measured, check_settings, config_of, prepare
from summarize_rlhf.plan.setups import LORA, STAGES, Setup, command, devices_in, flags
from summarize_rlhf.plan.table import table
from summarize_rlhf.run.arguments import knob, parse_arguments
from summarize_rlhf.run.deepspeed_config import sections_of
from summarize_rlhf.run.errors import main_guard
from summarize_rlhf.run.files import check_results_dir, write_file
from summarize_rlhf.run.overrides import read_overrides
from summarize_rlhf.versions import commit, versions

BATCH = {"sft": 16, "rm": 1, "ppo": 4}


@dataclass
class PlanArguments:
    model: str = knob(DEFAULT, "directory with a config.json, or Hub id")
    gpus: str = knob(
        "1x80", "number and size in GB of the GPUs, such as 2x24, or 1xcpu for a process without; several with commas"
    )
    stage: str = knob("all", "sft, rm, ppo or all", choices=[*STAGES, "all"])
    host: float | None = knob(None, "main memory in GB; None: this machine's", above=0)
    precision: str | None = knob(
        None, "what is trained in; None: bf16, without GPUs fp32", choices=["bf16", "fp16", "fp32"]
    )
    offload: bool = knob(True, "keep the optimizer in main memory, as published; with a DeepSpeed file as that says")
    batch: int | None = knob(
        None, "rows (RM: pairs, PPO: rollouts) in a forward pass; None: the stage's default", least=1, most=4096
    )
    gradient_checkpointing: bool | None = knob(None, "recompute activations; None: the stage's default")
    max_length: int = knob(550, "tokens of the longest rows", least=1)
    deepspeed_config: str | None = knob(None, "DeepSpeed file; None: the stage's own")
    trainable_fraction: float = knob(0.3, "RM: share of blocks trained, from the top", least=0)
    trunk_cache_gb: float = knob(
        64.0, "RM: as its stage has it; 0: no pass over the frozen blocks before training", least=0
    )
    overrides: str = knob("{}", "PPO: further settings, as JSON of dotted names, or a file of them")
    reward_model: str | None = knob(
        None, "PPO: directory or Hub id with its config; None: as large as the policy; elsewhere: on another GPU"
    )
    lora_r: int = knob(0, "rank of a LoRA adapter that alone is trained; 0: none", least=0)
    lora_dropout: float = knob(0.0, "dropout of the adapter's input", least=0, below=1)
    lora_target_modules: str | None = knob(None, "layers that get an adapter, with commas; None: the stages' choice")
    merge_adapter: bool = knob(False, "SFT, RM: write a whole model, the adapter merged into it")
    advise: bool = knob(True, "look for the nearest configuration that fits")
    json: str | None = knob(None, "also write what was found to this file")


def setup_of(args: PlanArguments, stage: str, gpus: str) -> Setup:
    """Return what decides the memory of a stage on some GPUs, such as 2x24. Raises `UserError` for others."""
    count, size = devices_in(gpus)
    if size is None and args.precision == "fp16":
        raise UserError("--precision fp16 is for GPUs (no CPU trains in it): take bf16 or fp32")
    return Setup(
        stage=stage,
        gpus=count,
        size=size,
        precision=args.precision or ("fp32" if size is None else "bf16"),
        offload=args.offload and size is not None and offloads(args.deepspeed_config),
        batch=args.batch or BATCH[stage],
        checkpointing=stage == "sft" if args.gradient_checkpointing is None else args.gradient_checkpointing,
        tokens=args.max_length,
        file=args.deepspeed_config,
        trainable_fraction=args.trainable_fraction,
        keeps_trunk=args.trunk_cache_gb > 0,
        overrides=json.dumps(read_overrides(args.overrides)),
        reward_model=args.reward_model,
        **{name: getattr(args, name) for name in LORA},
    )


def offloads(file: str | None) -> bool:
    """Whether a DeepSpeed file keeps the optimizer in main memory; a stage's own does (None)."""
    return file is None or "offload_optimizer" in sections_of(file).get("zero_optimization", {})


def host_memory() -> float:
    """Return this machine's main memory in bytes."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


@main_guard
def main() -> None:
    args = parse_arguments(PlanArguments, about=__doc__)
    config = config_of(args.model)
    check_positions(config, args.max_length, "--max_length")
    host = host_memory() if args.host is None else args.host * GB
    stages = STAGES if args.stage == "all" else (args.stage,)
    setups = [setup_of(args, stage, gpus) for gpus in args.gpus.split(",") for stage in stages]
    for setup in setups:
        if setup.stage == "ppo":
            check_settings(setup)
    if args.json is not None:
        if Path(args.json).is_dir():
            raise UserError(f"--json {args.json} is a directory: name a file")
        check_results_dir(Path(args.json).parent, "--json")
    prepare()
    measured, plans, told = Measured(config), [], []

    def need(setup: Setup) -> dict[str, tuple[float, float]]:
        found = measured(setup)
        return needs(setup, found.gpu.bytes, found.host.bytes, host)

    def fits(setup: Setup) -> bool:
        return filled(need(setup)) <= 1

    def note(setup: Setup) -> None:
        found, more = measured(setup), {"processes": setup.processes, "fits": fits(setup), "flags": flags(setup)}
        more |= {"needs": need(setup), "gpu": found.gpu._asdict(), "host": found.host._asdict()}
        plans.append(vars(setup) | more)

    for setup in setups:
        note(setup)
        told.append(f"{setup.stage} on {setup.devices} GB: {command(args.model, setup)}")
        if args.advise and not fits(setup):
            better = nearest(setup, fits)
            if better is None:
                told.append(f"  does not fit, nor does anything that was tried, in {host / GB:.0f} GB of main memory")
            else:
                note(better)
                told.append(f"  does not fit; the nearest that does: {better.devices} GB")
                told.append(f"  {command(args.model, better)}")
    print(table(plans))
    print("\n".join(told))
    if args.json:
        record = {
            "command": " ".join(["python -m summarize_rlhf.plan", *sys.argv[1:]]),
            "model": args.model,
            "host_gb": host / GB,
            "plans": plans,
        }
        record |= {"commit": commit(), "versions": versions()}
        write_file(args.json, json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
