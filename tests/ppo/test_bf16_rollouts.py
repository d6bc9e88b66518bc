"""In bf16 what was sampled, what is stored and what is trained are one policy, to the rounding of bf16.

Stated in docs/details.md: between sampling and training, and on the first minibatch, a token's log-probability differs
by at most 1/16 nat and by 1/128 on average. bf16 resolves a logit between 4 and 8, as these are, to 1/32: that is two
units at most, and a quarter on average. In fp32 it is 1e-5.
"""

import pytest
import torch
from accelerate.state import AcceleratorState
from tiny import gpt2_config, gptj_config, make_model_dir, make_tokenizer
from tiny_trlx import tiny_config, tiny_trainer
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM

from sft.loss import SupervisedLM
from summarize_rlhf.lm import decode_batch
from trlx.models.policy import PolicyWithValueHead
from trlx.pipeline.rollouts import collate
from trlx.trainer.ppo import loss_of
from trlx.utils.modeling import logprobs_of_labels

MOST = {"fp32": (1e-5, 1e-5), "bf16": (1 / 16, 1 / 128)}  # nats a token: largest and mean


@pytest.fixture(autouse=True)
def fresh_accelerator():
    """Accelerate's precision is fixed once in a process: forgotten before this test and after it."""
    AcceleratorState._reset_state()
    yield
    AcceleratorState._reset_state()


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> dict:
    """Four layers with weights large enough for a distribution that is far from flat."""
    made = {}
    for name, config in (("gptj", gptj_config), ("gpt2", gpt2_config)):
        tokenizer = make_tokenizer()
        settings = config(len(tokenizer), layers=4, width=64)
        settings.initializer_range = 0.2
        made[name] = make_model_dir(tmp_path_factory.mktemp(name), settings, tokenizer)
    return made


class Recorder(decode_batch.Sampler):
    """Notes the log-probability that each token was drawn with."""

    seen: list[torch.Tensor]

    def __call__(self, logits, uniforms, step):
        logprobs = logits.float().log_softmax(-1)
        tokens = super().__call__(logits, uniforms, step)
        self.seen.append(logprobs.gather(1, tokens[:, None])[:, 0])
        return tokens


def within(differences: torch.Tensor, precision: str) -> None:
    largest, mean = MOST[precision]
    assert differences.abs().max() <= largest
    assert differences.abs().mean() <= mean


@pytest.mark.parametrize("precision", MOST)
@pytest.mark.parametrize("unfrozen", [2, -1])
@pytest.mark.parametrize("family", ["gptj", "gpt2"])
def test_sampled_stored_and_trained(models, tmp_path, monkeypatch, family, unfrozen, precision) -> None:
    monkeypatch.setattr(decode_batch, "Sampler", Recorder)
    monkeypatch.setattr(Recorder, "seen", [], raising=False)
    options = {"max_new_tokens": 12, "min_new_tokens": 12}  # no row is dropped on the way
    changes = {"model__num_layers_unfrozen": unfrozen, "method__gen_kwargs": options, "method__chunk_size": 3}
    trainer = tiny_trainer(tiny_config(models[family], tmp_path, train__precision=precision, **changes))
    rollouts, stats = trainer.make_experience()
    assert stats["policy/kl"] == 0  # reference and policy are the same weights in the same precision
    longest_first = sorted(rollouts, key=lambda r: len(r.prompt), reverse=True)
    sampled = torch.stack(Recorder.seen, 1)  # (N, R)
    within(sampled - torch.stack([r.logprobs for r in longest_first]), precision)
    for size in (1, 4, 8):  # whatever else is in the minibatch
        batch = collate(rollouts[:size])
        loss, found = loss_of(trainer.model, batch, trainer.method, 1.0, float(batch.mask.sum()))
        out = trainer.model(
            batch.tokens, batch.prompt_lengths, batch.responses, trunk=batch.trunk, keep_from=batch.keep_from
        )
        within((out.logprobs - batch.logprobs).detach(), precision)
        assert abs(found["ratio"] - 1) <= MOST[precision][1]
        assert found["policy/clipfrac"] == 0
        assert loss.dtype == out.logprobs.dtype == out.values.dtype == torch.float32
    advantages = torch.cat([r.advantages for r in rollouts])
    assert advantages.dtype == torch.float32
    torch.testing.assert_close(advantages.mean(), torch.tensor(0.0), rtol=0, atol=1e-6)
    torch.testing.assert_close(advantages.std(correction=0), torch.tensor(1.0), rtol=0, atol=1e-5)


def test_logits_become_fp32_before_the_temperature_divides_them(models) -> None:
    """The rounding of the head's product is all that bf16 adds: temperature, softmax and entropy are fp32's."""
    model = AutoModelForCausalLM.from_pretrained(models["gptj"], dtype=torch.bfloat16)
    policy = PolicyWithValueHead(model, 1)
    tokens = torch.randint(300, (3, 12))
    out = policy(tokens, torch.tensor([4, 4, 4]), tokens[:, 4:], temperature=0.7)
    with torch.no_grad():
        states = policy.decoder.run_backbone(input_ids=tokens)
        logits = policy.decoder.run_head(states)
    assert logits.dtype == torch.bfloat16
    exact = (logits[:, 3:-1].double() / 0.7).log_softmax(-1)
    expected = exact.gather(2, tokens[:, 4:, None])[..., 0]
    torch.testing.assert_close(out.logprobs.double(), expected, rtol=0, atol=2e-5)
    torch.testing.assert_close(out.entropy.double(), -(exact.exp() * exact).sum(-1), rtol=0, atol=2e-5)


def test_supervised_loss_of_bf16_logits_is_fp32s(models) -> None:
    model = SupervisedLM(AutoModelForCausalLM.from_pretrained(models["gptj"], dtype=torch.bfloat16))
    tokens = torch.randint(300, (3, 12))
    found = model(tokens, tokens)
    with torch.no_grad():
        logits = model.decoder.run_head(model.decoder.run_backbone(input_ids=tokens))[:, :-1]
    expected = cross_entropy(logits.double().flatten(0, 1), tokens[:, 1:].flatten())
    assert (logits.dtype, found["loss"].dtype) == (torch.bfloat16, torch.float32)
    torch.testing.assert_close(found["loss"].double(), expected, rtol=0, atol=1e-6)


def test_log_probabilities_of_bf16_logits_are_fp32s() -> None:
    logits, labels = torch.randn(5, 300).mul(8).bfloat16(), torch.arange(5)
    exact = logits.double().log_softmax(-1)[torch.arange(5), labels]
    torch.testing.assert_close(logprobs_of_labels(logits, labels).double(), exact, rtol=0, atol=1e-5)
