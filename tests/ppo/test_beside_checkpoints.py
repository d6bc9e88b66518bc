"""What lies beside PPO's checkpoints, damaged: one line says so, and no run ends well with a wrong result."""

import json
import os
import pickle
import shutil
from pathlib import Path

import pytest
from tiny_trlx import PROMPTS, length_reward, tiny_config

import trlx
from summarize_rlhf import UserError
from summarize_rlhf.handover import check_handover
from summarize_rlhf.run.checkpoints import MANIFEST, write_manifest
from trlx.trainer.checkpoint import BEST

OPTIONS = {
    "train.save_optimizer": True,
    "train.epochs": 1,
    "train.save_best": True,
    "train.resume_from_checkpoint": "auto",
}


def train(model: Path, out: Path, **options):
    config = tiny_config(model, out, **(OPTIONS | options))
    return trlx.train(reward_fn=length_reward, prompts=PROMPTS, eval_prompts=PROMPTS[:4], config=config)


@pytest.fixture
def trained(gptj_dir, tmp_path) -> Path:
    """The directory of a finished run, whose last checkpoint is that of step 4."""
    train(gptj_dir, tmp_path / "run")
    return tmp_path / "run"


def last(out: Path) -> Path:
    return max(out.glob("checkpoint_*"), key=lambda path: int(path.name.rpartition("_")[2]))


def signed_again(checkpoint: Path) -> None:
    """Write the manifest of what is there now, as somebody who means harm would."""
    settings = json.loads((checkpoint / MANIFEST).read_text())["settings"]
    (checkpoint / MANIFEST).unlink()
    write_manifest(checkpoint, settings)


class Evil:
    def __reduce__(self):
        return os.system, ("touch evil-was-here",)


@pytest.mark.parametrize("content", [pickle.dumps(Evil()), b"", pickle.dumps({"x": 1})])
def test_random_numbers_that_cannot_be_read_are_refused_not_skipped(gptj_dir, trained, content) -> None:
    (file,) = last(trained).rglob("random_states_0.pkl")
    file.write_bytes(content)
    signed_again(last(trained))
    with pytest.raises(UserError, match=r"cannot resume from .*random_states_0\.pkl is damaged or holds more than"):
        train(gptj_dir, trained, train__epochs=2)
    assert not Path("evil-was-here").exists()


@pytest.mark.parametrize("damage", ["a byte", "missing"])
def test_a_best_policy_that_is_not_what_was_written_ends_the_run_with_an_error(gptj_dir, trained, damage) -> None:
    weights = trained / BEST / "model.safetensors"
    if damage == "missing":
        shutil.rmtree(trained / BEST)
    else:
        content = bytearray(weights.read_bytes())
        content[-7] ^= 1
        weights.write_bytes(content)
        with pytest.raises(UserError, match=r"model\.safetensors is not what was written"):
            check_handover(trained / BEST, expects_stage="ppo")
    # With a reward below any so far, the resumed run writes no other best.
    with pytest.raises(UserError, match="its best policy is lost"):
        trlx.train(
            reward_fn=lambda outputs, **_: [-1e6] * len(outputs), prompts=PROMPTS, eval_prompts=PROMPTS[:4],
            config=tiny_config(gptj_dir, trained, **(OPTIONS | {"train.epochs": 2})),
        )  # fmt: skip


def test_a_best_policy_under_its_old_name_gets_its_own_back(gptj_dir, trained) -> None:
    """As a kill leaves it between the two renames that replace a directory."""
    (trained / BEST).rename((trained / BEST).with_name(".hf_model.old"))
    train(gptj_dir, trained)
    check_handover(trained / BEST, expects_stage="ppo")


@pytest.mark.parametrize("name", ["metrics.jsonl", "samples.jsonl"])
def test_a_log_shorter_than_the_checkpoint_knows_is_told_and_stays_json(gptj_dir, trained, capsys, name) -> None:
    file = trained / name
    file.write_bytes(file.read_bytes()[:-10])
    capsys.readouterr()
    train(gptj_dir, trained, train__epochs=2)
    assert f"{file} is not what the checkpoint knew" in capsys.readouterr().out
    assert all(isinstance(json.loads(line), dict) for line in file.read_text().splitlines())


def test_a_folder_with_files_of_the_users_own_is_refused(gptj_dir, tmp_path) -> None:
    for name in ("metrics.jsonl", "checkpoint-500/notes"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("mine")
    for start in ("auto", "fresh"):
        with pytest.raises(UserError, match="holds files that no run wrote"):
            train(gptj_dir, tmp_path, train__resume_from_checkpoint=start)
    assert {path.name for path in tmp_path.iterdir()} == {"metrics.jsonl", "checkpoint-500"}
