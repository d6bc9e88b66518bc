"""What the doctor reads of a run's folder, and what it says of one that holds none."""

import json
from pathlib import Path
from typing import Any

import pytest

from summarize_rlhf import UserError
from summarize_rlhf.doctor.evidence import Point, load
from summarize_rlhf.doctor.verdict import blamed, examine, in_a_line

UPDATE = {"policy/approx_kl": 0.1, "policy/clipfrac": 0.1, "values/values_error": 1.0}
PROMPT = "SUBREDDIT: r/pets\nTITLE: Help\nPOST: My cat ate the plant and is fine. What now?\nTL;DR:"


def write(folder: Path, record: dict[str, Any], lines: list[dict] = (), samples: list[dict] = ()) -> Path:
    """A stage's directory, as far as the doctor reads it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "run.json").write_text(json.dumps(record))
    for name, rows in (("metrics", lines), ("samples", samples)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture
def run(tmp_path) -> Path:
    """Three stages: SFT's summaries repeat each other, the reward model is no better than chance, PPO is too short."""
    lines = [{"step": 10, "loss": 3.0, "learning_rate": 1e-3}, {"step": 20, "loss": 2.0, "learning_rate": 3e-3}]
    lines.append({"step": 20, "eval_loss": 2.5, "epoch": 1.5})
    samples = [{"prompt": PROMPT, "label": "My cat ate a plant", "summary": "My cat"}] * 4
    results = {"generated_rouge1": 0.4, "generated_ended": 0.75, "rows_cut": 0.1}
    write(tmp_path / "sft", {"stage": "sft", "arguments": {"max_new_tokens": 30}, "results": results}, lines, samples)
    (tmp_path / "sft/model.safetensors").write_bytes(b"weights")
    rows = [{"step": 5, "eval_accuracy": 0.4, "eval_loss": 0.7}, {"step": 10, "eval_accuracy": 0.51, "eval_loss": 0.69}]
    write(tmp_path / "rm", {"stage": "rm", "data": {"test": {"rows": 100}}, "settings": {"model": "0" * 64}}, rows)
    best = tmp_path / "ppo/best_checkpoint/hf_model"
    write(best, {"stage": "ppo", "arguments": {"method": {"cliprange": 0.2, "gen_kwargs": {"top_k": 0}}}})
    log = [{"step": 0, "reward/mean": 0.5}, {"step": 0, "policy/kl": 0.0}, {"step": 4} | UPDATE]
    said = [{"step": 0, "prompt": PROMPT, "output": text} for text in ("a", " a", "b", "c")]
    for name, content in (("metrics", log), ("samples", said)):
        (tmp_path / f"ppo/{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in content))
    return tmp_path


def test_a_folder_of_three_stages(run) -> None:
    found = load([run])
    assert found.sft.training.losses == [Point(0.25, 3.0), Point(1.0, 2.0)]
    assert found.sft.training.evaluations == [Point(1.0, 2.5)]
    assert (found.sft.training.passes, found.sft.ended, found.sft.rows_cut) == (1.5, 0.75, 0.1)
    assert (found.sft.distinct, found.sft.new_tokens) == (0.25, 30)
    assert found.sft.lead_rouge == pytest.approx(0.8)  # "My cat ate the plant" has four words of the label's five
    assert (found.rm.accuracies, found.rm.eval_pairs, found.rm.trained_from) == ([0.4, 0.51], 100, "0" * 64)
    assert len(found.rm.sft) == 64
    assert found.ppo.options == {"method.cliprange": 0.2, "method.gen_kwargs.top_k": 0}
    assert (len(found.ppo.rounds), len(found.ppo.updates[0]), found.ppo.rewards) == (1, 1, [0.5])
    assert found.ppo.distinct == [0.75]


def test_single_stages(run) -> None:
    assert load([run / "rm"]).sft is None
    assert load([run / "ppo", run / "sft"]).ppo is not None
    assert load([run / "rm"]).rm.sft is None  # there is nothing to compare it with


def test_evaluation_and_card_are_read_where_they_are(run) -> None:
    (run / "inference").mkdir()
    (run / "inference/evaluation.json").write_text('{"models": {}}')
    (run / "rm/card.json").write_text('{"pairs": 3}')
    found = load([run])
    assert (found.ppo.evaluation, found.rm.card) == ({"models": {}}, {"pairs": 3})


def test_the_last_checkpoint_stands_in_for_the_best(run) -> None:
    record = run / "ppo/best_checkpoint/hf_model/run.json"
    write(run / "ppo/checkpoint_40/hf_model", {"stage": "ppo", "arguments": {"train": {"seed": 3}}})
    record.unlink()
    assert load([run]).ppo.options == {"train.seed": 3}


def test_no_stage_is_refused(tmp_path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"empty holds no finished stage: no run\.json in it"):
        load([tmp_path / "empty"])
    for name in ("typo", "file"):
        (tmp_path / "file").write_text("x")
        with pytest.raises(UserError, match=f"{name} is no directory: name one that a stage wrote"):
            load([tmp_path / name])


def test_two_of_one_stage_are_refused(run) -> None:
    with pytest.raises(UserError, match="are both of stage 'sft'"):
        load([run, run / "sft"])


def test_a_torn_log_is_refused_by_name(run) -> None:
    (run / "rm/metrics.jsonl").write_text('{"step": 1, "lo')
    with pytest.raises(UserError, match=r"cannot read the log .*rm/metrics\.jsonl"):
        load([run])


def test_the_first_broken_stage_is_blamed(run) -> None:
    rows = examine(load([run]))
    assert [(row["stage"], row["status"], row["cause"]) for row in rows] == [
        ("sft", "broken", "learning_rate_too_low"),
        ("sft", "broken", "collapsed"),
        ("rm", "broken", "undertrained"),
        ("rm", "suspect", "other_model"),
        ("ppo", "healthy", None),
    ]
    assert blamed(rows) is rows[0]
    assert blamed(rows[3:]) is rows[3]
    assert in_a_line(rows).startswith("doctor: SFT broken, learning_rate_too_low: ")
    assert in_a_line(rows[4:]) == "doctor: PPO healthy"
