"""Benchmark GPT-J 6B with random weights in bf16 on one GPU: all three stages, in a few minutes.

    python benchmarks/gpu_6b.py [--out FILE]

Rates are shown beside the hardware's limits: matrix products and memory traffic are measured first, on this GPU.
MFU counts the model's own operations (6 per trained weight and token, 2 per frozen one, and attention, of which a
causal mask leaves half), not those of recomputed activations. Decoding is timed at several batch sizes and for PPO's
rollouts, each without and with CUDA graphs (`train.cuda_graphs`), of which capturing is a part. Without a GPU a tiny
shape runs, only to show that the script works; its figures mean nothing.
"""

import argparse
import functools
import json
import os
import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from tqdm.auto import tqdm
from transformers import AutoModelForCausalLM, GenerationConfig, GPTJConfig, PreTrainedModel

from benchmarks import measure, workload
from reward_model.pairs import PackedPairs
from reward_model.reward_model import RewardModel
from reward_model.scoring import Scorer
from sft.loss import SupervisedLM
from summarize_rlhf.lm import generation
from summarize_rlhf.lm.speed import CACHE_TOKENS, tune_model
from summarize_rlhf.report import format_table
from trlx.data.configs import TRLConfig
from trlx.data.default_configs import default_ppo_config
from trlx.pipeline.offline_pipeline import PromptPipeline

CUDA = torch.cuda.is_available()
DEVICE = torch.device("cuda" if CUDA else "cpu")
DTYPE = torch.bfloat16 if CUDA else torch.float32
SIX_B = {"n_embd": 4096, "n_layer": 28, "n_head": 16, "rotary_dim": 64, "vocab_size": 50400, "n_positions": 2048}
TINY = {"n_embd": 64, "n_layer": 4, "n_head": 4, "rotary_dim": 8, "vocab_size": 500, "n_positions": 2048}
NEW, WIDTH, EPISODES = 50, 550, 6400
DECODED = (1, 4, 16, 64, 128) if CUDA else (1, 6)  # rows
DEEPSPEED = {"bf16": {"enabled": True}, "zero_optimization": {"stage": 2}, "gradient_accumulation_steps": 4}


def seconds(work: Callable[[], object], repeats: int) -> float:
    """Time one run of `work`, averaged over `repeats`, after a warm-up run."""
    work()
    synchronize()
    start = time.perf_counter()
    for _ in range(repeats):
        work()
    synchronize()
    return (time.perf_counter() - start) / repeats


def synchronize() -> None:
    if CUDA:
        torch.cuda.synchronize()


def peak_gb(reset: bool = False) -> float:
    if not CUDA:
        return measure.peak_gb()
    peak = torch.cuda.max_memory_allocated() / 1e9
    if reset:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    return round(peak, 2)


def hardware() -> dict[str, float]:
    """Measure operations per second of a matrix product, and bytes per second of a copy (read and written)."""
    n = 8192 if CUDA else 512
    a, b = (torch.randn(n, n, device=DEVICE, dtype=DTYPE) for _ in range(2))
    flops = 2 * n**3 / seconds(lambda: a @ b, 20)
    x = torch.empty(2**30 if CUDA else 2**24, device=DEVICE, dtype=torch.uint8)
    y = torch.empty_like(x)
    return {"matmul_tflops": flops / 1e12, "bandwidth_gb_s": 2 * x.numel() / seconds(lambda: y.copy_(x), 20) / 1e9}


def make_model(shape: dict[str, int]) -> PreTrainedModel:
    config = GPTJConfig(**shape, tie_word_embeddings=False, bos_token_id=0, eos_token_id=0, pad_token_id=0)
    config.resid_pdrop = config.embd_pdrop = config.attn_pdrop = 0.0
    with DEVICE:
        return tune_model(AutoModelForCausalLM.from_config(config, dtype=DTYPE))


def block_weights(model: torch.nn.Module) -> int:
    """Count the weights of one block."""
    return sum(p.numel() for p in model.base_model.h[0].parameters())


def lengths_of(rows: int) -> list[int]:
    """Draw lengths in tokens like those of Reddit posts: 319 on average, 550 at most."""
    rng = random.Random(0)
    return [min(WIDTH, round(300 * rng.lognormvariate(0, 0.45))) for _ in range(rows)]


def tokens(length: int, vocabulary: int) -> list[int]:
    return torch.randint(1, vocabulary, (length,)).tolist()


