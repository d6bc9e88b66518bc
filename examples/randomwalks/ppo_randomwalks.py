"""Find shortest paths by PPO: a character model that has seen random walks learns to walk straight to the goal.

    python examples/randomwalks/ppo_randomwalks.py
    accelerate launch --num_processes 2 … examples/randomwalks/ppo_randomwalks.py '{"train.seed": 1}'

A small GPT-2 with random weights is first fitted on sampled walks through a random graph (some seconds), then trained
by PPO. The reward is the number of steps of the shortest walk over the steps taken. On a CPU it climbs from about .7
to above .95 within a minute. Change any value by a JSON object of dotted names. `plot.py` draws the curves of several
seeds.
"""

import sys
from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from tqdm.auto import trange
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

sys.path.insert(0, str(Path(__file__).resolve().parent))
from randomwalks import RandomGraph

import trlx
from summarize_rlhf.run.errors import main_guard
from summarize_rlhf.run.overrides import parse_overrides
from trlx.data.default_configs import (
    ModelConfig,
    OptimizerConfig,
    PPOConfig,
    SchedulerConfig,
    TokenizerConfig,
    TrainConfig,
    TRLConfig,
)
from trlx.trainer.setup import join_processes

HERE = Path(__file__).resolve().parent
MOST_STEPS = 8  # of a walk
WALKS = 2000  # the model is fitted on

config = TRLConfig(
    train=TrainConfig(
        seq_length=12,
        epochs=20,
        total_steps=10000,
        batch_size=64,
        checkpoint_interval=10000,
        eval_interval=16,
        checkpoint_dir=str(HERE / "ckpts"),
        tracker=None,
        seed=1000,
        save_optimizer=False,
    ),
    model=ModelConfig(model_path="", num_layers_unfrozen=-1),
    tokenizer=TokenizerConfig(tokenizer_path=""),
    optimizer=OptimizerConfig(name="adamw", kwargs={"lr": 5e-4, "betas": [0.9, 0.95], "weight_decay": 1e-6}),
    scheduler=SchedulerConfig(name="cosine_annealing", kwargs={"T_max": 320, "eta_min": 1e-5}),
    method=PPOConfig(
        name="PPOConfig",
        num_rollouts=256,
        chunk_size=256,
        ppo_epochs=4,
        init_kl_coef=0.01,
        target=None,
        gamma=1,
        lam=0.95,
        cliprange=0.2,
        cliprange_value=0.2,
        vf_coef=0.5,
        cliprange_reward=None,
        gen_kwargs={"max_new_tokens": MOST_STEPS + 1},
    ),
)


def make_tokenizer(letters: str) -> PreTrainedTokenizerFast:
    """Build a tokenizer with one token per letter, and one that ends a walk."""
    end = "<end>"
    vocabulary = {end: 0} | {letter: i for i, letter in enumerate(letters, start=1)}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token=end))
    backend.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    backend.decoder = decoders.Fuse()  # letters side by side
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token=end, bos_token=end, pad_token=end)


def fit(tokenizer: PreTrainedTokenizerFast, walks: list[str], steps: int = 300, batch: int = 64) -> GPT2LMHeadModel:
    """Train a small GPT-2 to continue walks as they were sampled, and to end them."""
    sizes = {"n_embd": 64, "n_layer": 3, "n_head": 4, "n_positions": 16}
    dropouts = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
    model = GPT2LMHeadModel(GPT2Config(vocab_size=len(tokenizer), bos_token_id=0, eos_token_id=0, **sizes, **dropouts))
    ids = [torch.tensor([*tokenizer(walk).input_ids, tokenizer.eos_token_id]) for walk in walks]
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in trange(steps, desc="fit", leave=False):
        rows = [ids[i] for i in torch.randint(len(ids), (batch,))]
        inputs = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=tokenizer.pad_token_id)
        labels = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=-100)
        model(inputs, labels=labels).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
    return model


@main_guard
def main() -> None:
    settings = TRLConfig.update(config, parse_overrides(__doc__, vars(config)))
    state = join_processes()
    graph = RandomGraph(seed=settings.train.seed)
    walks = [graph.walk(MOST_STEPS) for _ in range(WALKS)]
    tokenizer = make_tokenizer(graph.nodes)
    fitted = Path(f"{settings.train.checkpoint_dir}-fitted")
    if state.is_main_process:
        torch.manual_seed(settings.train.seed)
        fit(tokenizer, walks).save_pretrained(fitted)
        tokenizer.save_pretrained(fitted)
    state.wait_for_everyone()
    settings = settings.evolve(model={"model_path": str(fitted)}, tokenizer={"tokenizer_path": str(fitted)})

    def optimality(samples: list[str], **_) -> list[float]:
        return [graph.optimality(walk) for walk in samples]

    def metrics(samples: list[str], **_) -> dict[str, list[float]]:
        scores = [graph.optimality(walk) for walk in samples]
        return {"optimality": scores, "arrived": [float(score > 0) for score in scores]}

    trlx.train(
        reward_fn=optimality,
        metric_fn=metrics,
        prompts=list(graph.starts),
        eval_prompts=list(graph.starts) * 10,
        config=settings,
    )


if __name__ == "__main__":
    main()
