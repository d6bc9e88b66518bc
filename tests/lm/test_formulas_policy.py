"""What the reference is computed with, and in which mode the policy generates, is evaluated and trains.

The model's config asks for dropout, of which none may act: a ratio compares like with like.
"""

import pytest
import torch
from tiny import gptj_config, make_model_dir, make_tokenizer
from tiny_trlx import PROMPTS, tiny_config, tiny_trainer
from torch import nn
from transformers import AutoModelForCausalLM

from summarize_rlhf.lm.summaries import generate_summaries
from trlx.trainer import ppo

LORA = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "lora_dropout": 0.5}
TEMPERATURE = 0.7


@pytest.fixture(scope="module")
def dropping_dir(tmp_path_factory):
    """A GPT-J that drops half of everything where it is in training mode."""
    config = gptj_config(len(make_tokenizer()))
    config.resid_pdrop = config.embd_pdrop = config.attn_pdrop = 0.5
    return make_model_dir(tmp_path_factory.mktemp("dropping"), config)


@pytest.fixture(params=["top block", "everything", "LoRA"])
def trainer(request, dropping_dir, tmp_path):
    kinds = {
        "top block": {"model__num_layers_unfrozen": 1},
        "everything": {"model__num_layers_unfrozen": -1},
        "LoRA": {"model__peft_config": LORA},
    }
    options = {"method__gen_kwargs": {"max_new_tokens": 6, "temperature": TEMPERATURE}}
    return tiny_trainer(tiny_config(dropping_dir, tmp_path / "out", **options, **kinds[request.param]))


def slow_logprobs(model, prompt: list[int], response: list[int]) -> torch.Tensor:
    """log softmax(logits / temperature) of each response token, in one pass over this row alone."""
    with torch.no_grad():
        logits = model(torch.tensor([prompt + response])).logits[0].double() / TEMPERATURE
    return logits[len(prompt) - 1 : -1].log_softmax(-1)[torch.arange(len(response)), response]


def test_reference_is_the_initial_model_to_the_end(trainer, dropping_dir, monkeypatch) -> None:
    """After 8 updates: its log-probabilities are those of the model that was loaded, at the rollouts' temperature,
    in evaluation mode, in full precision; the policy's are no longer. What is stored is the policy's."""
    initial = AutoModelForCausalLM.from_pretrained(dropping_dir).eval()
    trained = [p for p in trainer.policy.parameters() if p.requires_grad]
    frozen = {name: p.detach().clone() for name, p in trainer.policy.named_parameters() if not p.requires_grad}
    reference = trainer.policy.reference
    assert reference is None or not any(p.requires_grad for p in reference.parameters())
    trainer.learn()
    assert trained
    for name, p in trainer.policy.named_parameters():
        assert name not in frozen or torch.equal(p, frozen[name]), name  # to the bit
    outputs = []
    original = ppo.logprobs_and_values
    monkeypatch.setattr(ppo, "logprobs_and_values", lambda *args: outputs.extend(original(*args)) or outputs)
    rollouts, _ = trainer.make_experience()
    for output, r in zip(outputs, rollouts, strict=True):
        expected = slow_logprobs(initial, r.prompt, r.response).float()
        torch.testing.assert_close(output["ref_logprobs"], expected, rtol=0, atol=2e-6)
        assert not torch.allclose(output["logprobs"], expected, atol=1e-3)
        mine = slow_logprobs(trainer.policy.causal_lm, r.prompt, r.response).float()
        torch.testing.assert_close(r.logprobs, mine, rtol=0, atol=2e-6)
        assert not any(x.requires_grad for x in (r.logprobs, r.values, r.advantages, r.returns))


def test_every_phase_runs_in_evaluation_mode_and_updates_alone_have_gradients(trainer) -> None:
    seen: dict[str, set] = {}
    phase = ["collect"]

    def note(module, *_):
        seen.setdefault(phase[0], set()).add((module.training, torch.is_grad_enabled()))

    drops = [module for module in trainer.policy.modules() if isinstance(module, nn.Dropout)]
    for module in drops:
        module.register_forward_pre_hook(note)
    rollouts, _ = trainer.make_experience()
    phase[0] = "evaluate"
    trainer.evaluate()
    phase[0] = "generate"
    trainer.generate(torch.tensor([[5, 6, 7]]))
    assert seen == {name: {(False, False)} for name in ("collect", "evaluate", "generate")}
    phase[0] = "update"
    trainer.update([rollouts[:4]], rollouts[0])
    assert (False, True) in seen["update"]
    assert {training for training, _ in seen["update"]} == {False}
    assert not any(module.training for module in trainer.policy.modules())


def test_summaries_are_written_in_evaluation_mode(dropping_dir) -> None:
    """Greedy ones are transformers' own, whatever mode the model comes in; it is left in that mode."""
    model, tokenizer = AutoModelForCausalLM.from_pretrained(dropping_dir), make_tokenizer()
    tokenizer.pad_token = tokenizer.eos_token
    expected = []
    for prompt in PROMPTS:
        ids = tokenizer(prompt, return_tensors="pt").input_ids
        output = model.eval().generate(ids, max_new_tokens=9, do_sample=False, pad_token_id=0)[0, ids.shape[1] :]
        expected.append(tokenizer.decode(output, skip_special_tokens=True).strip())
    for mode in (True, False):
        model.train(mode)
        assert generate_summaries(model, tokenizer, PROMPTS, max_new_tokens=9, progress=None) == expected
        assert model.training is mode


def test_summaries_are_sampled_from_the_whole_distribution_at_a_temperature(dropping_dir) -> None:
    """How often 4000 samples of one token are none of the 50 likeliest, or none of the likeliest 90 %."""
    model, tokenizer = AutoModelForCausalLM.from_pretrained(dropping_dir).eval(), make_tokenizer()
    tokenizer.pad_token = tokenizer.eos_token
    with torch.no_grad():
        model.lm_head.weight.mul_(20)
        logits = model(tokenizer("my cat", return_tensors="pt").input_ids).logits[0, -1]
    probabilities, order = (logits / 1.5).softmax(-1).sort(descending=True)
    as_text = [tokenizer.decode([i], skip_special_tokens=True).strip() for i in order.tolist()]
    texts = generate_summaries(
        model, tokenizer, ["my cat"] * 4000, max_new_tokens=1, do_sample=True, temperature=1.5, seed=1, progress=None
    )
    for most in (50, int((probabilities.cumsum(0) < 0.9).sum()) + 1):
        likely = set(as_text[:most])
        expected = sum(p for p, text in zip(probabilities.tolist(), as_text, strict=True) if text not in likely)
        assert expected > 0.03
        assert sum(text not in likely for text in texts) / 4000 == pytest.approx(expected, abs=0.015)


def test_summaries_follow_seed_and_temperature(dropping_dir) -> None:
    model, tokenizer = AutoModelForCausalLM.from_pretrained(dropping_dir).eval(), make_tokenizer()
    tokenizer.pad_token = tokenizer.eos_token

    def written(**options) -> list[str]:
        return generate_summaries(model, tokenizer, PROMPTS, do_sample=True, progress=None, **options)

    assert written(seed=1) == written(seed=1, batch_size=2)
    assert written(seed=1) != written(seed=2)
    assert written(seed=1, temperature=0.0) == generate_summaries(model, tokenizer, PROMPTS, progress=None)
