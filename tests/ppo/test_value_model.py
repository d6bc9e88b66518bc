"""A value function that starts from a reward model."""

from pathlib import Path

import pytest
import torch
from tiny import gptj_config, make_model_dir
from tiny_trlx import tiny_config, tiny_trainer
from transformers import AutoModelForCausalLM

from summarize_rlhf import UserError
from trlx.data.checks import check_config
from trlx.models.lora import add
from trlx.models.policy import PolicyWithValueHead
from trlx.models.value_head import start_from


def reward_model(directory: Path, base: Path, trained: int) -> torch.nn.Module:
    """A reward model whose top `trained` blocks differ from its base's, as stage 2 makes it."""
    from reward_model.reward_model import RewardModel

    model = RewardModel.from_causal_lm(base).eval()
    with torch.no_grad():
        for p in [*model.transformer.h[-trained:].parameters(), model.v_head.weight]:
            p.add_(0.3 * torch.randn_like(p))
    directory.mkdir()
    model.save(directory)
    return model


def test_value_function_starts_as_the_reward_model(gptj_dir, tmp_path) -> None:
    """With as many blocks of its own as the reward model trained, the value of each prefix is the reward model's."""
    rm = reward_model(tmp_path / "rm", gptj_dir, trained=1)
    options = {"method.value_model": str(tmp_path / "rm"), "method.num_value_layers_unfrozen": 1}
    trainer = tiny_trainer(tiny_config(gptj_dir, tmp_path / "out", **options))
    tokens, lengths = torch.randint(300, (3, 12)), torch.tensor([4, 4, 4])
    values = trainer.policy(tokens, lengths, tokens[:, 4:]).values
    expected = rm(tokens, torch.ones_like(tokens))[:, 3:-1]
    torch.testing.assert_close(values, expected, rtol=0, atol=2e-6)
    trainer.learn()
    assert not torch.allclose(trainer.policy(tokens, lengths, tokens[:, 4:]).values, expected, atol=1e-2)


def test_value_head_alone_starts_linear(gptj_dir, tmp_path) -> None:
    rm = reward_model(tmp_path / "rm", gptj_dir, trained=1)
    policy = PolicyWithValueHead(AutoModelForCausalLM.from_pretrained(gptj_dir), num_layers_unfrozen=1)
    start_from(policy, tmp_path / "rm")
    states = torch.randn(5, 32)
    torch.testing.assert_close(policy.v_head(states), rm.v_head(states), rtol=0, atol=1e-6)


def test_value_model_is_refused_by_name(gptj_dir, tmp_path) -> None:
    policy = PolicyWithValueHead(AutoModelForCausalLM.from_pretrained(gptj_dir), num_layers_unfrozen=1)
    with pytest.raises(UserError, match=r"has no v_head\.weight"):
        start_from(policy, gptj_dir)
    wide = make_model_dir(tmp_path / "wide", gptj_config(vocab_size=373, width=64))
    reward_model(tmp_path / "rm", wide, trained=1)
    with pytest.raises(UserError, match=r"v_head\.weight of shape \(1, 64\).*\(1, 32\) is needed"):
        start_from(policy, tmp_path / "rm")


@pytest.mark.parametrize("unfrozen", [-1, 1])
def test_a_critic_of_its_own_is_the_reward_model(gptj_dir, tmp_path, unfrozen: int) -> None:
    """All of it was trained, embeddings and norm too: each value is the reward model's, and the policy is as before."""
    rm = reward_model(tmp_path / "rm", gptj_dir, trained=2)
    with torch.no_grad():
        for p in (rm.transformer.wte.weight, rm.transformer.ln_f.weight):
            p.add_(0.3 * torch.randn_like(p))
    rm.save(tmp_path / "rm")
    plain = PolicyWithValueHead(AutoModelForCausalLM.from_pretrained(gptj_dir), unfrozen)
    policy = PolicyWithValueHead(AutoModelForCausalLM.from_pretrained(gptj_dir), unfrozen, num_value_layers_unfrozen=-1)
    start_from(policy, tmp_path / "rm")
    tokens, lengths = torch.randint(300, (3, 12)), torch.tensor([4, 6, 5])
    out = policy(tokens, lengths, tokens[:, 6:], with_reference=True, keep_from=3)
    expected = plain(tokens, lengths, tokens[:, 6:], with_reference=True, keep_from=3)
    values = rm(tokens)  # (B, T)
    for row, length in enumerate(lengths.tolist()):
        wanted = values[row, length - 1 : length + 5]
        torch.testing.assert_close(out.values[row, : len(wanted)], wanted, rtol=0, atol=2e-6)
    torch.testing.assert_close(out.logprobs, expected.logprobs, rtol=0, atol=1e-6)
    torch.testing.assert_close(out.ref_logprobs, expected.ref_logprobs, rtol=0, atol=1e-6)
    out.values.sum().backward()
    trained = {name for name, p in policy.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    assert trained
    assert all(name.startswith(("value_model.", "v_head.")) for name in trained), "the critic moves no policy weight"
    assert "value_model.wte.weight" in trained


def test_a_critic_of_its_own_trains_and_resumes(gptj_dir, tmp_path) -> None:
    reward_model(tmp_path / "rm", gptj_dir, trained=1)
    options = {"method.value_model": str(tmp_path / "rm"), "method.num_value_layers_unfrozen": -1, "train.epochs": 1}
    options |= {"train.save_optimizer": True, "train.gradient_checkpointing": True}
    trainer = tiny_trainer(tiny_config(gptj_dir, tmp_path / "out", **options))
    before = {name: p.clone() for name, p in trainer.policy.value_model.named_parameters()}
    trainer.learn()
    assert all(not torch.equal(before[name], p) for name, p in trainer.policy.value_model.named_parameters())
    again = tiny_trainer(tiny_config(gptj_dir, tmp_path / "again", **options))
    again.load(tmp_path / f"out/checkpoint_{trainer.step}")
    for (name, a), b in zip(trainer.policy.named_parameters(), again.policy.parameters(), strict=True):
        assert torch.equal(a, b), name


def test_a_critic_of_its_own_beside_an_adapter_is_refused(gptj_dir, tmp_path) -> None:
    lora = {"peft_type": "LORA", "r": 2, "target_modules": ["q_proj"]}
    options = {"method.num_value_layers_unfrozen": -1, "model.peft_config": lora}
    with pytest.raises(ValueError, match="with an adapter, give a number of blocks, or 0"):
        check_config(tiny_config(tmp_path / "there is no model", tmp_path, **options))
    with pytest.raises(ValueError, match="with an adapter, give a number of blocks, or 0"):
        PolicyWithValueHead(add(AutoModelForCausalLM.from_pretrained(gptj_dir), lora), -1, -1)
