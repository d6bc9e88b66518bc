"""Stage 3: PPO. The SFT model learns to write summaries that the reward model prefers to the human summary.

    accelerate launch --config_file configs/default_accelerate_config.yaml trlx_gptj_text_summarization.py

takes the SFT directory of stage 1 and the reward model of stage 2 and writes `ckpts/…/hf_model`. The values below
are the published ones. Change any of them with a JSON object of dotted names, or a JSON or YAML file of them:

    … trlx_gptj_text_summarization.py '{"train.batch_size": 8, "method.init_kl_coef": 0.05}'

The same command resumes an interrupted run; `--fresh` starts over. Names under `task.` choose the data and the reward
model, all others are trlX's.
"""

import hashlib
import json
import typing
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState

import trlx
from reward_model.card_check import card_lines
from reward_model.label_scores import label_scores
from reward_model.placement import ShardedScorer, check_shares, reward_device
from reward_model.scoring import Scorer
from summarize_rlhf import UserError, hub
from summarize_rlhf.data import load_rows, places
from summarize_rlhf.doctor.verdict import print_line
from summarize_rlhf.handover import check_handover
from summarize_rlhf.lm.memory_check import check_memory
from summarize_rlhf.lm.precision import dtype_for, training_dtype
from summarize_rlhf.lm.speed import CACHE_TOKENS, tune_process
from summarize_rlhf.lm.weights import check_found, find_model
from summarize_rlhf.locations import PPO_RUN_DIR, REWARD_MODEL_DIR, SFT_MODEL
from summarize_rlhf.run.arguments import knob
from summarize_rlhf.run.deepspeed_config import deepspeed_config
from summarize_rlhf.run.errors import main_guard
from summarize_rlhf.run.overrides import parse_overrides
from summarize_rlhf.run.run_directory import hold_run_directory
from summarize_rlhf.run.values import check_bounds, check_given, of_type
from summarize_rlhf.run.zero3 import max_over_processes
from summarize_rlhf.text import cut_prompts, prompt_text, split_labels
from summarize_rlhf.tokenizer import load_tokenizer, token_ids
from trlx.data.checks import check_config
from trlx.data.configs import plain
from trlx.data.default_configs import (
    ModelConfig,
    OptimizerConfig,
    PPOConfig,
    SchedulerConfig,
    TokenizerConfig,
    TrainConfig,
    TRLConfig,
)
from trlx.pipeline.offline_pipeline import PromptCursor
from trlx.trainer.checkpoint import BEST
from trlx.trainer.setup import check_policy, deepspeed_file, join_processes, zero_stage

UNFROZEN = 8  # blocks, from the top
SOURCE = find_model(*SFT_MODEL)  # stage 1's directory, else the published model

config = TRLConfig(
    train=TrainConfig(
        seq_length=550,
        epochs=50,
        total_steps=100000,
        batch_size=4,
        checkpoint_interval=10000,
        eval_interval=200,
        checkpoint_dir=str(PPO_RUN_DIR),
        resume_from_checkpoint="auto",
        reward_on_all_ranks=True,
        project_name="summarize_RLHF",
    ),
    model=ModelConfig(model_path=SOURCE, num_layers_unfrozen=UNFROZEN),
    tokenizer=TokenizerConfig(tokenizer_path=SOURCE, truncation_side="right"),
    optimizer=OptimizerConfig(
        name="adamw", kwargs={"lr": 5e-6, "betas": [0.9, 0.999], "eps": 1e-8, "weight_decay": 0.01}
    ),
    scheduler=SchedulerConfig(name="cosine_annealing", kwargs={"T_max": 100000, "eta_min": 5e-6}),
    method=PPOConfig(
        name="PPOConfig",
        num_rollouts=128,
        chunk_size=16,
        ppo_epochs=4,
        init_kl_coef=0.1,
        target=6,
        horizon=10000,
        gamma=1,
        lam=0.95,
        cliprange=0.2,
        cliprange_value=0.2,
        vf_coef=0.2,
        scale_reward=None,
        cliprange_reward=10,
        gen_kwargs={"max_new_tokens": 50},
    ),
)


