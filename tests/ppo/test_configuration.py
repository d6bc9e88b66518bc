"""Configurations: what is refused by name, and what a model may be."""

import json
import re
from pathlib import Path

import pytest
from tiny_trlx import tiny_trainer
from transformers import AutoModelForCausalLM, GPT2Config

import trlx
from summarize_rlhf import UserError
from trlx.data.configs import ModelConfig, TRLConfig
from trlx.data.default_configs import default_ppo_config


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ({"train.batchsize": 8}, "'train.batchsize' names no option. Did you mean 'batch_size'?"),
        ({"method.init_kl": 8}, "'method.init_kl' names no option. Did you mean 'init_kl_coef'?"),
        ({"trian.batch_size": 8}, "'trian' names no option. Did you mean 'train'?"),
        ({"model": {"model_pth": "x"}}, "'model.model_pth' names no option. Did you mean 'model_path'?"),
        ({"train.seed.deep": 8}, "'train.seed.deep' is not possible: 'train.seed' is 1000, without options"),
        ({"train": 5, "train.seed": 8}, "'train.seed' is not possible: 'train' is 5, without options"),
    ],
)
def test_typos_in_overrides_are_refused_by_name(override: dict, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        TRLConfig.update(default_ppo_config().to_dict(), override)


def test_a_later_override_stands_over_an_earlier_one() -> None:
    base, nested = default_ppo_config().to_dict(), {"train": {"seed": 1}}
    both = TRLConfig.update(base, nested | {"train.batch_size": 3, "optimizer.kwargs": None, "optimizer.kwargs.lr": 2})
    assert (both.train.seed, both.train.batch_size, both.optimizer.kwargs) == (1, 3, {"lr": 2})
    assert TRLConfig.update(base, {"train.batch_size": 3} | nested).train.batch_size == 3
    assert nested == {"train": {"seed": 1}}
    assert base == default_ppo_config().to_dict()


def test_typos_in_a_file_are_refused_by_name(tmp_path) -> None:
    import yaml

    from trlx.data.configs import plain

    settings = plain(default_ppo_config().to_dict())
    (tmp_path / "ok.yml").write_text(yaml.safe_dump(settings))
    assert plain(TRLConfig.load_yaml(tmp_path / "ok.yml").to_dict()) == settings
    settings["train"]["batch_sise"] = settings["train"].pop("batch_size")
    (tmp_path / "bad.yml").write_text(yaml.safe_dump(settings))
    with pytest.raises(ValueError, match=r"TrainConfig has no option 'batch_sise'\. Did you mean 'batch_size'"):
        TRLConfig.load_yaml(tmp_path / "bad.yml")
    del settings["optimizer"]
    with pytest.raises(ValueError, match="lacks the section 'optimizer'"):
        TRLConfig.from_dict(settings)


def test_evolve_copies() -> None:
    config = default_ppo_config()
    changed = config.evolve(train={"batch_size": 3}, method={"gen_kwargs": {"temperature": 0.5}})
    assert (changed.train.batch_size, changed.method.gen_kwargs["temperature"]) == (3, 0.5)
    assert changed.method.gen_kwargs["max_new_tokens"] == 40
    assert config.train.batch_size == 32
    assert "temperature" not in config.method.gen_kwargs


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ({"method": {"name": "ilqlconfig"}}, "'ilqlconfig': ILQL is not part of this engine"),
        ({"method": {"name": "SFTConfig"}}, "stage 1"),
        ({"method": {"name": "RFTConfig"}}, "rejection fine-tuning"),
        ({"method": {"name": "DPOConfig"}}, "'DPOConfig' is unknown; use 'PPOConfig'"),
        ({"train": {"trainer": "NeMoPPOTrainer"}}, "'NeMoPPOTrainer': NeMo is not part .* ZeRO-3"),
        ({"train": {"trainer": "AccelerateILQLTrainer"}}, "ILQL"),
        ({"train": {"trainer": "AccelerateSFTTrainer"}}, "sft/train_gptj_summarize.py"),
        ({"train": {"trainer": "AccelerateRFTTrainer"}}, "rejection fine-tuning"),
        ({"model": {"model_arch_type": "seq2seq"}}, "'seq2seq': encoder-decoder models"),
        ({"train": {"tracker": "comet"}}, "train.tracker 'comet': use 'wandb', 'tensorboard', 'trackio' or null"),
        ({"optimizer": {"name": "adamw_8bit_bnb"}}, "'adamw_8bit_bnb' is unknown; use 'adam' or 'adamw'"),
        ({"scheduler": {"name": "cosine"}}, "scheduler.name 'cosine' is unknown; use 'cosine_annealing'"),
        ({"method": {"scale_reward": "std"}}, "scale_reward 'std': use None, 'running' or 'ref'"),
        ({"method": {"gen_kwargs": {"max_new_tokens": 40, "tempreature": 1}}}, "no option 'tempreature'"),
        ({"train": {"seq_length": 6}}, "seq_length 6 leaves no token for a prompt beside max_new_tokens 6"),
    ],
)
def test_what_is_out_of_scope_is_refused_by_name(config, override: dict, message: str) -> None:
    def build():
        return tiny_trainer(config().evolve(**override))

    with pytest.raises(ValueError, match=message):
        build()


def test_train_refuses_what_it_does_not_do() -> None:
    for name in ("samples", "rewards", "dataset"):
        with pytest.raises(ValueError, match=rf"trlx.train\({name}=…\)"):
            trlx.train(**{name: ["x"]})
    with pytest.raises(ValueError, match="needs a reward_fn"):
        trlx.train(prompts=["x"])
    with pytest.raises(ImportError, match="ILQL is not part"):
        from trlx.data.default_configs import default_ilql_config  # noqa: F401
    with pytest.raises(AttributeError):
        _ = trlx.nothing


def test_foreign_tokenizer_is_refused_by_name(config, tmp_path) -> None:
    from tiny import gptj_config, make_model_dir

    small = make_model_dir(tmp_path / "small", gptj_config(vocab_size=64))
    with pytest.raises(UserError, match=r"has \d+ tokens, but the model .* knows 64"):
        tiny_trainer(config().evolve(model={"model_path": str(small)}))


def test_model_path_may_be_a_transformers_config(config) -> None:
    """Random weights; the configuration survives `evolve`, and run.json holds it as a dictionary."""
    from tiny import gpt2_config

    made = gpt2_config(vocab_size=400)
    settings = config(train__epochs=1)
    settings.model = ModelConfig(model_path=made, num_layers_unfrozen=-1)
    settings = settings.evolve(train={"batch_size": 2})
    assert isinstance(settings.model.model_path, GPT2Config)
    trainer = tiny_trainer(settings)
    trainer.learn()
    saved = Path(settings.train.checkpoint_dir) / f"checkpoint_{trainer.step}/hf_model"
    assert json.loads((saved / "run.json").read_text())["arguments"]["model"]["model_path"]["model_type"] == "gpt2"
    AutoModelForCausalLM.from_pretrained(saved)
