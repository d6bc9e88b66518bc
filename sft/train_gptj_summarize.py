"""Stage 1: supervised fine-tuning. A causal language model learns to write the TL;DR of a Reddit post.

    cd sft/ && deepspeed train_gptj_summarize.py

trains GPT-J on ``CarperAI/openai_summarize_tldr`` and writes ``sft/gptj-supervised-summarize-checkpoint/``, from which
stages 2 and 3 start. Any causal LM and any data with columns ``prompt`` and ``label`` will do:

    deepspeed sft/train_gptj_summarize.py --model gpt2 --dataset my_posts/ --output_dir my_sft

The values below are the published ones. Instead of flags, one JSON or YAML file may hold them.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from accelerate.utils import gather_object
from datasets import Dataset
from torch import Tensor, nn
from transformers import TrainingArguments

from sft.loss import IGNORED, SupervisedLM, mean_loss
from sft.summarize_dataset import LOSS_ON, PadRight, TLDRDataset
from summarize_rlhf import versions
from summarize_rlhf.data import fingerprint, load_rows, places, warn_of_repeats, write_rows
from summarize_rlhf.handover import run_record, save_run
from summarize_rlhf.lm.model_directory import read_causal_lm, write_model
from summarize_rlhf.lm.summaries import generate_summaries
from summarize_rlhf.lm.weights import fit_to_tokenizer, load_causal_lm
from summarize_rlhf.report import print_samples
from summarize_rlhf.rouge import rouge
from summarize_rlhf.run import deepspeed_config, launch, trackers, trainer_arguments
from summarize_rlhf.run.arguments import knob, parse_arguments
from summarize_rlhf.run.errors import main_guard
from summarize_rlhf.run.files import check_output_dir
from summarize_rlhf.run.metrics import MetricsFile
from summarize_rlhf.run.resumable_trainer import ResumableTrainer
from summarize_rlhf.run.sampler import LengthGroupedSampler
from summarize_rlhf.run.stage_run import drop_step_checkpoints, find_resume_point, steps_dir_of
from summarize_rlhf.run.zero3 import gathered_model, gathered_state_dict
from summarize_rlhf.text import cut_prompts, prompt_text, split_labels
from summarize_rlhf.tokenizer import load_tokenizer

HERE = Path(__file__).resolve().parent
KEEP = ["best", "last"]


@dataclass
class SFTArguments:
    # what goes in, what comes out
    model: str = knob("EleutherAI/gpt-j-6B", "causal LM to fine-tune: local directory or Hub id")
    tokenizer: str | None = knob(None, "local directory or Hub id; default: the model's own")
    dataset: str = knob("CarperAI/openai_summarize_tldr", "local directory, file or Hub id with splits train, valid")
    output_dir: str = knob(str(HERE / "gptj-supervised-summarize-checkpoint"), "written whole at the end")
    max_train_rows: int | None = knob(None, "first rows of train; default: all", least=1)
    max_eval_rows: int | None = knob(2000, "first rows of valid", least=1)
    # text
    max_length: int = knob(550, "tokens of post and summary with EOS; of a longer row the post's end is cut", least=1)
    loss_on: str = knob("text", "supervise the whole text (published) or only the summary", choices=LOSS_ON)
    # optimisation
    global_batch_size: int = knob(128, "rows per optimizer step on all devices; accumulation follows from it", least=1)
    per_device_train_batch_size: int = knob(16, "rows per device and forward pass", least=1)
    num_train_epochs: float = knob(5.0, "passes over train", above=0)
    max_steps: int = knob(-1, "optimizer steps; overrides the epochs when positive", least=-1)
    learning_rate: float = knob(1e-5, "peak of AdamW's learning rate", least=0)
    lr_scheduler_type: str = knob("constant_with_warmup", "after the warm-up", choices=trainer_arguments.SCHEDULES)
    warmup_steps: int = knob(100, "optimizer steps from 0 to the learning rate", least=0)
    adam_beta1: float = knob(0.9, "AdamW", least=0, below=1)
    adam_beta2: float = knob(0.95, "AdamW", least=0, below=1)
    adam_epsilon: float = knob(1e-8, "AdamW", above=0)
    weight_decay: float = knob(0.0, "AdamW", least=0)
    max_grad_norm: float | None = knob(None, "the global gradient norm is clipped to this; None or 0: not", least=0)
    gradient_checkpointing: bool = knob(True, "recompute activations in the backward pass: less memory, a third slower")
    deepspeed_config: str = knob(str(HERE / "ds_config_gptj.json"), "DeepSpeed file; adapted to the hardware")
    # evaluation
    eval_steps: int = knob(500, "optimizer steps between losses on valid", least=1)
    per_device_eval_batch_size: int = knob(16, "rows per device; changes no result", least=1)
    rouge_rows: int = knob(300, "first rows of valid summarised at the end, for ROUGE; 0: none", least=0)
    max_new_tokens: int = knob(50, "tokens of a generated summary at most, EOS included", least=1)
    # keeping
    keep: str = knob("best", "the model with the lowest loss on valid of all evaluations, or the last", choices=KEEP)
    save_steps: int = knob(1000, "optimizer steps between checkpoints in <output_dir>-steps/", least=1)
    save_minutes: float | None = knob(60.0, "minutes between checkpoints, besides; None: none", least=0)
    save_total_limit: int = knob(2, "checkpoints kept, the newest", least=1)
    fresh: bool = knob(False, "start over; else an interrupted run goes on from its last whole checkpoint")
    logging_steps: int = knob(50, "optimizer steps between lines of metrics", least=1)
    report_to: str = knob("wandb", "wandb is offline without a login", choices=trackers.TRACKERS)
    seed: int = knob(42, "of the order of rows and of dropout", least=0, below=2**32)


class SFTTrainer(ResumableTrainer):
    """Trainer whose losses are means over supervised tokens: of a whole global batch, of the whole of valid.

    So neither accumulation, nor the number of processes, nor the evaluation's batch size changes what is optimised or
    reported, but for rounding.
    """

    def __init__(self, **kwargs: Any):
        super().__init__(
            compute_metrics=lambda prediction: mean_loss(*prediction.predictions.T),
            **kwargs,
        )

    def count(self, batch: dict[str, Any]) -> Tensor:
        return (batch["labels"][:, 1:] != IGNORED).sum()

    def total_loss(self, model: nn.Module, batch: dict[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
        outputs = model(**batch, num_items_in_batch=1)
        return outputs["loss"], outputs

    def evaluation_loop(self, *args: Any, **kwargs: Any) -> Any:
        output = super().evaluation_loop(*args, **kwargs)
        output.metrics["eval_loss"] = output.metrics.pop("eval_token_loss")  # instead of the mean over batches
        return output


def training_arguments(args: SFTArguments, steps_dir: Path) -> TrainingArguments:
    """Ours, and what of the Trainer's own they imply on this machine."""
    return TrainingArguments(
        output_dir=str(steps_dir),
        num_train_epochs=args.num_train_epochs,
        max_steps=args.max_steps,
        per_device_train_batch_size=args.per_device_train_batch_size,
        gradient_accumulation_steps=launch.accumulation(
            args.global_batch_size, args.per_device_train_batch_size, launch.world_size()
        ),
        learning_rate=args.learning_rate,
        lr_scheduler_type=args.lr_scheduler_type,
        warmup_steps=args.warmup_steps,
        adam_beta1=args.adam_beta1,
        adam_beta2=args.adam_beta2,
        adam_epsilon=args.adam_epsilon,
        weight_decay=args.weight_decay,
        eval_strategy="steps",
        eval_steps=args.eval_steps,
        per_device_eval_batch_size=args.per_device_eval_batch_size,
        save_steps=args.save_steps,
        save_total_limit=args.save_total_limit,
        logging_steps=args.logging_steps,
        report_to=args.report_to,
        run_name="sft",
        remove_unused_columns=False,
        label_names=["labels"],
        seed=args.seed,
        **deepspeed_config.trainer_arguments(args.deepspeed_config, args.max_grad_norm),
    )


