"""Two KL coefficients beside each other: the same settings, and no verdict that the figures do not carry."""

import json
import shutil
from pathlib import Path

import pytest

from quickstart import overoptimisation
from quickstart.gold import gold_score
from summarize_rlhf import UserError

POST = (
    "SUBREDDIT: r/legaladvice\nTITLE: Help\nPOST: Post {}. Then my landlord sold my guitar while I was at work. "
    "I did the math and it comes to $175. So, should I sue?\nTL;DR:"
)
GOOD = "My landlord sold my guitar, $175 in all. Should I sue?"
POOR = "My landlord sold my guitar, worth about $170."
BATCHES = (0, 8, 16)


def write_run(folder: Path, seed: int, kl: float, texts: tuple[str, ...], rewards: tuple[float, ...], **train) -> None:
    """What stage 3 leaves: at each evaluation the same text on six prompts, rewards a little apart."""
    arguments = {"train": {"seed": seed, "epochs": 2, **train}, "method": {"init_kl_coef": kl}}
    record = {"arguments": arguments, "commit": "0123456789abcdef", "data": {"train": {"rows": 9}}}
    (folder / "best_checkpoint/hf_model").mkdir(parents=True)
    (folder / "best_checkpoint/hf_model/run.json").write_text(json.dumps(record))
    metrics, samples = [], []
    for batch, text, reward in zip(BATCHES, texts, rewards, strict=True):
        metrics += [{"step": batch, "policy/kl": batch / 8}, {"step": batch, "reward/mean": reward}]
        samples += [
            {"step": batch, "prompt": POST.format(i), "output": text, "reward": reward + (i + seed) / 100}
            for i in range(6)
        ]
    for name, lines in (("metrics", metrics), ("samples", samples)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


@pytest.fixture
def folders(tmp_path) -> list[Path]:
    """Three seeds: with 0.001 the reward rises to the end and gold falls in the second half, with 0.05 both rise."""
    found = [tmp_path / f"seed_{seed}" for seed in (1, 2, 3)]
    for seed, folder in enumerate(found, 1):
        write_run(folder / "ppo_kl_0.001", seed, 0.001, (POOR, GOOD, POOR), (0.0, 1.0, 2.0), checkpoint_dir="a")
        write_run(folder / "ppo", seed, 0.05, (POOR, POOR, GOOD), (0.0, 0.5, 1.0), checkpoint_dir="b")
    return found


def test_a_run_is_read_whole(folders):
    run = overoptimisation.read_run(folders[1] / "ppo")
    assert (run["seed"], [e["batch"] for e in run["evaluations"]]) == (2, [0, 8, 16])
    assert [e["kl"] for e in run["evaluations"]] == [0, 1, 2]
    assert run["evaluations"][2]["reward"] == pytest.approx([1.02, 1.03, 1.04, 1.05, 1.06, 1.07])
    assert run["evaluations"][2]["gold"] == pytest.approx([gold_score(POST.format(0), GOOD)] * 6, abs=1e-4)


def test_what_is_written_is_what_is_said(folders, tmp_path):
    raw = tmp_path / overoptimisation.RAW
    overoptimisation.write(folders, raw)
    assert {file.name for file in raw.iterdir()} == {"kl_0.001.json", "kl_0.05.json", "curves.png"}
    assert json.loads((raw / "kl_0.001.json").read_text())["runs"][0]["arguments"]["train"]["epochs"] == 2
    text = overoptimisation.section(tmp_path)
    fall = gold_score(POST.format(0), POOR) - gold_score(POST.format(0), GOOD)
    assert "So with 0.001 the reward goes on rising while the gold score falls: over-optimisation." in text
    assert f"with 0.001, from batch 8 to 16: reward rises, +1.00 (+1.00 to +1.00), gold falls, {fall:+.2f} (" in text
    assert "with 0.001, from batch 0 to 16: reward rises, +2.00 (+2.00 to +2.00), gold does not change" in text
    assert f"0.001 less 0.05 at batch 16: reward +1.00 (+1.00 to +1.00), gold {fall:+.2f} (" in text
    assert "seeds 1, 2, 3" in text


def test_a_fall_within_the_noise_is_no_verdict(folders, tmp_path):
    """One of three seeds falls."""
    for seed in (2, 3):
        samples = folders[seed - 1] / "ppo_kl_0.001/samples.jsonl"
        samples.write_text(samples.read_text().replace(POOR, GOOD))
    overoptimisation.write(folders, tmp_path / overoptimisation.RAW)
    text = overoptimisation.section(tmp_path)
    assert "neither shows, beyond the noise, a reward that rises after batch 8 while gold falls" in text
    assert "over-optimisation." not in text


@pytest.mark.parametrize(("name", "change"), [("train.epochs", {"epochs": 3}), ("train.lr", {"lr": 1e-3})])
def test_runs_with_other_settings_are_not_compared(folders, tmp_path, name, change):
    write_run(tmp_path / "seed_4/ppo", 4, 0.05, (POOR, POOR, GOOD), (0.0, 0.5, 1.0))
    write_run(tmp_path / "seed_4/ppo_kl_0.001", 4, 0.001, (POOR, POOR, GOOD), (0.0, 0.5, 1.0), **change)
    with pytest.raises(UserError, match=f"differ in {name} "):
        overoptimisation.write([*folders, tmp_path / "seed_4"], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def identity(seed: int) -> dict:
    """What stage 3 notes of its reward model: a path and a hash of the seed's own."""
    task = {"reward_model": f"results/seed_{seed}/rm", "max_eval_prompts": 64}
    return {"trainer_kwargs": {"identity": {"reward_model": f"hash {seed}", "task": task}}}


def test_each_seed_has_its_own_reward_model(tmp_path):
    folders = [tmp_path / f"seed_{seed}" for seed in (1, 2)]
    for seed, folder in enumerate(folders, 1):
        for name, kl in (("ppo_kl_0.001", 0.001), ("ppo", 0.05)):
            write_run(folder / name, seed, kl, (POOR, GOOD, POOR), (0.0, 1.0, 2.0), **identity(seed))
    overoptimisation.write(folders, tmp_path / overoptimisation.RAW)
    shutil.rmtree(folders[1] / "ppo")
    write_run(folders[1] / "ppo", 2, 0.05, (POOR, GOOD, POOR), (0.0, 1.0, 2.0), **identity(3))
    with pytest.raises(UserError, match=r"differ in train.trainer_kwargs.identity.*reward_model"):
        overoptimisation.write(folders, tmp_path / overoptimisation.RAW)


def test_runs_of_another_version_are_not_compared(folders, tmp_path):
    file = folders[2] / "ppo_kl_0.001/best_checkpoint/hf_model/run.json"
    file.write_text(file.read_text().replace("0123456789", "9876543210"))
    with pytest.raises(UserError, match="differ in commit"):
        overoptimisation.write(folders, tmp_path / "out")


def test_without_raw_files_nothing_is_claimed(tmp_path):
    assert overoptimisation.section(tmp_path).startswith("Not measured yet with this version")