def sft(model: PreTrainedModel, best: dict[str, float], batch: int = 16) -> dict[str, float]:
    """Time forward and backward pass with recomputed activations, as in stage 1 (whose optimizer runs on the CPU)."""
    trained = SupervisedLM(model).train()
    model.requires_grad_(True)
    model.activation_checkpointing_enable({"use_reentrant": False})
    lengths = sorted(lengths_of(8 * batch))[4 * batch : 5 * batch]  # a batch of like length, as stage 1 draws them
    width, real = max(lengths), sum(lengths)
    ids = torch.randint(1, model.config.vocab_size, (batch, width), device=DEVICE)
    labels = ids.masked_fill(torch.arange(width, device=DEVICE) >= torch.tensor(lengths, device=DEVICE)[:, None], -100)

    def step() -> None:
        trained(ids, labels)["loss"].backward()
        model.zero_grad()

    took = seconds(step, 3)
    model.activation_checkpointing_disable()
    layers, hidden = model.config.n_layer, model.config.n_embd
    weights = layers * block_weights(model) + hidden * model.config.vocab_size
    attention = 6 * layers * hidden * real / batch  # per token
    return {"tokens_per_s": real / took, "mfu": real * (6 * weights + attention) / took / best["matmul_tflops"] / 1e12}


def rm(model: RewardModel, best: dict[str, float], batch: int = 8) -> dict[str, float]:
    """Time a step on packed pairs, with the top 30 % of the blocks trained."""
    model.freeze(0.3)
    model.train()
    pairs = []
    for length in sorted(lengths_of(8 * batch))[4 * batch : 5 * batch]:
        post, vocabulary = tokens(length - 30, model.config.vocab_size), model.config.vocab_size
        chosen, rejected = post + tokens(30, vocabulary), post + tokens(30, vocabulary)
        pairs.append({"chosen_ids": chosen, "rejected_ids": rejected, "start": len(post)})
    pack = PackedPairs(0)
    rows = {name: x.to(DEVICE) if torch.is_tensor(x) else x for name, x in pack(pairs).items()}

    def step() -> None:
        pack.values(model, rows).float().mean().backward()
        model.zero_grad()

    took = seconds(step, 3)
    packed = sum(len(p["chosen_ids"]) + 30 for p in pairs)
    passes = 3 * model.config.n_layer - 2 * model.depth  # of a block: forward, and twice backward where it trains
    per_token = passes * (2 * block_weights(model.transformer) + 2 * model.config.n_embd * packed / batch)
    mfu = packed * per_token / took / best["matmul_tflops"] / 1e12
    return {"pairs_per_s": batch / took, "tokens_per_s": packed / took, "mfu": mfu}


def decoding(model: PreTrainedModel, best: dict[str, float], rows: int) -> dict[str, float]:
    """Time decoding of `rows` prompts, without and with CUDA graphs.

    Tokens per second, the share of the bound by weight and KV cache traffic, and the share of tokens that agree.
    """
    config = GenerationConfig(
        max_new_tokens=NEW, min_new_tokens=NEW, do_sample=True, temperature=1.0, top_k=0, top_p=1.0, eos_token_id=0,
        pad_token_id=0, use_cache=True,
    )  # fmt: skip
    prompts = [tokens(min(n, WIDTH - NEW), model.config.vocab_size) for n in lengths_of(rows)]
    uniforms = generation.uniforms(rows, config, 0)
    one = GenerationConfig(**{**config.to_diff_dict(), "max_new_tokens": 1, "min_new_tokens": 1})
    model.eval()

    def sampled(options: GenerationConfig, cuda_graphs: bool = False) -> torch.Tensor:
        responses = generation.sample(model, options, prompts, uniforms, 16, cuda_graphs=cuda_graphs)
        return torch.tensor([response.ids for response in responses])

    prefill = seconds(functools.partial(sampled, one), 1)
    weights = sum(p.numel() * p.element_size() for p in model.parameters())
    per_token = 2 * model.config.n_layer * model.config.n_embd * DTYPE.itemsize
    cached = sum(len(p) + NEW / 2 for p in prompts) * per_token
    bound = (weights + cached) / (best["bandwidth_gb_s"] * 1e9)
    found: dict[str, float] = {"rows": rows, "prompts_s": prefill}
    for suffix, cuda_graphs in (("", False), ("_graphs", True)):
        step = (seconds(functools.partial(sampled, config, cuda_graphs), 1) - prefill) / (NEW - 1)
        found |= {f"tokens_per_s{suffix}": rows / step, f"share_of_bandwidth{suffix}": bound / step}
    return found | {"same_tokens": (sampled(config) == sampled(config, True)).double().mean().item()}


