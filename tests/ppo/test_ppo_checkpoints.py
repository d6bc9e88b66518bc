"""What PPO saves and logs, and how a run resumes from it."""

import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from logged import metrics
from tiny_trlx import PROMPTS, length_reward, tiny_config, tiny_trainer
from transformers import AutoModelForCausalLM, AutoTokenizer

import trlx
from summarize_rlhf import UserError
from summarize_rlhf.lm.speed import tune_model
from summarize_rlhf.run.peak_memory import GPU

HF_MODEL = {
    "README.md",
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "run.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "value_head.safetensors",
}


@pytest.mark.parametrize("family", ["gptj", "gpt2"])
@pytest.mark.parametrize("unfrozen", [-1, 1])
def test_hf_model_gives_the_trainers_logits(request, tmp_path, family: str, unfrozen: int) -> None:
    """Exactly these files; loaded as by a stage it gives the very logits, tied embeddings or not."""
    directory = request.getfixturevalue(f"{family}_dir")
    settings = tiny_config(directory, tmp_path / "out", model__num_layers_unfrozen=unfrozen, train__epochs=1)
    trainer = tiny_trainer(settings)
    trainer.learn()
    saved = tmp_path / "out/checkpoint_4/hf_model"
    assert {path.name for path in saved.iterdir()} == HF_MODEL
    assert {path.name for path in (tmp_path / "out/checkpoint_4").iterdir()} == {"checkpoint.json", "hf_model"}
    model, info = AutoModelForCausalLM.from_pretrained(saved, output_loading_info=True)
    assert not any(info[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    ids = torch.randint(300, (2, 11))
    assert torch.equal(tune_model(model).eval()(ids).logits, trainer.policy.model(ids).logits)
    started = AutoModelForCausalLM.from_pretrained(directory).eval()
    assert not torch.equal(model(ids).logits, started(ids).logits)
    assert AutoTokenizer.from_pretrained(saved)("my cat").input_ids == trainer.tokenizer("my cat").input_ids


def test_save_and_save_pretrained_have_trlx_defaults(config, tmp_path) -> None:
    trainer = tiny_trainer(config(train__save_optimizer=True))
    trainer.save_pretrained()
    assert {path.name for path in (tmp_path / "out/hf_model").iterdir()} == HF_MODEL
    trainer.save(tmp_path / "here")
    trainer.save(tmp_path / "here")
    assert {path.name for path in (tmp_path / "here").iterdir()} == {"checkpoint.json", "hf_model", "state"}


@pytest.mark.parametrize("options", [{}, {"method.scale_reward": "running", "method.target": 0.1}])
def test_resumed_run_is_the_uninterrupted_one(config, tmp_path, options: dict) -> None:
    """Four collections, and three of which the third is lost and made again: same numbers, same weights, same files."""
    options = {"train.save_optimizer": True, "train.checkpoint_interval": 8, "train.epochs": 4, **options}
    options |= {"scheduler.kwargs.T_max": 10, "scheduler.kwargs.eta_min": 1e-3, "train.eval_interval": 6}
    options |= {"train.save_best": True}
    whole = tiny_trainer(config(**options))
    whole.learn()
    expected = metrics(tmp_path / "out")
    assert {p.name for p in (tmp_path / "out").glob("checkpoint_*")} == {"checkpoint_8", "checkpoint_16"}

    interrupted = tiny_trainer(config(**options | {"train.epochs": 3}))  # goes past checkpoint_8
    interrupted.learn()
    shutil.rmtree(tmp_path / "out/checkpoint_12")
    for p in interrupted.policy.parameters():
        p.data.zero_()

    resumed = trlx.train(
        reward_fn=length_reward,
        prompts=PROMPTS,
        eval_prompts=PROMPTS[:4],
        config=config(**options | {"train.resume_from_checkpoint": str(tmp_path / "out/checkpoint_8")}),
    )
    assert metrics(tmp_path / "out") == expected
    for (name, a), b in zip(whole.policy.named_parameters(), resumed.policy.parameters(), strict=True):
        assert torch.equal(a, b), name
    assert resumed.best_reward == whole.best_reward
    assert resumed.kl_controller.value == whole.kl_controller.value
    assert resumed.moments.state_dict() == whole.moments.state_dict()
    assert resumed.cursor.position == whole.cursor.position
    # Two collections are left of the four, not four more.
    assert (resumed.iteration, resumed.step) == (4, 16)


def test_resuming_from_nothing_is_refused(config, tmp_path) -> None:
    with pytest.raises(UserError, match=r"cannot resume from .*no folder 'state'"):
        tiny_trainer(config()).load(tmp_path)


def test_resuming_with_other_prompts_is_refused(config, tmp_path) -> None:
    trainer = tiny_trainer(config(train__save_optimizer=True))
    trainer.save(tmp_path / "here")
    with pytest.raises(UserError, match=r"under other settings: prompts was .*\"rows\": 8.*, is .*\"rows\": 5"):
        tiny_trainer(config(), prompts=PROMPTS[:5]).load(tmp_path / "here")


def test_best_checkpoint_is_the_best_evaluated(config, tmp_path) -> None:
    trainer = tiny_trainer(config(train__save_best=True, train__eval_interval=1))
    trainer.learn()
    evaluations = [line for line in metrics(tmp_path / "out") if "reward/mean" in line]
    assert len(evaluations) == 9
    best = max(evaluations, key=lambda line: line["reward/mean"])
    record = json.loads((tmp_path / "out/best_checkpoint/hf_model/run.json").read_text())
    assert record["step"] == best["step"]
    assert trainer.best_reward == best["reward/mean"]


def test_rollouts_are_logged_where_asked(config, tmp_path) -> None:
    trainer = tiny_trainer(config(train__rollout_logging_dir=str(tmp_path / "rollouts")))
    trainer.learn()
    files = sorted((tmp_path / "rollouts").iterdir())
    assert [file.name for file in files] == ["rollouts_000000.jsonl", "rollouts_000001.jsonl"]
    rows = [json.loads(line) for line in files[0].read_text().splitlines()]
    assert len(rows) == 8
    assert all(row["score"] == pytest.approx(len(row["output"]) / 10) for row in rows)


def test_tensorboard_gets_settings_and_metrics(config, tmp_path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    trainer = tiny_trainer(config(train__tracker="tensorboard", train__project_name="here"))
    trainer.learn()
    folder = tmp_path / "out/here"
    events = EventAccumulator(str(folder)).Reload()
    names = {"losses/policy_loss", "rollout_scores/mean", "reward/mean", "policy/sqrt_kl"}
    assert names <= set(events.Tags()["scalars"])
    assert [event.step for event in events.Scalars("losses/policy_loss")] == list(range(1, 9))


def test_a_new_run_starts_its_files_anew(config, tmp_path) -> None:
    for _ in range(2):
        tiny_trainer(config()).learn()
    assert [line["step"] for line in metrics(tmp_path / "out")] == [0, 0, 1, 2, 3, 4, 4, 5, 6, 7, 8, 8]


def test_every_metric_is_documented(config, root) -> None:
    """docs/metrics.md names what is logged, all of it and nothing else."""
    trainer = tiny_trainer(config(train__epochs=1), metric_fn=lambda outputs, **_: {"<name>": [1.0] * len(outputs)})
    trainer.learn()
    lines = (Path(trainer.config.train.checkpoint_dir) / "metrics.jsonl").read_text().splitlines()
    logged = {name for line in lines for name in json.loads(line)} - {"step"}
    text = (root / "docs/metrics.md").read_text(encoding="utf-8")
    tables = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
    documented = {name for cell in tables for name in re.findall(r"`([^`]+)`", cell)}
    assert documented == logged | {GPU}
