"""Stage 2: a reward model that prefers the summaries people preferred.

    cd reward_model/ && deepspeed train_reward_model_gptj.py

starts from stage 1's model (`sft/gptj-supervised-summarize-checkpoint/`, else the Hub's
`CarperAI/openai_summarize_tldr_sft`), trains its top blocks and a linear head on pairs of summaries, and
writes `reward_model/rm_checkpoint/`. Any causal LM and any data with columns `prompt`, `chosen` and
`rejected` will do:

    deepspeed reward_model/train_reward_model_gptj.py --model my_sft/ --dataset my_pairs/ --output_dir my_rm

The values below are the published ones. Instead of flags, one JSON or YAML file may hold them.
"""

import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

# Before this folder, in which `reward_model` would be the file of that name.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from reward_model.accuracy import score_figures
from reward_model.card import stage_card
from reward_model.card_pages import write_card
from reward_model.comparisons import encode_comparisons, load_comparisons
from reward_model.frozen_blocks import can_keep, keep_trunk
from reward_model.loss import LOSSES, end_scores
from reward_model.pairs import PackedPairs, SeparatePairs, can_pack
from reward_model.reward_model import RewardModel
from summarize_rlhf import hub, versions
from summarize_rlhf.data import fingerprint, warn_of_repeats
from summarize_rlhf.doctor.verdict import print_line
from summarize_rlhf.handover import check_handover, run_record, save_run
from summarize_rlhf.hub import is_local
from summarize_rlhf.lm.adapters import weights_digest
from summarize_rlhf.lm.families import decoder_blocks
from summarize_rlhf.lm.lora import LoraArguments, add_lora, base_record, merged, planned_lora, save_adapter
from summarize_rlhf.lm.memory_check import check_memory
from summarize_rlhf.lm.model_directory import write_model
from summarize_rlhf.lm.precision import PRECISIONS, training_dtype
from summarize_rlhf.lm.recomputation import require_recomputation
from summarize_rlhf.lm.speed import tune_process
from summarize_rlhf.lm.weights import check_found, find_model, fit_to_tokenizer, load_causal_lm
from summarize_rlhf.locations import REWARD_MODEL_DIR, SFT_MODEL
from summarize_rlhf.model_card import write_model_card
from summarize_rlhf.run import launch, presets, trackers
from summarize_rlhf.run.arguments import knob, parse_arguments
from summarize_rlhf.run.best_model import trained_weights
from summarize_rlhf.run.disk_space import check_free, training_needs
from summarize_rlhf.run.errors import main_guard
from summarize_rlhf.run.files import check_output_dir
from summarize_rlhf.run.metrics import MetricsFile
from summarize_rlhf.run.peak_memory import peak_memory
from summarize_rlhf.run.resumable_trainer import ResumableTrainer
from summarize_rlhf.run.resume_point import drop_step_checkpoints, find_resume_point, steps_dir_of
from summarize_rlhf.run.run_directory import hold_run_directory
from summarize_rlhf.run.sampler import LengthGroupedSampler
from summarize_rlhf.run.trainer_arguments import SCHEDULES, rate_is_constant, training_arguments
from summarize_rlhf.run.zero3 import gathered_model, gathered_parameter, gathered_state_dict
from summarize_rlhf.tokenizer import load_tokenizer

HERE = Path(__file__).resolve().parent


