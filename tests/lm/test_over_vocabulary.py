"""Losses never hold the logits of a large batch, nor keep those of a piece for the backward pass."""

import pytest
import torch
from transformers import AutoModelForCausalLM

from sft.loss import SupervisedLM
from summarize_rlhf.lm import over_vocabulary
from trlx.models.policy import PolicyWithValueHead

TOKENS = torch.randint(300, (5, 14), generator=torch.Generator().manual_seed(1))
PROMPT = 4  # tokens
AT_ONCE = 6  # tokens


def of_sft(module) -> dict[str, torch.Tensor]:
    return {"loss": module(TOKENS, TOKENS)["loss"]}


def of_ppo(module) -> dict[str, torch.Tensor]:
    out = module(TOKENS, torch.full((5,), PROMPT), TOKENS[:, PROMPT:], temperature=0.7, with_reference=True)
    return {"loss": out.logprobs.mean(), "entropy": out.entropy, "reference": out.ref_logprobs}


@pytest.mark.parametrize(
    ("build", "compute", "tokens"),
    [
        (SupervisedLM, of_sft, 5 * 13),
        (lambda model: PolicyWithValueHead(model, 1), of_ppo, 5 * 10),
        (lambda model: PolicyWithValueHead(model, -1), of_ppo, 5 * 10),
    ],
)
def test_pieces_give_what_the_whole_gives(gptj_dir, monkeypatch, build, compute, tokens: int) -> None:
    found = []
    for pieces in (1, -(-tokens // AT_ONCE)):
        model = AutoModelForCausalLM.from_pretrained(gptj_dir)
        module = build(model)
        if pieces > 1:
            monkeypatch.setattr(over_vocabulary, "LOGITS_AT_ONCE", AT_ONCE * model.config.vocab_size)
        passes: list[int] = []  # of the head: how many tokens
        head = model.get_output_embeddings()
        head.register_forward_hook(lambda *args, passes=passes: passes.append(args[2].shape[:-1].numel()))
        results = compute(module)
        assert max(passes) <= (tokens if pieces == 1 else AT_ONCE)
        forward = len(passes)
        results["loss"].backward()
        assert len(passes) - forward == (0 if pieces == 1 else pieces), "computed again, not kept"
        found.append((results, {name: p.grad for name, p in module.named_parameters() if p.grad is not None}))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)
