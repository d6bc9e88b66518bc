"""The KL of a policy to its reference along responses, against a sum by hand over a tiny vocabulary."""

import math

import pytest
import torch
from tiny import make_model_dir, make_tokenizer
from transformers import AutoModelForCausalLM

from summarize_rlhf import UserError
from summarize_rlhf.lm.kl import Divergence, divergences, kl_of_logits, kl_of_responses
from summarize_rlhf.lm.summaries import generate
from summarize_rlhf.lm.summariser import Summariser
from summarize_rlhf.lm.test_set import divergences_to_first
from summarize_rlhf.run.kept_rows import KeptRows

PROMPTS = [[5, 6, 7], [8, 9, 10, 11, 12, 13], [14, 15]]
RESPONSES = [[20, 21, 22, 0], [23, 0], [24, 25, 26, 27, 28]]  # two ended by EOS, one cut off


@pytest.fixture(scope="module")
def models(gptj_dir, tmp_path_factory):
    other = make_model_dir(tmp_path_factory.mktemp("other"), seed=1)
    loaded = [AutoModelForCausalLM.from_pretrained(path).eval() for path in (gptj_dir, other)]
    for model in loaded:  # random weights agree on next to nothing: make them differ visibly
        model.lm_head.weight.data.mul_(20)
    return loaded


def test_logits_in_half_precision_are_compared_in_fp32():
    logits = torch.randn(2, 40, 400, generator=torch.Generator().manual_seed(0)).bfloat16()
    exact = kl_of_logits(*logits.double())
    assert kl_of_logits(*logits).dtype == torch.float32
    torch.testing.assert_close(kl_of_logits(*logits), exact.float(), rtol=1e-5, atol=1e-6)


def test_what_a_policy_never_says_adds_nothing():
    """π = (½, ½, 0) to (¼, ¼, ½): ½·log 2 twice. What the reference never says is infinitely far."""
    never = torch.tensor([0.0, 0.0, -torch.inf])
    half = torch.tensor([0.0, 0.0, math.log(2)])
    assert kl_of_logits(never, half).item() == pytest.approx(math.log(2))
    assert kl_of_logits(never, never).item() == 0.0
    assert kl_of_logits(half, never).item() == math.inf


def slow_kl(policy, reference, prompt: list[int], response: list[int]) -> float:
    """Token by token and word by word, one text at a time, in double precision."""
    total = 0.0
    for t in range(len(response)):
        ids = torch.tensor([prompt + response[:t]])
        with torch.no_grad():
            p, q = (model(ids).logits[0, -1].double().softmax(-1).tolist() for model in (policy, reference))
        total += sum(a * (math.log(a) - math.log(b)) for a, b in zip(p, q, strict=True))
    return total


def test_two_tokens_by_hand():
    """KL((3/4, 1/4) ‖ (1/2, 1/2)) = 3/4 ln 3/2 + 1/4 ln 1/2, and the other way round something else."""
    ours, theirs = torch.tensor([[math.log(3), 0.0]]), torch.tensor([[7.0, 7.0]])
    assert kl_of_logits(ours, theirs).tolist() == pytest.approx([0.75 * math.log(1.5) + 0.25 * math.log(0.5)])
    assert kl_of_logits(theirs, ours).tolist() == pytest.approx([-0.5 * math.log(0.75)])


@pytest.mark.parametrize("batch_size", [1, 2, 16])
def test_against_a_slow_sum(models, batch_size):
    found = kl_of_responses(*models, PROMPTS, RESPONSES, batch_size)
    expected = [slow_kl(*models, *both) for both in zip(PROMPTS, RESPONSES, strict=True)]
    assert min(expected) > 0.1
    assert found == pytest.approx(expected, rel=1e-4)


