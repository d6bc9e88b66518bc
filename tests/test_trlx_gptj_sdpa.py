"""GPT-J's fused attention is the attention of transformers: logits, gradients, cached decoding, left padding."""

import copy

import pytest
import torch
from tiny import gptj_config
from transformers import AutoModelForCausalLM, GenerationConfig, GPTJForCausalLM

from trlx.models.gptj_sdpa import GPTJSdpaAttention

CLOSE = {"rtol": 0, "atol": 1e-6}


@pytest.fixture
def models() -> tuple[GPTJForCausalLM, GPTJForCausalLM]:
    """The same weights with eager and with fused attention; large enough for attention to matter."""
    config = gptj_config(vocab_size=64)
    fused = AutoModelForCausalLM.from_config(config, attn_implementation="sdpa").eval()
    with torch.no_grad():
        for p in fused.transformer.h.parameters():
            p.add_(0.2 * torch.randn_like(p))
    eager = AutoModelForCausalLM.from_config(copy.deepcopy(config), attn_implementation="eager").eval()
    eager.load_state_dict(fused.state_dict())
    return eager, fused


def test_it_is_chosen_by_default(gptj_dir) -> None:
    for model in (
        AutoModelForCausalLM.from_config(gptj_config(vocab_size=64)),
        AutoModelForCausalLM.from_pretrained(gptj_dir),
    ):
        assert type(model.transformer.h[0].attn) is GPTJSdpaAttention


def test_eager_is_still_to_be_had(models) -> None:
    eager, _ = models
    assert type(eager.transformer.h[0].attn) is not GPTJSdpaAttention


def test_logits_and_gradients(models) -> None:
    eager, fused = models
    ids = torch.randint(64, (3, 17))
    outputs = [model(ids).logits for model in models]
    torch.testing.assert_close(outputs[0], outputs[1], **CLOSE)
    for logits in outputs:
        logits.log_softmax(-1)[..., 3].mean().backward()
    for (name, a), b in zip(eager.named_parameters(), fused.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, **CLOSE, msg=lambda text, name=name: f"{name}: {text}")


def test_left_padding(models) -> None:
    """Real positions give what they give without padding; and both implementations agree."""
    ids = torch.randint(64, (2, 9))
    padded = torch.cat((torch.zeros(2, 4, dtype=torch.long), ids), dim=1)
    mask = torch.cat((torch.zeros(2, 4), torch.ones(2, 9)), dim=1).long()
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    outputs = [m(padded, attention_mask=mask, position_ids=positions).logits[:, 4:] for m in models]
    torch.testing.assert_close(outputs[0], outputs[1], **CLOSE)
    torch.testing.assert_close(outputs[1], models[1](ids).logits, **CLOSE)


def test_cached_decoding(models) -> None:
    """Token by token, and several tokens at once on top of a cache, the logits are those of one pass."""
    ids = torch.randint(64, (2, 12))
    for model in models:
        whole = model(ids).logits
        cache, parts = None, []
        for start, stop in ((0, 5), (5, 6), (6, 7), (7, 12)):
            out = model(ids[:, start:stop], past_key_values=cache, use_cache=True)
            cache, parts = out.past_key_values, [*parts, out.logits]
        torch.testing.assert_close(torch.cat(parts, dim=1), whole, **CLOSE)


def test_generation_from_left_padded_prompts(models) -> None:
    ids = torch.tensor([[0, 0, 5, 6, 7], [9, 8, 7, 6, 5]])
    mask = torch.tensor([[0, 0, 1, 1, 1], [1, 1, 1, 1, 1]])
    config = GenerationConfig(max_new_tokens=12, do_sample=False, pad_token_id=0, eos_token_id=0)
    outputs = [model.generate(ids, attention_mask=mask, generation_config=config) for model in models]
    assert torch.equal(*outputs)
    alone = models[1].generate(ids[:1, 2:], generation_config=config)
    n = alone.shape[1] - 3
    assert torch.equal(outputs[1][0, 5 : 5 + n], alone[0, 3:])


def test_dropout_acts_in_training_only() -> None:
    config = gptj_config(vocab_size=64)
    config.attn_pdrop = 0.5
    model = AutoModelForCausalLM.from_config(config)
    ids = torch.randint(64, (1, 9))
    assert torch.equal(model.eval()(ids).logits, model(ids).logits)
    assert not torch.equal(model.train()(ids).logits, model(ids).logits)