def ppo(shape: dict[str, int], scorer: Scorer, tokenizer: Path, rollouts: int) -> dict[str, float]:
    """Time an iteration of the engine under DeepSpeed ZeRO-2, by phase, after a small warm-up one; then the rollouts
    again, with CUDA graphs."""
    from trlx.trainer.checkpoint import Collection
    from trlx.trainer.ppo import AcceleratePPOTrainer

    config = GPTJConfig(**shape, tie_word_embeddings=False, bos_token_id=0, eos_token_id=0, pad_token_id=0)
    unfrozen = 8 if CUDA else 2
    changes = {
        "model.model_path": config, "model.num_layers_unfrozen": unfrozen,
        "tokenizer.tokenizer_path": str(tokenizer), "train.seq_length": WIDTH, "train.batch_size": 4,
        "train.total_steps": 10**6, "train.eval_interval": 10**6, "train.tracker": None, "train.epochs": 50,
        "train.checkpoint_dir": str(tokenizer / "ckpts"), "method.num_rollouts": 16, "method.chunk_size": 16,
        "method.ppo_epochs": 4, "method.init_kl_coef": 0.1, "method.scale_reward": None, "method.vf_coef": 0.2,
        "method.gen_kwargs": {"max_new_tokens": NEW},
    }  # fmt: skip
    rows = workload.texts(16 + rollouts)[1]

    def reward_fn(prompts, outputs, **_) -> torch.Tensor:
        return scorer.score([text.removesuffix("\nTL;DR:") for text in prompts], outputs)

    trainer = AcceleratePPOTrainer(TRLConfig.update(default_ppo_config(), changes), reward_fn)
    trainer.log.start(resumed=False)
    for chosen in (rows[:16], rows[16:]):
        trainer.method.num_rollouts = len(chosen)
        trainer.add_prompt_pipeline(PromptPipeline([row["prompt"] for row in chosen], WIDTH - NEW, trainer.tokenizer))
        start = time.perf_counter()
        collected, stats = trainer.make_experience()
        synchronize()
        middle = time.perf_counter()
        trainer.collection = Collection(collected, stats["policy/kl"])
        trainer.optimise(trainer.collection, tqdm(disable=True))
        synchronize()
        end = time.perf_counter()
    found = {"generate_s": stats["time/rollout_generate"], "reward_s": stats["time/rollout_score"]}
    found["policy_reference_s"] = middle - start - sum(found.values())
    found |= {"optimise_s": end - middle, "iteration_s": end - start, "rollouts": rollouts}
    trainer.config.train.cuda_graphs = True
    found["generate_graphs_s"] = trainer.make_experience()[1]["time/rollout_generate"]
    return found | {"hours_for_6400_episodes": (end - start) * EPISODES / rollouts / 3600}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="also write the figures to this JSON file")
    args = parser.parse_args()
    shape, rollouts = (SIX_B, 128) if CUDA else (TINY, 16)
    torch.manual_seed(0)
    results: dict[str, dict[str, float]] = {"hardware": hardware()}
    best = results["hardware"]

    def phase(name: str, work: Callable[[], dict[str, float]]) -> None:
        results[name] = {**work(), "peak_gb": peak_gb(reset=True)}
        shown = {key: f"{x:.4g}" for key, x in results[name].items()}
        print(f"\n{name}\n{format_table([shown])}", flush=True)

    model = make_model(shape)
    phase("sft", lambda: sft(model, best))
    model.requires_grad_(False)
    for rows in DECODED:
        phase(f"decoding_{rows}", lambda rows=rows: decoding(model, best, rows))
    reward_model = RewardModel(model.base_model).to(DEVICE)
    phase("rm", lambda: rm(reward_model, best))
    reward_model.requires_grad_(False)
    with tempfile.TemporaryDirectory() as folder:
        tokenizer = workload.make_tokenizer(
            [" ".join(row.values()) for row in workload.texts(200)[1]], shape["vocab_size"]
        )
        tokenizer.save_pretrained(folder)
        scorer = Scorer(reward_model.eval(), tokenizer, WIDTH, batch_tokens=2**14 if CUDA else CACHE_TOKENS)
        if CUDA:
            (Path(folder) / "ds.json").write_text(json.dumps(DEEPSPEED), encoding="utf-8")
            os.environ |= {"ACCELERATE_USE_DEEPSPEED": "true", "ACCELERATE_DEEPSPEED_CONFIG_FILE": f"{folder}/ds.json"}
        os.environ.setdefault("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "4")
        phase("ppo", lambda: ppo(shape, scorer, Path(folder), rollouts))
    record = {"bench": "gpu_6b", "shape": shape, "dtype": str(DTYPE), **results, "machine": measure.machine()}
    if args.out:
        args.out.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(record))


if __name__ == "__main__":
    main()
