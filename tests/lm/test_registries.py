"""Loading a model of ours changes no registry of transformers, no model that is loaded otherwise, no config.json."""

import copy
import json
import subprocess
import sys

import pytest
import torch
from decoders import VOCABULARY
from tiny import gpt2_config, gptj_config
from transformers import AutoModelForCausalLM

from summarize_rlhf.lm.branches import Decoder
from summarize_rlhf.lm.last_block import ATTENTION, has_keep_from
from summarize_rlhf.lm.speed import tune_model
from summarize_rlhf.lm.weights import load_causal_lm

REGISTRIES = """
import sys
from transformers import AttentionInterface, AttentionMaskInterface, AutoModelForCausalLM
from transformers.activations import ACT2CLS
tables = [AttentionInterface._global_mapping, AttentionMaskInterface._global_mapping, ACT2CLS]
before = [dict(table) for table in tables]
from transformers.activations import NewGELUActivation
from summarize_rlhf.lm.weights import load_causal_lm
ours = load_causal_lm(sys.argv[1])
for table, entries in zip(tables, before):
    assert {name: table[name] for name in entries} == entries
plain = AutoModelForCausalLM.from_pretrained(sys.argv[1])
assert plain.config._attn_implementation == "sdpa" != ours.config._attn_implementation
assert any(isinstance(module, NewGELUActivation) for module in plain.modules())
"""


def test_registries_are_as_they_were(root, gptj_dir) -> None:
    """After loading a model of ours, every entry that was there is the same object. Of imports: test_house.py."""
    command = [sys.executable, "-c", REGISTRIES, str(gptj_dir)]
    result = subprocess.run(command, cwd=root, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def test_no_config_records_it(gptj_dir, tmp_path) -> None:
    model = load_causal_lm(gptj_dir)
    assert has_keep_from(model)
    assert has_keep_from(copy.deepcopy(model))
    model.save_pretrained(tmp_path)
    assert ATTENTION not in (tmp_path / "config.json").read_text()
    assert ATTENTION not in model.config.to_json_string()
    assert "attn_implementation" not in json.loads((tmp_path / "config.json").read_text())


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_another_attention_computes_all_tokens(attention: str) -> None:
    """A model that was not loaded by us: its states from `keep_from` on are the same."""
    model = AutoModelForCausalLM.from_config(gptj_config(VOCABULARY), attn_implementation=attention).eval()
    ids = torch.randint(1, VOCABULARY, (3, 11), generator=torch.Generator().manual_seed(2))
    expected = model.base_model(ids).last_hidden_state
    torch.testing.assert_close(Decoder(model).run_backbone(7, input_ids=ids)[:, 7:], expected[:, 7:])


def test_an_attention_that_was_asked_for_stays() -> None:
    model = tune_model(AutoModelForCausalLM.from_config(gpt2_config(VOCABULARY), attn_implementation="eager"))
    assert model.config._attn_implementation == "eager"


def test_generate_pads_and_masks_as_before(gptj_dir) -> None:
    """Greedy `generate` of left-padded rows and logits under a padding mask, with both names of the attention."""
    ours, plain = load_causal_lm(gptj_dir).eval(), AutoModelForCausalLM.from_pretrained(gptj_dir).eval()
    ids = torch.tensor([[0, 0, 5, 6, 7], [5, 6, 7, 8, 9]])
    mask = (torch.arange(5) >= torch.tensor([[2], [0]])).long()
    options = {"attention_mask": mask, "max_new_tokens": 6, "do_sample": False, "pad_token_id": 0}
    assert torch.equal(ours.generate(ids, **options), plain.generate(ids, **options))
    torch.testing.assert_close(ours(ids, attention_mask=mask).logits, plain(ids, attention_mask=mask).logits)
