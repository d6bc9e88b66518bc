"""Inputs that are wrong, for each stage, and what the one line of error says; test_bad_input.py tries them."""

import json
from pathlib import Path

from bad_models import HANDED_OVER, MODELS
from bad_rows import COLUMN, DATA, PAIRS, SUMMARIES
from good_input import Fault, Values, World

from summarize_rlhf.versions import ROOT


def somebodys_files(_world: World, tmp: Path) -> Values:
    (tmp / "out").mkdir()
    (tmp / "out" / "thesis.tex").write_text("years of work")
    return {}


def under_a_file(_world: World, tmp: Path) -> Values:
    (tmp / "file").write_text("x")
    return {"output_dir": tmp / "file" / "out"}


def deepspeed_file(content: list | None = None, **sections: object) -> Fault:
    """The stage's DeepSpeed file with other sections, or something else in its place."""

    def fault(world: World, tmp: Path) -> Values:
        published = json.loads((ROOT / "sft/ds_config_gptj.json").read_text())
        (tmp / "ds.json").write_text(json.dumps(published | sections if content is None else content))
        return {"deepspeed_config": tmp / "ds.json"}

    return fault


CONFIGS = {
    "a typo": (lambda *_: {"lerning_rate": 1}, "unknown argument --lerning_rate; did you mean --learning_rate?"),
    "no batch": (lambda *_: {"global_batch_size": 0}, "--global_batch_size is 0: it should be at least 1"),
    "a rate that is no number": (lambda *_: {"learning_rate": "nan"}, "--learning_rate is nan: a finite number"),
    "an impossible batch": (
        lambda *_: {"per_device_train_batch_size": 3},
        "a global batch of 8 cannot be made of 1 process(es) × 3 rows",
    ),
    "longer than the model reads": (lambda *_: {"max_length": 1000}, "max_length is 1000 tokens, but the model"),
    "push without a login": (lambda *_: {"push_to_hub": True}, "there is no login to push out with"),
    "fp16 on a CPU": (lambda *_: {"precision": "fp16"}, "precision is fp16, in which no CPU trains"),
    "somebody's files": (somebodys_files, "holds files that no stage wrote"),
    "a directory in a file": (under_a_file, "Not a directory|cannot write"),
    "a DeepSpeed file with an optimizer": (
        deepspeed_file(optimizer={"type": "Adam", "params": {"lr": 1e-3}}),
        "it has a section 'optimizer', but that is the stage's own",
    ),
    "a DeepSpeed file of another batch": (
        deepspeed_file(train_batch_size=64),
        "says train_batch_size 64, but the arguments give 8",
    ),
    "a DeepSpeed file of another precision": (
        deepspeed_file(bf16={"enabled": True}),
        "ds.json trains in bf16, but the stage in fp32",
    ),
    "weights in bf16 alone": (
        deepspeed_file(bf16={"bf16_master_weights_and_grads": True}),
        "bf16_master_weights_and_grads would keep weights in half precision alone",
    ),
    "a DeepSpeed file that is a list": (deepspeed_file([]), "cannot read the DeepSpeed file"),
    "no DeepSpeed file": (lambda *_: {"deepspeed_config": "none.json"}, "cannot read the DeepSpeed file"),
}
OVERRIDES = {
    "a typo": (
        lambda *_: {"train.batchsize": 8},
        "The override 'train.batchsize' names no option. Did you mean 'batch_size'?",
    ),
    "a typo in a task": (lambda *_: {"task.data": "x"}, "the override 'task.data' names no option"),
    "another method": (lambda *_: {"method.name": "ILQLConfig"}, "ILQL is not part of this engine"),
    "no such scale": (
        lambda *_: {"method.scale_reward": "sd"},
        "method.scale_reward 'sd': use None, 'running' or 'ref'",
    ),
    "text for a number": (
        lambda *_: {"train.batch_size": "x"},
        "TrainConfig.batch_size should be a whole number, but is 'x'",
    ),
    "no batch": (lambda *_: {"train.batch_size": 0}, "train.batch_size is 0: it should be at least 1"),
    "no rows": (lambda *_: {"task.max_eval_prompts": 0}, "task.max_eval_prompts is 0: it should be at least 1"),
    "no room for a prompt": (lambda *_: {"train.seq_length": 12}, "train.seq_length 12 leaves no token for a prompt"),
    "a beta above 1": (
        lambda *_: {"optimizer.kwargs.betas": [2, 0.9]},
        "optimizer.kwargs or scheduler.kwargs do not fit",
    ),
    "fp16 on a CPU": (lambda *_: {"train.precision": "fp16"}, "precision is fp16, in which no CPU trains"),
    "no such precision": (lambda *_: {"train.precision": "BF16"}, "train.precision 'BF16': use auto, bf16, fp16, fp32"),
    "no such guard": (lambda *_: {"train.guards": {"kll": 1}}, "train.guards has no option 'kll'"),
    "no reward model": (lambda world, tmp: {"reward_model": tmp / "none"}, "no reward model at"),
    "push without a login": (lambda *_: {"task.push_to_hub": True}, "there is no login to push hf_model with"),
}

TABLE: list[tuple[str, str, Fault, str]] = []
for stage in ("sft", "rm", "ppo"):
    rows = {**DATA, **(PAIRS if stage == "rm" else SUMMARIES)}
    TABLE += [(stage, name, of(stage), told.format(c=COLUMN[stage])) for name, (of, told) in rows.items()]
    known = MODELS if stage == "sft" else MODELS | HANDED_OVER
    TABLE += [(stage, name, fault, told) for name, (fault, told) in known.items()]
    settings = OVERRIDES if stage == "ppo" else CONFIGS
    TABLE += [(stage, name, fault, told) for name, (fault, told) in settings.items()]
