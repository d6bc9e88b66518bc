"""An adapter's reference is the model that training starts from, or the adapter is refused by one line."""

import peft
import pytest
import torch
from tiny import gpt2_config, make_model_dir
from tiny_trlx import tiny_config, tiny_trainer

from summarize_rlhf import UserError
from trlx.models import lora
from trlx.models.policy import PolicyWithValueHead
from trlx.trainer import setup

LORA = {"peft_type": "LORA", "r": 4, "target_modules": ["q_proj", "v_proj"]}
IA3 = {"peft_type": "IA3", "target_modules": ["v_proj"], "feedforward_modules": []}


def lora_with(**options) -> dict:
    return LORA | options


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (lora_with(init_lora_weights="pissa"), "init_lora_weights 'pissa': use true or 'gaussian'"),
        (lora_with(init_lora_weights="pissa_niter_4"), "init_lora_weights 'pissa_niter_4'"),
        (lora_with(init_lora_weights="OLoRA"), "init_lora_weights 'OLoRA'"),
        (lora_with(init_lora_weights="corda"), "init_lora_weights 'corda'"),
        (lora_with(init_lora_weights="loftq"), "init_lora_weights 'loftq'"),
        (lora_with(init_lora_weights="lora_ga"), "init_lora_weights 'lora_ga'"),
        (lora_with(init_lora_weights=False), "init_lora_weights False"),
        (lora_with(bias="all"), "bias 'all' trains biases of the model itself: use 'none'"),
        (lora_with(bias="lora_only"), "bias 'lora_only'"),
        (lora_with(task_type="SEQ_CLS"), "task_type 'SEQ_CLS': use 'CAUSAL_LM'"),
        (lora_with(ranks=4), "model.peft_config: LORA has no option 'ranks' .did you mean 'r'"),
        (lora_with(rank=4), "LORA has no option 'rank' .did you mean"),
        (lora_with(peft_type="LORAX"), "peft_type should be a type of peft, but is 'LORAX' .did you mean 'LORA'"),
        (lora_with(peft_type="lora"), "peft_type should be a type of peft, but is 'lora' .did you mean 'LORA'"),
        (lora_with(peft_type=["LORA"]), "peft_type should be a type of peft"),
        ({"r": 4}, "peft_type should be a type of peft, but is None .'LORA' would be one"),
        ({"peft_type": "PREFIX_TUNING", "num_virtual_tokens": 4}, "PREFIX_TUNING puts tokens before the prompt"),
        ({"peft_type": "P_TUNING", "num_virtual_tokens": 4}, "P_TUNING puts tokens"),
        (peft.LoraConfig(init_lora_weights="pissa"), "init_lora_weights 'pissa'"),
        ("lora", "should be a dictionary or a peft configuration, but is 'lora'"),
    ],
)
def test_what_a_configuration_tells_is_refused_before_anything_is_loaded(tmp_path, options, told: str) -> None:
    config = tiny_config(tmp_path / "there is no model", tmp_path / "out")
    config.model.peft_config = options
    with pytest.raises(ValueError, match=told):
        tiny_trainer(config)


def loud_model(directory):
    """A GPT-J whose projections are large enough that moving a part of them changes what it says."""
    from transformers import AutoModelForCausalLM

    make_model_dir(directory)
    model = AutoModelForCausalLM.from_pretrained(directory)
    with torch.no_grad():
        for block in model.transformer.h:
            block.attn.v_proj.weight.mul_(20)
    model.save_pretrained(directory)
    return directory


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (lora_with(init_lora_weights="pissa"), "LORA adapter changes the model before any training"),
        (lora_with(init_lora_weights="olora"), "LORA adapter changes the model before any training"),
        (lora_with(init_lora_weights=False), "LORA adapter changes the model before any training"),
        (lora_with(bias="all"), "LORA adapter trains weights that the model has without it, too"),
        ({"peft_type": "LOHA", "target_modules": ["v_proj"], "init_weights": False}, "LOHA adapter changes the model"),
        (
            {"peft_type": "IA3", "target_modules": ["v_proj"], "feedforward_modules": [], "init_ia3_weights": False},
            "IA3",
        ),
        (lora_with(target_modules=["nowhere"]), "Target modules {'nowhere'} not found"),
    ],
)
def test_the_trial_finds_what_no_list_knows(tmp_path, monkeypatch, options, told: str) -> None:
    """The same without the list of names: whatever peft will think of next meets this trial."""
    monkeypatch.setattr(lora, "check_config", lambda options: None)
    monkeypatch.setattr(lora, "check_init", lambda init: None)
    config = tiny_config(loud_model(tmp_path / "model"), tmp_path / "out", model__peft_config=options)
    with pytest.raises(UserError, match=told):
        tiny_trainer(config)


