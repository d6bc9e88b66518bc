"""The trainer: exact under any split, exact on resume, what it writes, what it refuses; and it learns."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tiny_trlx import PROMPTS, length_reward, tiny_config, tiny_trainer
from transformers import AutoModelForCausalLM, AutoTokenizer, GPT2Config

import trlx
from summarize_rlhf import UserError
from summarize_rlhf.lm.speed import tune_model
from trlx.data.configs import ModelConfig, TRLConfig
from trlx.data.default_configs import default_ppo_config
from trlx.pipeline.rollouts import Rollout
from trlx.trainer.ppo import AcceleratePPOTrainer
from trlx.trainer.rewards import Episode, check_scores

HF_MODEL = {
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "run.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "value_head.safetensors",
}


@pytest.fixture
def config(gptj_dir, tmp_path) -> Callable[..., TRLConfig]:
    """`tiny_config` for this test's model and folder."""
    return lambda **overrides: tiny_config(gptj_dir, tmp_path / "out", **overrides)


def metrics(out: Path) -> list[dict]:
    """metrics.jsonl without what the clock says."""
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [{key: x for key, x in line.items() if not key.startswith("time/")} for line in lines]


# ------------------------------------------------------------------- the ratio


def test_ratio_is_one_on_the_first_minibatch(config) -> None:
    """Each rollout, in whatever company, has the log-probability that is stored with it.

    Exactly, where it is batched as it was at collection; to 1e-6 (rounding of other matrix shapes) elsewhere.
    """
    trainer = tiny_trainer(config(method__num_rollouts=8, method__chunk_size=8, train__batch_size=8))
    rollouts, _ = trainer.make_experience()
    stats = trainer.update([rollouts], rollouts[0])
    assert stats["ratio"] == 1.0
    assert stats["policy/approx_kl"] == 0.0
    assert stats["policy/clipfrac"] == 0.0
    assert stats["values/mean"] == stats["old_values/mean"]

    trainer = tiny_trainer(config(method__num_rollouts=8, method__chunk_size=3, train__minibatch_size=2))
    rollouts, _ = trainer.make_experience()
    order = [5, 0, 6, 2]
    stats = trainer.update([[rollouts[i] for i in order[:2]], [rollouts[i] for i in order[2:]]], rollouts[0])
    assert stats["ratio"] == pytest.approx(1.0, abs=1e-6)
    assert stats["policy/approx_kl"] == pytest.approx(0.0, abs=1e-7)


# ------------------------------------------------------------------ invariants


def some_rollouts(trainer: AcceleratePPOTrainer) -> list[Rollout]:
    """Of several lengths, with advantages, returns and old log-probabilities that put every clip to work."""
    g = torch.Generator().manual_seed(3)
    rollouts, _ = trainer.make_experience()
    made = []
    for i, r in enumerate(rollouts):
        n = 1 + i % len(r.response)
        numbers = [torch.randn(n, generator=g) for _ in range(3)]
        old = r.logprobs[:n] + 0.3 * numbers[0]
        trunk = r.trunk[: len(r.prompt) + n]
        made.append(Rollout(r.prompt, r.response[:n], old, r.values[:n], numbers[1], numbers[2], trunk))
    return made


def gradient(config: TRLConfig, split: list[list[int]]) -> tuple[dict[str, float], dict[str, torch.Tensor]]:
    """Statistics and gradient of one update on the same 8 rollouts, split into these micro-batches.

    The optimizer is SGD with rate 1, so the gradient is what the weights lost.
    """
    config = config.evolve(optimizer={"name": "sgd", "kwargs": {"lr": 1.0}})
    config.optimizer.kwargs = {"lr": 1.0}
    trainer = tiny_trainer(config)
    assert trainer.parts == len(split)
    rollouts = some_rollouts(trainer)
    before = {name: p.detach().clone() for name, p in trainer.policy.named_parameters() if p.requires_grad}
    stats = trainer.update([[rollouts[i] for i in rows] for rows in split], rollouts[0])
    after = dict(trainer.policy.named_parameters())
    return stats, {name: before[name] - after[name].detach() for name in before}


def assert_same_update(a, b, atol: float = 2e-6) -> None:
    for key in a[0].keys() - {"time/forward", "time/backward", "learning_rate_group_0"}:
        assert a[0][key] == pytest.approx(b[0][key], abs=atol, rel=1e-5), key
    torch.testing.assert_close(a[1], b[1], rtol=0, atol=atol)


