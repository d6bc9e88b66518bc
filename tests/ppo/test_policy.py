"""The policy and its reference: log-probabilities, gradients and what trains, against plain models."""

import copy

import peft
import pytest
import torch
from decoders import FAMILIES, LAYERS, make_model
from policies import make_batch, plain_logprobs, run, train_steps

from trlx.models.policy import PolicyWithValueHead


def differences(before: dict, after: dict) -> set[str]:
    return {name for name in before if not torch.equal(before[name], after[name])}


@pytest.mark.parametrize("family", FAMILIES)
def test_reference(family: str) -> None:
    """At the start it equals the policy, to the bit; while the policy trains it stays what a frozen copy says."""
    model, batch = make_model(family), make_batch()
    frozen = copy.deepcopy(model)
    policy = PolicyWithValueHead(model, num_layers_unfrozen=2)
    before = run(policy, batch, with_reference=True)
    assert torch.equal(before.logprobs, before.ref_logprobs)

    train_steps(policy, batch)
    after = run(policy, batch, with_reference=True)
    assert torch.equal(after.ref_logprobs, before.ref_logprobs)
    assert ((after.logprobs - before.logprobs).abs() * batch.mask).max() > 1e-2, "the policy did not train"
    copied = run(PolicyWithValueHead(frozen, num_layers_unfrozen=2), batch).logprobs
    assert torch.equal(after.ref_logprobs, copied)
    torch.testing.assert_close(after.ref_logprobs * batch.mask, plain_logprobs(frozen, batch), rtol=0, atol=2e-6)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("k", [-1, 0, 1, LAYERS, LAYERS + 3])
def test_logprobs_are_those_of_the_plain_model(family: str, k: int) -> None:
    """Row by row through transformers' own forward: padding, the trunk and the branches change nothing."""
    model, batch = make_model(family), make_batch()
    policy = PolicyWithValueHead(model, num_layers_unfrozen=k)
    train_steps(policy, batch, steps=1)
    short = make_batch(((3, 5), (7, 2), (1, 6)))  # leaves the last block nothing to be spared
    for rows, temperature in ((batch, 1.0), (batch, 0.7), (short, 1.0)):
        out = run(policy, rows, temperature=temperature)
        expected = plain_logprobs(policy.model, rows, temperature)
        torch.testing.assert_close(out.logprobs * rows.mask, expected, rtol=0, atol=2e-6)


@pytest.mark.parametrize("family", FAMILIES)
def test_gradients_are_those_of_the_plain_model(family: str) -> None:
    """Through a trunk that is run once, cached and fed in again: as through transformers' own forward."""
    model, batch = make_model(family), make_batch()
    weights = torch.randn(batch.mask.shape) * batch.mask
    plain = copy.deepcopy(model)
    (plain_logprobs(plain, batch) * weights).sum().backward()

    policy = PolicyWithValueHead(model, num_layers_unfrozen=2)
    trunk = run(policy, batch).trunk
    (run(policy, batch, trunk=trunk.clone()).logprobs * weights).sum().backward()
    trained = {name: p.grad for name, p in policy.model.named_parameters() if p.grad is not None}
    assert len(trained) >= 8
    for name, grad in trained.items():
        expected = plain.get_parameter(name).grad
        scale = max(1.0, expected.abs().max().item())
        torch.testing.assert_close(grad / scale, expected / scale, rtol=0, atol=2e-6, msg=lambda t, n=name: f"{n}: {t}")


@pytest.mark.parametrize("family", FAMILIES)
def test_only_the_top_blocks_and_the_value_head_train(family: str) -> None:
    model, batch = make_model(family), make_batch()
    policy = PolicyWithValueHead(model, num_layers_unfrozen=1)
    before = {name: p.detach().clone() for name, p in policy.named_parameters()}
    train_steps(policy, batch)
    changed = differences(before, dict(policy.named_parameters()))
    blocks = [name for name, module in policy.model.named_modules() if module is policy.decoder.blocks[-1]]
    last = f"model.{blocks[0]}."
    assert {name for name in changed if not name.startswith(last)} == {
        f"v_head.{n}" for n, _ in policy.v_head.named_parameters()
    }
    assert {name for name in changed if name.startswith(last)}
    assert all(name.startswith((last, "v_head.")) for name, p in policy.named_parameters() if p.requires_grad)


