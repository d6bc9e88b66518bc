"""Settings that mean nothing are refused by name before anything is loaded, as stage 3 is started."""

import json
import sys

import pytest

import trlx_gptj_text_summarization as stage_3
from summarize_rlhf import UserError
from summarize_rlhf.tokenizer import load_tokenizer
from trlx.trainer.setup import check_policy

FAR = 10**30


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ({"tokenizer.truncation_side": "up"}, "tokenizer.truncation_side 'up' is unknown; use 'left' or 'right'"),
        ({"tokenizer.padding_side": ""}, "tokenizer.padding_side '' is unknown"),
        ({"train.total_steps": FAR}, "total_steps is 1e\\+30: at most"),
        ({"train.seq_length": FAR}, "seq_length is 1e\\+30: at most"),
        ({"method.num_rollouts": FAR}, "num_rollouts is 1e\\+30: at most"),
        ({"task.max_train_prompts": FAR}, "task.max_train_prompts is 1e\\+30: at most"),
        ({"method.gamma": 2}, "method.gamma is 2: it should be at most 1"),
        ({"scheduler.kwargs": {"T_max": 0}}, "optimizer.kwargs or scheduler.kwargs do not fit: ZeroDivisionError"),
        ({"optimizer.kwargs.lr": "fast"}, "optimizer.kwargs or scheduler.kwargs do not fit"),
        ({"method.gen_kwargs.top_k": -5}, "method.gen_kwargs.top_k is -5: it should be at least 0"),
        ({"method.gen_kwargs.top_p": 2}, "method.gen_kwargs.top_p is 2: it should be at most 1"),
        ({"method.gen_kwargs.temperature": "0.7"}, "temperature should be a number, but is '0.7'"),
        ({"model.model_path": "a\0b"}, "holds a NUL or half a character"),
        ({"task.dataset": " "}, "task.dataset is empty"),
        ({"model.peft_config": {"r": 4}}, "peft_type should be a type of peft"),
    ],
)
def test_refused_by_name(monkeypatch, override, told):
    monkeypatch.setattr(sys, "argv", ["stage", json.dumps(override)])
    with pytest.raises(UserError, match=told):
        stage_3.configure()


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ({"model.num_layers_unfrozen": 99}, "model.num_layers_unfrozen is 99, but the model has 2 blocks"),
        ({"method.num_value_layers_unfrozen": 3}, "method.num_value_layers_unfrozen is 3, but the model has 2 blocks"),
        ({"method.gen_kwargs.eos_token_id": 10**6}, "names the token 1000000, but the vocabulary has"),
        ({"train.seq_length": 2000}, "train.seq_length is 2000 tokens, but the model .* reads 256 at most"),
    ],
)
def test_refused_once_the_model_is_known_and_nothing_is_loaded(monkeypatch, gpt2_dir, override, told):
    values = {"model.model_path": str(gpt2_dir), "train.seq_length": 100} | override
    monkeypatch.setattr(sys, "argv", ["stage", json.dumps(values)])
    monkeypatch.setattr("trlx.trainer.setup.load_causal_lm", lambda *_, **__: pytest.fail("weights were loaded"))
    config, _ = stage_3.configure()
    with pytest.raises(UserError, match=told):
        check_policy(config, load_tokenizer(gpt2_dir), stage_3.UNFROZEN)


def test_the_default_of_a_larger_model_is_no_fault(monkeypatch, gpt2_dir):
    values = {"model.model_path": str(gpt2_dir), "train.seq_length": 100}
    monkeypatch.setattr(sys, "argv", ["stage", json.dumps(values)])
    config, _ = stage_3.configure()
    assert config.model.num_layers_unfrozen == stage_3.UNFROZEN > 2
    check_policy(config, load_tokenizer(gpt2_dir), stage_3.UNFROZEN)