def test_the_ratio_of_the_tokens_chosen_against_a_slow_sum(models):
    """log π(y) − log π_ref(y), whose expectation at each step is the KL."""
    found = [each.log_ratio for each in divergences(*models, PROMPTS, RESPONSES, 2)]
    for prompt, response, ratio in zip(PROMPTS, RESPONSES, found, strict=True):
        total = 0.0
        for t, token in enumerate(response):
            ids = torch.tensor([prompt + response[:t]])
            with torch.no_grad():
                p, q = (model(ids).logits[0, -1].double().log_softmax(-1)[token].item() for model in models)
            total += p - q
        assert ratio == pytest.approx(total, rel=1e-4)


def test_both_estimates_have_the_same_mean_and_the_exact_one_varies_less(models, tokenizer):
    sampled = generate(models[0], tokenizer, ["my cat"] * 1500, max_new_tokens=3, do_sample=True, progress=None)
    found = divergences(*models, [s.prompt for s in sampled], [s.response for s in sampled], 500)
    kl, ratio = (torch.tensor([each[i] for each in found]) for i in (0, 1))
    difference = kl - ratio
    assert difference.mean().abs() < 4 * difference.std() / 1500**0.5
    assert kl.std() < 0.5 * ratio.std()


def test_a_model_is_at_no_distance_from_itself(models):
    assert kl_of_responses(models[0], models[0], PROMPTS, RESPONSES) == [0.0] * 3


def test_the_mean_over_samples_is_the_kl_between_the_distributions_of_responses(models, tokenizer):
    """Two steps of sampling, against the chain rule in full: KL(first token) + Σ_y π(y)·KL(second token | y)."""
    policy, reference = models
    prompt = "my cat"
    ids = tokenizer(prompt).input_ids
    words = torch.arange(len(tokenizer))[:, None]
    with torch.no_grad():
        first = kl_of_logits(*(model(torch.tensor([ids])).logits[0, -1] for model in models))
        chance = policy(torch.tensor([ids])).logits[0, -1].softmax(-1)
        after = torch.cat([torch.tensor([ids]).expand(len(words), -1), words], 1)
        second = kl_of_logits(*(model(after).logits[:, -1] for model in models))
    second[tokenizer.eos_token_id] = 0  # nothing follows
    exact = (first + (chance * second).sum()).item()
    sampled = generate(policy, tokenizer, [prompt] * 2000, max_new_tokens=2, do_sample=True, progress=None)
    values = torch.tensor(
        kl_of_responses(policy, reference, [s.prompt for s in sampled], [s.response for s in sampled], 500)
    )
    assert values.mean().item() == pytest.approx(exact, abs=4 * values.std().item() / 2000**0.5)
    assert values.std() > 0


def test_a_kl_that_is_no_number_is_told(gptj_dir, tmp_path, monkeypatch):
    options = {"max_length": 70, "max_new_tokens": 9, "temperature": 1.0, "seed": 0, "batch_size": 4}
    one, other = (Summariser(name, str(gptj_dir), torch.device("cpu"), **options) for name in ("sft", "ppo"))
    monkeypatch.setattr(other, "divergences", lambda *_: [Divergence(0.5, 0.4), Divergence(math.nan, 0.1)])
    with pytest.raises(UserError, match="KL of ppo to sft is no finite number"):
        divergences_to_first([one, other], {("ppo", "greedy"): []}, ["greedy"], KeptRows(tmp_path / "kept"))


def test_models_of_different_tokenizers_have_no_kl(gptj_dir, tmp_path, capsys):
    other = make_model_dir(tmp_path / "other", tokenizer=make_tokenizer(vocab_size=300))
    options = {"max_length": 70, "max_new_tokens": 9, "temperature": 1.0, "seed": 0, "batch_size": 4}
    both = [Summariser(path.name, str(path), torch.device("cpu"), **options) for path in (gptj_dir, other)]
    assert divergences_to_first(both, {}, ["greedy"], KeptRows(tmp_path / "kept")) == {}
    assert "they have different tokenizers" in capsys.readouterr().out