@dataclass
class Task:
    """The data that is summarised, and the reward model that judges it."""

    dataset: str = knob("CarperAI/openai_summarize_tldr", "directory, file or Hub id with splits train and valid")
    reward_model: str = knob(str(REWARD_MODEL_DIR), "stage 2's directory, or the published file")
    require_rm: float | None = knob(None, "least accuracy on the reward model's card; null: any", least=0, most=1)
    value_from_reward_model: bool = knob(False, "the value function starts from it, as with method.value_model")
    max_train_prompts: int | None = knob(None, "number of first rows of train to use; null: all", least=1)
    max_eval_prompts: int | None = knob(1000, "number of first rows of valid to use; null: all", least=1)
    push_to_hub: bool = knob(False, "upload the best policy's directory to the Hugging Face Hub at the end")
    plan: bool = knob(True, "refuse what will not fit into memory, before a weight is loaded")
    hub_model_id: str | None = knob(None, "OWNER/NAME on the Hub; null: hf_model, of the token's owner")


def configure() -> tuple[TRLConfig, Task]:
    """Apply the overrides of the command line to the values above. Raises UserError for an unknown name."""
    overrides = parse_overrides(__doc__, vars(config) | {"task": Task()}, stage="ppo")
    if "model.model_path" in overrides:
        overrides.setdefault("tokenizer.tokenizer_path", overrides["model.model_path"])
    hints = typing.get_type_hints(Task)
    task = Task()
    try:
        for name in [name for name in overrides if name.startswith("task.")]:
            kind = hints.get(name.removeprefix("task."))
            if kind is None:
                raise ValueError(
                    f"the override {name!r} names no option; known: {', '.join(f'task.{k}' for k in hints)}"
                )
            setattr(task, name.removeprefix("task."), of_type(name, overrides.pop(name), kind))
        for field in fields(task):
            if isinstance(value := getattr(task, field.name), int | float):
                check_bounds(f"task.{field.name}", value, field.metadata)
            elif isinstance(value, str):
                check_given(f"task.{field.name}", value)
        values = config.to_dict()
        for section in ("optimizer", "scheduler"):
            if overrides.get(f"{section}.name", values[section]["name"]) != values[section]["name"]:
                values[section]["kwargs"] = {}  # the arguments of another class
        updated = TRLConfig.update(values, overrides)
        if task.value_from_reward_model and updated.method.value_model is None:
            updated.method.value_model = task.reward_model
        check_config(updated)
    except (TypeError, ValueError) as error:
        raise UserError(str(error)) from error
    return updated, task


def must_shard(train: TrainConfig, state: PartialState, device: torch.device) -> bool:
    """Return whether the reward model is spread as the policy is: under ZeRO-3, where a machine has no GPU to spare.

    All processes ask, and find the same, whatever the machine of each has.
    """
    if state.num_processes == 1 or not train.reward_on_all_ranks or zero_stage(train.precision) != 3:
        return False
    return max_over_processes(int(device == state.device), state.device) == 1


def check_fits(config: TRLConfig, task: Task, device: torch.device) -> None:
    """Raise `UserError` where the run will not fit into memory. Runs without DeepSpeed are not planned."""
    file, train, method = deepspeed_file(), config.train, config.method
    if file is None:
        return
    dtype, batch = training_dtype(train.precision), train.minibatch_size or train.batch_size
    has_config = (Path(task.reward_model) / "config.json").is_file()
    spare = reward_device(device) != device
    decisive = {"model.num_layers_unfrozen": config.model.num_layers_unfrozen}
    decisive["model.peft_config"] = plain(config.model.peft_config)
    for name in ("num_rollouts", "chunk_size", "gen_kwargs", "num_value_layers_unfrozen"):
        decisive[f"method.{name}"] = getattr(method, name)
    check_memory(
        "ppo", config.model.model_path, dtype, deepspeed_config(file, dtype)["zero_optimization"],
        tokens=max(batch, method.chunk_size) * train.seq_length, kept_tokens=method.num_rollouts * train.seq_length,
        batch=batch, max_length=train.seq_length,
        gradient_checkpointing=train.gradient_checkpointing, deepspeed_config=file, overrides=json.dumps(decisive),
        reward_model="elsewhere" if spare else task.reward_model if has_config else None,
    )  # fmt: skip


