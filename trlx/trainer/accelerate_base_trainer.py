"""The trainer without its algorithm: what a run is made of, and trlX's public methods."""

from collections.abc import Callable
from pathlib import Path

import torch
from accelerate.utils import set_seed
from torch import Tensor
from tqdm.auto import tqdm

from summarize_rlhf.lm import end_of_response, generation, generation_options
from summarize_rlhf.run import checkpoints
from summarize_rlhf.run.deepspeed_config import fit_buckets
from summarize_rlhf.run.peak_memory import peak_memory
from summarize_rlhf.run.preemption import Preemption
from trlx.data.checks import check_config
from trlx.data.configs import TRLConfig
from trlx.models.policy import PolicyWithValueHead
from trlx.pipeline.offline_pipeline import PromptCursor, PromptPipeline
from trlx.trainer import checkpoint, evaluation, setup
from trlx.trainer.batch_plan import BatchPlan
from trlx.trainer.guards import Guards
from trlx.trainer.log import RunLog
from trlx.utils.optimizers import build_optimizer, build_scheduler


class AccelerateRLTrainer:
    """Policy, optimizer, prompts and log of a run, under trlX's names. `AcceleratePPOTrainer` adds the algorithm."""

    def __init__(
        self,
        config: TRLConfig,
        reward_fn: Callable | None = None,
        metric_fn: Callable | None = None,
        stop_sequences: list[str] | None = None,
    ):
        check_config(config)
        self.config, self.method = config, config.method
        self.reward_fn, self.metric_fn = reward_fn, metric_fn
        self.stop_sequences = stop_sequences or []
        self.accelerator, self.accumulation = setup.build_accelerator(config)
        setup.check_processes(config, self.accelerator.num_processes)
        set_seed(config.train.seed)
        self.tokenizer = setup.build_tokenizer(config.tokenizer)
        generation_options.check_method(self.method, vocabulary=len(self.tokenizer))
        policy = setup.build_policy(config, self.tokenizer)
        if self.accelerator.state.deepspeed_plugin is not None:
            fit_buckets(self.accelerator.state.deepspeed_plugin.deepspeed_config, policy)
        optimizer = build_optimizer(config.optimizer, policy.parameters())
        self.model, self.optimizer = self.accelerator.prepare(policy, optimizer)
        self.scheduler = build_scheduler(config.scheduler, self.optimizer)
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

        self.guards = Guards(config.train.guards, loss_is_scaled=self.accelerator.mixed_precision == "fp16")
        self.preemption = Preemption(config.train.checkpoint_minutes)
        self.step = 0  # training batches so far
        self.best_reward = float("-inf")
        self.evaluated: int | None = None  # step of the last evaluation
        self.evaluation_due = True  # before the first step, and while one is under way
        self.saved: int | None = None  # step of the last checkpoint
        self.resumed = False
        self.log = RunLog(self.accelerator, config.train.checkpoint_dir, config.train.rollout_logging_dir)

    @property
    def policy(self) -> PolicyWithValueHead:
        """Return the module inside what DDP or DeepSpeed wrapped around it."""
        return self.accelerator.unwrap_model(self.model)

    @property
    def plan(self) -> BatchPlan:
        """Return how many rollouts, micro-batches and updates a collection has."""
        return BatchPlan(self.config.train, self.method, self.accumulation, self.accelerator.num_processes)

    def say(self, text: str) -> None:
        """Print a line, above the progress bars, on rank 0."""
        if self.accelerator.is_main_process:
            tqdm.write(text)

    def bar(self, name: str) -> str | None:
        """Return the name of a progress bar on rank 0, None (no bar) elsewhere."""
        return name if self.accelerator.is_main_process else None

    def add_prompt_pipeline(self, pipeline: PromptPipeline) -> None:
        """Set the prompts of rollouts."""
        self.prompts = pipeline
        self.cursor = PromptCursor(len(pipeline), self.config.train.seed)

    def add_eval_pipeline(self, pipeline: PromptPipeline) -> None:
        """Set the prompts of evaluations."""
        self.eval_prompts = pipeline

    def evaluate(self) -> dict[str, float]:
        """Evaluate, log and return the means over the evaluation prompts. Keeps the policy if it is the best so far."""
        results, samples = evaluation.evaluate(self)
        self.evaluated, self.evaluation_due = self.step, False
        self.log.metrics(results | peak_memory(), self.step)
        self.log.samples(samples, self.step)
        reward = max((x for key, x in results.items() if key.startswith("reward/mean")), default=float("-inf"))
        if self.config.train.save_best and reward > self.best_reward:
            self.best_reward = reward
            self.save_pretrained(f"{self.config.train.checkpoint_dir}/{checkpoint.BEST}")
        return results

    def generate(self, input_ids: Tensor, attention_mask: Tensor | None = None, **kwargs) -> Tensor:
        """Continue left-padded `input_ids` (B, Q) to (B, Q + R), with the options of rollouts."""
        return self._generate(input_ids, attention_mask, self.rollout_options | kwargs)

    def generate_eval(self, input_ids: Tensor, attention_mask: Tensor | None = None, **kwargs) -> Tensor:
        """Do the same with the options of evaluation (of a sweep, the first)."""
        options = generation_options.sweep(self.method.gen_kwargs)[0][1]
        return self._generate(input_ids, attention_mask, options | kwargs)

    @torch.no_grad()
    def _generate(self, input_ids, attention_mask, options) -> Tensor:
        generation_options.check_options(options, "generate", vocabulary=len(self.tokenizer))
        config = generation_options.generation_config(self.tokenizer, options)
        device = self.accelerator.device
        mask = None if attention_mask is None else attention_mask.to(device)
        with checkpoint.gathered_model(self.model, self.accelerator) as policy:
            return generation.generate(policy.causal_lm, input_ids.to(device), mask, config)

    def save_pretrained(self, directory: str | None = None, merge_adapter: bool = False) -> None:
        """Write the policy as a plain transformers directory with tokenizer and run.json, complete or not at all.

        Default: `hf_model` in the checkpoint directory. An adapter is saved alone unless it is to be merged.
        """
        directory = directory or f"{self.config.train.checkpoint_dir}/hf_model"
        checkpoint.save_pretrained(self, directory, merge_adapter)

    def save(self, directory: str | None = None) -> None:
        """Write the policy, and with `save_optimizer` the full state of the run. Default: `checkpoint_<step>`.

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
        """Load the full state that `save` wrote: training goes on as if it had not been interrupted."""
        checkpoint.load(self, directory)
        self.resumed, self.saved = True, self.step
