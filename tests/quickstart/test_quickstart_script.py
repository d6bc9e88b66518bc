"""quickstart.sh from the outside, and the report at its end. (The whole chain is what the script itself runs.)"""

import csv
import json
import subprocess
from pathlib import Path

import figures
import pytest

from quickstart import summarise_run, tables
from quickstart.gold import gold_score

POST = (
    "SUBREDDIT: r/legaladvice\nTITLE: Help\nPOST: {}. Then my landlord sold my guitar while I was at work. "
    "I did the math and it comes to $175. So, should I sue?\nTL;DR:"
)
GOOD = "It turns out my landlord sold my guitar, $175 in all. Should I sue?"
POOR = "My landlord sold my guitar, worth about $175."


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--help"], 0, "makes its own virtual environment"),
        (["--sed", "1"], 2, "unknown argument --sed"),
        (["--seed", "one"], 2, "--seed needs a number, not 'one'"),
        (["--kl", ".01"], 2, "--kl needs a number such as 0.01, not '.01'"),
        (["--precision", "bf8"], 2, "--precision needs auto, bf16, fp16 or fp32, not 'bf8'"),
    ],
)
def test_arguments(root, arguments, code, message):
    done = subprocess.run([root / "quickstart.sh", *arguments], capture_output=True, text=True)
    assert done.returncode == code
    assert message in done.stdout + done.stderr


def test_every_step_computes_in_the_precision_that_was_asked_for(root):
    """Six commands, and one of them has it in its JSON."""
    text = (root / "quickstart.sh").read_text(encoding="utf-8").split("sft() (")[1]
    assert text.count('--precision "$precision"') == 5
    assert text.count('"train.precision": "$precision"') == 1


def test_the_page_is_written_with_the_doctor_s_word(root):
    """The page shows what doctor.json says; the doctor's line still stands last."""
    lines = (root / "quickstart.sh").read_text(encoding="utf-8").splitlines()
    last = [line for line in lines if line.strip()][-3:]
    assert "summarize_rlhf.doctor" in last[0]
    assert "quickstart.summarise_run" in last[1]
    assert last[2] == 'echo "$told"'


def write_table(path: Path, summaries: list[str], kl: bool) -> None:
    """A CSV as trlx_inference_gptj.py writes it; the reward is the number of words, the KL that of the row."""
    names = ["prompt", "label", "summary", "reward", "label_reward", "tokens", "ended"] + ["kl"] * kl
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(names)
        for i, summary in enumerate(summaries):
            row = [POST.format(f"Post {i}"), POOR, summary, len(summary.split()), 8, 20, int(i < 4)]
            writer.writerow(row + [i] * kl)


