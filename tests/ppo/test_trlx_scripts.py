"""What public scripts of trlX import and touch beside `trlx.train`; what is not here is one clear error."""

import importlib
import logging
import math
import random

import numpy as np
import pytest
import torch
from tiny_trlx import PROMPTS, tiny_config

import trlx
from trlx import registry
from trlx.data.configs import TRLConfig
from trlx.data.default_configs import default_ppo_config
from trlx.pipeline import BasePipeline, register_datapipeline
from trlx.trainer import register_trainer
from trlx.trainer.accelerate_ppo_trainer import AcceleratePPOTrainer
from trlx.utils import Clock, set_seed, significant


@pytest.fixture
def tables(monkeypatch):
    monkeypatch.setattr(registry, "TRAINERS", {})
    monkeypatch.setattr(registry, "PIPELINES", {})


def test_logging(caplog, monkeypatch):
    import trlx.utils.logging as theirs

    assert trlx.logging is theirs
    logger = trlx.logging.get_logger("my_script")
    trlx.logging.set_verbosity(trlx.logging.INFO)
    assert trlx.logging.get_verbosity() == logging.INFO
    with caplog.at_level(logging.INFO):
        logger.info("a reward of %s", 3)
        logger.debug("too little to tell")
        monkeypatch.setenv("RANK", "1")
        logger.warning("of rank 1")
        logger.warning("of both", ranks=[0, 1])
        logger.warning("of all", ranks=[-1])
    assert [record.getMessage() for record in caplog.records] == [
        "[RANK 0] a reward of 3", "[RANK 1] of both", "[RANK 1] of all",
    ]  # fmt: skip
    assert logger.name == "trlx.my_script"
    trlx.logging.disable_progress_bar()
    trlx.logging.enable_progress_bar()


def test_seeds_and_small_tools():
    def draw() -> list[float]:
        return [random.random(), np.random.rand(), torch.rand(1).item()]

    set_seed(7)
    first = draw()
    set_seed(7)
    assert draw() == first
    set_seed(8)
    assert draw() != first
    assert [significant(x) for x in (0.012345, -123.4, 0, math.inf)] == [0.012, -120.0, 0.0, math.inf]
    assert math.isnan(significant(math.nan))
    clock = Clock()
    assert math.isnan(clock.get_stat())
    assert clock.tick(4) >= 0
    assert clock.get_stat(1000, reset=True) >= 0
    assert math.isnan(clock.get_stat())


def test_a_trainer_and_a_pipeline_of_ones_own(tables, gptj_dir, tmp_path):
    @register_trainer
    class MyTrainer(AcceleratePPOTrainer):
        evaluations = 0

        def evaluate(self):
            type(self).evaluations += 1
            return super().evaluate()

    @register_datapipeline("mine")
    class MyPipeline(BasePipeline):
        def __init__(self, prompts, *args):
            super().__init__([prompt.upper() for prompt in prompts], *args)

    config = tiny_config(gptj_dir, tmp_path, **{"train.trainer": "MyTrainer", "train.pipeline": "mine"})
    trainer = trlx.train(reward_fn=lambda outputs, **_: [0.5] * len(outputs), prompts=PROMPTS, config=config)
    assert isinstance(trainer, MyTrainer)
    assert MyTrainer.evaluations > 0
    assert trainer.prompts.items[0].text == PROMPTS[0].upper()
    ids = torch.tensor([trainer.prompts.items[0].ids])
    assert trainer.model.generate(ids, max_new_tokens=2, do_sample=False).shape[1] <= ids.shape[1] + 2


@pytest.mark.parametrize("add", [register_trainer, register_datapipeline])
def test_classes_that_the_engine_cannot_use(tables, add):
    with pytest.raises(TypeError, match="should be a subclass of"):
        add(type("Other", (), {}))
    with pytest.raises(TypeError, match="should be a subclass of"):
        add("name")(dict)


def test_what_a_script_hangs_on_a_configuration_stays(gptj_dir, tmp_path):
    config = tiny_config(gptj_dir, tmp_path)
    config.mine, config.train.note = {"a": 1}, "kept"
    changed = config.evolve(train={"seed": 5})
    assert (changed.mine, changed.train.note, changed.train.seed) == ({"a": 1}, "kept", 5)
    trainer = trlx.train(
        str(gptj_dir), reward_fn=lambda outputs, **_: [0.5] * len(outputs), prompts=PROMPTS, config=config
    )
    assert (trainer.config.mine, trainer.config.train.note) == ({"a": 1}, "kept")


@pytest.mark.parametrize(
    ("module", "name", "told"),
    [
        ("trlx.trainer.accelerate_ilql_trainer", "AccelerateILQLTrainer", "ILQL is not part of this engine"),
        ("trlx.trainer.accelerate_rft_trainer", "RFTConfig", "rejection fine-tuning is not part"),
        ("trlx.trainer.accelerate_sft_trainer", "SFTConfig", "stage 1 of this repository"),
        ("trlx.trainer.nemo_ppo_trainer", "NeMoPPOTrainer", "NeMo is not part of this engine"),
        ("trlx.models.modeling_ilql", "ILQLConfig", "ILQL is not part of this engine"),
        ("trlx.models.modeling_nemo_ppo", "PPOGPT", "NeMo is not part of this engine"),
        ("trlx.trainer", "BaseRLTrainer", "subclass .*AcceleratePPOTrainer"),
        ("trlx.data.default_configs", "default_ilql_config", "ILQL is not part of this engine"),
    ],
)
def test_what_this_engine_does_not_have_is_one_clear_import_error(module, name, told):
    with pytest.raises(ImportError, match=told):
        getattr(importlib.import_module(module), name)


@pytest.mark.parametrize(
    ("option", "told"),
    [
        ("model.delta_kwargs", "model.peft_config"),
        ("model.delta_method", "model.peft_config"),
        ("train.orchestrator", "the trainer collects its rollouts itself"),
        ("train.learning_rate_init", r"optimizer\.kwargs\.lr"),
    ],
)
def test_options_of_earlier_versions_name_what_replaced_them(option, told):
    section, name = option.split(".")
    with pytest.raises(ValueError, match=told):
        TRLConfig.update(default_ppo_config(), {option: 1})
    config = default_ppo_config().to_dict()
    config[section][name] = 1
    with pytest.raises(ValueError, match=told):
        TRLConfig.from_dict(config)