def whole(config) -> tuple[dict[str, float], dict[str, torch.Tensor]]:
    return gradient(config(train__batch_size=8), [list(range(8))])


@pytest.mark.parametrize(
    "split",
    [
        [[0, 1, 2, 3], [4, 5, 6, 7]],
        [[7, 2], [5, 0], [1, 3], [6, 4]],  # in another order, whose padding is wider or narrower
        [[i] for i in range(8)],
        [[0, 1, 2, 3, 4, 5, 6], [7]],
        [[0, 1, 2, 3, 4, 5, 6, 7], []],  # a rank without rollouts for a micro-batch
    ],
)
def test_update_is_the_same_under_any_split(config, split: list[list[int]]) -> None:
    """minibatch_size, order and padding width leave losses, statistics and gradient as they are, to 2e-6."""
    size = {2: 4, 4: 2, 8: 1}[len(split)]
    assert_same_update(whole(config), gradient(config(train__batch_size=8, train__minibatch_size=size), split))


def test_update_is_the_same_under_gradient_accumulation(config, monkeypatch) -> None:
    """Two batches of 4 accumulated by the launcher are one batch of 8."""
    expected = whole(config)
    monkeypatch.setenv("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "2")
    assert_same_update(expected, gradient(config(train__batch_size=4), [[0, 1, 2, 3], [4, 5, 6, 7]]))


def test_update_is_the_same_with_gradient_checkpointing(config) -> None:
    again = gradient(config(train__batch_size=8, train__gradient_checkpointing=True), [list(range(8))])
    assert_same_update(whole(config), again, atol=0)


def test_update_is_the_same_without_the_cached_trunk(config, monkeypatch) -> None:
    expected = whole(config)
    original = some_rollouts
    monkeypatch.setitem(gradient.__globals__, "some_rollouts", lambda t: [r._replace(trunk=None) for r in original(t)])
    assert_same_update(expected, gradient(config(train__batch_size=8), [list(range(8))]))


def test_collection_is_the_same_under_any_chunk_size(config) -> None:
    """The random numbers belong to the rows: all that is stored, to 2e-6."""
    collections = []
    for chunk in (1, 3, 8):
        trainer = tiny_trainer(config(method__chunk_size=chunk))
        collections.append(trainer.make_experience()[0])
    for other in collections[1:]:
        for a, b in zip(collections[0], other, strict=True):
            assert (a.prompt, a.response) == (b.prompt, b.response)
            for name in ("logprobs", "values", "advantages", "returns", "trunk"):
                torch.testing.assert_close(getattr(a, name), getattr(b, name), rtol=0, atol=2e-6, msg=name)


def test_advantages_are_white_over_the_whole_collection(config) -> None:
    trainer = tiny_trainer(config(method__chunk_size=3))
    advantages = torch.cat([r.advantages for r in trainer.make_experience()[0]])
    assert advantages.mean().abs() < 1e-6
    assert advantages.var(correction=0).item() == pytest.approx(1.0, abs=1e-5)


def test_clipping_scales_the_gradient(config) -> None:
    stats, expected = whole(config)
    norm = torch.cat([g.flatten() for g in expected.values()]).norm().item()
    assert stats["policy/gradient_norm"] == pytest.approx(norm, rel=1e-5)
    stats, clipped = gradient(config(train__batch_size=8, train__max_grad_norm=norm / 4), [list(range(8))])
    assert stats["policy/gradient_norm"] == pytest.approx(norm, rel=1e-5)
    for name, g in clipped.items():
        torch.testing.assert_close(g, expected[name] / 4, rtol=1e-4, atol=1e-7)


# ----------------------------------------------------------- counts and rewards


def test_num_rollouts_need_not_divide(config) -> None:
    """7 rollouts in chunks of 4 and batches of 2: 7 are scored, once and in order, and 4 batches made of them."""
    seen: list[list[str]] = []

    def reward(samples, prompts, **_):
        seen.append(prompts)
        return length_reward(samples)

    trainer = tiny_trainer(
        config(method__num_rollouts=7, train__batch_size=2, train__epochs=1, method__ppo_epochs=1), reward
    )
    trainer.learn()
    before, collected, after = seen  # evaluations of 4 prompts around one collection
    assert (len(before), len(collected), len(after)) == (4, 7, 4)
    cursor = type(trainer.cursor)(len(PROMPTS), trainer.config.train.seed)
    assert collected == [PROMPTS[i] for i in cursor.take(7)]
    assert trainer.step == 4


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda outputs: [1.0] * (len(outputs) - 1), "returned 7 rewards for 8 samples"),
        (lambda outputs: [float("nan")] * len(outputs), "returned nan for sample 0: '"),
        (lambda outputs: [0.0] * 7 + [float("inf")], "returned inf for sample 7"),
        (lambda outputs: None, "it returned NoneType"),
        (lambda outputs: outputs, "must return numbers, or one list of numbers per sample; it returned list"),
        (lambda outputs: 1.0, "it returned float"),
        (lambda outputs: [[1.0] * 99] * 8, "shape \\(99,\\) for sample 0, whose response has \\d tokens"),
        (lambda outputs: [1.0] * 7 + [[1.0]], "a number for every sample, or a list for every sample"),
        (lambda outputs: torch.zeros(8, 2, 2), "shape \\(2, 2\\) for sample 0"),
    ],
)
def test_bad_rewards_are_refused_by_name(config, answer: Callable, message: str) -> None:
    trainer = tiny_trainer(config(), lambda outputs, **_: answer(outputs))
    with pytest.raises(ValueError, match=message):
        trainer.make_experience()


