"""Gradient checkpointing fires in the trained blocks alone, and changes neither loss nor gradients (to 1e-6)."""

import contextlib
import importlib
from collections import Counter
from pathlib import Path
from unittest import mock

import pytest
import torch
from forked import forked, run_main
from forkserver import SCRIPTS
from tiny import gpt2_config, gptj_config
from transformers import AutoModelForCausalLM, LlamaConfig

from reward_model.loss import pairwise_loss
from reward_model.pairs import PackedPairs, SeparatePairs
from reward_model.reward_model import RewardModel
from sft.loss import SupervisedLM
from summarize_rlhf import UserError
from summarize_rlhf.lm.lora import LoraArguments, add_lora
from summarize_rlhf.lm.recomputation import recompute_blocks, require_recomputation
from summarize_rlhf.lm.speed import tune_model

LAYERS = 4
PAIRS = [
    {"chosen_ids": [5, 6, 7, 8, 9], "rejected_ids": [5, 6, 7, 3], "start": 3},
    {"chosen_ids": [9, 8, 2], "rejected_ids": [9, 8, 4, 4, 4, 7], "start": 2},
]
SIZES = {"hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 2, "max_position_embeddings": 64}
CONFIGS = {
    "gptj": lambda: gptj_config(40, layers=LAYERS),
    "gpt2": lambda: gpt2_config(40, layers=LAYERS),
    "llama": lambda: LlamaConfig(vocab_size=40, num_hidden_layers=LAYERS, **SIZES),
}


def make(family: str, dropout: float = 0.0) -> torch.nn.Module:
    torch.manual_seed(0)
    config = CONFIGS[family]()
    for name in ("attn_pdrop", "resid_pdrop", "embd_pdrop", "attention_dropout"):
        if name in config.to_dict():
            setattr(config, name, dropout)
    return tune_model(AutoModelForCausalLM.from_config(config))


def counted(blocks: list[torch.nn.Module]) -> Counter:
    """How often each block has run since, by its number."""
    runs: Counter = Counter()
    for number, block in enumerate(blocks):
        part = next(block.children())  # within what is checkpointed
        part.register_forward_hook(lambda *_, number=number: runs.update([number]))
    return runs


def gradients(model: torch.nn.Module, loss_of) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    torch.manual_seed(7)  # of dropout
    model.zero_grad()
    loss = loss_of()
    loss.backward()
    return loss.detach(), {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def check(model: torch.nn.Module, loss_of, switch, blocks: list, trained: int) -> None:
    """The same loss and gradients; the top `trained` blocks ran once without, twice with it, the others once."""
    runs = counted(blocks)
    loss, plain = gradients(model, loss_of)
    before = Counter(runs)
    switch()
    runs.clear()
    again, recomputed = gradients(model, loss_of)
    torch.testing.assert_close(again, loss, rtol=1e-6, atol=0)
    torch.testing.assert_close(recomputed, plain, rtol=1e-6, atol=1e-7)
    assert plain, "nothing has a gradient"
    top = range(len(blocks) - trained, len(blocks))
    assert {n: runs[n] for n in top} == {n: 2 * before[n] for n in top}
    assert all(runs[n] == before[n] for n in before if n not in top)


@pytest.mark.parametrize("family", CONFIGS)
@pytest.mark.parametrize("lora", [0, 2])
@pytest.mark.parametrize("way", ["packed", "trunk", "separate"])
def test_reward_model_over_its_frozen_trunk(family: str, lora: int, way: str) -> None:
    model = RewardModel(make(family).base_model).train()
    model.freeze(0.5)
    blocks = list(model.decoder.blocks)
    if lora:
        args = LoraArguments(lora_r=lora)
        adapter = add_lora(model.transformer, args, 0, "nowhere", blocks[model.depth :])
        with torch.no_grad():  # B is zero at first, and A then has no gradient
            for name, p in adapter.named_parameters():
                p.add_(0.1 * torch.randn_like(p) if "lora_B" in name else 0)
    pairs = (SeparatePairs if way == "separate" else PackedPairs)(0)
    batch = pairs(PAIRS)
    if way == "trunk":
        with torch.no_grad():
            batch["trunk"] = model.frozen(**pairs.inputs(batch))

    def loss() -> torch.Tensor:
        chosen, rejected = pairs.values(model, batch).unbind(1)
        return pairwise_loss(chosen, rejected, *batch["lengths"].unbind(1), batch["start"]).sum()

    check(model, loss, lambda: require_recomputation(model, family), blocks, trained=2)
    assert len(recompute_blocks(model)) == 2


@pytest.mark.parametrize("family", CONFIGS)
@pytest.mark.parametrize("lora", [0, 2])
def test_sft_with_dropout(family: str, lora: int) -> None:
    """Every block, and the dropout that the first pass drew."""
    model = make(family, dropout=0.1)
    if lora:
        adapter = add_lora(model, LoraArguments(lora_r=lora, lora_dropout=0.2), 0, "nowhere")
        with torch.no_grad():
            for name, p in adapter.named_parameters():
                p.add_(0.1 * torch.randn_like(p) if "lora_B" in name else 0)
    supervised = SupervisedLM(model).train()
    ids = torch.randint(1, 40, (2, 9))

    def loss() -> torch.Tensor:
        return supervised(ids, ids)["loss"]

    def switch() -> None:
        model.activation_checkpointing_enable({"use_reentrant": False})

    check(supervised, loss, switch, list(supervised.decoder.blocks), trained=LAYERS)


def test_blocks_that_cannot_are_told() -> None:
    with pytest.raises(UserError, match="a 'plain' model has no blocks that transformers can checkpoint"):
        require_recomputation(torch.nn.Linear(2, 2), "plain")


def blocks_that_recompute(stage: str, model: Path, data: Path, out: Path, more: dict) -> list[bool]:
    """Of each block, when `main` of a stage begins to train."""
    module = importlib.import_module(SCRIPTS[stage])
    seen: list[bool] = []

    def train(self, **_):
        seen.extend(bool(block.gradient_checkpointing) for block in self.model.decoder.blocks)
        raise SystemExit

    with mock.patch.object(module.ResumableTrainer, "train", train), contextlib.suppress(SystemExit):
        values = {"model": model, "dataset": data, "output_dir": out, "max_length": 120, "report_to": "none"}
        run_main(module.main, values | {"max_steps": 1} | more)
    return seen


@pytest.mark.parametrize(
    ("stage", "more", "expected"),
    [
        ("sft", {}, [True, True]),  # as published
        ("sft", {"gradient_checkpointing": False}, [False, False]),
        ("rm", {}, [False, False]),
        ("rm", {"gradient_checkpointing": True}, [False, True]),
    ],
)
def test_stages_recompute_where_they_are_asked_to(
    gptj_dir, tldr_dir, comparisons_dir, tmp_path, stage, more, expected
) -> None:
    data = {"sft": tldr_dir, "rm": comparisons_dir}[stage]
    assert forked(blocks_that_recompute, stage, gptj_dir, data, tmp_path / "out", more) == expected
