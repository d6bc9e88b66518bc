"""Models as they are published, at tiny sizes, with a pad token of their own: through all three stages.

The pad token is never trained, never attended to, and is what the stages' directories say it is; EOS is learnt.
"""

import random
from pathlib import Path

import pytest
import torch
from tiny import comparison_row, make_model_dir, make_tokenizer, tldr_row, write_rows
from tiny_trlx import tiny_config, tiny_trainer
from transformers import GPTNeoXConfig, LlamaConfig, PretrainedConfig, Qwen3Config

from reward_model.comparisons import encode_comparisons, load_comparisons
from reward_model.loss import last_token_loss
from reward_model.pairs import PackedPairs, SeparatePairs
from reward_model.reward_model import RewardModel
from reward_model.scoring import Scorer
from sft.loss import IGNORED, SupervisedLM
from sft.summarize_dataset import PadRight, TLDRDataset
from summarize_rlhf.data import load_rows
from summarize_rlhf.lm.weights import fit_to_tokenizer, load_causal_lm
from summarize_rlhf.text import bare_body
from summarize_rlhf.tokenizer import load_tokenizer

PAD = "<|pad|>"
SIZES = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
SIZES |= {"max_position_embeddings": 256}


def llama_3(vocabulary: int) -> PretrainedConfig:
    """Grouped keys and values, rotary frequencies scaled as in Llama 3.1."""
    scaling = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
    scaling |= {"original_max_position_embeddings": 64, "rope_theta": 500000.0}
    return LlamaConfig(vocab_size=vocabulary, num_key_value_heads=2, rope_parameters=scaling, **SIZES)


def qwen_3(vocabulary: int) -> PretrainedConfig:
    """Norms of queries and keys, heads that are wider than their share, more embeddings than tokens."""
    return Qwen3Config(vocab_size=vocabulary + 27, num_key_value_heads=2, head_dim=16, **SIZES)


def pythia(vocabulary: int) -> PretrainedConfig:
    """Attention and MLP side by side, rotary on a quarter of each head."""
    rotary = {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.25}
    return GPTNeoXConfig(vocab_size=vocabulary + 3, use_parallel_residual=True, rope_parameters=rotary, **SIZES)


def smol_lm(vocabulary: int) -> PretrainedConfig:
    """A Llama whose two embeddings are one."""
    return LlamaConfig(vocab_size=vocabulary, num_key_value_heads=2, tie_word_embeddings=True, **SIZES)


MODELS = {"Llama 3": llama_3, "Qwen 3": qwen_3, "Pythia": pythia, "SmolLM": smol_lm}


@pytest.fixture(params=MODELS)
def base(request, tmp_path) -> Path:
    tokenizer = make_tokenizer(pad=PAD)
    return make_model_dir(tmp_path / "base", MODELS[request.param](len(tokenizer)), tokenizer)


def step(model: torch.nn.Module, loss: torch.Tensor) -> None:
    loss.backward()
    with torch.no_grad():
        for p in model.parameters():
            if p.grad is not None:
                p -= 0.05 * p.grad


def test_through_all_stages(base, tmp_path) -> None:
    rng = random.Random(0)
    write_rows(tmp_path / "tldr/train.jsonl", [tldr_row(rng, words) for words in (8, 14, 20, 26)])
    write_rows(tmp_path / "pairs/train.jsonl", [comparison_row(rng, words) for words in (8, 14, 20, 26)])
    tokenizer = load_tokenizer(base)
    pad, eos = tokenizer.pad_token_id, tokenizer.eos_token_id
    assert tokenizer.pad_token == PAD
    assert pad != eos

    # Stage 1: padding is not supervised, EOS is; a padded row has the loss that it has alone.
    model = load_causal_lm(base)
    fit_to_tokenizer(model, tokenizer, 120)
    rows = load_rows(str(tmp_path / "tldr"), "train", ["prompt", "label"])
    data = TLDRDataset(rows, tokenizer, 120)
    batch = PadRight(pad)([data[i] for i in range(4)])
    assert (batch["input_ids"] == pad).any()
    assert (batch["labels"][batch["input_ids"] == pad] == IGNORED).all()
    assert ((batch["labels"] == eos).sum(1) == 1).all()
    supervised = SupervisedLM(model)
    together = supervised(**batch)
    alone = torch.stack([supervised(**PadRight(pad)([data[i]]))["rows"][0] for i in range(4)])
    torch.testing.assert_close(together["rows"], alone, rtol=1e-5, atol=1e-4)
    before = model.get_input_embeddings().weight[pad].clone()
    output = model.get_output_embeddings().weight is model.get_input_embeddings().weight
    step(supervised, together["loss"])
    if not output:  # of tied embeddings the head moves every row
        assert torch.equal(model.get_input_embeddings().weight[pad], before), "padding was trained on"
    model.save_pretrained(tmp_path / "sft")
    tokenizer.save_pretrained(tmp_path / "sft")
    assert load_causal_lm(tmp_path / "sft").config.pad_token_id == pad

    # Stage 2: packed or not, the same values; the score is read before the end, whatever the padding.
    reward = RewardModel.from_causal_lm(tmp_path / "sft")
    reward.freeze(0.5)
    pairs, _ = load_comparisons(str(tmp_path / "pairs"), "train")
    encoded = list(encode_comparisons(pairs, tokenizer, 120, show_progress=False))
    losses = []
    for way in (PackedPairs(pad), SeparatePairs(pad)):
        collated = way(encoded)
        chosen, rejected = way.values(reward, collated).unbind(1)
        losses.append(last_token_loss(chosen, rejected, *collated["lengths"].unbind(1), collated["start"]).mean())
    torch.testing.assert_close(*losses, rtol=1e-4, atol=1e-5)
    step(reward, losses[0])
    (tmp_path / "rm").mkdir()
    reward.save(tmp_path / "rm")
    scorer = Scorer(RewardModel.from_pretrained(tmp_path / "rm"), tokenizer, 120)

    # Stage 3: the score is that of the text, EOS ends a response, and the policy's directory has the same pad.
    prompts = [{"prompt": row["prompt"], "body": bare_body(row["prompt"])} for row in rows]
    seen: list[float] = []

    def reward_fn(outputs, body, **_):
        scores = scorer.score(body, outputs)
        seen.extend(scores.tolist())
        return scores

    options = {"train.seq_length": 120, "train.epochs": 1, "method.num_rollouts": 4, "method.score_without_eos": -1.0}
    trainer = tiny_trainer(tiny_config(tmp_path / "sft", tmp_path / "out", **options), reward_fn, prompts)
    rollouts, stats = trainer.make_experience()
    assert stats["policy/kl"] == pytest.approx(0.0, abs=1e-5)
    assert len(seen) == 4
    assert all(eos not in rollout.response[:-1] for rollout in rollouts)
    loss = trainer.update([rollouts], rollouts[0])["losses/total_loss"]
    assert torch.isfinite(torch.tensor(loss))
    trainer.save_pretrained(str(tmp_path / "ppo"))
    written = load_causal_lm(tmp_path / "ppo")
    assert written.config.pad_token_id == pad
    assert load_tokenizer(tmp_path / "ppo").pad_token == PAD
