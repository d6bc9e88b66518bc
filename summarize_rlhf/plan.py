"""Will it fit? Each stage's own step is run on fake tensors, and the memory that it takes is added up.

    python -m summarize_rlhf.plan --model EleutherAI/gpt-j-6B --gpus 2x24 --stage ppo

prints what a stage needs on each GPU and in main memory, the command that starts it so, and, where it does not fit, the
nearest configuration that does. "Others" are reference, reward model, keys, values and kept trunks. A model's config is
all that is read. The figures are those of the longest rows that the settings allow. A GB is 1e9 bytes.
"""

import collections
import json
import multiprocessing
import os
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from transformers import AutoConfig, GPTJConfig, PretrainedConfig

from summarize_rlhf import UserError
from summarize_rlhf.hub import from_hub
from summarize_rlhf.reading import reading
from summarize_rlhf.report import format_table
from summarize_rlhf.run.arguments import knob, parse_arguments
from summarize_rlhf.run.errors import main_guard
from summarize_rlhf.versions import ROOT, commit, versions

STAGES = ("sft", "rm", "ppo")
KINDS = ("weights", "gradients", "optimizer", "buckets", "activations")
SIZES = (24, 40, 48, 80, 141)  # GB of the GPUs that there are
GB = 1e9
CONTEXT = 1e9  # bytes of a GPU that CUDA, its libraries and NCCL take before the first tensor
DEFAULT = "EleutherAI/gpt-j-6B"  # whose config is GPTJConfig's defaults: no Hub is asked


@dataclass
class PlanArguments:
    model: str = knob(DEFAULT, "directory with a config.json, or Hub id")
    gpus: str = knob("1x80", "number and size in GB of the GPUs, such as 2x24; or several, such as 1x24,2x24")
    stage: str = knob("all", "sft, rm, ppo or all", choices=[*STAGES, "all"])
    host: float | None = knob(None, "main memory in GB; None: this machine's", above=0)
    precision: str = knob("bf16", "what the GPUs train in", choices=["bf16", "fp32"])
    offload: bool = knob(True, "keep the optimizer in main memory, as published")
    batch: int | None = knob(
        None, "rows (RM: pairs, PPO: rollouts) in a forward pass; None: the stage's default", least=1
    )
    gradient_checkpointing: bool | None = knob(None, "recompute activations; None: the stage's default")
    max_length: int = knob(550, "tokens of the longest rows", least=1)
    advise: bool = knob(True, "look for the nearest configuration that fits")
    json: str | None = knob(None, "also write what was found to this file")


@dataclass(frozen=True)
class Setup:
    """What decides a stage's memory."""

    stage: str
    gpus: int
    size: float  # GB of each
    precision: str
    offload: bool
    batch: int
    checkpointing: bool
    tokens: int

    @property
    def processes(self) -> int:
        """Of two GPUs, PPO gives one to the reward model, as published; otherwise each GPU has a process."""
        return 1 if self.stage == "ppo" and self.gpus == 2 else self.gpus


BATCH = {"sft": 16, "rm": 1, "ppo": 4}
FILES = {
    "sft": "sft/ds_config_gptj.json",
    "rm": "reward_model/ds_config_gpt_j.json",
    "ppo": "configs/ds_config_trlx_gptj_summarize.json",
}
WITHOUT_OFFLOAD = {
    "sft": "configs/deepspeed/zero2.json",
    "rm": "configs/deepspeed/zero2.json",
    "ppo": "configs/accelerate/8gpus.yaml",
}
GLOBAL_BATCH = {"sft": 128, "rm": 32}


def setup_of(args: PlanArguments, stage: str, gpus: str) -> Setup:
    found = re.fullmatch(r"(\d+)x(\d+(?:\.\d+)?)", gpus)
    if not found or int(found[1]) < 1 or float(found[2]) <= 0:
        raise UserError(f"--gpus is {gpus!r}: number and size in GB are expected, such as 2x24")
    checkpointing = stage == "sft" if args.gradient_checkpointing is None else args.gradient_checkpointing
    return Setup(
        stage, int(found[1]), float(found[2]), args.precision, args.offload, args.batch or BATCH[stage], checkpointing,
        args.max_length,
    )  # fmt: skip


def config_of(model: str) -> PretrainedConfig:
    if model == DEFAULT:
        return GPTJConfig()
    with reading(model, "config of") if Path(model).exists() else from_hub("model", model):
        return AutoConfig.from_pretrained(model)


