"""Will it fit? Each stage's own step is run on fake tensors, and the memory that it takes is added up.

    python -m summarize_rlhf.plan --model EleutherAI/gpt-j-6B --gpus 2x24 --stage ppo

prints what a stage needs on each GPU and in main memory, the command that starts it so, and, where it does not fit, the
nearest configuration that does. A model's config is all that is read. The figures are those of the longest rows that
the settings allow. A GB is 1e9 bytes.
"""

import collections
import json
import multiprocessing
import os
import re
import sys
from collections.abc import Iterator
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
GB = 1e9
CONTEXT = 1e9  # bytes of a GPU that CUDA, its libraries and NCCL take before the first tensor
DEFAULT = "EleutherAI/gpt-j-6B"  # whose config is GPTJConfig's defaults: no Hub is asked


@dataclass
class PlanArguments:
    model: str = knob(DEFAULT, "directory with a config.json, or Hub id")
    gpus: str = knob("1x80", "number and size in GB of the GPUs, such as 2x24")
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
GLOBAL_BATCH = {"sft": 128, "rm": 32}


def setup_of(args: PlanArguments, stage: str) -> Setup:
    found = re.fullmatch(r"(\d+)x(\d+(?:\.\d+)?)", args.gpus)
    if not found or int(found[1]) < 1 or float(found[2]) <= 0:
        raise UserError(f"--gpus is {args.gpus!r}: number and size in GB are expected, such as 2x24")
    checkpointing = stage == "sft" if args.gradient_checkpointing is None else args.gradient_checkpointing
    return Setup(
        stage, int(found[1]), float(found[2]), args.precision, args.offload, args.batch or BATCH[stage],
        checkpointing and stage != "rm", args.max_length,
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


def measure(config: PretrainedConfig, setup: Setup) -> Any:
    """Run the stage's step on fake tensors, in a process of its own: DeepSpeed keeps the first group it has seen.

    Returns its `Footprint`.
    """
    with multiprocessing.get_context("fork").Pool(1) as pool:
        return pool.apply(measure_here, (config, setup))


def measure_here(config: PretrainedConfig, setup: Setup) -> Any:
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
            rm.run(config, dtype, deepspeed, ledger, setup.batch, setup.tokens, 0.3)
        else:
            here = setup.processes == setup.gpus  # the reward model has no GPU of its own
            score = rm.scorer(config, dtype, ledger, setup.tokens) if here else lambda: None
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


def fits(found: Any, setup: Setup, host: float) -> bool:
    return found.gpu.bytes + CONTEXT <= setup.size * GB and setup.processes * found.host.bytes <= host


def nearest(config: PretrainedConfig, setup: Setup, host: float) -> Iterator[Setup]:
    """Yield other configurations, the nearest first: smaller batches, recomputed activations, more and larger GPUs."""
    one = replace(setup, batch=1, checkpointing=setup.checkpointing or setup.stage == "ppo")
    sizes = [size for size in (24, 40, 48, 80, 141) if size > setup.size]
    for gpus, size in [
        (setup.gpus, setup.size),
        *((setup.gpus, size) for size in sizes),
        *((n, 80) for n in (2, 4, 8)),
    ]:
        there = replace(one, gpus=gpus, size=size)
        if (gpus, size) != (setup.gpus, setup.size) and gpus * size <= setup.gpus * setup.size:
            continue
        batch = setup.batch
        while batch > 1 and fits(measure(config, there), there, host):
            larger = replace(there, batch=batch)
            if fits(measure(config, larger), larger, host):
                yield larger
            batch //= 2
        yield there


def command(model: str, setup: Setup) -> str:
    if setup.stage == "ppo":
        values = {"model.model_path": model, "train.minibatch_size": setup.batch, "train.precision": setup.precision}
        values |= {"train.gradient_checkpointing": setup.checkpointing, "train.seq_length": setup.tokens}
        return (
            f"accelerate launch --num_processes {setup.processes} --config_file configs/default_accelerate_config.yaml "
            f"trlx_gptj_text_summarization.py '{json.dumps(values)}'"
        )
    script = {"sft": "sft/train_gptj_summarize.py", "rm": "reward_model/train_reward_model_gptj.py"}[setup.stage]
    flags = {"model": model, "per_device_train_batch_size": setup.batch, "max_length": setup.tokens}
    flags |= {"precision": setup.precision}
    if setup.stage == "sft":
        flags["gradient_checkpointing"] = setup.checkpointing
    return f"deepspeed --num_gpus {setup.gpus} {script} " + " ".join(f"--{name} {x}" for name, x in flags.items())


def row(setup: Setup, found: Any, host: float) -> dict[str, Any]:
    """Return a line of the table, in GB."""
    kinds = ("weights", "gradients", "optimizer", "buckets", "activations")
    given = {kind: found.gpu.kinds.get(kind, 0) / GB for kind in kinds}
    others = sum(x for kind, x in found.gpu.kinds.items() if kind not in kinds) / GB
    return {
        "stage": setup.stage,
        "GPUs": f"{setup.gpus} × {setup.size:g}",
        "batch": setup.batch,
        **{kind: f"{x:.1f}" for kind, x in given.items()},
        "reference, reward model, caches": f"{others:.1f}",
        "per GPU": f"{(found.gpu.bytes + CONTEXT) / GB:.1f}",
        "main memory": f"{setup.processes * found.host.bytes / GB:.0f}",
        "fits": "yes" if fits(found, setup, host) else "no",
    }


@main_guard
def main() -> None:
    args = parse_arguments(PlanArguments)
    config = config_of(args.model)
    host = host_memory() if args.host is None else args.host * GB
    setups = [setup_of(args, stage) for stage in (STAGES if args.stage == "all" else (args.stage,))]
    prepare()
    rows, told, record = [], [], []
    for setup in setups:
        found = measure(config, setup)
        rows.append(row(setup, found, host))
        record.append(
            {**vars(setup), "processes": setup.processes, "gpu": found.gpu._asdict(), "host": found.host._asdict()}
        )
        told.append(f"{setup.stage}: {command(args.model, setup)}")
        if not fits(found, setup, host) and args.advise:
            better = next((x for x in nearest(config, setup, host) if fits(measure(config, x), x, host)), None)
            if better is None:
                told.append(
                    f"  it does not fit, nor does anything else that was tried, in {host / GB:.0f} GB of main memory"
                )
            else:
                rows.append(row(better, measure(config, better), host))
                told.append(f"  it does not fit; the nearest that does, on {better.gpus} × {better.size:g} GB: ")
                told.append(f"  {command(args.model, better)}")
    print(format_table(rows))
    print("\n".join(told))
    if args.json:
        made = {"command": " ".join(sys.argv), "model": args.model, "host_gb": host / GB, "plans": record}
        made |= {"commit": commit(), "versions": versions()}
        Path(args.json).write_text(json.dumps(made, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
