"""The frozen blocks' outputs, computed once: values, losses and gradients are those of the whole model."""

import contextlib
import errno
import types
from unittest import mock

import datasets
import pytest
import torch
from forked import forked, run_main
from reward_models import CONFIGS, V, close, make_model, make_pairs, with_long_posts
from torch.utils.data import Dataset
from transformers import AutoModel, CTRLConfig

from reward_model import frozen_blocks
from reward_model import train_reward_model_gptj as stage_2
from reward_model.frozen_blocks import PairsWithTrunk, can_keep, gigabytes, keep_trunk
from reward_model.loss import LOSSES
from reward_model.pairs import PackedPairs
from reward_model.reward_model import RewardModel
from summarize_rlhf import UserError
from summarize_rlhf.lm.lora import LoraArguments, add_lora
from summarize_rlhf.run.kept import read_value, record_of

CPU = types.SimpleNamespace(bf16=False, fp16=False, process_index=0, device=torch.device("cpu"))


def encoded(pairs: list[dict]) -> datasets.Dataset:
    rows = [one | {"length": len(one["chosen_ids"]) + len(one["rejected_ids"]) - one["start"]} for one in pairs]
    return datasets.Dataset.from_list(rows)


def kept(
    model: RewardModel, pairs: list[dict], folder, most_gb: float = 1.0, dtype: torch.dtype = torch.float32
) -> Dataset:
    return keep_trunk(model, {"train": encoded(pairs)}, PackedPairs(0), folder, CPU, dtype, most_gb)["train"]


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("make", [make_pairs, with_long_posts])
@pytest.mark.parametrize("kind", CONFIGS)
def test_losses_and_gradients_are_those_of_the_whole_model(kind, make, checkpointing, tmp_path):
    """Two of three blocks are frozen; to 1e-5 of the largest number."""
    model, pairs = make_model(kind).train(), make()
    model.freeze(0.34)
    assert model.depth == 2
    data, way = kept(model, pairs, tmp_path), PackedPairs(0)
    if checkpointing:
        model.transformer.activation_checkpointing_enable()
    results = []
    for rows in (pairs, [data[i] for i in range(len(data))]):
        model.zero_grad()
        batch = way(rows)
        assert ("trunk" in batch) == (rows is not pairs)
        losses = LOSSES["pairwise"](*way.values(model, batch).unbind(1), *batch["lengths"].unbind(1), batch["start"])
        losses.mean().backward()
        results.append(
            (losses.detach(), {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None})
        )
    (expected_loss, expected), (actual_loss, actual) = results
    close(actual_loss, expected_loss, "loss")
    assert actual.keys() == expected.keys()
    close(*(torch.cat([g.flatten() for g in gradients.values()]) for gradients in (actual, expected)), "gradient")


def test_frozen_blocks_run_once(tmp_path, monkeypatch):
    model, pairs = make_model("gptj"), make_pairs()
    model.freeze(0.34)
    runs = []
    model.transformer.h[0].register_forward_hook(lambda *_: runs.append(1))
    monkeypatch.setattr(frozen_blocks, "CACHE_TOKENS", 50)
    data = kept(model, pairs, tmp_path)
    computed = len(runs)
    assert computed > 1
    for _ in range(2):
        PackedPairs(0).values(model, PackedPairs(0)([data[i] for i in range(len(data))]))
    again = kept(model, pairs, tmp_path)  # a second start takes the file of the first
    assert len(runs) == computed
    assert torch.equal(again.states, data.states)
    with torch.no_grad():
        model.transformer.h[0].ln_1.weight.add_(1)
    kept(model, pairs, tmp_path)  # another model does not
    assert len(runs) > computed


def test_an_unfinished_file_is_not_taken(tmp_path):
    model, pairs = make_model("gptj"), make_pairs()
    model.freeze(0.34)
    expected = kept(model, pairs, tmp_path).states.clone()
    record_of(tmp_path / "frozen_train.bin").unlink()  # written last
    (tmp_path / "frozen_train.bin").write_bytes(b"\0" * 1000)
    assert torch.equal(kept(model, pairs, tmp_path).states, expected)


