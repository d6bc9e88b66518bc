"""Models with a recurrent state: a response depends on its prompt alone, whatever is padded beside it."""

from pathlib import Path

import pytest
import torch
from tiny import gpt2_config, make_model_dir, make_tokenizer
from tiny_trlx import tiny_config, tiny_trainer
from transformers import (
    AutoModelForCausalLM,
    BloomConfig,
    FalconMambaConfig,
    JambaConfig,
    MambaConfig,
    PreTrainedModel,
    RecurrentGemmaConfig,
    RwkvConfig,
)

from summarize_rlhf.lm import generation
from summarize_rlhf.lm.branches import Decoder
from summarize_rlhf.lm.generation import left_pad, safe_batches, sample_by_generate
from summarize_rlhf.lm.generation_options import generation_config
from summarize_rlhf.lm.summaries import generate_summaries
from summarize_rlhf.lm.weights import load_causal_lm
from summarize_rlhf.tokenizer import load_tokenizer

VOCABULARY = len(make_tokenizer())
SIZE = {"vocab_size": VOCABULARY, "hidden_size": 32, "bos_token_id": 0, "eos_token_id": 0}
GEMMA = {"num_hidden_layers": 3, "intermediate_size": 96, "num_attention_heads": 2, "lru_width": 32}
GEMMA |= {"pad_token_id": 1, "attention_window_size": 16, "tie_word_embeddings": False}
CONFIGS = {
    "gpt2": lambda: gpt2_config(VOCABULARY),
    "bloom": lambda: BloomConfig(**SIZE, n_layer=2, n_head=2),
    "mamba": lambda: MambaConfig(**SIZE, num_hidden_layers=2, state_size=8, pad_token_id=0),
    "falcon_mamba": lambda: FalconMambaConfig(**SIZE, num_hidden_layers=2, state_size=8, pad_token_id=0),
    "jamba": lambda: JambaConfig(
        **SIZE, intermediate_size=64, num_hidden_layers=4, num_attention_heads=4, num_key_value_heads=2, num_experts=2,
        attn_layer_period=2, attn_layer_offset=1, mamba_d_state=8, mamba_dt_rank=4, pad_token_id=0,
    ),
    "recurrent_gemma": lambda: RecurrentGemmaConfig(**SIZE, **GEMMA),
    "rwkv": lambda: RwkvConfig(**SIZE, num_hidden_layers=8, attention_hidden_size=32, intermediate_size=64),
}  # fmt: skip
SAFE = {"recurrent_gemma": (True, False), "rwkv": (False, False)}  # all others (True, True)
PROMPTS = [[5, 7, 9], [8], [3, 4, 5, 6, 8, 9, 10, 11], [12, 13], [20] * 6, [21, 22, 23]]


@pytest.fixture(scope="module", params=CONFIGS)
def model(request) -> PreTrainedModel:
    torch.manual_seed(1)
    made = AutoModelForCausalLM.from_config(CONFIGS[request.param]()).eval()
    with torch.no_grad():
        made.get_output_embeddings().weight.mul_(5)
    return made


def test_what_reads_padding_is_found_out(model) -> None:
    assert safe_batches(model, 0) == SAFE.get(model.config.model_type, (True, True))


def test_responses_are_those_of_each_prompt_alone(model, tokenizer, monkeypatch) -> None:
    config = generation_config(tokenizer, {"max_new_tokens": 6, "do_sample": False})
    alone = [sample_by_generate(model, config, [prompt], 1)[0].ids for prompt in PROMPTS]
    for batch_size in (2, 6):
        assert [r.ids for r in sample_by_generate(model, config, PROMPTS, batch_size)] == alone
    ids, mask = left_pad(PROMPTS, 0, "cpu")
    output = generation.generate(model, ids, mask, config)
    assert torch.equal(output[:, : ids.shape[1]], ids)
    for row, expected in zip(output[:, ids.shape[1] :].tolist(), alone, strict=True):
        assert row[: len(expected)] == expected
        assert not any(row[len(expected) :])
    if model.config.model_type in SAFE:  # without the check it shows: the test can fail
        monkeypatch.setattr(generation, "safe_batches", lambda *_: (True, True))
        assert [r.ids for r in sample_by_generate(model, config, PROMPTS, 6)] != alone


def test_padding_on_the_right_changes_no_state_before_it(model) -> None:
    """So the forward pass of training may pad; and the head gives the model's own logits."""
    padded = torch.tensor([prompt + [0] * (12 - len(prompt)) for prompt in PROMPTS])
    with torch.no_grad():
        states = Decoder(model).run_backbone(input_ids=padded)
        for row, prompt in zip(states, PROMPTS, strict=True):
            expected = model(torch.tensor([prompt]), use_cache=False).logits
            torch.testing.assert_close(
                Decoder(model).run_head(row[None, : len(prompt)]), expected, rtol=1e-4, atol=1e-5
            )


@pytest.mark.parametrize("family", [*SAFE, "jamba"])
def test_ppo_and_summaries(family, tmp_path: Path) -> None:
    """The ratio is 1 on the first minibatch, and the saved policy is the trained one, also where transformers rescales
    rwkv's weights in place."""
    model = make_model_dir(tmp_path / "model", CONFIGS[family]())
    trainer = tiny_trainer(tiny_config(model, tmp_path / "out", model__num_layers_unfrozen=-1, train__epochs=1))
    seen = []
    trainer.log.metrics = lambda values, step: seen.append(values)
    trainer.learn()
    trainer.save_pretrained()
    ratios = [values["ratio"] for values in seen if "ratio" in values]
    assert abs(ratios[0] - 1) < 1e-5
    assert ratios[-1] != 1
    saved, ids = load_causal_lm(tmp_path / "out/hf_model"), torch.tensor([[5, 6, 7, 8]])
    with torch.no_grad():
        expected = trainer.policy.causal_lm(ids, use_cache=False).logits
        torch.testing.assert_close(saved.eval()(ids, use_cache=False).logits, expected, rtol=1e-5, atol=1e-6)
    tokenizer, posts = load_tokenizer(model), ["my cat", "the sister lost a car and", "so"]
    options = {"max_new_tokens": 5, "progress": None}
    alone = [generate_summaries(saved, tokenizer, [post], **options)[0] for post in posts]
    assert generate_summaries(saved, tokenizer, posts, **options) == alone
