"""Compare one PPO iteration (64 rollouts, four epochs on them) with the published way, by phase.

    python benchmarks/bench_ppo.py [--quick] [--threads 1 2]

Prompts of 50 to 400 tokens, 50 new ones, chunks of 16, batch 4 with 4 batches an update, the top 2 of 8 blocks trained;
a reward model of the same shape. The published way runs a second time with torch's fused attention. A short warm-up
iteration does not count. The figure `references` is ours only: the human summaries are scored once per run, before
training; the published way scores them again in each `reward`.
"""

import os
import random
import time
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

import torch
from tqdm.auto import tqdm

from benchmarks import machine, measure, published, published_ppo, workload
from benchmarks.raw import FUSED, OURS, PUBLISHED
from reward_model.reward_model import RewardModel
from reward_model.scoring import Scorer
from summarize_rlhf.lm import generation
from summarize_rlhf.lm.speed import CACHE_TOKENS
from summarize_rlhf.lm.weights import load_causal_lm
from summarize_rlhf.text import cut_post, prompt_text, split_prompt
from summarize_rlhf.tokenizer import load_tokenizer
from trlx.data.configs import TRLConfig
from trlx.data.default_configs import default_ppo_config
from trlx.pipeline.offline_pipeline import PromptPipeline
from trlx.trainer import ppo
from trlx.trainer.checkpoint import Collection
from trlx.trainer.ppo import AcceleratePPOTrainer

CHUNK, BATCH, ACCUMULATION = 16, 4, 4
UPDATE = BATCH * ACCUMULATION  # rollouts an update
WARM_UP = 8  # rollouts of an iteration that does not count
SHORTEST, LONGEST, NEW, WIDTH = 50, 400, 50, 550  # tokens
PHASES = ("generate", "reward", "policy + reference", "optimise")


def make(folder: Path, rollouts: int, family: str, **shape) -> str:
    """Write policy, reward model and rows for `rollouts` rollouts; return the kind of texts (real or synthetic)."""
    kind, rows = workload.texts(WARM_UP + rollouts, shorten=False)
    workload.make(folder, rows, family, **shape)
    (folder / "rm").mkdir()
    RewardModel(load_causal_lm(folder).base_model).save(folder / "rm")
    load_tokenizer(folder).save_pretrained(folder / "rm")
    return kind


def prompts_of(folder: Path) -> list[dict[str, str]]:
    """Read the folder's rows and cut each post to a length drawn between `SHORTEST` and `LONGEST`."""
    tokenizer, lengths = load_tokenizer(folder), random.Random(0)
    made = []
    for row in workload.read(folder):
        room = lengths.randint(SHORTEST, LONGEST)
        body = cut_post(tokenizer, split_prompt(row["prompt"]), room, prompt_text)
        made.append({"prompt": prompt_text(body), "body": body, "label": row["label"]})
    return made


def settings(folder: Path, rollouts: int, unfrozen: int, chunk: int = CHUNK, batch: int = BATCH) -> TRLConfig:
    changes = {
        "model.model_path": str(folder), "model.num_layers_unfrozen": unfrozen,
        "tokenizer.tokenizer_path": str(folder), "train.seq_length": WIDTH, "train.batch_size": batch,
        "train.total_steps": 10**6, "train.eval_interval": 10**6, "train.tracker": None,
        "train.checkpoint_dir": str(folder / "ckpts"), "method.num_rollouts": rollouts, "method.chunk_size": chunk,
        "method.ppo_epochs": 4, "method.init_kl_coef": 0.1, "method.scale_reward": None, "method.vf_coef": 0.2,
        "method.gen_kwargs": {"max_new_tokens": NEW},
        "optimizer.kwargs": {"lr": 5e-6, "betas": [0.9, 0.999], "eps": 1e-8, "weight_decay": 0.01},
        "scheduler.kwargs": {"T_max": 100000, "eta_min": 5e-6},
    }  # fmt: skip
    return TRLConfig.update(default_ppo_config(), changes)


class OneIteration:
    """Trainer and reward function as in `trlx_gptj_text_summarization.py`, and the human summaries' scores."""

    def __init__(self, folder: Path, rows: list[dict[str, str]], config: TRLConfig, accumulation: int = ACCUMULATION):
        os.environ["ACCELERATE_GRADIENT_ACCUMULATION_STEPS"] = str(accumulation)
        self.scorer = Scorer.from_pretrained(folder / "rm", batch_tokens=CACHE_TOKENS)
        start = time.perf_counter()
        measured = self.scorer.score([r["body"] for r in rows[WARM_UP:]], [r["label"] for r in rows[WARM_UP:]])
        self.labels_s = time.perf_counter() - start
        scores = [0.0] * WARM_UP + measured.tolist()
        self.prompts = [
            {"prompt": row["prompt"], "body": row["body"], "label_score": score}
            for row, score in zip(rows, scores, strict=True)
        ]
        self.trainer = AcceleratePPOTrainer(config, self.reward)
        self.trainer.log.start(resumed=False)

    def reward(self, outputs, body, label_score, **_) -> torch.Tensor:
        return self.scorer.score(body, outputs) - torch.tensor(label_score)

    def collect(self, prompts: list[dict]) -> dict[str, float]:
        trainer = self.trainer
        trainer.method.num_rollouts = len(prompts)
        trainer.add_prompt_pipeline(PromptPipeline(prompts, WIDTH - NEW, trainer.tokenizer))
        rollouts, stats = trainer.make_experience()
        trainer.collection = Collection(rollouts, stats["policy/kl"])
        return stats

    def optimise(self) -> None:
        self.trainer.optimise(self.trainer.collection, tqdm(disable=True))


