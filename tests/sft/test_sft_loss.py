"""Stage 1's loss: the slow way over all logits and the one that computes few of them; what must not change it."""

import math

import pytest
import torch
from tiny import gpt2_config, gptj_config
from transformers import AutoModelForCausalLM, Gemma2Config, GPTNeoXConfig, LlamaConfig, OPTConfig

from sft.loss import IGNORED, SupervisedLM, mean_loss
from sft.summarize_dataset import PadRight, TLDRDataset
from summarize_rlhf.data import load_rows
from summarize_rlhf.lm.weights import load_causal_lm

NARROW = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}


@pytest.fixture
def rows(tldr_dir):
    return load_rows(tldr_dir, "train", ["prompt", "label"])


FAMILIES = {
    "gptj": gptj_config(400),
    "gpt2": gpt2_config(400),
    "gpt_neox": GPTNeoXConfig(vocab_size=400, **NARROW),
    "llama": LlamaConfig(vocab_size=400, **NARROW),
    "opt": OPTConfig(
        vocab_size=400, hidden_size=32, ffn_dim=64, num_hidden_layers=2, num_attention_heads=2, dropout=0.0
    ),
    "gemma2": Gemma2Config(vocab_size=400, head_dim=16, num_key_value_heads=2, final_logit_softcapping=2.0, **NARROW),
}


def plain_rows(model, ids, labels):
    """The slow way: transformers' logits of every position, a loop over tokens. Sums and numbers by row (B, 2)."""
    logprobs = model(ids).logits.float().log_softmax(-1)
    rows = []
    for b in range(len(ids)):
        asked = [t for t in range(1, ids.shape[1]) if labels[b, t] != IGNORED]
        rows.append(
            torch.stack([-sum(logprobs[b, t - 1, labels[b, t]] for t in asked), torch.tensor(float(len(asked)))])
        )
    return torch.stack(rows)


def gradient(model):
    found = torch.cat([p.grad.flatten() for p in model.parameters()])
    model.zero_grad()
    return found


@pytest.mark.parametrize("way", ["at once", "in parts", "activations recomputed"])
@pytest.mark.parametrize("on_summary", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_loss_and_gradient_are_those_of_all_logits(family, on_summary, way, monkeypatch):
    """To 1e-5 relative, with padding, on every family, however the logits are computed."""
    model = AutoModelForCausalLM.from_config(FAMILIES[family]).train()
    batch = PadRight(0)(
        [
            {
                "input_ids": [3, 4, 5, 6, 7, 0],
                "labels": [IGNORED] * 4 + [7, 0] if on_summary else [IGNORED, 4, 5, 6, 7, 0],
            },
            {"input_ids": [8, 9, 10, 12, 0], "labels": [IGNORED, IGNORED, IGNORED, 12, 0]},
            {"input_ids": [8, 9, 11, 0], "labels": [IGNORED, IGNORED, IGNORED, 0]},
        ]
    )
    assert batch["keep_from"] == (2 if on_summary else 0)
    rows = plain_rows(model, batch["input_ids"], batch["labels"])
    (rows[:, 0].sum() / 4).backward()
    expected = gradient(model)
    if way == "in parts":
        monkeypatch.setattr("summarize_rlhf.lm.over_vocabulary.LOGITS_AT_ONCE", 3 * 400)
    if way == "activations recomputed":
        model.activation_checkpointing_enable({"use_reentrant": False})
    found = SupervisedLM(model)(**batch, num_items_in_batch=torch.tensor(4))
    assert found["loss"].item() == pytest.approx(rows[:, 0].sum().item() / 4, rel=1e-5)
    torch.testing.assert_close(found["rows"], rows.detach(), rtol=1e-5, atol=0)
    found["loss"].backward()
    actual = gradient(model)
    assert (actual - expected).norm() < 1e-5 * expected.norm()


def test_without_a_number_of_items_the_loss_is_the_mean_of_the_batch(gptj_dir):
    model = SupervisedLM(load_causal_lm(gptj_dir))
    batch = PadRight(0)([{"input_ids": [3, 4, 0], "labels": [IGNORED, 4, 0]}])
    assert model(**batch)["loss"].item() == pytest.approx(2 * model(**batch, num_items_in_batch=4)["loss"].item())


def test_uniform_logits_cost_log_v():
    loss = mean_loss(torch.tensor([3 * math.log(8), math.log(8)]).numpy(), torch.tensor([3.0, 1.0]).numpy())
    assert loss["token_loss"] == pytest.approx(math.log(8))
    assert loss["perplexity"] == pytest.approx(8)


def loss_of(model, batch, items=None):
    return SupervisedLM(model)(**batch, num_items_in_batch=items)["loss"]


@pytest.mark.parametrize("family", ["gptj_dir", "gpt2_dir"])
def test_the_width_and_content_of_padding_change_no_loss(family, request, rows, tokenizer):
    model = load_causal_lm(request.getfixturevalue(family)).eval()
    data = TLDRDataset(rows, tokenizer)
    narrow = PadRight(0)([data[i] for i in range(6)])
    longer = {"input_ids": [3] * 150, "labels": [IGNORED] * 149 + [3]}
    wide = PadRight(9)([*(data[i] for i in range(6)), longer])
    wide = {"input_ids": wide["input_ids"][:6], "labels": wide["labels"][:6]}
    assert wide["input_ids"].shape[1] > narrow["input_ids"].shape[1]
    assert loss_of(model, wide).item() == pytest.approx(loss_of(model, narrow).item(), abs=1e-5)


def test_accumulation_changes_no_gradient(gptj_dir, rows, tokenizer):
    """One batch of 8 unequal rows, or four of 2: the same gradient (fp32, relative 1e-4)."""
    data = TLDRDataset(rows, tokenizer, loss_on="summary")
    items = sum(
        int((row["labels"] != IGNORED).sum()) for row in [{"labels": torch.tensor(data[i]["labels"])} for i in range(8)]
    )
    gradients = []
    for size in (8, 2):
        model = load_causal_lm(gptj_dir)
        for start in range(0, 8, size):
            loss_of(model, PadRight(0)([data[i] for i in range(start, start + size)]), torch.tensor(items)).backward()
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters()]))
    assert torch.allclose(*gradients, rtol=1e-4, atol=1e-7)
