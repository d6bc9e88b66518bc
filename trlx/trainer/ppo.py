"""The PPO trainer: collect rollouts (experience.py), optimise on them (optimisation.py), evaluate (evaluation.py)."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import set_seed
from torch import Tensor
from tqdm.auto import tqdm

from summarize_rlhf.lm import end_of_response, generation, generation_options
from summarize_rlhf.run import checkpoints
from summarize_rlhf.run.preemption import Preempted, Preemption
from trlx.data.configs import TRLConfig
from trlx.pipeline.offline_pipeline import PromptCursor, PromptPipeline
from trlx.trainer import checkpoint, rewards, setup
from trlx.trainer.evaluation import Evaluation
from trlx.trainer.experience import Experience
from trlx.trainer.guards import Guards
from trlx.trainer.log import RunLog
from trlx.trainer.optimisation import Optimisation
from trlx.utils.modeling import RunningMoments


class AcceleratePPOTrainer(Experience, Optimisation, Evaluation):
    """trlX's PPO trainer. `trlx.train` builds it, calls `learn` and returns it.

    `identity` (of `train.trainer_kwargs`): what must be the same, besides the configuration, where a run goes on.
    """

    def __init__(
        self,
        config: TRLConfig,
        reward_fn: Callable | None = None,
        metric_fn: Callable | None = None,
        stop_sequences: list[str] | None = None,
        identity: dict[str, Any] | None = None,
    ):
        setup.check_config(config)
        self.config, self.method = config, config.method
        self.reward_fn, self.metric_fn = reward_fn, metric_fn
        self.stop_sequences = stop_sequences or []
        self.accelerator, self.parts = setup.build_accelerator(config)
        setup.check_processes(config, self.accelerator.num_processes)
        set_seed(config.train.seed)
        self.tokenizer = setup.build_tokenizer(config.tokenizer)
        generation_options.check_method(self.method, vocabulary=len(self.tokenizer))
        policy = setup.build_policy(config, self.tokenizer)
        optimizer = setup.build_optimizer(config.optimizer, policy.parameters())
        self.model, self.optimizer = self.accelerator.prepare(policy, optimizer)
        self.scheduler = setup.build_scheduler(config.scheduler, self.optimizer)
        # From here on every rank draws its own responses. Weights were made alike above.
        set_seed(config.train.seed, device_specific=True)

        self.rollout_options, _ = generation_options.rollout_options(self.method)
        self.rollout_generation = generation_options.generation_config(self.tokenizer, self.rollout_options)
        self.temperature = self.rollout_generation.temperature
        own = policy.causal_lm.generation_config  # the saved policy's `generate` stops where its rollouts did
        end_of_response.set_ends(own, self.tokenizer, self.rollout_generation.eos_token_id)
        bent = generation_options.bends_distribution(self.rollout_options)
        if bent:
            self.say(f"note: {', '.join(bent)} in gen_kwargs: sampled from another distribution than is trained.")

        self.kl_controller = self.method.kl_controller()
        self.moments = RunningMoments()
        self.ref_std = self.method.ref_std
        self.guards = Guards(config.train.guards, loss_is_scaled=self.accelerator.mixed_precision == "fp16")
        self.preemption = Preemption(config.train.checkpoint_minutes)
        self.collection: checkpoint.Collection | None = None  # what is being optimised on
        self.step = 0  # training batches so far
        self.iteration = 0  # collections so far
        self.best_reward = float("-inf")
        self.evaluated: int | None = None  # step of the last evaluation
        self.evaluation_due = True  # before the first step, and while one is under way
        self.saved: int | None = None  # step of the last checkpoint
        self.resumed = False
        self.log = RunLog(self.accelerator, config.train.checkpoint_dir, config.train.rollout_logging_dir)
        self.accelerator.register_for_checkpointing(checkpoint.Progress(self))

    @property
    def policy(self):
        """The module inside what DDP or DeepSpeed wrapped around it."""
        return self.accelerator.unwrap_model(self.model)

    def say(self, text: str) -> None:
        if self.accelerator.is_main_process:
            tqdm.write(text)

    def bar(self, name: str) -> str | None:
        """The name of a progress bar on rank 0, no bar elsewhere."""
        return name if self.accelerator.is_main_process else None

    def sum_over_ranks(self, values: list[float]) -> list[float]:
        totals = torch.tensor(values, dtype=torch.float64, device=self.accelerator.device)
        return self.accelerator.reduce(totals, reduction="sum").tolist()

    # ---------------------------------------------------------------- prompts

    def add_prompt_pipeline(self, pipeline: PromptPipeline) -> None:
        self.prompts = pipeline
        self.cursor = PromptCursor(len(pipeline), self.config.train.seed)

    def add_eval_pipeline(self, pipeline: PromptPipeline) -> None:
        self.eval_prompts = pipeline

    # ------------------------------------------------------------------- loop

    def learn(self) -> None:
        """Collect and optimise until `epochs` or `total_steps` is reached; evaluate and save on the way.

        A loaded run goes on in the middle of whatever it was at. SIGTERM and SIGINT end it with a checkpoint.
        """
        train = self.config.train
        self.log.start(resumed=self.resumed)
        setup.start_trackers(self.accelerator, self.config, self.resumed)
        per_collection = self.updates_per_epoch() * self.batches_per_update() * self.method.ppo_epochs
        total = min(train.total_steps, train.epochs * per_collection)
        hide = not self.accelerator.is_main_process
        with self.preemption, tqdm(total=total, initial=self.step, desc="PPO", unit="batch", disable=hide) as bar:
            try:
                if self.evaluation_due:
                    self.evaluate()
                while self.step < train.total_steps and (self.collection or self.iteration < train.epochs):
                    if self.collection is None:
                        self.collect(bar)
                    self.optimise(self.collection, bar)
            except rewards.RewardError:
                if self.saved != self.step:
                    self.save()  # nothing is lost but the samples
                raise
        self.finish()

    def collect(self, bar: tqdm) -> None:
        """The next collection of rollouts. If that fails, the trainer is as it was before."""
        position = self.cursor.position
        try:
            rollouts, stats = self.make_experience()
        except rewards.RewardError:
            self.cursor.position = position
            raise
        self.collection = checkpoint.Collection(rollouts, stats["policy/kl"])
        self.log.metrics(stats, self.step)
        bar.set_postfix(score=f"{stats['rollout_scores/mean']:.3f}", kl=f"{stats['policy/kl']:.2f}")
        for text in self.guards.collection(stats):
            self.say(text)
        self.keep_or_end(due=False)

    def close_collection(self) -> None:
        """Once its rollouts are used up: the KL coefficient follows the KL that was measured on them."""
        self.kl_controller.update(self.collection.kl, self.method.num_rollouts)
        self.collection = None

    def keep_or_end(self, due: bool) -> None:
        """A checkpoint where one is due by steps or by the clock, or where a signal has come: then it is the end."""
        ending, late = self.preemption.agree()
        if due or late or ending:
            self.save()
        if ending:
            self.say(f"saved at step {self.step}; the same command goes on from there")
            self.finish_trackers()
            raise Preempted

    def finish(self) -> None:
        """A last evaluation and a last checkpoint, unless the last step has just made them."""
        if self.evaluated != self.step:
            self.evaluate()
        if self.saved != self.step:
            self.save()
        self.finish_trackers()

    def finish_trackers(self) -> None:
        for tracker in self.accelerator.trackers:  # not end_training(): the caller may go on to generate, on all ranks
            tracker.finish()

    # ------------------------------------------------------ trlX's public face

    def generate(self, input_ids: Tensor, attention_mask: Tensor | None = None, **kwargs) -> Tensor:
        """Ids (B, Q + R) after left-padded `input_ids` (B, Q), with the options of rollouts."""
        return self._generate(input_ids, attention_mask, self.rollout_options | kwargs)

    def generate_eval(self, input_ids: Tensor, attention_mask: Tensor | None = None, **kwargs) -> Tensor:
        """The same with the options of evaluation (of a sweep, the first)."""
        return self._generate(
            input_ids, attention_mask, generation_options.sweep(self.method.gen_kwargs)[0][1] | kwargs
        )

    @torch.no_grad()
    def _generate(self, input_ids, attention_mask, options) -> Tensor:
        generation_options.check_options(options, "generate", vocabulary=len(self.tokenizer))
        config = generation_options.generation_config(self.tokenizer, options)
        device = self.accelerator.device
        mask = None if attention_mask is None else attention_mask.to(device)
        with checkpoint.gathered_model(self.model, self.accelerator) as policy:
            return generation.generate(policy.causal_lm, input_ids.to(device), mask, config)

    def save_pretrained(self, directory: str | None = None, merge_adapter: bool = False) -> None:
        """The policy as a plain transformers directory, tokenizer and run.json with it, whole or not at all.

        Default: `hf_model` in the checkpoint directory. An adapter is saved alone unless it is to be merged.
        """
        directory = directory or f"{self.config.train.checkpoint_dir}/hf_model"
        checkpoint.save_pretrained(self, directory, merge_adapter)

    def save(self, directory: str | None = None) -> None:
        """The policy, and with `save_optimizer` the full state of the run. Default: `checkpoint_<step>`.

        Of those with the default name the newest `save_total_limit` stay.
        """
        folder, keep = Path(self.config.train.checkpoint_dir), self.config.train.save_total_limit
        checkpoint.save(self, directory or folder / f"checkpoint_{self.step}")
        if directory is None:
            if keep is not None and self.accelerator.is_main_process:
                checkpoints.rotate(folder, keep, self.step)
            self.saved = self.step
            self.preemption.has_saved()

    def load(self, directory: str) -> None:
        """The full state that `save` wrote: training goes on as if it had not been interrupted."""
        checkpoint.load(self, directory)
        self.resumed, self.saved = True, self.step
