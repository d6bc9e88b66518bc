"""Under bf16: values and losses are computed in fp32, weights, gradients and optimizer are held in fp32."""

import pytest
import torch
from accelerate.state import AcceleratorState
from tiny_trlx import tiny_config, tiny_trainer
from torch import nn
from transformers import AutoModelForCausalLM

from reward_model.reward_model import RewardModel
from trlx.models.policy import PolicyWithValueHead


def plain(head: nn.Module, states: torch.Tensor) -> torch.Tensor:
    """The head's formula in fp64: x ↦ W₂ relu(W₁ x + b₁) + b₂, or W x."""
    if isinstance(head, nn.Linear):
        return (states.double() @ head.weight.double().T).squeeze(-1)
    first, _, last = head
    hidden = (states.double() @ first.weight.double().T + first.bias.double()).relu()
    return (hidden @ last.weight.double().T + last.bias.double()).squeeze(-1)


def states_of(head: nn.Module) -> list[torch.Tensor]:
    """The states that reach `head`, as they come."""
    seen: list[torch.Tensor] = []
    head.register_forward_pre_hook(lambda _, args: seen.append(args[0].detach()))
    return seen


def batch() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    tokens = torch.randint(300, (3, 12))
    return tokens, torch.tensor([4, 4, 4]), tokens[:, 4:]


@pytest.mark.parametrize("value_blocks", [0, 1])
def test_values_are_those_of_an_fp32_head(gptj_dir, value_blocks: int) -> None:
    policy = PolicyWithValueHead(AutoModelForCausalLM.from_pretrained(gptj_dir), 1, value_blocks)
    seen = states_of(policy.v_head)
    with torch.autocast("cpu", torch.bfloat16):
        values = policy(*batch()).values
    assert values.dtype == torch.float32
    torch.testing.assert_close(values.double(), plain(policy.v_head, seen[0]), rtol=0, atol=1e-6)
    assert not torch.equal(values, values.bfloat16().float())
    values.sum().backward()
    assert {p.dtype for p in policy.parameters() if p.requires_grad} == {torch.float32}
    assert {p.grad.dtype for p in policy.v_head.parameters()} == {torch.float32}


def test_a_cast_head_still_computes_in_fp32(gptj_dir) -> None:
    """As DeepSpeed casts it, with the whole module."""
    policy = PolicyWithValueHead(AutoModelForCausalLM.from_pretrained(gptj_dir), 1).bfloat16()
    seen = states_of(policy.v_head)
    values = policy(*batch()).values
    assert values.dtype == torch.float32
    torch.testing.assert_close(values.double(), plain(policy.v_head, seen[0]), rtol=0, atol=1e-6)


@pytest.mark.parametrize("autocast", [True, False])
def test_a_score_is_that_of_an_fp32_head(gptj_dir, autocast: bool) -> None:
    """Under autocast, as in training; in a reward model that is loaded in bf16, as on a GPU in PPO."""
    model = RewardModel.from_causal_lm(gptj_dir, dtype=torch.float32 if autocast else torch.bfloat16)
    seen = states_of(model.v_head)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        values = model(batch()[0])
    assert values.dtype == model.v_head.weight.dtype == torch.float32
    torch.testing.assert_close(values.double(), plain(model.v_head, seen[0]), rtol=0, atol=1e-6)


@pytest.fixture
def fresh_accelerator():
    """Accelerate's precision is fixed once in a process: forgotten before this test and after it."""
    AcceleratorState._reset_state()
    yield
    AcceleratorState._reset_state()


def test_an_update_under_bf16_adds_up_in_fp32(gptj_dir, tmp_path, monkeypatch, fresh_accelerator) -> None:
    """Through Accelerate's own mixed precision: three micro-batches, their gradient's sum, weights, moments of Adam."""
    changes = {"train__batch_size": 6, "train__minibatch_size": 2, "train__precision": "bf16"}
    trainer = tiny_trainer(tiny_config(gptj_dir, tmp_path, **changes))
    assert trainer.accelerator.mixed_precision == "bf16"
    rollouts, _ = trainer.make_experience()
    assert {x.dtype for r in rollouts for x in (r.logprobs, r.values, r.advantages, r.returns)} == {torch.float32}

    trained = {name: p for name, p in trainer.policy.named_parameters() if p.requires_grad}
    parts: list[dict[str, torch.Tensor]] = []  # the gradient that each backward pass has added to
    backward = trainer.accelerator.backward
    precisions = set()

    def watch(loss):
        precisions.add(loss.dtype)
        backward(loss)
        parts.append({name: p.grad.clone() for name, p in trained.items()})

    monkeypatch.setattr(trainer.accelerator, "backward", watch)
    trainer.update([rollouts[0:2], rollouts[2:4], rollouts[4:6]], rollouts[0])
    assert precisions == {torch.float32}
    assert {x.dtype for part in parts for x in part.values()} == {torch.float32}
    for name in trained:  # what three passes added up to has digits that bf16 does not
        if parts[2][name].abs().max() > 0:
            assert not torch.equal(parts[2][name], parts[2][name].bfloat16().float()), name
    assert {p.dtype for p in trained.values()} == {torch.float32}
    moments = [x for state in trainer.optimizer.state.values() for x in state.values() if x.dim() > 0]
    assert {x.dtype for x in moments} == {torch.float32}