@pytest.fixture
def run(tmp_path) -> Path:
    """What the stages leave in a run's folder, as far as the report reads it."""
    folder = tmp_path / "seed_7"
    for name in ("inference", "reward_test", "ppo", "seconds"):
        (folder / name).mkdir(parents=True)
    for model, summary in (("sft", POOR), ("ppo", GOOD)):
        for way in ("greedy", "sample"):
            write_table(folder / f"inference/{model}_{way}.csv", [summary] * 5, kl=model == "ppo")
    accuracy = {"accuracy": 0.75, "accuracy_se": 0.25, "accuracy_low": 0.3, "accuracy_high": 0.95, "pairs": 4}
    (folder / "reward_test/reward_test.json").write_text(json.dumps(accuracy))
    rounds = [
        {"step": 64 * i, "policy/kl": i, "rollout_scores/mean": i, "rollouts/response_length": 20} for i in (0, 1)
    ]
    (folder / "ppo/metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in [*rounds, {"step": 65}]))
    samples = [
        {"step": step, "prompt": POST.format(name), "output": text}
        for step, text in ((0, POOR), (64, GOOD), (128, POOR))
        for name in "ABC"
    ]
    (folder / "ppo/samples.jsonl").write_text("".join(json.dumps(line) + "\n" for line in samples))
    probes = [
        {"kind": kind, "chosen_score": score, "rejected_score": 1.0}
        for kind, scores in (("another post", (0.0, 2.0)), ("who", (2.0, 1.0, 3.0, 0.5)))
        for score in scores
    ]
    (folder / "reward_test/reading_probes.jsonl").write_text("".join(json.dumps(line) + "\n" for line in probes))
    for stage in summarise_run.STAGES:
        (folder / "seconds" / stage).write_text("3\n")
    return folder


def test_summary(run):
    summary = summarise_run.collect(run, seed=7)
    assert summary["rm"]["accuracy"] == 0.75
    assert summary["sft"]["reward"] == len(POOR.split()) == 8
    assert summary["sft"]["reward_delta"] == 0
    assert summary["ppo"]["reward_delta"] == len(GOOD.split()) - 8
    assert summary["sft"]["rouge1"] == 1
    assert summary["ppo"]["rouge1"] < 1
    assert summary["ppo"]["gold"] == pytest.approx(gold_score(POST.format("Post 0"), GOOD))
    assert summary["reference"]["gold"] == pytest.approx(gold_score(POST.format("Post 0"), POOR))
    assert (summary["sft"]["kept"], summary["ppo"]["kept"], summary["ppo"]["ended"]) == (0.8, 1.0, 0.8)
    assert summary["kl"]["sample"] == pytest.approx({"mean": 2.0, "se": (2.5 / 5) ** 0.5})  # of 0, 1, 2, 3, 4
    assert summary["ppo_minus_sft"]["gold_greedy"]["low"] > 0
    assert summary["ppo_minus_sft"]["kept_sample"]["mean"] == pytest.approx(0.2)
    assert summary["rm"]["told_apart"] == {"another post": 0.5, "who": (1 + 0.5 + 1 + 0) / 4}
    assert summary["gold_by_step"][64] > summary["gold_by_step"][0] == summary["gold_by_step"][128]
    fall = gold_score(POST.format("A"), POOR) - gold_score(POST.format("A"), GOOD)
    assert summary["gold_end_less_best"]["mean"] == pytest.approx(fall)
    assert summary["seconds"] == dict.fromkeys(summarise_run.STAGES, 3)
    assert summary["posts"]["ppo_greedy"]["kl"] == [0, 1, 2, 3, 4]
    assert {"seed", "versions", "commit", "machine"} <= summary.keys()


def test_json_keeps_numbers_on_one_line():
    record = {"posts": {"gold": [1.5, -2e-05, 3]}, "names": ["a", "b"], "none": []}
    text = summarise_run.as_json(record)
    assert "[ 1.5, -2e-05, 3 ]" in text
    assert json.loads(text) == record


def test_tables_and_curves(run):
    text = summarise_run.tables(summarise_run.collect(run, seed=7))
    assert "PPO − SFT, reward, greedy: +6.000" in text
    assert "accuracy 0.750 ± 0.250 (n = 4)" in text
    assert "nats: 2.00 ± 0.71 (greedy), 2.00 ± 0.71 (sampled)" in text
    assert "Inventions neither rise nor fall beyond the noise in greedy summaries: 0.0 % of SFT's and 0.0 %" in text
    assert "| 7    | 0.750    |" in text
    assert "PPO's gold at its last evaluation less that at its best: -" in text
    gold = {0: 1.0, 64: 2.0}
    summarise_run.draw_curves(summarise_run.read_metrics(run / "ppo/metrics.jsonl"), gold, run / "curves.png")
    assert (run / "curves.png").read_bytes()[:4] == b"\x89PNG"


@pytest.fixture
def runs(run) -> list[dict]:
    """Two seeds; PPO of the second invents an amount in three of five sampled summaries."""
    summary = summarise_run.collect(run, seed=7)
    write_table(run / "inference/ppo_sample.csv", [GOOD.replace("$175", "$180")] * 3 + [GOOD] * 2, kl=True)
    return [summary, summarise_run.collect(run, seed=8)]


def test_readme_shows_means_over_seeds(runs, tmp_path):
    for summary, accuracy in zip(runs, (0.8, 0.9), strict=True):
        folder = tmp_path / figures.QUICKSTART / f"seed_{summary['seed']}"
        folder.mkdir(parents=True)
        changed = summary | {"ppo": summary["ppo"] | {"reward": accuracy}, "commit": "0123456789abcdef"}
        (folder / "summary.json").write_text(summarise_run.as_json(changed))
    text = figures.quickstart(tmp_path) + figures.quickstart_details(tmp_path)
    assert "means over 2 seeds" in text
    assert "| 0.850" in text
    assert "N = 7, 8 at commit `0123456789`" in text
    assert "2 seeds and 5 posts together" in text
    assert "0.0 % of SFT's and 30.0 % of PPO's" in text


def test_changes_are_means_and_differences_over_seeds_and_posts(runs):
    rows = {row[""]: row for row in tables.changes(runs)}
    assert rows["labels"]["key facts kept"] == pytest.approx(0.8)
    assert rows["labels"]["ended by EOS"] == ""
    assert rows["PPO, sampled"]["with an invention"] == pytest.approx(0.3)
    assert rows["PPO, sampled"]["key facts kept"] == pytest.approx((5 + 3 * 0.8 + 2) / 10)
    assert rows["PPO − SFT, sampled"]["with an invention"].startswith("+0.30 (")
    assert rows["PPO − SFT, greedy"]["words"] == "+6.00 (+6.00 to +6.00)"


def test_inventions_that_rise_are_called_so(runs):
    """In five of five posts by both seeds; in three of five by one of them nothing can be said."""
    assert "neither rise nor fall beyond the noise in sampled" in tables.inventions(runs)
    for run in runs:
        run["posts"]["ppo_sample"]["invented"] = [1.0] * 5
    assert "Inventions rise in sampled summaries" in tables.inventions(runs)
    for run in runs:
        run["posts"]["sft_sample"]["invented"], run["posts"]["ppo_sample"]["invented"] = [1.0] * 5, [0.0] * 5
    assert "Inventions fall in sampled summaries" in tables.inventions(runs)


def test_what_is_known_of_the_posts_is_shown_by_seed_with_the_mean(runs):
    runs[1]["rm"]["told_apart"] = {"another post": 0.7, "who": 1.0}
    rows = tables.reading(runs)
    assert [row["seed"] for row in rows] == [7, 8, "mean"]
    assert [row["under another post"] for row in rows] == pytest.approx([0.5, 0.7, 0.6])
    assert [row["who wrong"] for row in rows] == pytest.approx([0.625, 1.0, 0.8125])
    assert len(tables.reading(runs[:1])) == 1


def test_a_run_in_bf16_stands_below_its_own_seed_s(runs):
    other = runs[1] | {"rm": runs[1]["rm"] | {"accuracy": 0.625}}
    rows = tables.in_bf16(runs, [other])
    assert [(row["seed"], row["precision"]) for row in rows] == [(8, "fp32"), (8, "bf16")]
    assert [row["RM accuracy"][:5] for row in rows] == ["0.750", "0.625"]
    assert rows[1]["RM under another post"] == 0.5


def test_both_intervals_over_seeds_and_posts(runs):
    row = next(row for row in tables.gains(runs) if row["PPO − SFT"] == "reward, greedy")
    assert row == {
        "PPO − SFT": "reward, greedy",
        "mean": "+6.00",
        "s.d. of seeds": "0.00",
        "95 %, t": "+6.00 to +6.00",
        "95 %, bootstrap": "+6.00 to +6.00",
    }