def test_rewards_may_be_lists_tensors_or_a_column(config) -> None:
    collections = []
    for reward in (
        length_reward,
        lambda outputs, **_: torch.tensor(length_reward(outputs), requires_grad=True),
        lambda outputs, **_: torch.tensor(length_reward(outputs))[:, None],
        lambda outputs, **_: [torch.tensor(x) for x in length_reward(outputs)],
    ):
        collections.append([r.returns for r in tiny_trainer(config(), reward).make_experience()[0]])
    for other in collections[1:]:
        torch.testing.assert_close(collections[0], other, rtol=0, atol=1e-6)


def test_dense_rewards_fall_on_their_tokens(config) -> None:
    """gamma 1, lambda 1, no KL: the return at token t is the sum of the rewards from t on."""

    def reward(output_ids, **_):
        return [[float(10 * i + t) for t in range(len(ids))] for i, ids in enumerate(output_ids)]

    trainer = tiny_trainer(config(method__init_kl_coef=0.0, method__lam=1.0, method__cliprange_reward=None), reward)
    for i, r in enumerate(trainer.make_experience()[0]):
        given = [10 * i + t for t in range(len(r.response))]
        assert r.returns.tolist() == pytest.approx([sum(given[t:]) for t in range(len(given))], abs=1e-4)


def test_dense_rewards_may_be_counted_by_the_text(tokenizer) -> None:
    """As trlX's scripts count: the text has no EOS, or encodes as more tokens than were sampled. Nothing is lost."""
    text = "my cat"
    ids = tokenizer(text).input_ids
    row = torch.arange(1.0, len(ids) + 1)
    finished = Episode([7], [*ids, 0], "", text, {})
    assert check_scores([row], [finished], tokenizer)[0].tolist() == [*row.tolist(), 0.0]
    shorter = Episode([7], ids[:1], "", text, {})
    assert check_scores([row], [shorter], tokenizer)[0].tolist() == [row.sum().item()]
    assert check_scores([row], [Episode([7], ids, "", text, {})], tokenizer)[0].tolist() == row.tolist()
    with pytest.raises(ValueError, match="whose response has"):
        check_scores([torch.ones(len(ids) + 5)], [finished], tokenizer)


def returns_with(config: TRLConfig, scores: list[float]) -> list[float]:
    """Return at each last token, with value 0 there: the score as it enters PPO."""
    trainer = tiny_trainer(config, lambda outputs, **_: scores)
    collected = trainer.make_experience()[0]
    return [r.returns[-1].item() for r in collected]


@pytest.mark.parametrize("how", ["running", "ref"])
@pytest.mark.parametrize("same", [0.1, 0.3, 7.7])
def test_scores_without_spread_are_left_alone(config, how: str, same: float) -> None:
    values = returns_with(config(method__init_kl_coef=0.0, method__scale_reward=how), [same] * 8)
    assert values == pytest.approx([same] * 8)


