"""A model's directory gets its name only if the next stage can read it, whatever a stage has written into it."""

import functools
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import gpt2_config, make_model_dir, make_tokenizer
from tiny_trlx import tiny_config, tiny_trainer

from reward_model.reward_model import RewardModel
from summarize_rlhf import UserError
from summarize_rlhf.lm.model_directory import check_model, read_causal_lm, write_model
from trlx.trainer.checkpoint import read_adapter


def change(directory: Path, edit: Callable[[dict], dict]) -> None:
    for file in directory.glob("*model.safetensors"):
        save_file(edit(load_file(file)), file, metadata={"format": "pt"})


def with_nan(state: dict) -> dict:
    name = sorted(state)[3]
    return {**state, name: state[name].index_fill(0, torch.tensor([1]), float("nan"))}


def truncated(directory: Path) -> None:
    for file in directory.glob("*model.safetensors"):
        file.write_bytes(file.read_bytes()[:-8])


FAULTS = {
    "all of shape [0], as ZeRO-3 leaves them": (
        lambda d: change(d, lambda state: {name: torch.empty(0) for name in state}),
        "of another shape",
    ),
    "one of shape [0]": (
        lambda d: change(d, lambda state: {**state, sorted(state)[3]: torch.empty(0)}),
        "1 of another shape",
    ),
    "one missing": (lambda d: change(d, lambda state: dict(sorted(state.items())[:-1])), "missing"),
    "one too many": (lambda d: change(d, lambda state: state | {"foo": torch.ones(2)}), "1 not part of the model: foo"),
    "NaN": (lambda d: change(d, with_nan), "holds numbers that are not finite"),
    "truncated": (truncated, "cannot read the"),
    "no weights": (lambda d: [file.unlink() for file in d.glob("*model.safetensors")], "model"),
    "damaged tokenizer": (lambda d: (d / "tokenizer.json").write_text("{"), "cannot read the tokenizer in"),
}


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> dict[str, tuple[Path, Callable]]:
    """For each kind of model: a directory that is right, and its reader."""
    causal, tied, reward, lora = (tmp_path_factory.mktemp(name) for name in ("gptj", "gpt2", "rm", "lora"))
    make_model_dir(causal)
    make_model_dir(tied, gpt2_config(len(make_tokenizer())))
    RewardModel.from_causal_lm(causal).save(reward)
    make_tokenizer().save_pretrained(reward)
    options = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": 4}
    config = tiny_config(causal, lora, model__peft_config=options)
    trainer = tiny_trainer(config)
    trainer.save_pretrained(lora / "hf_model")
    return {
        "gptj": (causal, read_causal_lm),
        "gpt2": (tied, read_causal_lm),
        "reward model": (reward, RewardModel.check),
        "adapter": (lora / "hf_model", functools.partial(read_adapter, trainer.policy)),
    }


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("kind", ["gptj", "gpt2", "reward model", "adapter"])
def test_what_cannot_be_read_is_not_written_and_the_one_before_stays(written, tmp_path, kind, fault):
    right, read = written[kind]
    check_model(right, read)
    spoil, words = FAULTS[fault]
    out = tmp_path / "out"
    out.mkdir()
    (out / "run.json").write_text("an earlier result")

    def write() -> None:
        with write_model(out, read) as tmp:
            shutil.copytree(right, tmp, dirs_exist_ok=True)
            spoil(tmp)

    with pytest.raises(UserError, match=f"{out} was not written, because the next stage could not read it") as told:
        write()
    assert words in str(told.value)
    assert ".tmp" not in str(told.value)
    assert {path.name for path in tmp_path.iterdir()} == {"out"}
    assert (out / "run.json").read_text() == "an earlier result"


def test_a_weight_of_no_number_is_refused_though_no_model_expects_it(written, tmp_path):
    """The value head beside a policy's weights."""
    shutil.copytree(written["gptj"][0], tmp_path / "policy")
    save_file({"weight": torch.empty(0)}, tmp_path / "policy" / "value_head.safetensors")
    with pytest.raises(UserError, match=r"value_head.safetensors: weight has the shape \[0\]"):
        check_model(tmp_path / "policy", read_causal_lm)


def test_the_check_draws_no_random_numbers_and_holds_no_weights(written):
    before = torch.get_rng_state()
    for directory, read in written.values():
        check_model(directory, read)
    assert torch.equal(torch.get_rng_state(), before)
