"""The policy under value blocks, gradient checkpointing, padding and dropout."""

import pytest
import torch
from decoders import FAMILIES, LAYERS, VOCABULARY, make_model
from policies import make_batch, plain_logprobs, run, train_steps
from tiny import gptj_config
from transformers import (
    AutoModelForCausalLM,
)

from summarize_rlhf import UserError
from trlx.models.policy import PolicyWithValueHead


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("k", [-1, 2])
def test_gradient_checkpointing_fires_and_changes_nothing(family: str, k: int) -> None:
    """Each trained block runs a second time in the backward pass; values, gradients and dropout stay as they were."""
    batch = make_batch()
    policy = PolicyWithValueHead(make_model(family), num_layers_unfrozen=k)
    runs: list[int] = []
    for i, block in enumerate(policy.decoder.blocks):
        norm = next(m for m in block.modules() if "Norm" in type(m).__name__)
        norm.register_forward_hook(lambda *_, i=i: runs.append(i))

    def gradients(on: bool) -> tuple[torch.Tensor, list[torch.Tensor]]:
        policy.zero_grad()
        runs.clear()
        policy.checkpoint_blocks(on)
        out = run(policy, batch)
        ((out.logprobs + out.values) * batch.mask).sum().backward()
        policy.checkpoint_blocks(False)
        return out.logprobs.detach(), [p.grad.clone() for p in policy.parameters() if p.requires_grad]

    expected = gradients(False)
    assert sorted(runs) == list(range(LAYERS))
    found = gradients(True)
    trained = range(LAYERS) if k < 0 else range(LAYERS - k, LAYERS)
    assert sorted(runs) == sorted([*range(LAYERS), *trained])
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
    assert not any(m.training for m in policy.modules())


def test_padding_width_and_company_change_nothing() -> None:
    """A row alone gives what it gives beside longer ones."""
    policy = PolicyWithValueHead(make_model("gptj"), num_layers_unfrozen=2)
    together = run(policy, make_batch(((3, 5), (9, 9))))
    alone = run(policy, make_batch(((3, 5),)))
    for name in ("logprobs", "values", "entropy"):
        torch.testing.assert_close(getattr(together, name)[0, :5], getattr(alone, name)[0], rtol=0, atol=1e-6)


def test_dropout_never_acts() -> None:
    config = gptj_config(VOCABULARY, layers=2)
    config.resid_pdrop = config.attn_pdrop = config.embd_pdrop = 0.5
    policy, batch = PolicyWithValueHead(AutoModelForCausalLM.from_config(config).train(), -1), make_batch()
    assert torch.equal(run(policy, batch).logprobs, run(policy, batch).logprobs)


def test_a_family_that_cannot_be_cut_trains_whole_or_by_lora_and_is_refused_by_name_else() -> None:
    """CTRL adds its positions in its forward pass, a second time in a branch."""
    from transformers import CTRLConfig

    def ctrl():
        config = CTRLConfig(vocab_size=VOCABULARY, n_positions=64, n_embd=32, dff=48, n_layer=2, n_head=4)
        return AutoModelForCausalLM.from_config(config).eval()

    with pytest.raises(UserError, match=r"'ctrl'.*num_layers_unfrozen = -1.*LoRA"):
        PolicyWithValueHead(ctrl(), num_layers_unfrozen=1)
    with pytest.raises(UserError, match="'ctrl'"):
        PolicyWithValueHead(ctrl(), num_layers_unfrozen=-1, num_value_layers_unfrozen=1)
    policy, batch = PolicyWithValueHead(ctrl(), num_layers_unfrozen=-1), make_batch()
    policy.checkpoint_blocks(False)
    train_steps(policy, batch)
    torch.testing.assert_close(
        run(policy, batch).logprobs * batch.mask, plain_logprobs(policy.model, batch), rtol=0, atol=2e-6
    )


def test_value_head_has_trlx_shape() -> None:
    policy = PolicyWithValueHead(make_model("gptj"), num_layers_unfrozen=1)
    assert {name: tuple(p.shape) for name, p in policy.v_head.named_parameters()} == {
        "0.weight": (64, 32),
        "0.bias": (64,),
        "2.weight": (1, 64),
        "2.bias": (1,),
    }
