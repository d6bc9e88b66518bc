"""A Trainer that may be interrupted at any instant: complete checkpoints, with running sums, and a guard."""

import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from torch import nn
from transformers import TrainerCallback
from transformers.integrations import TensorBoardCallback, TrackioCallback, WandbCallback

from summarize_rlhf import UserError
from summarize_rlhf.run import checkpoints, elastic, trackers
from summarize_rlhf.run.best_model import BestModel
from summarize_rlhf.run.deepspeed_config import fit_buckets
from summarize_rlhf.run.global_batch import GlobalBatchTrainer
from summarize_rlhf.run.json_lines import EMPTY
from summarize_rlhf.run.metrics import MetricsFile
from summarize_rlhf.run.preemption import Preempted, Preemption


class ResumableTrainer(GlobalBatchTrainer):
    """A Trainer whose interrupted run resumes as if nothing had happened, on as many processes as before.

    On another number (`elastic`) it goes on statistically equal.

    `args.output_dir` gets the newest `save_total_limit` folders `checkpoint-<step>`, each complete or absent, and the
    `metrics`. A resumed run must have the same `settings`. A checkpoint is also written when `minutes` have passed.
    `keep_best` keeps the model with the lowest `eval_loss` for `restore_kept`. `group` holds the stages of one run
    together at W&B. A gradient that is not finite ends the
    run, with the last checkpoint kept.
    """

    def __init__(
        self,
        settings: Mapping[str, Any],
        metrics: MetricsFile,
        minutes: float | None,
        keep_best: bool = False,
        group: str | None = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs, callbacks=[metrics])
        if self.is_deepspeed_enabled:
            fit_buckets(self.accelerator.state.deepspeed_plugin.deepspeed_config, self.model)
        self.settings, self.metrics, self.group = settings, metrics, group
        self.keep, self.args.save_total_limit = self.args.save_total_limit, None  # `_save_checkpoint` does it
        self.preemption = Preemption(minutes)
        self.resumed_from: Path | None = None
        self.wrote = self.args.world_size  # how many processes wrote the checkpoint
        self.add_callback(_Interruption(self))
        self.best = BestModel(Path(self.args.output_dir), settings) if keep_best else None
        if self.best is not None:
            self.add_callback(self.best)
        self.args.logging_nan_inf_filter = False  # a loss that is not finite must be seen

    def train(self, resume_from_checkpoint: str | None = None, **kwargs: Any):
        self.resumed_from = Path(resume_from_checkpoint) if resume_from_checkpoint else None
        if self.resumed_from is not None:
            self.wrote = elastic.processes_of(self.resumed_from)
        if "wandb" in self.args.report_to and PartialState().is_main_process:
            self._start_wandb_run()
        with self.preemption:
            return super().train(resume_from_checkpoint=resume_from_checkpoint, **kwargs)

    def _start_wandb_run(self) -> None:
        """Start the W&B run before Trainer's callback, which takes an existing one. A run that the user began stays."""
        import wandb

        named = trackers.wandb_run(Path(self.args.output_dir), goes_on=self.resumed_from is not None)
        if wandb.run is None:
            named |= {"project": os.getenv("WANDB_PROJECT", trackers.PROJECT), "name": self.args.run_name}
            wandb.init(**named, group=os.getenv("WANDB_RUN_GROUP") or self.group)

    def log_samples(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Show a table of samples in the tracker, after something was logged behind the training: that opens it."""
        if not self.is_world_process_zero():
            return
        step = self.state.global_step
        for callback in self.callback_handler.callbacks:
            if isinstance(callback, WandbCallback):
                import wandb

                trackers.log_table("wandb", wandb.run, "samples", rows)
            elif isinstance(callback, TrackioCallback):
                import trackio

                trackers.log_table("trackio", trackio, "samples", rows)
            elif isinstance(callback, TensorBoardCallback) and callback.tb_writer is not None:
                trackers.log_table("tensorboard", callback.tb_writer, "samples", rows, step)
                callback.tb_writer.flush()

    def _prepare_for_training(self, max_steps: int, train_dataloader: Any, resume_from_checkpoint: str | None):
        """Load optimizer and weights of a checkpoint, but run no code that a pickle may hold."""
        with checkpoints.tensors_only():
            if not self.is_elastic:
                return super()._prepare_for_training(max_steps, train_dataloader, resume_from_checkpoint)
            prepared = super()._prepare_for_training(max_steps, train_dataloader, None)
            elastic.load_engine(self.model_wrapped, self.resumed_from, Path(self.args.output_dir) / elastic.SCRATCH)
            self._load_optimizer_and_scheduler(resume_from_checkpoint)  # the schedule alone: the engine has the rest
        elastic.tell(self.resumed_from, self.args.world_size)
        return prepared

    @property
    def is_elastic(self) -> bool:
        """Return whether another number of processes wrote the checkpoint that this run goes on from."""
        return self.wrote != self.args.world_size

    def _load_rng_state(self, directory: str | None) -> None:
        """Go on with this process's random numbers, or seed them where other processes wrote the checkpoint."""
        if self.is_elastic:
            elastic.reseed(self.args.seed, self.state.global_step, self.args.process_index)
        else:
            super()._load_rng_state(directory)

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        """Write Trainer's checkpoint into a folder that gets its name when it is complete."""
        directory, name = Path(self.args.output_dir), f"checkpoint-{self.state.global_step}"
        needs = self.best.needs() if self.best is not None else []
        with checkpoints.write_checkpoint(directory / name, self.settings, needs) as tmp:
            self.args.output_dir = str(tmp)  # where Trainer makes a folder `name`
            try:
                super()._save_checkpoint(model, trial)
            finally:
                self.args.output_dir = str(directory)
            (tmp / name / f"sums_{self.args.process_index}.json").write_text(json.dumps(self._sums()), encoding="utf-8")
            PartialState().wait_for_everyone()
            if self.args.process_index == 0:
                for entry in (tmp / name).iterdir():
                    entry.rename(tmp / entry.name)
                (tmp / name).rmdir()
        if self.args.process_index == 0:
            checkpoints.rotate(directory, self.keep, self.state.global_step)
        if self.best is not None:
            self.best.drop_others()
        self.preemption.has_saved()

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Save the model; but not for a checkpoint under DeepSpeed, whose own files hold the weights."""
        if not (_internal_call and self.is_deepspeed_enabled):
            super().save_model(output_dir, _internal_call)

    def restore_kept(self) -> dict[str, float]:
        """Load the kept model after training. Returns its evaluation as it was logged, with its `step`."""
        step = self.state.global_step if self.best is None else self.best.restore(self.model, self.state.global_step)
        return next(
            logs for logs in reversed(self.state.log_history) if "eval_runtime" in logs and logs["step"] == step
        )

    def _sums(self) -> dict[str, Any]:
        """Return this process's loss since the last log line and in total, the state of the log, and the best model."""
        return {
            "metrics": self.metrics.log.state() if self.args.process_index == 0 else None,
            "_tr_loss": self._tr_loss.item(),
            "_total_loss_scalar": self._total_loss_scalar,
            "_globalstep_last_logged": self._globalstep_last_logged,
            "best": self.best.found if self.best is not None else None,
        }

    def restore_sums(self) -> None:
        """Restore the running sums and the log, which Trainer itself starts anew."""
        sums: dict[str, Any] = {"metrics": EMPTY}
        if self.resumed_from is not None:
            files = [self.resumed_from / f"sums_{rank}.json" for rank in range(self.wrote)]
            everyone = [json.loads(file.read_text(encoding="utf-8")) for file in files]
            sums = everyone[0 if self.is_elastic else self.args.process_index]
            if self.is_elastic:  # Trainer logs the mean over processes
                sums["_tr_loss"] = sum(each["_tr_loss"] for each in everyone) / len(everyone)
        logged = sums.pop("metrics")
        if self.args.process_index == 0:
            self.metrics.log.restore(logged)
        if self.resumed_from is None:
            return
        self._tr_loss = torch.tensor(sums.pop("_tr_loss"), device=self.args.device)
        best = sums.pop("best", None)
        if self.best is not None:
            self.best.found = best
        for name, value in sums.items():
            setattr(self, name, value)

    def _get_grad_norm(self, model: nn.Module, grad_norm: float | None = None) -> float | None:
        """Return the norm over all processes. Raises `UserError` if it is not finite, before anything is saved.

        In fp16 the loss scaler handles that: it skips the step and continues with a smaller scale.
        """
        norm = super()._get_grad_norm(model, grad_norm=grad_norm)
        if norm is not None and not self.args.fp16 and not math.isfinite(norm):
            raise UserError(
                f"the gradient is {float(norm)} at step {self.state.global_step + 1}: lower --learning_rate, or see "
                f"which rows it had. The last checkpoint in {self.args.output_dir} is kept"
            )
        return norm


class _Interruption(TrainerCallback):
    """Ask after each step whether the run is to end, and end it once it is saved."""

    def __init__(self, trainer: ResumableTrainer):
        self.trainer = trainer
        self.ending = False

    def on_train_begin(self, args, state, control, **kwargs) -> None:
        self.trainer.restore_sums()

    def on_epoch_begin(self, args, state, control, **kwargs) -> None:
        # Trainer tells the sampler, but not through the wrappers of a dataloader that skips rows already trained on.
        self.trainer.order.set_epoch(int(state.epoch + 1e-6))

    def on_step_end(self, args, state, control, **kwargs) -> None:
        self.ending, due = self.trainer.preemption.agree()
        control.should_save = control.should_save or self.ending or due

    def on_save(self, args, state, control, **kwargs) -> None:
        if self.ending:
            if state.is_world_process_zero:
                print(f"saved at step {state.global_step}; the same command goes on from there", flush=True)
            raise Preempted