def test_adaptive_kl_moves_once_a_collection(config) -> None:
    """Target 1e-9 nats: every collection after the first drives the coefficient up by .2 · 8 / 100."""
    trainer = tiny_trainer(config(method__target=1e-9, method__horizon=100, method__init_kl_coef=0.1, train__epochs=3))
    trainer.learn()
    lines = [line for line in metrics(Path(trainer.config.train.checkpoint_dir)) if "kl_ctl_value" in line]
    assert lines[0]["policy/kl"] == 0.0
    expected = [0.1, 0.1 * (1 - 0.2 * 0.08), 0.1 * (1 - 0.2 * 0.08) * (1 + 0.2 * 0.08)]
    assert [line["kl_ctl_value"] for line in lines] == pytest.approx(expected)


# ------------------------------------------------- metadata, stops, sweep, metrics


def test_metadata_reaches_reward_and_metric_as_lists(config) -> None:
    rows = [{"prompt": text, "row": i, "label": text.upper()} for i, text in enumerate(PROMPTS)]

    def check(samples, prompts, outputs, tokenizer, row, label):
        assert [PROMPTS[i] for i in row] == prompts
        assert label == [text.upper() for text in prompts]
        assert samples == [p + o for p, o in zip(prompts, outputs, strict=True)]
        assert tokenizer.decode([0]) == "<|endoftext|>"
        return row

    trainer = trlx.train(
        reward_fn=check,
        metric_fn=lambda **given: {"row": check(**given), "twice": 2.0},
        prompts=rows,
        eval_prompts=rows[2:5],
        config=config(train__epochs=1),
    )
    last = metrics(Path(trainer.config.train.checkpoint_dir))[-1]
    assert (last["reward/mean"], last["metrics/row"], last["metrics/twice"]) == (3.0, 3.0, 2.0)
    assert all("row" in item.metadata for item in trainer.prompts.items)


def test_metrics_that_are_no_numbers_are_refused_by_name(config) -> None:
    trainer = tiny_trainer(config(), metric_fn=lambda **_: {"good": [1, 2], "bad": ["x"]})
    with pytest.raises(ValueError, match="metric_fn: 'bad' should hold numbers"):
        trainer.evaluate()


def test_stop_sequences_end_responses(config) -> None:
    """Text ends before the stop, ids with the token that completes it, and the score falls there."""
    stop, seen = "e", []

    def reward(outputs, **_):
        seen.extend(outputs)
        return [1.0] * len(outputs)

    settings = config(**{"method.gen_kwargs.max_new_tokens": 12, "method.num_rollouts": 16})
    trainer = tiny_trainer(settings, reward, stop_sequences=[stop])
    rollouts, _ = trainer.make_experience()
    assert not any(stop in text for text in seen)
    texts = [trainer.tokenizer.decode(r.response) for r in rollouts]
    stopped = [r for r, text in zip(rollouts, texts, strict=True) if stop in text]
    assert 0 < len(stopped) < len(rollouts)
    for r in stopped:
        assert stop not in trainer.tokenizer.decode(r.response[:-1])
        assert len(r.logprobs) == len(r.returns) == len(r.response)


def test_sweep_is_evaluated_and_rollouts_take_its_first_value(config) -> None:
    settings = config(**{"method.gen_kwargs": {"max_new_tokens": [3, 5]}, "train.epochs": 1})
    trainer = tiny_trainer(settings)
    results = trainer.evaluate()
    assert results["rollouts/eval_length@max_new_tokens=3"] == 3.0
    assert results["rollouts/eval_length@max_new_tokens=5"] == 5.0
    assert {"reward/mean@max_new_tokens=3", "reward/mean@max_new_tokens=5"} <= results.keys()
    assert {len(r.response) for r in trainer.make_experience()[0]} == {3}
    lines = (Path(settings.train.checkpoint_dir) / "samples.jsonl").read_text().splitlines()
    assert [json.loads(line)["sweep"] for line in lines] == ["max_new_tokens=3"] * 4 + ["max_new_tokens=5"] * 4
    assert trainer.config.method.longest_response() == 5


def test_rollouts_have_options_of_their_own(config) -> None:
    settings = config(method__gen_experience_kwargs={"max_new_tokens": 9, "temperature": 0.5})
    trainer = tiny_trainer(settings)
    assert trainer.temperature == 0.5
    assert {len(r.response) for r in trainer.make_experience()[0]} == {9}
    assert trainer.evaluate()["rollouts/eval_length"] == 6.0
    assert settings.method.longest_response() == 9


