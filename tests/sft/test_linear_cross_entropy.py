"""Our loss over the vocabulary and torch's `linear_cross_entropy`, which the benchmark compares, are the same."""

import pytest
import torch
from torch.nn import functional
from transformers import AutoModelForCausalLM, GPTJConfig

from benchmarks import bench_head
from sft.loss import SupervisedLM
from summarize_rlhf.lm import over_vocabulary

pytestmark = pytest.mark.skipif(not hasattr(functional, "linear_cross_entropy"), reason="torch 2.13 brings it")
TOKENS, HIDDEN, VOCABULARY = 96, 16, 400


@pytest.fixture(scope="module")
def model() -> SupervisedLM:
    torch.manual_seed(0)
    config = GPTJConfig(n_embd=HIDDEN, n_layer=1, n_head=2, rotary_dim=4, vocab_size=VOCABULARY, n_positions=64)
    config.initializer_range = 0.5
    return SupervisedLM(AutoModelForCausalLM.from_config(config))


def gradients(model: SupervisedLM, losses) -> list[torch.Tensor]:
    """The loss of a sum, and what it gives to states, weight and bias of the head."""
    torch.manual_seed(1)
    states, targets = torch.randn(TOKENS, HIDDEN, requires_grad=True), torch.randint(VOCABULARY, (TOKENS,))
    head = model.model.get_output_embeddings()
    loss = losses(states, targets).sum()
    return [loss.detach(), *torch.autograd.grad(loss, [states, head.weight, head.bias])]


@pytest.mark.parametrize("side", [bench_head.A_TOKEN, bench_head.THE_SUM, bench_head.AT_ONCE])
@pytest.mark.parametrize("at_once", [2**26, 10 * VOCABULARY], ids=["whole", "in chunks"])
def test_loss_and_gradients_agree(model, monkeypatch, side: str, at_once: int) -> None:
    """To 1e-5 relative in fp32, each with a plain product and cross-entropy in fp64, too."""
    monkeypatch.setattr(over_vocabulary, "LOGITS_AT_ONCE", at_once)
    head = model.model.get_output_embeddings()
    ours = gradients(model, model.token_losses)
    torchs = gradients(model, lambda states, targets: bench_head.torchs(side, states, head, targets))

    def plain(states, targets):
        logits = states.double() @ head.weight.double().T + head.bias.double()
        return functional.cross_entropy(logits, targets, reduction="none")

    for mine, theirs, expected in zip(ours, torchs, gradients(model, plain), strict=True):
        for found in (mine, theirs):
            assert (found - expected).norm() <= 1e-5 * expected.norm()
