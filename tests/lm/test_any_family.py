"""Families that no table lists are cut, decoded and packed where that changes nothing, else refused by name."""

import json
from pathlib import Path

import pytest
import torch
from any_family import ids, make_any, row_of
from decoders import make_model
from policies import make_batch, plain_logprobs, run, train_steps
from torch import nn
from transformers import GenerationConfig

from reward_model.pairs import PackedPairs, can_pack
from reward_model.reward_model import RewardModel
from summarize_rlhf import UserError
from summarize_rlhf.lm import discovery
from summarize_rlhf.lm.branches import Decoder
from summarize_rlhf.lm.decoding import decode, supports
from summarize_rlhf.lm.generation import sample_by_generate
from summarize_rlhf.lm.weights import check_forward
from trlx.models.policy import PolicyWithValueHead

TABLE = json.loads((Path(__file__).resolve().parents[1] / "families.json").read_text())["families"]
# Rotary, learned and no positions, alibi, scaled embeddings, parallel blocks, windows of some layers, experts.
CUT = [
    "gpt_neo", "codegen", "gemma3_text", "phi3", "olmo", "olmo2", "smollm3", "granite", "cohere", "glm4", "stablelm",
    "starcoder2", "nemotron", "gpt_bigcode", "falcon_mamba", "bloom", "qwen3_moe", "mixtral", "deepseek_v2", "gpt_oss",
]  # fmt: skip
TRIED = [
    *CUT,
    "gptj",
    "llama",
    "opt",
    "bert",
    "ctrl",
    "recurrent_gemma",
    "rwkv",
    "mamba",
    "openai-gpt",
    "xlnet",
    "exaone4",
]


@pytest.mark.parametrize("family", TRIED)
def test_each_can_what_the_table_says(family):
    assert row_of(family) == TABLE[family]


@pytest.mark.parametrize("family", CUT)
def test_trunk_top_and_reference_are_those_of_the_whole_model(family):
    """The slow way: each row alone through the whole model, before and after training the top."""
    model, batch = make_any(family), make_batch()
    before = plain_logprobs(model, batch)
    policy = PolicyWithValueHead(model, num_layers_unfrozen=2)
    policy.checkpoint_blocks(False)
    train_steps(policy, batch, steps=1, lr=0.05)
    out = run(policy, batch, with_reference=True)
    torch.testing.assert_close(out.ref_logprobs * batch.mask, before, rtol=0, atol=2e-5)
    after = plain_logprobs(model, batch)
    torch.testing.assert_close(out.logprobs.detach() * batch.mask, after, rtol=0, atol=2e-5)
    assert (after - before).abs().max() > 1e-3, "nothing was trained: the test shows little"


@pytest.mark.parametrize("family", [name for name in CUT if TABLE[name]["own decoding"] == "yes"])
def test_tokens_are_those_of_generate(family):
    model = make_any(family)
    with torch.no_grad():
        model.get_output_embeddings().weight.mul_(20)  # far from ties
    config = GenerationConfig(max_new_tokens=6, do_sample=False, eos_token_id=0, pad_token_id=0, use_cache=True)
    prompts = [row[:length] for row, length in zip(ids(4, 9).tolist(), (9, 2, 5, 7), strict=True)]
    assert supports(model, config, 9)
    ours = [response.ids for response in decode(model, config, prompts, torch.zeros(4, 6), 3)]
    theirs = [sample_by_generate(model, config, [prompt], 1)[0].ids for prompt in prompts]
    assert ours == theirs


@pytest.mark.parametrize("family", [name for name in CUT if TABLE[name]["packed pairs"] == "yes"])
def test_packed_values_are_those_of_the_texts_alone(family):
    model = RewardModel(make_any(family).base_model).eval()
    assert can_pack(model, 12)
    shared, chosen, rejected = ids(3, 4).tolist()
    texts = [shared + chosen, shared + rejected[:2]]
    pairs = [{"chosen_ids": texts[0], "rejected_ids": texts[1], "start": 4}]
    with torch.no_grad():
        (values,) = PackedPairs(0).values(model, PackedPairs(0)(pairs))
        for side, text in zip(values, texts, strict=True):
            torch.testing.assert_close(side[3 : len(text)], model(torch.tensor([text]))[0, 3:], rtol=1e-4, atol=1e-5)


def test_what_is_found_is_what_the_table_of_families_says():
    for family in ("gptj", "gpt2", "gpt_neox", "opt", "llama", "gemma", "phi"):
        model = make_model(family)
        found, listed = discovery.discover(model), Decoder(model).family
        assert (found.decoder, found.blocks, set(found.exit)) == (listed.decoder, listed.blocks, set(listed.exit))
        assert listed.entry.items() <= found.entry.items() | {("project_in", nn.Identity)}


def test_a_wrong_cut_is_refused(monkeypatch):
    """GPT-Neo without the line that takes its positions out of a branch."""
    right = discovery.discover(make_any("gpt_neo"))
    wrong = discovery.Family(blocks=right.blocks, exit=right.exit, attention=None, mlp=None)
    monkeypatch.setattr(discovery, "discover", lambda model: wrong)
    with pytest.raises(UserError, match=r"'gpt_neo' model cannot be taken apart .*do not give what the whole gives"):
        PolicyWithValueHead(make_any("gpt_neo"), num_layers_unfrozen=2)
    PolicyWithValueHead(make_any("gpt_neo"), num_layers_unfrozen=-1)


def test_a_proof_changes_no_random_number_and_no_mode():
    model = make_any("olmo").train()
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    Decoder(model).prove(2)
    assert torch.equal(torch.rand(3), expected)
    assert model.training
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize("family", ["bert", "roberta", "xlnet", "electra"])
def test_what_sees_the_future_is_no_causal_model(family):
    with pytest.raises(UserError, match="whose tokens see those that come after them: it is no causal language model"):
        check_forward("dir", make_any(family))


def test_projected_embeddings():
    """OPT-350m: its last states have the size of its embeddings, not of its blocks."""
    model = make_model("opt")
    assert model.config.word_embed_proj_dim != model.config.hidden_size
    values = RewardModel(model.base_model)(ids())
    assert values.shape == ids().shape


def test_the_sweep_is_wide():
    assert len(TABLE) > 120
    assert sum(row["PPO, top blocks"] == "yes" for row in TABLE.values()) > 100
