"""Stage 3: one PPO iteration (collect 64 rollouts, four epochs on them), the published way and ours, by phase.

    python benchmarks/bench_ppo.py [--quick]

Prompts of 50 to 400 tokens, 50 new ones, chunks of 16, batch 4 with 4 batches an update, the top 2 of 8 blocks trained;
a reward model of the same shape. A short iteration warms up and does not count. `references` is ours alone: the human
summaries are scored once per run, before training; the published way scores them again in each `reward`.
"""

import os
import random
import time
from pathlib import Path

import torch
from tqdm.auto import tqdm

from benchmarks import measure, published_ppo, workload
from reward_model.reward_model import RewardModel
from reward_model.scoring import Scorer
from summarize_rlhf.speed import CACHE_TOKENS
from summarize_rlhf.text import cut_post, prompt_text, split_prompt
from summarize_rlhf.tokenizer import load_tokenizer
from summarize_rlhf.weights import load_causal_lm
from trlx.data.configs import TRLConfig
from trlx.data.default_configs import default_ppo_config
from trlx.pipeline.offline_pipeline import PromptPipeline
from trlx.trainer.checkpoint import Collection
from trlx.trainer.ppo import AcceleratePPOTrainer

CHUNK, BATCH, ACCUMULATION = 16, 4, 4
WARM_UP = 8  # rollouts of an iteration that does not count
SHORTEST, LONGEST, NEW, WIDTH = 50, 400, 50, 550  # tokens
PHASES = ("generate", "reward", "policy + reference", "optimise")


def make(folder: Path, rollouts: int, family: str, **shape) -> str:
    """Policy, reward model and rows for so many rollouts; returns the kind of texts."""
    kind, rows = workload.texts(WARM_UP + rollouts, shorten=False)
    workload.make(folder, rows, family, **shape)
    (folder / "rm").mkdir()
    RewardModel(load_causal_lm(folder).base_model).save(folder / "rm")
    load_tokenizer(folder).save_pretrained(folder / "rm")
    return kind


def prompts_of(folder: Path) -> list[dict[str, str]]:
    """The folder's rows, each post cut to a length drawn between `SHORTEST` and `LONGEST`."""
    tokenizer, lengths = load_tokenizer(folder), random.Random(0)
    made = []
    for row in workload.read(folder):
        room = lengths.randint(SHORTEST, LONGEST)
        body = cut_post(tokenizer, split_prompt(row["prompt"]), room, prompt_text)
        made.append({"prompt": prompt_text(body), "body": body, "reference": row["label"]})
    return made


def settings(folder: Path, rollouts: int, unfrozen: int) -> TRLConfig:
    changes = {
        "model.model_path": str(folder), "model.num_layers_unfrozen": unfrozen,
        "tokenizer.tokenizer_path": str(folder), "train.seq_length": WIDTH, "train.batch_size": BATCH,
        "train.total_steps": 10**6, "train.eval_interval": 10**6, "train.tracker": None,
        "train.checkpoint_dir": str(folder / "ckpts"), "method.num_rollouts": rollouts, "method.chunk_size": CHUNK,
        "method.ppo_epochs": 4, "method.init_kl_coef": 0.1, "method.scale_reward": None, "method.vf_coef": 0.2,
        "method.gen_kwargs": {"max_new_tokens": NEW},
        "optimizer.kwargs": {"lr": 5e-6, "betas": [0.9, 0.999], "eps": 1e-8, "weight_decay": 0.01},
        "scheduler.kwargs": {"T_max": 100000, "eta_min": 5e-6},
    }  # fmt: skip
    return TRLConfig.update(default_ppo_config(), changes)


def ours(folder: Path, rows: list[dict[str, str]], unfrozen: int) -> dict[str, float]:
    """The trainer and the reward function of `trlx_gptj_text_summarization.py`."""
    os.environ["ACCELERATE_GRADIENT_ACCUMULATION_STEPS"] = str(ACCUMULATION)
    scorer = Scorer.from_pretrained(folder / "rm", batch_tokens=CACHE_TOKENS)
    start = time.perf_counter()
    references = scorer.score([row["body"] for row in rows[WARM_UP:]], [row["reference"] for row in rows[WARM_UP:]])
    seconds = {"references": time.perf_counter() - start}
    references = [0.0] * WARM_UP + references.tolist()

    def reward_fn(outputs, body, reference_score, **_) -> torch.Tensor:
        return scorer.score(body, outputs) - torch.tensor(reference_score)

    prompts = [
        {"prompt": row["prompt"], "body": row["body"], "reference_score": score}
        for row, score in zip(rows, references, strict=True)
    ]
    trainer = AcceleratePPOTrainer(settings(folder, WARM_UP, unfrozen), reward_fn)
    trainer.log.start(resumed=False)
    for part in (prompts[:WARM_UP], prompts[WARM_UP:]):
        trainer.method.num_rollouts = len(part)
        trainer.add_prompt_pipeline(PromptPipeline(part, WIDTH - NEW, trainer.tokenizer))
        start = time.perf_counter()
        rollouts, stats = trainer.make_experience()
        collected = time.perf_counter()
        trainer.collection = Collection(rollouts, stats["policy/kl"])
        trainer.optimise(trainer.collection, tqdm(disable=True))
        whole = time.perf_counter() - start
    seconds |= {"generate": stats["time/rollout_generate"], "reward": stats["time/rollout_score"]}
    seconds["policy + reference"] = collected - start - seconds["generate"] - seconds["reward"]
    return seconds | {"optimise": whole - (collected - start), "iteration": whole}


def published_way(folder: Path, rows: list[dict[str, str]], unfrozen: int) -> dict[str, float]:
    tokenizer = load_tokenizer(folder)
    method = settings(folder, WARM_UP, unfrozen).method
    ppo = published_ppo.PPO(folder, folder / "rm", tokenizer, unfrozen, method, CHUNK, BATCH, ACCUMULATION)
    for part in (rows[:WARM_UP], rows[WARM_UP:]):
        start = time.perf_counter()
        ids = [tokenizer(row["prompt"]).input_ids for row in part]
        seconds = ppo.iteration(ids, [row["reference"] for row in part])
        whole = time.perf_counter() - start
    seconds["policy + reference"] = seconds.pop("policy") + seconds.pop("reference")
    return {phase: seconds[phase] for phase in PHASES} | {"iteration": whole}


def main() -> None:
    parser = measure.parser(__doc__)
    parser.add_argument("--rollouts", type=int, help="of the iteration that is measured; default 64, quick 16")
    parser.add_argument("--unfrozen", type=int, default=2, help="blocks trained, from the top")
    args = parser.parse_args()
    rollouts = args.rollouts or (16 if args.quick else 64)

    def work(folder: Path, side: str) -> dict[str, float]:
        found = {"ours": ours, "published": published_way}[side](folder, prompts_of(folder), args.unfrozen)
        return {"iterations_per_hour": 3600 / found["iteration"], **found}

    def prepare(folder: Path) -> dict[str, str]:
        kind = make(folder, rollouts, args.family, **({"layers": 4} if args.quick else {}))
        return {"texts": kind, "rollouts": rollouts, "unfrozen": args.unfrozen}

    phases = {phase: lambda a, b, phase=phase: b[phase] / a[phase] for phase in PHASES}
    measure.compare("ppo", args, prepare, work, rate="iterations_per_hour", **phases)


if __name__ == "__main__":
    main()