@pytest.mark.parametrize("damage", ["zeroed", "truncated", "emptied", "record emptied", "record torn"])
def test_a_damaged_file_is_made_again(tmp_path, capsys, damage):
    """As a kill or a failing disk leaves it: one line says so, and the states are what they were."""
    model, pairs = make_model("gptj"), make_pairs()
    model.freeze(0.34)
    expected = kept(model, pairs, tmp_path).states.clone()
    file = tmp_path / "frozen_train.bin"
    content = file.read_bytes()
    spoilt = {"zeroed": b"\0" * len(content), "truncated": content[:-4096], "emptied": b""}
    if damage in spoilt:
        file.write_bytes(spoilt[damage])
    else:
        record = record_of(file)
        record.write_text(record.read_text()[: 40 if damage == "record torn" else 0])
    capsys.readouterr()
    assert torch.equal(kept(model, pairs, tmp_path).states, expected)
    assert "is made again" in capsys.readouterr().out


def test_where_it_takes_too_much_the_pairs_stay_as_they_are(tmp_path, capsys):
    model, pairs = make_model("gptj"), make_pairs()
    model.freeze(0.34)
    size = gigabytes(model, [encoded(pairs)], torch.float32)
    assert size == pytest.approx(4 * 32 * sum(encoded(pairs)["length"]) / 1e9)
    assert not isinstance(kept(model, pairs, tmp_path, most_gb=size / 2), PairsWithTrunk)
    assert "--trunk_cache_gb" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_one_clear_error(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", full)
    model = make_model("gptj")
    model.freeze(0.34)
    with pytest.raises(UserError, match=r"no room for the frozen blocks.*--trunk_cache_gb 0"):
        kept(model, make_pairs(), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_when_it_cannot_be_kept():
    assert not can_keep(make_model("gptj"))  # nothing is frozen
    ctrl = AutoModel.from_config(CTRLConfig(vocab_size=V, n_positions=64, n_embd=32, dff=48, n_layer=3, n_head=4))
    model = RewardModel(ctrl)  # cannot be cut
    model.freeze(0.34)
    assert not can_keep(model)
    model = make_model("gpt2")
    model.freeze(0.34)
    assert can_keep(model)
    add_lora(model.transformer, LoraArguments(lora_r=2, lora_dropout=0.1), 0, "there", model.transformer.h[2:])
    assert can_keep(model)  # an adapter's dropout is behind them
    model.transformer.h[0].mlp.dropout.p = 0.1  # the frozen blocks would say something else each time
    assert not can_keep(model)


def test_marker_names_what_it_belongs_to(tmp_path):
    model, pairs = make_model("gptj"), make_pairs()
    model.freeze(0.34)
    kept(model, pairs, tmp_path)
    marker = read_value(tmp_path / "frozen_train.bin")["made_from"]
    assert marker["shape"] == [sum(encoded(pairs)["length"]), 32]
    assert marker["dtype"] == "torch.float32"
    assert len(marker["sha256"]) == 64


def kept_in(values: dict) -> torch.dtype:
    """What `main` of stage 2 would keep them in."""
    found = mock.Mock(side_effect=SystemExit)
    with mock.patch.object(stage_2, "keep_trunk", found), contextlib.suppress(SystemExit):
        run_main(stage_2.main, values)
    return found.call_args.args[5]


def test_the_stage_keeps_them_in_its_precision(gptj_dir, comparisons_dir, tmp_path):
    values = {"model": gptj_dir, "dataset": comparisons_dir, "output_dir": tmp_path / "out", "report_to": "none"}
    for precision, dtype in (("auto", torch.float32), ("bf16", torch.bfloat16)):
        assert forked(kept_in, values | {"max_length": 120, "precision": precision}) == dtype


def test_they_are_kept_in_what_is_trained_in(tmp_path):
    """Half the disk in bf16, and what a step in bf16 would compute; on a CPU, too."""
    model, pairs = make_model("gptj"), make_pairs()
    model.freeze(0.34)
    data = kept(model, pairs, tmp_path, dtype=torch.bfloat16)
    assert {row["trunk"].dtype for row in data} == {torch.bfloat16}
    batch = PackedPairs(0)([data[0]])
    with torch.no_grad():
        computed = model.bfloat16().frozen(**PackedPairs(0).inputs(batch))
    rounding = torch.finfo(torch.bfloat16).eps ** 0.5  # with other rows beside it
    assert (batch["trunk"] - computed).abs().max() <= rounding * computed.abs().max()
