"""Stage 1: supervised fine-tuning. A causal language model learns to write the TL;DR of a Reddit post.

    cd sft/ && deepspeed train_gptj_summarize.py

fine-tunes GPT-J on ``CarperAI/openai_summarize_tldr`` and writes ``sft/gptj-supervised-summarize-checkpoint/``, from
which stages 2 and 3 start. Any causal LM and any data with columns ``prompt`` and ``label`` will do:

    deepspeed sft/train_gptj_summarize.py --model gpt2 --dataset my_posts/ --output_dir my_sft

The values below are the published ones. Instead of flags, one JSON or YAML file may hold them.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from accelerate.utils import gather_object
from datasets import Dataset
from torch import Tensor, nn

from sft.loss import IGNORED, SupervisedLM, mean_loss
from sft.summarize_dataset import LOSS_ON, PadRight, TLDRDataset
from summarize_rlhf import hub, versions
from summarize_rlhf.data import fingerprint, load_rows, places, warn_of_repeats, write_rows
from summarize_rlhf.doctor.verdict import print_line
from summarize_rlhf.handover import run_record, save_run
from summarize_rlhf.lm.adapters import weights_digest
from summarize_rlhf.lm.lora import LoraArguments, add_lora, base_record, merged, planned_lora, save_adapter
from summarize_rlhf.lm.memory_check import check_memory
from summarize_rlhf.lm.model_directory import read_causal_lm, write_model
from summarize_rlhf.lm.precision import PRECISIONS, training_dtype
from summarize_rlhf.lm.speed import tune_process
from summarize_rlhf.lm.summaries import generate
from summarize_rlhf.lm.weights import fit_to_tokenizer, load_causal_lm
from summarize_rlhf.locations import SFT_MODEL
from summarize_rlhf.model_card import write_model_card
from summarize_rlhf.report import print_samples
from summarize_rlhf.rouge import rouge
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
from summarize_rlhf.run.zero3 import gathered_model, gathered_state_dict
from summarize_rlhf.text import cut_prompts, prompt_text, split_labels
from summarize_rlhf.tokenizer import load_tokenizer

HERE = Path(__file__).resolve().parent
KEEP = ["best", "last"]


def keeps_last(args: "SFTArguments") -> bool:
    """Return whether no evaluation decides which model is kept; what is evaluated, and when, may change then."""
    return args.keep == "last"


@dataclass
class SFTArguments(LoraArguments):
    preset: str = knob(presets.NAMES[0], presets.HELP, choices=presets.NAMES, may_change=True)
    # input and output
    model: str = knob("EleutherAI/gpt-j-6B", "causal LM to fine-tune: local directory or Hub id")
    tokenizer: str | None = knob(None, "local directory or Hub id; None: the model's own")
    dataset: str = knob("CarperAI/openai_summarize_tldr", "directory, file or Hub id with splits train and valid")
    output_dir: str = knob(str(SFT_MODEL.directory), "where the finished model goes", may_change=True)
    max_train_rows: int | None = knob(None, "number of first rows of train to use; None: all", least=1)
    max_eval_rows: int | None = knob(2000, "number of first rows of valid to use", least=1, may_change=keeps_last)
    # text
    max_length: int = knob(550, "tokens of post, summary and EOS; a longer post loses its end", least=1)
    loss_on: str = knob("text", "supervise the whole text (published) or only the summary", choices=LOSS_ON)
    # optimisation
    global_batch_size: int = knob(128, "rows per optimizer step over all devices; sets the accumulation", least=1)
    per_device_train_batch_size: int = knob(16, "rows per device and forward pass", least=1, may_change=True)
    num_train_epochs: float = knob(5.0, "passes over train", above=0, most=10**6, may_change=rate_is_constant)
    max_steps: int = knob(
        -1, "optimizer steps; if positive, overrides num_train_epochs", least=-1, may_change=rate_is_constant
    )
    learning_rate: float = knob(1e-5, "AdamW's peak learning rate", least=0)
    lr_scheduler_type: str = knob("constant_with_warmup", "learning rate after the warm-up", choices=SCHEDULES)
    warmup_steps: int = knob(100, "optimizer steps in which the learning rate rises from 0 to its peak", least=0)
    adam_beta1: float = knob(0.9, "AdamW's decay rate of the first moment", least=0, below=1)
    adam_beta2: float = knob(0.95, "AdamW's decay rate of the second moment", least=0, below=1)
    adam_epsilon: float = knob(1e-8, "AdamW's epsilon", above=0)
    weight_decay: float = knob(0.0, "AdamW's weight decay", least=0)
    max_grad_norm: float | None = knob(None, "clip the global gradient norm to this; None or 0: no clipping", least=0)
    gradient_checkpointing: bool = knob(
        True, "recompute activations in the backward pass: less memory, a third slower", may_change=True
    )
    precision: str = knob(
        "auto", "train in bf16, fp16 or fp32; auto: bf16 on a GPU that has it, fp16 on others, fp32 on a CPU",
        choices=PRECISIONS,
    )  # fmt: skip
    deepspeed_config: str = knob(str(HERE / "ds_config_gptj.json"), "DeepSpeed file; adapted to the hardware")
    plan: bool = knob(True, "refuse what will not fit into memory, before a weight is loaded", may_change=True)
    # evaluation
    eval_steps: int = knob(500, "optimizer steps between losses on valid", least=1, may_change=keeps_last)
    per_device_eval_batch_size: int = knob(16, "rows per device; changes no result", least=1, may_change=True)
    rouge_rows: int = knob(300, "rows of valid summarised at the end for ROUGE; 0: none", least=0, may_change=True)
    max_new_tokens: int = knob(50, "most tokens of a generated summary, EOS included", least=1, may_change=True)
    # checkpoints and logs
    keep: str = knob("best", "keep the model with the lowest loss on valid, or the last one", choices=KEEP)
    save_steps: int = knob(1000, "optimizer steps between checkpoints in <output_dir>-steps/", least=1, may_change=True)
    save_minutes: float | None = knob(60.0, "also save after this many minutes; None: never", least=0, may_change=True)
    save_total_limit: int = knob(2, "number of newest checkpoints kept", least=1, may_change=True)
    fresh: bool = knob(False, "start over instead of resuming from the newest complete checkpoint", may_change=True)
    elastic: bool = knob(
        False, "resume with another number of processes, too: statistically equal, not bit-equal", may_change=True
    )
    logging_steps: int = knob(50, "optimizer steps between lines of metrics", least=1, may_change=True)
    report_to: str = knob(
        "wandb", "experiment tracker; wandb is offline without a login", choices=trackers.TRACKERS, may_change=True
    )
    run_name: str | None = knob(
        None,
        "name that all stages of a run share at the tracker; None: that of the folder of output_dir",
        may_change=True,
    )
    push_to_hub: bool = knob(False, "upload the finished directory to the Hugging Face Hub", may_change=True)
    hub_model_id: str | None = knob(
        None, "OWNER/NAME on the Hub; None: the name of output_dir, of the token's owner", may_change=True
    )
    seed: int = knob(42, "seed of the order of rows and of dropout", least=0, below=2**32)


class SFTTrainer(ResumableTrainer):
    """A Trainer whose losses are means over supervised tokens: of a global batch in training, of all of valid.

    So accumulation, the number of processes and the evaluation's batch size change what is optimised and reported only
    by rounding.
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


