"""The shallow copies of a decoder: made once, no part of the model, up to date with it."""

import copy

import pytest
import torch
from decoders import VOCABULARY, make_model
from torch import nn
from transformers import GenerationConfig, PreTrainedModel

from sft.loss import SupervisedLM
from summarize_rlhf.lm import branches
from summarize_rlhf.lm.branches import Decoder
from summarize_rlhf.lm.decoding import decode
from summarize_rlhf.lm.generation import uniforms
from trlx.models.policy import PolicyWithValueHead


@pytest.fixture
def copies(monkeypatch) -> list:
    """One entry per shallow copy that is made."""
    made: list = []
    original = branches.ShallowCopy.__init__

    def count(self, module, children, **attributes):
        made.append(module)
        original(self, module, children, **attributes)

    monkeypatch.setattr(branches.ShallowCopy, "__init__", count)
    return made


def ids() -> torch.Tensor:
    return torch.randint(1, VOCABULARY, (3, 11), generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("family", ["gptj", "opt"])
def test_decoded_tokens_make_no_copies(copies, family: str) -> None:
    model, numbers = make_model(family), []
    for new in (2, 12):
        copies.clear()
        config = GenerationConfig(max_new_tokens=new, do_sample=True, top_k=0, eos_token_id=VOCABULARY, pad_token_id=0)
        decode(model, config, [[5, 6, 7], [8, 9, 10]], uniforms(2, config, 1), 2, trunk_depth=1)
        numbers.append(len(copies))
    assert numbers[0] == numbers[1] > 0


@pytest.mark.parametrize("value_blocks", [0, 1])
def test_forward_passes_make_no_copies(copies, value_blocks: int) -> None:
    policy = PolicyWithValueHead(make_model("gptj"), 2, value_blocks)
    numbers = []
    for keep_from in (3, 2, 1):
        policy(ids(), torch.tensor([4, 4, 4]), ids()[:, 4:], with_reference=True, keep_from=keep_from)
        numbers.append(len(copies))
    assert numbers[0] == numbers[1] == numbers[2] > 0


@pytest.mark.parametrize("family", ["gptj", "gpt2"])
def test_the_same_blocks_with_and_without_the_final_norm(family: str) -> None:
    """A branch each, in whichever order they are first run."""
    for middle_first in (True, False):
        model = make_model(family)
        decoder = Decoder(model)
        trunk = decoder.run_trunk(1, input_ids=ids())

        def middle(decoder=decoder, trunk=trunk) -> torch.Tensor:
            return decoder.run_middle(1, len(decoder.blocks), trunk)

        found = [middle()] if middle_first else []
        top = decoder.run_top(list(decoder.blocks)[1:], trunk)
        found = found or [middle()]
        torch.testing.assert_close(top, decoder.run_backbone(input_ids=ids()))
        assert (top - found[0]).abs().max() > 1e-3


def test_they_are_no_part_of_the_model() -> None:
    """Neither of what is saved and counted, nor of a copy, whose branches are its own."""
    model = SupervisedLM(make_model("gptj"))
    names, modules = list(model.state_dict()), len(list(model.modules()))
    expected = model(ids(), ids(), keep_from=3)["loss"]
    assert list(model.state_dict()) == names
    assert len(list(model.modules())) == modules
    other = copy.deepcopy(model)
    assert other.decoder.model is other.model is not model.model
    with torch.no_grad():
        for p in other.parameters():
            p.zero_()
    assert other(ids(), ids(), keep_from=3)["loss"] != expected
    assert model(ids(), ids(), keep_from=3)["loss"] == expected


def assert_follows(decoder: Decoder, model: PreTrainedModel) -> None:
    expected = model.base_model(ids(), use_cache=False).last_hidden_state
    torch.testing.assert_close(decoder.run_backbone(4, input_ids=ids())[:, 4:], expected[:, 4:])


def test_they_follow_the_model() -> None:
    """Its mode, its hooks, and modules that are put in place of others."""
    model = make_model("gptj")
    decoder = Decoder(model)
    assert_follows(decoder, model)
    branch = next(iter(decoder._branches.values()))[0].copy
    model.train()
    seen: list[nn.Module] = []
    hook = model.base_model.register_forward_pre_hook(lambda module, _: seen.append(module))
    decoder.run_backbone(4, input_ids=ids())
    assert branch.training
    assert seen == [branch]
    hook.remove()
    model.eval()
    model.base_model.ln_f = nn.Identity()
    assert_follows(decoder, model)
    model.base_model.h[-1].mlp = copy.deepcopy(model.base_model.h[0].mlp)
    assert_follows(decoder, model)
    model.base_model.h[-1] = copy.deepcopy(model.base_model.h[1])
    assert_follows(decoder, model)