@dataclass
class RewardArguments(LoraArguments):
    preset: str = knob(presets.NAMES[0], presets.HELP, choices=presets.NAMES, may_change=True)
    # input and output
    model: str | None = knob(None, "SFT model, directory or Hub id; None: stage 1's directory, else the published one")
    tokenizer: str | None = knob(None, "directory or Hub id; None: the model's own")
    dataset: str = knob("CarperAI/openai_summarize_comparisons", "directory, file or Hub id with splits train and test")
    output_dir: str = knob(str(REWARD_MODEL_DIR), "where the finished model goes", may_change=True)
    max_train_rows: int | None = knob(None, "number of first rows of train to use; None: all", least=1)
    max_eval_rows: int | None = knob(
        5000, "number of first rows of test to use, as in gptj_reward_test.py", least=1, may_change=True
    )
    # text
    max_length: int = knob(550, "tokens of post and summary; a longer text loses the end of its post", least=1)
    # loss and trained weights
    loss: str = knob(
        "pairwise", "all tokens from the first difference (published), or the paper's", choices=list(LOSSES)
    )
    trunk_cache_gb: float = knob(
        64.0,
        "disk space for the frozen blocks' outputs, computed once for all epochs if they fit; 0: never",
        least=0,
        may_change=True,
    )
    trainable_fraction: float = knob(0.3, "share of blocks trained, from the top; 1: all, and the embeddings", least=0)
    # optimisation
    global_batch_size: int = knob(32, "pairs per optimizer step over all devices; sets the accumulation", least=1)
    per_device_train_batch_size: int = knob(1, "pairs per device and forward pass", least=1, may_change=True)
    pack_pairs: bool = knob(
        True, "compute a pair's shared post once, where the model allows it; changes no result", may_change=True
    )
    num_train_epochs: float = knob(5.0, "passes over train", above=0, most=10**6, may_change=rate_is_constant)
    max_steps: int = knob(
        -1, "optimizer steps; if positive, overrides num_train_epochs", least=-1, may_change=rate_is_constant
    )
    learning_rate: float = knob(1e-5, "AdamW's peak learning rate", least=0)
    lr_scheduler_type: str = knob("constant_with_warmup", "learning rate after the warm-up", choices=SCHEDULES)
    warmup_steps: int = knob(100, "optimizer steps in which the learning rate rises from 0 to its peak", least=0)
    adam_beta1: float = knob(0.9, "AdamW's decay rate of the first moment", least=0, below=1)
    adam_beta2: float = knob(0.999, "AdamW's decay rate of the second moment", least=0, below=1)
    adam_epsilon: float = knob(1e-8, "AdamW's epsilon", above=0)
    weight_decay: float = knob(0.0, "AdamW's weight decay", least=0)
    max_grad_norm: float | None = knob(None, "clip the global gradient norm to this; None or 0: no clipping", least=0)
    gradient_checkpointing: bool = knob(
        False, "recompute the trained blocks' activations in the backward pass: less memory, slower", may_change=True
    )
    precision: str = knob(
        "auto", "train in bf16, fp16 or fp32; auto: bf16 on a GPU that has it, fp16 on others, fp32 on a CPU",
        choices=PRECISIONS,
    )  # fmt: skip
    deepspeed_config: str = knob(str(HERE / "ds_config_gpt_j.json"), "DeepSpeed file; adapted to the hardware")
    plan: bool = knob(True, "refuse what will not fit into memory, before a weight is loaded", may_change=True)
    # evaluation
    eval_steps: int = knob(500, "optimizer steps between accuracies on test", least=1, may_change=True)
    per_device_eval_batch_size: int = knob(4, "pairs per device; changes no result", least=1, may_change=True)
    card_pairs: int = knob(
        500, "first pairs of test that the card is measured on; 0: no card", least=0, may_change=True
    )
    # checkpoints and logs
    save_steps: int = knob(500, "optimizer steps between checkpoints in <output_dir>-steps/", least=1, may_change=True)
    save_minutes: float | None = knob(60.0, "also save after this many minutes; None: never", least=0, may_change=True)
    save_total_limit: int = knob(2, "number of newest checkpoints kept", least=1, may_change=True)
    fresh: bool = knob(False, "start over instead of resuming from the newest complete checkpoint", may_change=True)
    elastic: bool = knob(
        False, "resume with another number of processes, too: statistically equal, not bit-equal", may_change=True
    )
    logging_steps: int = knob(10, "optimizer steps between lines of metrics", least=1, may_change=True)
    report_to: str = knob(
        "wandb", "experiment tracker; wandb is offline without a login", choices=trackers.TRACKERS, may_change=True
    )
    run_name: str | None = knob(
        None, "name that all stages of a run share at the tracker; None: stage 1's", may_change=True
    )
    push_to_hub: bool = knob(False, "upload the finished directory to the Hugging Face Hub", may_change=True)
    hub_model_id: str | None = knob(
        None, "OWNER/NAME on the Hub; None: the name of output_dir, of the token's owner", may_change=True
    )
    seed: int = knob(42, "seed of the value head, the order of pairs and dropout", least=0, below=2**32)


