"""What the stages share, against slow references: the order of rows, and what two tokenizers or two runs must share."""

from dataclasses import asdict, replace
from pathlib import Path

import pytest
from slow import batches_of
from tiny import make_tokenizer

from reward_model.train_reward_model_gptj import RewardArguments
from sft.train_gptj_summarize import SFTArguments
from summarize_rlhf import UserError
from summarize_rlhf.data import load_rows
from summarize_rlhf.lm.weights import fit_to_tokenizer, load_causal_lm
from summarize_rlhf.run.checkpoints import write_checkpoint
from summarize_rlhf.run.resume_point import find_resume_point
from summarize_rlhf.run.sampler import LengthGroupedSampler
from summarize_rlhf.tokenizer import load_tokenizer, tokenizer_hash


@pytest.mark.parametrize(("rows", "size"), [(203, 4), (40, 8), (7, 3), (3, 8)])
def test_order_of_each_epoch(rows: int, size: int) -> None:
    """Of rows that fill several chunks of 16 batches, and one of which the last batch is not full."""
    lengths = [10 + (7 * i) % 31 for i in range(rows)]
    found = {}
    for seed in (3, 4):
        for epoch in (0, 1):
            sampler = LengthGroupedSampler(lengths, size, seed)
            sampler.set_epoch(epoch)
            found[seed, epoch] = list(sampler)
            assert found[seed, epoch] == [row for batch in batches_of(lengths, size, seed, epoch) for row in batch]
    if rows > 3 * size:
        assert found[3, 0] != found[4, 0]
        assert found[3, 0] != found[3, 1]


def test_hash_sees_each_special_token() -> None:
    made = [make_tokenizer(pad="<|pad|>") for _ in range(3)]
    made[1].pad_token = made[1].eos_token
    made[2].eos_token = "<|pad|>"
    assert len({tokenizer_hash(tokenizer) for tokenizer in made}) == 3


def test_hash_sees_a_token_that_no_probe_holds() -> None:
    """Two vocabularies of one size that give the probe's text the same ids."""
    first, second = make_tokenizer(), make_tokenizer()
    first.add_tokens(["Ünüsüal"])
    second.add_tokens(["Öther"])
    assert len(first) == len(second)
    assert tokenizer_hash(first) != tokenizer_hash(second)


def test_model_gets_the_tokenizers_ids_and_may_be_filled(gptj_dir) -> None:
    model, tokenizer = load_causal_lm(gptj_dir), make_tokenizer(pad="<|pad|>", vocab_size=350)
    fit_to_tokenizer(model, tokenizer, model.config.n_positions)
    assert tokenizer.pad_token_id not in (None, tokenizer.eos_token_id)
    for ids in (model.config, model.generation_config):
        assert (ids.eos_token_id, ids.pad_token_id) == (tokenizer.eos_token_id, tokenizer.pad_token_id)
    with pytest.raises(UserError, match="257 tokens, but the model"):
        fit_to_tokenizer(model, tokenizer, model.config.n_positions + 1)


def read(directory: Path) -> None:
    """A reader that can read everything."""


@pytest.mark.parametrize("kind", [SFTArguments, RewardArguments])
def test_what_a_run_may_not_change(kind, gptj_dir, tldr_dir, tmp_path) -> None:
    """All that enters a weight's value. What may change is named here, so that each new option is thought of."""
    free = {"eval_steps", "fresh", "logging_steps", "max_eval_rows", "output_dir", "per_device_eval_batch_size"}
    free |= {"per_device_train_batch_size", "report_to", "save_minutes", "save_steps", "save_total_limit"}
    free |= {"gradient_checkpointing", "max_new_tokens", "rouge_rows", "pack_pairs", "trunk_cache_gb", "run_name"}
    free |= {
        "push_to_hub",
        "hub_model_id",
        "card_pairs",
        "merge_adapter",
        "plan",
        "elastic",
        "preset",
    }  # its values are compared
    free |= {"model", "tokenizer", "dataset"}  # known by what they hold, not by their paths
    tokenizer, rows = load_tokenizer(gptj_dir), load_rows(tldr_dir, "train", ["prompt", "label"])
    keep = {"keep": "last"} if kind is SFTArguments else {}  # where evaluations choose, they may not change
    args = kind(output_dir=str(tmp_path / "out"), lr_scheduler_type="linear", **keep)
    given = (tokenizer, rows, read, "hash of the weights")
    with write_checkpoint(tmp_path / "out-steps/checkpoint-1", find_resume_point(args, *given).settings):
        pass
    fixed = set(asdict(args)) - free - {"deepspeed_config"}
    assert {"learning_rate", "seed", "num_train_epochs", "max_steps"} < fixed
    for name in fixed:
        with pytest.raises(UserError, match=f"settings: {name} was "):
            find_resume_point(replace(args, **{name: "another"}), *given)
    for name in free & set(asdict(args)) - {"fresh", "output_dir"}:
        assert find_resume_point(replace(args, **{name: "another"}), *given).checkpoint, name


@pytest.mark.parametrize("kind", [SFTArguments, RewardArguments])
def test_inputs_are_compared_by_content_not_by_path(kind, gptj_dir, tldr_dir, tmp_path) -> None:
    tokenizer, rows = load_tokenizer(gptj_dir), load_rows(tldr_dir, "train", ["prompt", "label"])
    args = kind(output_dir=str(tmp_path / "out"))
    before = find_resume_point(args, tokenizer, rows, read, "weights")
    with write_checkpoint(tmp_path / "out-steps/checkpoint-1", before.settings):
        pass
    copy = tmp_path / "copy.json"
    copy.write_text(Path(args.deepspeed_config).read_text())
    moved = replace(args, deepspeed_config=str(copy), dataset="elsewhere", model="elsewhere")
    assert find_resume_point(moved, tokenizer, rows, read, "weights").checkpoint
    copy.write_text("{}")
    for change, given in (
        ("deepspeed_config", (moved, tokenizer, rows, read, "weights")),
        ("model", (args, tokenizer, rows, read, "other weights")),
        ("dataset", (args, tokenizer, rows.select(range(5)), read, "weights")),
        ("tokenizer", (args, make_tokenizer(vocab_size=350), rows, read, "weights")),
    ):
        with pytest.raises(UserError, match=f"settings: {change} was "):
            find_resume_point(*given)


def test_no_credential_reaches_a_checkpoint_or_a_message(gptj_dir, tldr_dir, tmp_path) -> None:
    """As in `https://user:password@host/model`: the same command is the same run, and shows it to nobody."""
    tokenizer, rows = load_tokenizer(gptj_dir), load_rows(tldr_dir, "train", ["prompt", "label"])
    args = SFTArguments(output_dir=str(tmp_path / "out"), dataset="https://me:hunter2@host/data")
    settings = find_resume_point(args, tokenizer, rows, read, "weights").settings
    assert "hunter2" not in str(settings)
    with write_checkpoint(tmp_path / "out-steps/checkpoint-1", settings):
        pass
    assert find_resume_point(args, tokenizer, rows, read, "weights").checkpoint