def ours(folder: Path, rows: list[dict[str, str]], unfrozen: int) -> dict[str, float]:
    one = OneIteration(folder, rows, settings(folder, WARM_UP, unfrozen))
    for prompts in (one.prompts[:WARM_UP], one.prompts[WARM_UP:]):
        start = time.perf_counter()
        stats = one.collect(prompts)
        collected = time.perf_counter() - start
        one.optimise()
        total = time.perf_counter() - start
    generate, reward = stats["time/rollout_generate"], stats["time/rollout_score"]
    seconds = {"references": one.labels_s, "generate": generate, "reward": reward}
    return seconds | {
        "policy + reference": collected - generate - reward, "optimise": total - collected, "iteration": total,
    }  # fmt: skip


def matrix_products(folder: Path, rows: list[dict[str, str]], unfrozen: int) -> dict[str, float]:
    """Count the operations of each of our phases, in 10⁹: every row is computed alone, without padding."""
    one = OneIteration(folder, rows, settings(folder, WARM_UP, unfrozen, chunk=1, batch=1), UPDATE)
    gflop: dict[str, float] = {}

    def counting(name: str, method: Callable) -> Callable:
        def counted(*args):
            with machine.counted(gflop, name):
                return method(*args)

        return counted

    one.scorer.batch_tokens = 1  # one text at a time
    trainer = one.trainer
    trainer.reward_fn = lambda **given: counting("reward", lambda: one.reward(**given))()
    sample = patch.object(generation, "sample", counting("generate", generation.sample))
    forward = patch.object(ppo, "logprobs_and_values", counting("policy + reference", ppo.logprobs_and_values))
    with sample, forward:
        one.collect(one.prompts[WARM_UP:])
    counting("optimise", one.optimise)()
    return gflop | {"iteration": sum(gflop.values())}


def published_way(folder: Path, rows: list[dict[str, str]], unfrozen: int, attention: str) -> dict[str, float]:
    tokenizer = load_tokenizer(folder)
    method = settings(folder, WARM_UP, unfrozen).method
    theirs = published_ppo.PPO(
        folder, folder / "rm", tokenizer, unfrozen, method, CHUNK, BATCH, ACCUMULATION, attention
    )
    for chosen in (rows[:WARM_UP], rows[WARM_UP:]):
        start = time.perf_counter()
        ids = [tokenizer(row["prompt"]).input_ids for row in chosen]
        seconds = theirs.iteration(ids, [row["label"] for row in chosen])
        total = time.perf_counter() - start
    seconds["policy + reference"] = seconds.pop("policy") + seconds.pop("reference")
    return {phase: seconds[phase] for phase in PHASES} | {"iteration": total}


def one_side(folder: Path, side: str, rows: list[dict[str, str]], unfrozen: int) -> dict[str, float]:
    """Return the seconds of an iteration and of its phases."""
    if side == OURS:
        return ours(folder, rows, unfrozen)
    return published_way(folder, rows, unfrozen, published.ATTENTION[side])


def main() -> None:
    parser = measure.parser(__doc__)
    parser.add_argument("--rollouts", type=int, help="rollouts of the measured iteration; default 64, quick 16")
    parser.add_argument("--unfrozen", type=int, default=2, help="blocks trained, from the top")
    args = parser.parse_args()
    rollouts = args.rollouts or (16 if args.quick else 64)
    if rollouts % UPDATE:
        parser.error(f"--rollouts must be a multiple of {UPDATE} (one update), so that no side pads an update")

    def work(folder: Path, side: str) -> dict[str, float]:
        return one_side(folder, side, prompts_of(folder), args.unfrozen)

    def count(folder: Path) -> dict[str, float]:
        return matrix_products(folder, prompts_of(folder), args.unfrozen)

    def prepare(folder: Path) -> dict[str, str | int]:
        kind = make(folder, rollouts, args.family, **({"layers": 4} if args.quick else {}))
        return {"texts": kind, "rollouts": rollouts, "unfrozen": args.unfrozen}

    measure.compare("ppo", args, prepare, work, "iteration", (OURS, PUBLISHED, FUSED), count, ratios=PHASES)


if __name__ == "__main__":
    main()
