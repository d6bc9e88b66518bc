"""The memory of a setup: a stage's own step on fake tensors, in a process of its own."""

import collections
import json
import multiprocessing
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, AutoConfig, AutoModelForCausalLM, GPTJConfig, PretrainedConfig

from summarize_rlhf import UserError
from summarize_rlhf.hub import from_hub
from summarize_rlhf.lm.adapters import find_bottom
from summarize_rlhf.plan.advice import GB
from summarize_rlhf.plan.setups import ELSEWHERE, FILES, LORA, Setup, peft_config
from summarize_rlhf.reading import reading
from summarize_rlhf.versions import ROOT

DEFAULT = "EleutherAI/gpt-j-6B"  # whose config is GPTJConfig's defaults: no Hub is asked
GLOBAL_BATCH = {"sft": 128, "rm": 32}


def config_of(model: str) -> PretrainedConfig:
    """Read a model's config, of an adapter that of its base. Raises `UserError` unless it makes a causal LM."""
    if model == DEFAULT:
        return GPTJConfig(name_or_path=DEFAULT)
    model = find_bottom(model)
    with reading(model, "config of") if Path(model).exists() else from_hub("model", model):
        config = AutoConfig.from_pretrained(model)
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        raise UserError(f"{model} holds a {config.model_type!r} model, which is no causal language model: name one")
    with reading(model, "config of", "do its numbers fit together?"), torch.device("meta"):
        if config.get_text_config().num_hidden_layers < 1:
            raise ValueError("it has no layers")
        AutoModelForCausalLM.from_config(config)
    return config


def prepare() -> None:
    """Make DeepSpeed take the CPU, where fake tensors live, before it is imported."""
    os.environ |= {"DS_ACCELERATOR": "cpu", "RANK": "0", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1"}
    os.environ["MASTER_PORT"] = "29500"  # named, and never opened
    import deepspeed.ops

    deepspeed.ops.__compatible_ops__ = collections.defaultdict(bool)


def deepspeed_of(setup: Setup) -> dict[str, Any]:
    """Return the stage's DeepSpeed configuration in `setup`, with the batch that its launch would give.

    Raises `UserError` without ZeRO, and where weights are offloaded.
    """
    from summarize_rlhf.lm.precision import DTYPES
    from summarize_rlhf.run.deepspeed_config import deepspeed_config, sections_of

    file = setup.file or ROOT / FILES[setup.stage]
    config = deepspeed_config(file, DTYPES[setup.precision])
    if config["zero_optimization"].get("stage", 0) not in (1, 2, 3):
        raise UserError("the planner knows ZeRO-1, 2 and 3")
    if setup.size is not None and "offload_param" in sections_of(file)["zero_optimization"]:
        raise UserError("the planner knows no offload_param")
    if setup.offload and setup.size is not None:
        config["zero_optimization"]["offload_optimizer"] = {"device": "cpu"}
    else:
        config["zero_optimization"].pop("offload_optimizer", None)
    accumulation = config["gradient_accumulation_steps"]
    if setup.stage != "ppo":
        accumulation = max(1, GLOBAL_BATCH[setup.stage] // (setup.processes * setup.batch))
    config |= {
        "gradient_accumulation_steps": 1 if accumulation == 1 else 2,  # from the second on, micro-batches are alike
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
        known = setup if setup.stage == "ppo" or setup.size is None else replace(setup, size=0)
        if known not in self.found:
            try:
                with multiprocessing.get_context("fork").Pool(1) as pool:
                    self.found[known] = pool.apply(measure_here, (self.config, setup))
            except UserError as error:
                raise UserError(str(error)) from None  # the other process's traceback is no news
        return self.found[known]


def measure_here(config: PretrainedConfig, setup: Setup) -> Any:
    """Run the stage's step on fake tensors, on as many processes as there are, of which this is the first."""
    from summarize_rlhf.lm.footprint import GPU, HOST, Footprint, Peak, on_fake_tensors, processes

    on_cpu = setup.size is None
    os.environ["WORLD_SIZE"] = str(setup.processes)
    with processes(setup.processes), on_fake_tensors() as ledger:
        run(config, setup, ledger)
        if on_cpu:
            return Footprint(Peak(0, {}), ledger.peak(GPU, HOST))
        return Footprint(ledger.peak(GPU), ledger.peak(HOST))


def run(config: PretrainedConfig, setup: Setup, ledger: Any) -> None:
    """Run the stage's step, as it runs on GPUs or without."""
    from reward_model import footprint as rm
    from sft import footprint as sft
    from summarize_rlhf.lm.decoding import CACHE_BYTES_ON_CPU, SHARE_OF_GPU_FOR_CACHE
    from summarize_rlhf.lm.lora import LoraArguments
    from summarize_rlhf.lm.precision import DTYPES
    from summarize_rlhf.lm.speed import CACHE_TOKENS
    from trlx import footprint as ppo

    dtype, deepspeed, on_cpu = DTYPES[setup.precision], deepspeed_of(setup), setup.size is None
    lora = LoraArguments(**{name: getattr(setup, name) for name in LORA})
    if setup.stage == "sft":
        sft.run(config, dtype, deepspeed, ledger, setup.batch, setup.tokens, setup.checkpointing, lora)
    elif setup.stage == "rm":
        rows, blocks = (setup.batch, setup.tokens), (setup.trainable_fraction, setup.keeps_trunk)
        rm.run(config, dtype, deepspeed, ledger, *rows, *blocks, setup.checkpointing, on_cpu, lora)
    else:
        score, scored = lambda: None, CACHE_TOKENS if on_cpu else 2**14
        if setup.processes == setup.gpus and setup.reward_model != ELSEWHERE:
            judge = config if setup.reward_model is None else config_of(setup.reward_model)
            spread = setup.processes > 1 and deepspeed["zero_optimization"]["stage"] == 3
            score = rm.judge(judge, dtype, ledger, setup.tokens, scored, spread)
        settings = ppo_settings(setup)
        share = -(-settings.method.num_rollouts // setup.processes)
        cache = CACHE_BYTES_ON_CPU if on_cpu else setup.size * GB * SHARE_OF_GPU_FOR_CACHE
        read = CACHE_TOKENS if on_cpu else None
        ppo.run(config, dtype, deepspeed, ledger, settings, share, cache, read, score)


def check_settings(setup: Setup) -> None:
    """Raise `UserError` where stage 3 would not start with these settings."""
    from trlx.data.checks import check_config

    try:
        check_config(ppo_settings(setup))
    except (TypeError, ValueError) as error:
        raise UserError(f"stage 3 would not start so (--overrides, --max_length, --batch): {error}") from error


def ppo_settings(setup: Setup):
    """Return stage 3's configuration in `setup`."""
    from trlx.data.configs import TRLConfig
    from trlx_gptj_text_summarization import config

    train = {"minibatch_size": setup.batch, "gradient_checkpointing": setup.checkpointing, "seq_length": setup.tokens}
    overrides = json.loads(setup.overrides)
    if setup.lora_r:
        overrides["model.peft_config"] = peft_config(setup)
    return TRLConfig.update(config.evolve(train=train), overrides)