def summarise(trainer: SFTTrainer, tokenizer: Any, rows: Dataset, args: SFTArguments) -> tuple[dict, list[dict]]:
    """Generate summaries of ``rows``, each process its share. Returns their figures and the samples.

    The figures are ROUGE, the mean number of tokens (EOS included) and the share that ended by EOS.
    """
    rank, processes = trainer.args.process_index, trainer.args.world_size
    bodies = cut_prompts(tokenizer, rows["prompt"], args.max_length - args.max_new_tokens, places(rows))
    prompts = [prompt_text(body) for body in bodies]
    with gathered_model(trainer.model_wrapped) as supervised:
        mine = generate(
            supervised.model, tokenizer, prompts[rank::processes], max_new_tokens=args.max_new_tokens,
            batch_size=args.per_device_eval_batch_size, progress="summaries" if rank == 0 else None,
        )  # fmt: skip
    everyone = gather_object([mine]) if processes > 1 else [mine]
    summaries = [everyone[i % processes][i // processes] for i in range(len(prompts))]
    written = [summary.text for summary in summaries]
    labels = split_labels(rows["label"], places(rows))
    table = zip(prompts, labels, written, strict=True)
    samples = [{"prompt": prompt, "label": label, "summary": text} for prompt, label, text in table]
    figures = rouge(written, labels) | {
        "tokens": sum(len(summary.response) for summary in summaries) / len(summaries),
        "ended": sum(summary.ended for summary in summaries) / len(summaries),
    }
    return {f"generated_{kind}": value for kind, value in figures.items()}, samples


@main_guard
def main() -> None:
    tune_process()
    args = parse_arguments(SFTArguments, about=__doc__, stage="sft")
    launch.join_launch()
    versions.check_versions()
    trackers.quiet_wandb()
    check_output_dir(args.output_dir)
    repo = hub.repo_to_push(args.push_to_hub, args.hub_model_id, args.output_dir)
    steps_dir = steps_dir_of(args.output_dir)
    run = trackers.run_name(args.run_name, args.output_dir)
    dtype = training_dtype(args.precision)
    training = training_arguments(args, steps_dir, dtype, f"{run}/sft")  # joins the process group
    hold_run_directory(steps_dir, "sft")
    first = training.process_index == 0

    # 1. The rows, as token ids
    tokenizer = load_tokenizer(args.tokenizer or args.model)
    rows = {
        "train": load_rows(args.dataset, "train", ["prompt", "label"], args.max_train_rows),
        "valid": load_rows(args.dataset, "valid", ["prompt", "label"], args.max_eval_rows),
    }
    if first:
        warn_of_repeats(rows["train"], rows["valid"])
    chosen_on = None if keeps_last(args) else rows["valid"]
    weights = weights_digest(args.model) or args.model
    start = find_resume_point(args, tokenizer, rows["train"], read_causal_lm, weights, chosen_on)
    if start.finished:
        if first:
            hub.push(args.output_dir, repo)
        return
    if args.plan:
        check_memory(
            "sft", args.model, dtype, training.deepspeed["zero_optimization"],
            tokens=args.per_device_train_batch_size * args.max_length, batch=args.per_device_train_batch_size,
            max_length=args.max_length, gradient_checkpointing=args.gradient_checkpointing,
            deepspeed_config=args.deepspeed_config, **planned_lora(args),
        )  # fmt: skip
    encoded = {
        split: TLDRDataset(
            part, tokenizer, args.max_length, args.loss_on, f"tokenize {split}" if first else None, args.fresh
        )
        for split, part in rows.items()
    }

    # 2. The model, of which every weight is trained, or an adapter alone
    model = load_causal_lm(args.model)
    fit_to_tokenizer(model, tokenizer, args.max_length)
    adapter = add_lora(model, args, args.seed, args.model) if args.lora_r else None
    check_free(training_needs(model, steps_dir, Path(args.output_dir), args.save_total_limit, not keeps_last(args)))
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
        settings=start.settings,
        metrics=metrics,
        order=LengthGroupedSampler(encoded["train"].lengths, args.global_batch_size, args.seed),
        minutes=args.save_minutes,
        keep_best=not keeps_last(args),
        group=run,
    )
    trainer.train(resume_from_checkpoint=start.checkpoint)

    # 4. Evaluation of the kept model: its loss on valid, and ROUGE of its summaries
    results = trainer.restore_kept() | {"rows_cut": encoded["train"].share_cut()}
    kept = {"keep": args.keep, "step": results["step"], "eval_loss": results["eval_loss"]}
    if first:
        print(f"kept the model of step {kept['step']} of {trainer.state.global_step}: loss {kept['eval_loss']:.4f}")
    samples = []
    if args.rouge_rows:
        shown = rows["valid"].select(range(min(args.rouge_rows, len(rows["valid"]))))
        scores, samples = summarise(trainer, tokenizer, shown, args)
        trainer.log(scores)
        trainer.log_samples(samples)
        results |= scores
    trainer.log(peak_memory())

    # 5. The directory for stages 2 and 3, complete or not at all
    weights = gathered_state_dict(model) if adapter is None else trained_weights(adapter)
    if first:
        data = {split: fingerprint(part) for split, part in rows.items()}
        record = run_record(
            "sft", asdict(args), tokenizer, args.seed, args.max_length, data,
            settings=start.settings, steps=trainer.state.global_step, kept=kept, processes=training.world_size,
            results=results, run_name=run, **base_record(adapter, args, args.model),
        )  # fmt: skip
        with write_model(args.output_dir, read_causal_lm) as tmp:
            if adapter is not None and not args.merge_adapter:
                save_adapter(adapter, weights, tmp)
            else:
                if adapter is not None:
                    model, weights = merged(load_causal_lm(args.model), adapter, weights), None
                    fit_to_tokenizer(model, tokenizer, args.max_length)
                model.config.use_cache = True  # off while training, for the checkpointing of activations
                model.save_pretrained(tmp, state_dict=weights)
            tokenizer.save_pretrained(tmp)
            metrics.copy_to(tmp)
            write_rows(tmp / "samples.jsonl", samples)
            write_model_card(tmp, record)
            save_run(tmp, record)
        drop_step_checkpoints(steps_dir)
        print_samples(samples[:3])
        print(f"wrote {args.output_dir}")
        print_line(args.output_dir)
        hub.push(args.output_dir, repo)


if __name__ == "__main__":
    main()