class RewardTrainer(ResumableTrainer):
    """A Trainer on pairs; `pairs` collates B of them into a batch and computes the values of their texts."""

    def __init__(self, pairs: PackedPairs | SeparatePairs, loss: str, **kwargs: Any):
        super().__init__(
            data_collator=pairs,
            compute_metrics=lambda prediction: pair_metrics(*prediction.predictions.T),
            **kwargs,
        )
        self.pairs = pairs
        self.pair_loss = LOSSES[loss]

    def count(self, batch: dict[str, Any]) -> int:
        return len(batch["start"])

    def total_loss(self, model: nn.Module, batch: dict[str, Any]) -> tuple[Tensor, Tensor]:
        """Return the sum of the losses of B pairs, and for each pair (B, 3) both scores and its loss."""
        chosen, rejected = self.pairs.values(model, batch).unbind(1)  # (B, T) each
        chosen_lengths, rejected_lengths = batch["lengths"].unbind(1)  # (B,) each
        losses = self.pair_loss(chosen, rejected, chosen_lengths, rejected_lengths, batch["start"])  # (B,)
        scores = end_scores(chosen, chosen_lengths), end_scores(rejected, rejected_lengths)
        return losses.sum(), torch.stack([*scores, losses], 1).detach()

    @torch.no_grad()
    def prediction_step(self, model, inputs, prediction_loss_only, ignore_keys=None):
        """Return each pair's scores and loss (B, 3) instead of a batch's loss: a mean of batches depends on their size.

        Trainer also wants labels. There are none: the chosen text always comes first.
        """
        _, pairs = self.total_loss(model, self._prepare_inputs(inputs))
        return None, pairs, torch.zeros_like(pairs)


def pair_metrics(chosen: Any, rejected: Any, losses: Any) -> dict[str, float]:
    """Return what an evaluation logs of N pairs, from their scores and losses (N,)."""
    return {"loss": float(losses.mean()), **score_figures(chosen, rejected)}


def several_epochs(args: RewardArguments, pairs: int) -> bool:
    """Return whether a pair is trained on more than once."""
    seen = args.max_steps * args.global_batch_size if args.max_steps > 0 else args.num_train_epochs * pairs
    return seen > pairs