def prepare() -> None:
    """Make DeepSpeed take the CPU, where fake tensors live, before it is imported."""
    os.environ |= {"DS_ACCELERATOR": "cpu", "RANK": "0", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1"}
    os.environ["MASTER_PORT"] = "29500"  # named, and never opened
    import deepspeed.ops

    deepspeed.ops.__compatible_ops__ = collections.defaultdict(bool)


def deepspeed_of(setup: Setup) -> dict[str, Any]:
    """Return the stage's DeepSpeed configuration on GPUs in `setup`, with the batch that its launch would give."""
    from summarize_rlhf.lm.precision import DTYPES
    from summarize_rlhf.run.deepspeed_config import deepspeed_config

    config = deepspeed_config(ROOT / FILES[setup.stage], DTYPES[setup.precision])
    if setup.offload:
        config["zero_optimization"]["offload_optimizer"] = {"device": "cpu"}
    else:
        config["zero_optimization"].pop("offload_optimizer", None)
    if "bf16" in config:
        config["bf16"]["check_grad_overflow"] = False  # looks at numbers
    accumulation = config["gradient_accumulation_steps"]
    if setup.stage != "ppo":
        accumulation = max(1, GLOBAL_BATCH[setup.stage] // (setup.processes * setup.batch))
    config |= {
        "gradient_accumulation_steps": min(accumulation, 2),  # from the second on, micro-batches are alike
        "train_micro_batch_size_per_gpu": setup.batch,
        "gradient_clipping": 0.0,
        "zero_force_ds_cpu_optimizer": False,  # torch's Adam in its place: the same state
    }
    config.pop("train_batch_size", None)
    return config


class Measured:
    """The footprints of a model by setup, each measured once.

    In a process of its own, because DeepSpeed keeps the first process group that it has seen.
    """

    def __init__(self, config: PretrainedConfig):
        self.config = config
        self.found: dict[Setup, Any] = {}

    def __call__(self, setup: Setup) -> Any:
        """Return the stage's `Footprint`. The size of a GPU decides in PPO alone, whose cache takes a share of it."""
        known = setup if setup.stage == "ppo" else replace(setup, size=0)
        if known not in self.found:
            with multiprocessing.get_context("fork").Pool(1) as pool:
                self.found[known] = pool.apply(measure_here, (self.config, setup))
        return self.found[known]


def measure_here(config: PretrainedConfig, setup: Setup) -> Any:
    """Run the stage's step on fake tensors, on as many processes as there are, of which this is the first."""
    from reward_model import footprint as rm
    from sft import footprint as sft
    from summarize_rlhf.lm.footprint import GPU, HOST, Footprint, on_fake_tensors, processes
    from summarize_rlhf.lm.precision import DTYPES
    from trlx import footprint as ppo

    dtype, deepspeed = DTYPES[setup.precision], deepspeed_of(setup)
    os.environ["WORLD_SIZE"] = str(setup.processes)
    with processes(setup.processes), on_fake_tensors() as ledger:
        if setup.stage == "sft":
            sft.run(config, dtype, deepspeed, ledger, setup.batch, setup.tokens, setup.checkpointing)
        elif setup.stage == "rm":
            rm.run(config, dtype, deepspeed, ledger, setup.batch, setup.tokens, 0.3, setup.checkpointing)
        else:
            here = setup.processes == setup.gpus  # the reward model has no GPU of its own
            score = rm.judge(config, dtype, ledger, setup.tokens) if here else lambda: None
            settings = ppo_settings(setup)
            share = -(-settings.method.num_rollouts // setup.processes)
            ppo.run(config, dtype, deepspeed, ledger, settings, share, setup.size * GB, score)
        return Footprint(ledger.peak(GPU), ledger.peak(HOST))


def ppo_settings(setup: Setup):
    from trlx_gptj_text_summarization import config

    return config.evolve(
        train={
            "minibatch_size": setup.batch, "gradient_checkpointing": setup.checkpointing, "seq_length": setup.tokens,
        }
    )  # fmt: skip


def host_memory() -> float:
    """Return this machine's main memory in bytes."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def fits(setup: Setup, gpu_bytes: float, host_bytes: float, host: float) -> bool:
    """Return whether what a GPU and a process's main memory hold is there; `host` is the main memory in bytes."""
    return gpu_bytes + CONTEXT <= setup.size * GB and setup.processes * host_bytes <= host


def nearest(setup: Setup, fitting: Callable[[Setup], bool]) -> Setup | None:
    """Return the nearest configuration that fits: smaller batches, recomputed activations, larger and more GPUs."""
    for gpus, size in [
        (setup.gpus, setup.size),
        *((setup.gpus, size) for size in SIZES if size > setup.size),
        *((n, SIZES[-2]) for n in (2, 4, 8) if n > setup.gpus),
    ]:
        there = replace(setup, gpus=gpus, size=size)
        if not fitting(replace(there, batch=1, checkpointing=True)):
            continue
        for checkpointing in dict.fromkeys((setup.checkpointing, True)):
            batch = setup.batch
            while batch:
                if fitting(replace(there, batch=batch, checkpointing=checkpointing)):
                    return replace(there, batch=batch, checkpointing=checkpointing)
                batch //= 2
    return None


def command(model: str, setup: Setup) -> str:
    if setup.stage == "ppo":
        values = {"model.model_path": model, "train.minibatch_size": setup.batch, "train.precision": setup.precision}
        values |= {"train.gradient_checkpointing": setup.checkpointing, "train.seq_length": setup.tokens}
        file = "configs/default_accelerate_config.yaml" if setup.offload else WITHOUT_OFFLOAD["ppo"]
        return (
            f"accelerate launch --num_processes {setup.processes} --config_file {file} "
            f"trlx_gptj_text_summarization.py '{json.dumps(values)}'"
        )
    script = {"sft": "sft/train_gptj_summarize.py", "rm": "reward_model/train_reward_model_gptj.py"}[setup.stage]
    flags = {"model": model, "per_device_train_batch_size": setup.batch, "max_length": setup.tokens}
    flags |= {"precision": setup.precision, "gradient_checkpointing": setup.checkpointing}
    if not setup.offload:
        flags["deepspeed_config"] = WITHOUT_OFFLOAD[setup.stage]
    return f"deepspeed --num_gpus {setup.gpus} {script} " + " ".join(f"--{name} {x}" for name, x in flags.items())


def table(plans: list[dict[str, Any]]) -> str:
    """Format plans, as they are recorded: GB of each GPU by kind, and of main memory in all."""
    rows = []
    for plan in plans:
        kinds = dict(plan["gpu"]["kinds"])
        given = {kind: f"{kinds.pop(kind, 0) / GB:.1f}" for kind in KINDS}
        rows.append(
            {
                "stage": plan["stage"],
                "GPUs": f"{plan['gpus']} × {plan['size']:g}",
                "rows": plan["batch"],
                **given,
                "others": f"{sum(kinds.values()) / GB:.1f}",
                "each GPU": f"{(plan['gpu']['bytes'] + CONTEXT) / GB:.1f}",
                "main memory": f"{plan['processes'] * plan['host']['bytes'] / GB:.0f}",
                "fits": "yes" if plan["fits"] else "no",
            }
        )
    return format_table(rows)


@main_guard
def main() -> None:
    args = parse_arguments(PlanArguments, about=__doc__)
    config = config_of(args.model)
    host = host_memory() if args.host is None else args.host * GB
    stages = STAGES if args.stage == "all" else (args.stage,)
    setups = [setup_of(args, stage, gpus) for gpus in args.gpus.split(",") for stage in stages]
    prepare()
    measured, plans, told = Measured(config), [], []

    def fitting(setup: Setup) -> bool:
        found = measured(setup)
        return fits(setup, found.gpu.bytes, found.host.bytes, host)

    def note(setup: Setup) -> None:
        found, more = measured(setup), {"processes": setup.processes, "fits": fitting(setup)}
        plans.append({**vars(setup), **more, "gpu": found.gpu._asdict(), "host": found.host._asdict()})

    for setup in setups:
        note(setup)
        told.append(f"{setup.stage} on {setup.gpus} × {setup.size:g} GB: {command(args.model, setup)}")
        if args.advise and not fitting(setup):
            better = nearest(setup, fitting)
            if better is None:
                told.append(f"  does not fit, nor does anything that was tried, in {host / GB:.0f} GB of main memory")
            else:
                note(better)
                told.append(f"  does not fit; the nearest that does: {better.gpus} × {better.size:g} GB")
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
        Path(args.json).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
