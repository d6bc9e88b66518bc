"""The last block from `keep_from` on: hidden states and gradients are those of the full block, on every family."""

import pytest
import torch
from decoders import FAMILIES, LAYERS, VOCABULARY, make_model
from torch import nn

from summarize_rlhf.lm.branches import Decoder

LENGTH, KEEP_FROM = 11, 7
CLOSE = {"rtol": 1e-5, "atol": 2e-6}


def ids() -> torch.Tensor:
    return torch.randint(1, VOCABULARY, (3, LENGTH), generator=torch.Generator().manual_seed(2))


def states_and_gradients(model: nn.Module, keep_from: int, **inputs) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Of a scalar that reads the states from `KEEP_FROM` on."""
    model.zero_grad()
    states = Decoder(model).run_backbone(keep_from, input_ids=ids(), **inputs)[:, KEEP_FROM:]
    weights = torch.randn(states.shape, generator=torch.Generator().manual_seed(3))
    (states * weights).sum().backward()
    return states.detach(), {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def assert_same(found: tuple, expected: tuple) -> None:
    torch.testing.assert_close(found[0], expected[0], **CLOSE)
    assert found[1].keys() == expected[1].keys()
    for name, gradient in expected[1].items():
        scale = max(1.0, gradient.abs().max().item())
        torch.testing.assert_close(found[1][name] / scale, gradient / scale, **CLOSE, msg=lambda t, n=name: f"{n}: {t}")


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("keep_from", [1, KEEP_FROM])
@pytest.mark.parametrize("family", FAMILIES)
def test_states_and_gradients(family: str, keep_from: int, checkpointing: bool) -> None:
    model = make_model(family)
    expected = states_and_gradients(model, 0)
    if checkpointing:
        model.train()
        model.activation_checkpointing_enable({"use_reentrant": False})
    assert_same(states_and_gradients(model, keep_from), expected)


@pytest.mark.parametrize("family", ["gptj", "gpt2", "gpt_neox", "llama", "opt", "gemma"])
def test_a_mask_about_the_last_tokens_alone(family: str) -> None:
    """As in packed pairs: the last tokens do not see those in the middle, the first ones see what precedes them."""
    model = make_model(family)
    mask = torch.ones(LENGTH, LENGTH, dtype=torch.bool).tril()
    mask[9:, 7:9] = False
    positions = torch.tensor([[0, 1, 2, 3, 4, 5, 6, 7, 8, 7, 8]]).expand(3, -1)
    expected = states_and_gradients(
        model, 0, attention_mask=mask[None, None].expand(3, 1, -1, -1), position_ids=positions
    )
    rows = mask[KEEP_FROM:][None, None].expand(3, 1, -1, -1)
    assert_same(states_and_gradients(model, KEEP_FROM, attention_mask=rows, position_ids=positions), expected)
    assert_same(states_and_gradients(model, 0, attention_mask=rows, position_ids=positions), expected)


@pytest.mark.parametrize("family", [family for family in FAMILIES if family != "opt"])
def test_the_mlp_of_the_last_block_runs_from_keep_from_on(family: str) -> None:
    """And that of every other block for all tokens. OPT's MLP is no module of its own and runs whole."""
    model = make_model(family)
    seen: list[int] = []
    blocks = Decoder(model.base_model).blocks
    for block in blocks:
        block.mlp.register_forward_pre_hook(lambda _, args: seen.append(args[0].shape[1]))
    Decoder(model).run_backbone(KEEP_FROM, input_ids=ids())
    assert seen == [LENGTH] * (LAYERS - 1) + [LENGTH - KEEP_FROM]
    assert [type(block) for block in blocks] == [type(blocks[0])] * LAYERS  # the model itself is as it was


def test_queries_before_keep_from_are_left_out(monkeypatch) -> None:
    model = make_model("gptj")
    seen: list[int] = []
    original = torch.nn.functional.scaled_dot_product_attention

    def spy(query, *args, **kwargs):
        seen.append(query.shape[2])
        return original(query, *args, **kwargs)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", spy)
    Decoder(model).run_backbone(KEEP_FROM, input_ids=ids())
    assert seen == [LENGTH] * (LAYERS - 1) + [LENGTH - KEEP_FROM]


def test_an_unknown_family_runs_whole() -> None:
    from transformers import BloomConfig, BloomForCausalLM

    model = BloomForCausalLM(BloomConfig(vocab_size=VOCABULARY, hidden_size=32, n_layer=2, n_head=4)).eval()
    expected = model.base_model(ids()).last_hidden_state
    assert torch.equal(Decoder(model).run_backbone(KEEP_FROM, input_ids=ids()), expected)
