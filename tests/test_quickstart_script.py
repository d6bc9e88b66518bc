"""quickstart.sh from the outside, and the report at its end. (The whole chain is what the script itself runs.)"""

import csv
import json
import subprocess
from pathlib import Path

import pytest

from quickstart import readme, report
from quickstart.gold import gold_score

POST = (
    "SUBREDDIT: r/pets\nTITLE: Help\nPOST: {}. My breeder says it was an accident, but she shaved my poodle. "
    "I checked online and the damage comes to $175. So, should I put up posters?\nTL;DR:"
)
GOOD = "My breeder shaved my poodle, a loss of $175. Should I put up posters?"
POOR = "My breeder shaved my poodle, worth about $175."


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--help"], 0, "makes its own virtual environment"),
        (["--sed", "1"], 2, "unknown argument --sed"),
        (["--seed", "one"], 2, "--seed needs a number, not 'one'"),
    ],
)
def test_arguments(root, arguments, code, message):
    done = subprocess.run([root / "quickstart.sh", *arguments], capture_output=True, text=True)
    assert done.returncode == code
    assert message in done.stdout + done.stderr


def write_table(path: Path, summaries: list[str]) -> None:
    """A CSV as trlx_inference_gptj.py writes it; the reward is the number of words."""
    names = ("prompt", "reference", "summary", "reward", "reference_reward")
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(names)
        for i, summary in enumerate(summaries):
            writer.writerow([POST.format(f"Post {i}"), POOR, summary, len(summary.split()), 8])


@pytest.fixture
def run(tmp_path) -> Path:
    """What the stages leave in a run's folder, as far as the report reads it."""
    folder = tmp_path / "seed_7"
    for name in ("inference", "reward_test", "ppo", "seconds"):
        (folder / name).mkdir(parents=True)
    for model, summary in (("sft", POOR), ("ppo", GOOD)):
        for way in ("greedy", "sample"):
            write_table(folder / f"inference/{model}_{way}.csv", [summary] * 5)
    (folder / "reward_test/reward_test.json").write_text('{"accuracy": 0.75}')
    rounds = [
        {"step": 64 * i, "policy/kl": i, "rollout_scores/mean": i, "rollouts/response_length": 20} for i in (0, 1)
    ]
    (folder / "ppo/metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in [*rounds, {"step": 65}]))
    samples = [
        {"step": 0, "prompt": POST.format("A"), "output": POOR},
        {"step": 64, "prompt": POST.format("A"), "output": GOOD},
    ]
    (folder / "ppo/samples.jsonl").write_text("".join(json.dumps(line) + "\n" for line in samples))
    for stage in report.STAGES:
        (folder / "seconds" / stage).write_text("3\n")
    return folder


def test_summary(run):
    summary = report.collect(run, seed=7)
    assert summary["rm"]["accuracy"] == 0.75
    assert summary["sft"]["reward"] == len(POOR.split()) == 8
    assert summary["sft"]["reward_delta"] == 0
    assert summary["ppo"]["reward_delta"] == len(GOOD.split()) - 8
    assert summary["sft"]["rouge1"] == 1
    assert summary["ppo"]["rouge1"] < 1
    assert summary["ppo"]["gold"] == pytest.approx(gold_score(POST.format("Post 0"), GOOD))
    assert summary["ppo"]["kl"] == 1  # of the last rollouts
    assert summary["ppo_minus_sft"]["gold_greedy"]["low"] > 0
    assert summary["seconds"] == dict.fromkeys(report.STAGES, 3)
    assert {"seed", "versions", "commit", "machine"} <= summary.keys()


def test_tables_and_curves(run):
    text = report.tables(report.collect(run, seed=7))
    assert "PPO − SFT, reward, greedy: +6.000" in text
    assert "accuracy 0.750" in text
    gold = report.gold_curve(run / "ppo/samples.jsonl")
    assert list(gold) == [0, 64]
    assert gold[0] < gold[64]
    report.draw_curves(report.read_metrics(run / "ppo/metrics.jsonl"), gold, run / "curves.png")
    assert (run / "curves.png").read_bytes()[:4] == b"\x89PNG"


def test_readme_tables_are_means_over_seeds(run, tmp_path):
    summary = report.collect(run, seed=7)
    for seed, accuracy in ((7, 0.8), (8, 0.9)):
        folder = tmp_path / readme.RAW / f"seed_{seed}"
        folder.mkdir(parents=True)
        changed = summary | {"seed": seed, "ppo": summary["ppo"] | {"reward": accuracy}, "commit": "0123456789abcdef"}
        (folder / "summary.json").write_text(json.dumps(changed))
    text = readme.results(tmp_path)
    assert "means over 2 seeds" in text
    assert "| 0.850" in text
    assert "N = 7, 8 at commit `0123456789`" in text