@main_guard
def main() -> None:
    tune_process()
    args = parse_arguments(RewardArguments, about=__doc__, stage="rm")
    launch.join_launch()
    versions.check_versions()
    trackers.quiet_wandb()
    check_output_dir(args.output_dir)
    repo = hub.repo_to_push(args.push_to_hub, args.hub_model_id, args.output_dir)
    steps_dir = steps_dir_of(args.output_dir)
    source = args.model or find_model(*SFT_MODEL)
    run = trackers.run_name(args.run_name, args.output_dir, source)
    dtype = training_dtype(args.precision)
    training = training_arguments(args, steps_dir, dtype, f"{run}/reward-model")  # joins the process group
    hold_run_directory(steps_dir, "rm")
    first = training.process_index == 0

    # 1. The pairs, as token ids
    check_found(source, *SFT_MODEL)
    tokenizer = load_tokenizer(args.tokenizer or source)
    if is_local(source):
        check_handover(source, expects_stage="sft", tokenizer=tokenizer)
    rows = {}
    for split, most in (("train", args.max_train_rows), ("test", args.max_eval_rows)):
        rows[split], dropped = load_comparisons(args.dataset, split, most)
        if first:
            print(f"{split}: {len(rows[split])} pairs; left out: {dropped}")
    if first:
        warn_of_repeats(rows["train"], rows["test"])
    start = find_resume_point(args, tokenizer, rows["train"], RewardModel.check, weights_digest(source) or source)
    if start.finished:
        if first:
            hub.push(args.output_dir, repo)
        return
    if args.plan:
        check_memory(
            "rm", source, dtype, training.deepspeed["zero_optimization"],
            tokens=2 * args.per_device_train_batch_size * args.max_length, batch=args.per_device_train_batch_size,
            max_length=args.max_length, gradient_checkpointing=args.gradient_checkpointing,
            deepspeed_config=args.deepspeed_config, trainable_fraction=args.trainable_fraction,
            trunk_cache_gb=args.trunk_cache_gb if several_epochs(args, len(rows["train"])) else 0, **planned_lora(args),
        )  # fmt: skip
    encoded = {
        split: encode_comparisons(part, tokenizer, args.max_length, first, args.fresh) for split, part in rows.items()
    }

    # 2. The model of stage 1 with a value per token; its top blocks are trained
    language_model = load_causal_lm(source)
    fit_to_tokenizer(language_model, tokenizer, args.max_length)
    torch.manual_seed(args.seed)
    model = RewardModel(language_model.base_model)
    model.freeze(args.trainable_fraction)
    top = decoder_blocks(model.transformer)[model.depth :] if model.depth else None
    adapter = add_lora(model.transformer, args, args.seed, source, top) if args.lora_r else None
    if args.gradient_checkpointing:
        require_recomputation(model, model.config.model_type)
    check_free(training_needs(model, steps_dir, Path(args.output_dir), args.save_total_limit))
    pack = args.pack_pairs and can_pack(model, args.max_length)
    if first and pack != args.pack_pairs:
        print(f"pairs are not packed: it would change the values of a {model.config.model_type} as it is configured")

    pairs = (PackedPairs if pack else SeparatePairs)(tokenizer.pad_token_id)
    lengths = encoded["train"]["length"][:]
    by_length = sorted(range(len(rows["test"])), key=encoded["test"]["length"][:].__getitem__)
    encoded["test"] = encoded["test"].select(by_length)  # little padding
    if pack and several_epochs(args, len(lengths)) and can_keep(model):
        encoded = keep_trunk(model, encoded, pairs, steps_dir, training, dtype, args.trunk_cache_gb)

    # 3. Training, and at its end the accuracy on test
    metrics = MetricsFile(steps_dir)
    trainer = RewardTrainer(
        pairs=pairs,
        loss=args.loss,
        model=model,
        args=training,
        train_dataset=encoded["train"],
        eval_dataset=encoded["test"],
        settings=start.settings,
        metrics=metrics,
        order=LengthGroupedSampler(lengths, args.global_batch_size, args.seed),
        minutes=args.save_minutes,
        group=run,
    )
    trainer.train(resume_from_checkpoint=start.checkpoint)
    results = next(logs for logs in reversed(trainer.state.log_history) if "eval_accuracy" in logs)

    # 4. Its card: what it will reward
    with gathered_model(trainer.model_wrapped) as whole:
        card = stage_card(whole, tokenizer, args.max_length, rows["test"], args.card_pairs) if first else None
    trainer.log(peak_memory())

    # 5. The directory for stage 3, complete or not at all
    weights = gathered_state_dict(model) if adapter is None else trained_weights(adapter)
    with gathered_parameter(model.v_head.weight):
        head = model.v_head.weight.detach().to("cpu", copy=True)
    if first:
        data = {split: fingerprint(part) for split, part in rows.items()}
        record = run_record(
            "rm", asdict(args), tokenizer, args.seed, args.max_length, data,
            settings=start.settings, model=source, steps=trainer.state.global_step, processes=training.world_size,
            results=results, run_name=run, **base_record(adapter, args, source),
        )  # fmt: skip
        with write_model(args.output_dir, RewardModel.check) as tmp:
            if adapter is not None and not args.merge_adapter:
                save_adapter(adapter, weights, tmp, weight=head)
            elif adapter is not None:
                whole = RewardModel(merged(load_causal_lm(source).base_model, adapter, weights))
                whole.save(tmp, whole.state_dict() | {"v_head.weight": head})
            else:
                model.save(tmp, weights)
            tokenizer.save_pretrained(tmp)
            metrics.copy_to(tmp)
            write_model_card(tmp, record)
            save_run(tmp, record)
            if card is not None:
                write_card(tmp, card, tmp)
        drop_step_checkpoints(steps_dir)
        print(f"accuracy {results['eval_accuracy']:.3f} on {len(rows['test'])} pairs; wrote {args.output_dir}")
        print_line(args.output_dir)
        hub.push(args.output_dir, repo)


if __name__ == "__main__":
    main()