def test_an_adapter_with_nothing_to_train_is_refused(gptj_dir) -> None:
    from transformers import AutoModelForCausalLM

    policy = PolicyWithValueHead(lora.add(AutoModelForCausalLM.from_pretrained(gptj_dir), LORA))
    lora.check_reference(policy)
    policy.model.requires_grad_(False)
    with pytest.raises(UserError, match="has nothing to train"):
        lora.check_reference(policy)


@pytest.mark.parametrize(
    "options",
    [
        lora_with(init_lora_weights="gaussian"),
        lora_with(init_lora_weights="orthogonal"),
        lora_with(use_dora=True),
        lora_with(lora_bias=True),
        lora_with(modules_to_save=["lm_head"]),
        IA3,
        {"peft_type": "LOHA", "target_modules": ["v_proj"], "r": 4},
        {"peft_type": "OFT", "target_modules": ["v_proj"], "r": 4, "oft_block_size": 0},
    ],
)
def test_the_reference_is_the_initial_model_and_stays_it(gptj_dir, tmp_path, options: dict) -> None:
    """The first collection's KL is zero, and training does not move what the reference says."""
    from transformers import AutoModelForCausalLM

    trainer = tiny_trainer(tiny_config(gptj_dir, tmp_path / "out", model__peft_config=options, train__epochs=1))
    rollouts, stats = trainer.make_experience()
    assert stats["policy/kl"] == pytest.approx(0.0, abs=1e-5)
    trainer.update([rollouts], rollouts[0])
    tokens = torch.randint(300, (2, 10))
    out = trainer.policy(tokens, torch.tensor([4, 4]), tokens[:, 4:], with_reference=True)
    initial = AutoModelForCausalLM.from_pretrained(gptj_dir)(tokens).logits.log_softmax(-1)
    expected = initial[:, 3:-1].gather(2, tokens[:, 4:, None]).squeeze(2)
    torch.testing.assert_close(out.ref_logprobs, expected, rtol=0, atol=2e-6)
    assert (out.logprobs - expected).abs().max() > 1e-4


def test_a_checkpoint_that_is_an_adapter_is_refused(gptj_dir, tmp_path) -> None:
    """As transformers loads it from the Hub, or from a directory that holds both: the adapter is inside the model."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(gptj_dir)
    lora.refuse_loaded(model, gptj_dir)
    lora.add(model, LORA).save_pretrained(tmp_path / "adapter")
    with pytest.raises(UserError, match=r"is an adapter on another model: .*trlx\.merge"):
        lora.refuse_loaded(AutoModelForCausalLM.from_pretrained(tmp_path / "adapter"), tmp_path / "adapter")


@pytest.mark.parametrize("peft_config", [None, LORA, LORA | {"modules_to_save": ["lm_head"]}])
def test_no_trained_weight_is_in_bf16(tmp_path, peft_config) -> None:
    """Also where the checkpoint is loaded in bf16 or a transformers config says so."""
    make_model_dir(tmp_path / "model")
    config = tiny_config(tmp_path / "model", tmp_path / "out", model__peft_config=peft_config)
    config.model.model_extra_configs = {"dtype": "bfloat16"}
    trainer = tiny_trainer(config)
    trained = {name: p.dtype for name, p in trainer.policy.named_parameters() if p.requires_grad}
    assert set(trained.values()) == {torch.float32}
    rollouts, stats = trainer.make_experience()
    trainer.update([rollouts], rollouts[0])
    assert stats["policy/kl"] == pytest.approx(0.0, abs=1e-5)
    made = gpt2_config(vocab_size=400)
    made.dtype = torch.bfloat16
    config.model.model_path, config.model.peft_config = made, None
    policy = setup.build_policy(config, trainer.tokenizer)
    assert {p.dtype for p in policy.parameters() if p.requires_grad} == {torch.float32}