def make_prompts(dataset: str, split: str, max_rows: int | None, tokenizer, room: int) -> list[dict[str, Any]]:
    """Build prompts of at most `room` tokens, too long posts cut, each with its body, its label and their place.

    `input_ids` are the ids that stages 1 and 2 make of the same text, BOS included.
    """
    rows = load_rows(dataset, split, ["prompt", "label"], max_rows)
    where = places(rows)
    bodies, labels = cut_prompts(tokenizer, rows["prompt"], room, where), split_labels(rows["label"], where)
    texts = [prompt_text(body) for body in bodies]
    columns = zip(texts, token_ids(tokenizer, texts), bodies, labels, where, strict=True)
    names = ("prompt", "input_ids", "body", "label", "place")
    return [dict(zip(names, row, strict=True)) | {"label_score": None} for row in columns]


@main_guard
def main() -> None:
    tune_process()
    config, task = configure()
    best = Path(config.train.checkpoint_dir) / BEST
    repo = hub.repo_to_push(task.push_to_hub, task.hub_model_id, best)
    state = join_processes()
    hold_run_directory(config.train.checkpoint_dir, "ppo")

    check_found(config.model.model_path, *SFT_MODEL)

    # 1. What the reward model will reward; the policy's tokenizer; both trained on the same text and tokens.
    told = card_lines(task.reward_model, task.require_rm)
    if state.is_main_process:
        print("\n".join(told))
    tokenizer = load_tokenizer(config.tokenizer.tokenizer_path)
    if task.plan:
        check_fits(config, task, state.device)
    if Path(config.model.model_path).is_dir():
        check_handover(config.model.model_path, expects_stage=("sft", "ppo"), tokenizer=tokenizer)
        check_policy(config, tokenizer, UNFROZEN)
    device = reward_device(state.device)
    sharded = must_shard(config.train, state, device)
    device = state.device if sharded else device
    if sharded and state.is_main_process:
        print(f"reward model: spread over {state.num_processes} processes")
    scorer = (ShardedScorer if sharded else Scorer).from_pretrained(
        task.reward_model,
        model=config.model.model_path,
        device=device,
        dtype=dtype_for(device, config.train.precision),
        batch_tokens=CACHE_TOKENS if device.type == "cpu" else 2**14,
    )
    check_handover(task.reward_model, expects_stage="rm", tokenizer=tokenizer)

    # 2. The prompts. The labels of those that the run will draw are scored once, before it begins.
    room = config.train.seq_length - config.method.longest_response()
    prompts = make_prompts(task.dataset, "train", task.max_train_prompts, tokenizer, room)
    eval_prompts = make_prompts(task.dataset, "valid", task.max_eval_prompts, tokenizer, room)
    if sharded:
        check_shares(len(eval_prompts), state.num_processes)
    episodes = config.train.epochs * config.method.num_rollouts
    drawn = PromptCursor(len(prompts), config.train.seed).take(min(episodes, len(prompts)))
    rows = [prompts[i] for i in sorted(drawn)] + eval_prompts
    scores = label_scores(
        scorer,
        [row["body"] for row in rows],
        [row["label"] for row in rows],
        Path(config.train.checkpoint_dir) / "label_scores",
        "score labels" if state.is_main_process else None,
        [row["place"] for row in rows],
        fresh=config.train.resume_from_checkpoint == "fresh",
    )
    for row, score in zip(rows, scores, strict=True):
        row["label_score"] = score

    # 3. The reward, and PPO
    def reward_fn(outputs, body, label_score, **_) -> torch.Tensor:
        """Return each sample's score less the score of its post's human summary."""
        return scorer.score(body, outputs) - torch.tensor(label_score)

    texts = "\0".join(f"{row['body']}\0{row['label']}" for row in prompts + eval_prompts)
    config.train.trainer_kwargs["identity"] = {
        "data": hashlib.sha256(texts.encode()).hexdigest(),
        "reward_model": scorer.digest(),
        "max_train_prompts": task.max_train_prompts,
        "max_eval_prompts": task.max_eval_prompts,
    }
    trlx.train(reward_fn=reward_fn, prompts=prompts, eval_prompts=eval_prompts, config=config)
    if state.is_main_process:
        print_line(config.train.checkpoint_dir)
        hub.push(best, repo)


if __name__ == "__main__":
    main()
