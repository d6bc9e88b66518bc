"""Three models, a reward model and data; and what the tables wrote of them."""

import json
from pathlib import Path

import pytest
import stage_models
from evaluated import FUNCTIONS, MODELS, POSTS, arguments
from tiny import make_comparisons, make_tldr


@pytest.fixture(scope="session")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("evaluated")
    for seed, name in enumerate(MODELS, 1):
        stage_models.model_of_stage(folder / name, "sft" if name == "sft" else "ppo", seed)
    stage_models.reward_model(folder / "rm", folder / "sft")
    make_tldr(folder / "data", test=POSTS, words=30)
    make_comparisons(folder / "pairs", test=8)
    (folder / "of_the_user.py").write_text(FUNCTIONS)
    return folder


@pytest.fixture(scope="session")
def out(folder, server) -> Path:
    ended = server.run("tables", arguments(folder, "out"), folder)
    assert ended.code == 0, ended.err[-3000:]
    assert "ppo against sft: " in ended.out
    return folder / "out"


@pytest.fixture(scope="session")
def record(out) -> dict:
    return json.loads((out / "evaluation.json").read_text())