def summarise(trainer: SFTTrainer, tokenizer: Any, rows: Dataset, args: SFTArguments) -> tuple[dict, list[dict]]:
    """ROUGE of the summaries that the model writes for ``rows``, each process its share, and the summaries."""
    rank, processes = trainer.args.process_index, trainer.args.world_size
    bodies = cut_prompts(tokenizer, rows["prompt"], args.max_length - args.max_new_tokens, places(rows))
    prompts = [prompt_text(body) for body in bodies]
    with gathered_model(trainer.model_wrapped) as supervised:
        mine = generate_summaries(
            supervised.model, tokenizer, prompts[rank::processes], max_new_tokens=args.max_new_tokens,
            batch_size=args.per_device_eval_batch_size, progress="summaries" if rank == 0 else None,
        )  # fmt: skip
    everyone = gather_object([mine]) if processes > 1 else [mine]
    written = [everyone[i % processes][i // processes] for i in range(len(prompts))]
    labels = split_labels(rows["label"], places(rows))
    table = zip(prompts, labels, written, strict=True)
    samples = [{"prompt": prompt, "reference": label, "summary": text} for prompt, label, text in table]
    return {f"generated_{kind}": value for kind, value in rouge(written, labels).items()}, samples


@main_guard
def main() -> None:
    args = parse_arguments(SFTArguments)
    launch.join_launch()
    versions.check_versions()
    trackers.quiet_wandb()
    check_output_dir(args.output_dir)
    steps_dir = steps_dir_of(args.output_dir)
    training = training_arguments(args, steps_dir)  # joins the process group
    first = training.process_index == 0

    # 1. The rows, as token ids
    tokenizer = load_tokenizer(args.tokenizer or args.model)
    rows = {
        "train": load_rows(args.dataset, "train", ["prompt", "label"], args.max_train_rows),
        "valid": load_rows(args.dataset, "valid", ["prompt", "label"], args.max_eval_rows),
    }
    if first:
        warn_of_repeats(rows["train"], rows["valid"])
    best = args.keep == "best"
    run = find_resume_point(args, tokenizer, rows["train"], read_causal_lm, chosen_on=rows["valid"] if best else None)
    if run.finished:
        return
    encoded = {
        split: TLDRDataset(part, tokenizer, args.max_length, args.loss_on, f"tokenize {split}" if first else None)
        for split, part in rows.items()
    }

    # 2. The model, every weight of it trained
    model = load_causal_lm(args.model)
    fit_to_tokenizer(model, tokenizer, args.max_length)
    if args.gradient_checkpointing:
        model.activation_checkpointing_enable({"use_reentrant": False})

    # 3. Training
    metrics = MetricsFile(steps_dir)
    trainer = SFTTrainer(
        model=SupervisedLM(model),
        args=training,
        train_dataset=encoded["train"],
        eval_dataset=encoded["valid"],
        data_collator=PadRight(tokenizer.pad_token_id),
        settings=run.settings,
        metrics=metrics,
        order=LengthGroupedSampler(encoded["train"].lengths, args.global_batch_size, args.seed),
        minutes=args.save_minutes,
        keep_best=best,
    )
    trainer.train(resume_from_checkpoint=run.resume_from)

    # 4. What the model that is kept has learnt: its loss on valid, and ROUGE of the summaries it writes
    results = trainer.restore_kept()
    kept = {"keep": args.keep, "step": results["step"], "eval_loss": results["eval_loss"]}
    if first:
        print(f"kept the model of step {kept['step']} of {trainer.state.global_step}: loss {kept['eval_loss']:.4f}")
    samples = []
    if args.rouge_rows:
        shown = rows["valid"].select(range(min(args.rouge_rows, len(rows["valid"]))))
        scores, samples = summarise(trainer, tokenizer, shown, args)
        trainer.log(scores)
        results |= scores

    # 5. The directory for stages 2 and 3, whole or not at all
    weights = gathered_state_dict(model)
    if first:
        data = {split: fingerprint(part) for split, part in rows.items()}
        record = run_record(
            "sft", asdict(args), tokenizer, args.seed, args.max_length, data,
            settings=run.settings, steps=trainer.state.global_step, kept=kept, processes=training.world_size,
            results=results,
        )  # fmt: skip
        with write_model(args.output_dir, read_causal_lm) as tmp:
            model.config.use_cache = True  # off while training, for the checkpointing of activations
            model.save_pretrained(tmp, state_dict=weights)
            tokenizer.save_pretrained(tmp)
            metrics.copy_to(tmp)
            write_rows(tmp / "samples.jsonl", samples)
            save_run(tmp, record)
        drop_step_checkpoints(steps_dir)
        print_samples(samples[:3])
        print(f"wrote {args.output_dir}")


if __name__ == "__main__":
    main()
