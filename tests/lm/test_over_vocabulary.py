"""Losses never hold the logits of a large batch, nor keep those of a piece for the backward pass."""

from types import SimpleNamespace

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


@pytest.mark.parametrize(("most", "vocabulary", "pieces"), [(9, 10, 5), (3, 30, 3), (2, 10, 1)])
def test_all_processes_make_equally_many_pieces(monkeypatch, most: int, vocabulary: int, pieces: int) -> None:
    """As many as that with the `most` tokens; of one token at least, where all its logits are too many."""
    monkeypatch.setattr(over_vocabulary, "LOGITS_AT_ONCE", 20)
    monkeypatch.setattr(over_vocabulary, "is_spread", lambda model: True)
    monkeypatch.setattr(over_vocabulary, "max_over_processes", lambda count, device: most)
    model, asked = SimpleNamespace(config=SimpleNamespace(vocab_size=vocabulary)), []

    def function(states: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        asked.append(len(targets))
        return states.sum(1) + targets

    states, targets = torch.arange(4.0).view(2, 2), torch.tensor([10, 20])
    torch.testing.assert_close(over_vocabulary.in_pieces(model, function, states, targets), torch.tensor([11.0, 25.0]))
    assert (len(asked), sum(asked)) == (pieces, 2)  # some of no token