def test_nothing_unfrozen_trains_the_value_head_alone() -> None:
    policy, batch = PolicyWithValueHead(make_model("gptj"), num_layers_unfrozen=0), make_batch()
    assert {name.split(".")[0] for name, p in policy.named_parameters() if p.requires_grad} == {"v_head"}
    train_steps(policy, batch)
    out = run(policy, batch, with_reference=True)
    assert torch.equal(out.logprobs, out.ref_logprobs)


@pytest.mark.parametrize("family", ["gptj", "gpt2", "opt"])
def test_everything_unfrozen_has_a_frozen_copy_as_reference(family: str) -> None:
    model, batch = make_model(family), make_batch()
    frozen = copy.deepcopy(model)
    policy = PolicyWithValueHead(model, num_layers_unfrozen=-1)
    before = run(policy, batch, with_reference=True)
    assert torch.equal(before.logprobs, before.ref_logprobs)
    assert before.trunk is None
    names = {name: p.detach().clone() for name, p in policy.named_parameters()}
    train_steps(policy, batch)
    after = run(policy, batch, with_reference=True)
    assert torch.equal(after.ref_logprobs, before.ref_logprobs)
    torch.testing.assert_close(after.ref_logprobs * batch.mask, plain_logprobs(frozen, batch), rtol=0, atol=2e-6)
    changed = differences(names, dict(policy.named_parameters()))
    trained = {name for name in names if not name.startswith("reference.")}
    assert {name for name in trained - changed if not name.endswith("k_proj.bias")} == set()  # softmax cancels that one
    assert changed <= trained


def lora(family: str, **options) -> peft.PeftModel:
    config = {"task_type": "CAUSAL_LM", "peft_type": "LORA", "r": 4, "target_modules": "all-linear", **options}
    return peft.get_peft_model(make_model(family), peft.get_peft_config(config))


@pytest.mark.parametrize("family", ["gptj", "llama"])
def test_lora_has_the_model_without_adapters_as_reference(family: str) -> None:
    batch = make_batch()
    policy = PolicyWithValueHead(lora(family, lora_dropout=0.5))
    before = run(policy, batch, with_reference=True)
    assert torch.equal(before.logprobs, before.ref_logprobs)
    weights = {name: p.detach().clone() for name, p in policy.named_parameters()}
    train_steps(policy, batch, steps=4)
    after = run(policy, batch, with_reference=True)
    assert ((after.logprobs - before.logprobs).abs() * batch.mask).max() > 1e-2, "the policy did not train"
    assert torch.equal(after.ref_logprobs, before.ref_logprobs)
    torch.testing.assert_close(
        after.ref_logprobs * batch.mask, plain_logprobs(make_model(family), batch), rtol=0, atol=2e-6
    )
    assert all(
        "lora_" in name or name.startswith("v_head") for name in differences(weights, dict(policy.named_parameters()))
    )


def test_other_adapters_than_lora_are_refused() -> None:
    model = peft.get_peft_model(
        make_model("gpt2"), peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4)
    )
    with pytest.raises(ValueError, match="PROMPT_TUNING"):
        PolicyWithValueHead(model)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("k", "n"), [(2, 1), (1, 2), (2, 2), (-1, 2), (0, 1), (2, LAYERS + 1)])
def test_value_blocks(family: str, k: int, n: int) -> None:
    """At the start the value function's own blocks give the values that the policy's would; then each goes its way."""
    batch = make_batch()
    policy = PolicyWithValueHead(make_model(family), num_layers_unfrozen=k, num_value_layers_unfrozen=n)
    shared = PolicyWithValueHead(make_model(family), num_layers_unfrozen=k)
    shared.v_head.load_state_dict(policy.v_head.state_dict())
    out, expected = run(policy, batch), run(shared, batch)
    torch.testing.assert_close(out.values * batch.mask, expected.values * batch.mask, rtol=0, atol=2e-6)
    torch.testing.assert_close(out.logprobs * batch.mask, expected.logprobs * batch.mask, rtol=0, atol=2e-6)

    out = run(policy, batch)
    (out.values * batch.mask).sum().backward()
    touched = {name for name, p in policy.named_parameters() if p.grad is not None and p.grad.abs().max() > 0}
    assert any(name.startswith("value_blocks.") for name in touched)
    policy_blocks = {
        f"{name}." for name, m in policy.named_modules() if m in list(policy.decoder.blocks[-min(n, LAYERS) :])
    }
    assert not any(name.startswith(tuple(policy_blocks)) for name in touched), "values train the policy's top blocks"