def test_evaluation_leaves_training_as_it_is(config) -> None:
    """Evaluating more often draws from random numbers of its own."""
    runs = []
    for interval in (1, 100):
        trainer = tiny_trainer(config(train__eval_interval=interval))
        trainer.learn()
        lines = metrics(Path(trainer.config.train.checkpoint_dir))
        runs.append([line for line in lines if "reward/mean" not in line])
    assert runs[0] == runs[1]


# ------------------------------------------------------------------ what is left


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
    assert documented == logged


def test_total_steps_end_a_run(config) -> None:
    trainer = tiny_trainer(config(train__total_steps=3))
    trainer.learn()
    assert trainer.step == 3
    assert trainer.evaluated == trainer.saved == 3


def test_generate_and_generate_eval(config) -> None:
    settings = config(**{"method.gen_experience_kwargs": {"max_new_tokens": 3}, "method.gen_kwargs.max_new_tokens": 5})
    trainer = tiny_trainer(settings)
    ids, mask = torch.tensor([[0, 7], [7, 8]]), torch.tensor([[0, 1], [1, 1]])
    assert trainer.generate(ids, mask).shape == (2, 5)
    assert trainer.generate_eval(ids, mask).shape == (2, 7)
    greedy = trainer.generate(ids, mask, do_sample=False, max_new_tokens=4)
    alone = trainer.generate(ids[:1, 1:], do_sample=False, max_new_tokens=4)
    assert torch.equal(greedy[0, 1:], alone[0])
    with pytest.raises(ValueError, match="no option 'max_new_token'"):
        trainer.generate(ids, mask, max_new_token=4)


# ----------------------------------------------------------------- configuration


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ({"train.batchsize": 8}, "'train.batchsize' names no option. Did you mean 'batch_size'?"),
        ({"method.init_kl": 8}, "'method.init_kl' names no option. Did you mean 'init_kl_coef'?"),
        ({"trian.batch_size": 8}, "'trian' names no option. Did you mean 'train'?"),
        ({"model": {"model_pth": "x"}}, "'model.model_pth' names no option. Did you mean 'model_path'?"),
    ],
)
def test_typos_in_overrides_are_refused_by_name(override: dict, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        TRLConfig.update(default_ppo_config().to_dict(), override)


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
        ({"train": {"tracker": "comet"}}, "train.tracker 'comet': use 'wandb', 'tensorboard' or null"),
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


def test_a_script_without_prompts_starts_from_bos(config) -> None:
    trainer = trlx.train(reward_fn=length_reward, config=config(train__epochs=1))
    assert [item.ids for item in trainer.prompts.items] == [[0]] * 4
    assert len(trainer.eval_prompts) == 4


# ----------------------------------------------------------------------- learning


@pytest.mark.parametrize(("unfrozen", "bar"), [(1, 0.7), (-1, 0.95)])
def test_it_learns(gptj_dir, tmp_path, unfrozen: int, bar: float) -> None:
    """Reward: the share of tokens in one half of the vocabulary; .5 at the start, above `bar` in the 7th collection."""
    model = AutoModelForCausalLM.from_pretrained(gptj_dir)
    with torch.no_grad():  # a frozen head of random weights this small could not tell one token from another
        model.lm_head.weight.mul_(10)
    favoured = (model.lm_head.weight[:, 0] > 0).tolist()  # a half that a frozen head can tell from the other

    def reward(output_ids, **_):
        return [sum(favoured[token] for token in ids) / len(ids) for ids in output_ids]

    model.save_pretrained(tmp_path / "model")
    AutoTokenizer.from_pretrained(gptj_dir).save_pretrained(tmp_path / "model")
    settings = tiny_config(
        tmp_path / "model",
        tmp_path / "out",
        model__num_layers_unfrozen=unfrozen,
        train__epochs=7,
        train__batch_size=32,
        method__num_rollouts=128,
        method__chunk_size=128,
        method__ppo_epochs=4,
    )
    tiny_trainer(settings, reward).learn()
    lines = metrics(tmp_path / "out")
    scores = [line["rollout_scores/mean"] for line in lines if "rollout_scores/mean" in line]
    assert scores[0] < 0.6
    assert scores[-1] >= bar
