"""Packed pairs against the same texts apart: values, losses, gradients, on every family that is packed.

Mutations that these tests catch, each tried: rejected sees chosen; positions of rejected not shifted, or by
one too many; the causal mask strict; the shared beginning cut by one; values unpacked one position off.
"""

import copy

import pytest
import torch
from reward_models import CONFIGS, DEEP, LONGEST, SMALL, V, close, make_model, make_pairs, pair, with_long_posts
from transformers import AutoModel, BloomConfig, MistralConfig

from reward_model.encoding import pad_right
from reward_model.loss import LOSSES
from reward_model.pairs import PackedPairs, SeparatePairs, can_pack, packed_mask, packed_positions
from reward_model.reward_model import RewardModel
from summarize_rlhf.lm.speed import tune_model


def test_rows_of_each_kind():
    pairs = [pair([1, 2, 3], [1, 4]), pair([5], [5, 0, 7, 8])]
    separate, packed = SeparatePairs(0)(pairs), PackedPairs(0)(pairs)
    assert separate["input_ids"].tolist() == [[[1, 2, 3, 0], [1, 4, 0, 0]], [[5, 0, 0, 0], [5, 0, 7, 8]]]
    assert packed["input_ids"].tolist() == [[1, 2, 3, 4], [5, 0, 7, 8]]
    for batch in (separate, packed):
        assert batch["lengths"].tolist() == [[3, 2], [1, 4]]  # an id 0 that is no padding counts
        assert batch["start"].tolist() == [1, 1]


def test_who_sees_whom_at_which_position():
    """Shared a b, chosen C D, rejected X, one token of padding."""
    lengths, start = torch.tensor([[4, 3]]), torch.tensor([2])
    assert packed_positions(lengths, start, 6).tolist() == [[0, 1, 2, 3, 2, 0]]
    seen = packed_mask(lengths, start, 6)[0, 0].int().tolist()
    assert seen[:5] == [
        [1, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0],
        [1, 1, 1, 1, 0, 0],
        [1, 1, 0, 0, 1, 0],
    ]
    assert seen[5][5] == 1  # padding sees something: a softmax over nothing would be NaN


@pytest.mark.parametrize("make", [make_pairs, with_long_posts])
@pytest.mark.parametrize("kind", CONFIGS)
def test_values_are_those_of_the_texts_alone(kind, make):
    model, pairs = make_model(kind).eval(), make()
    assert can_pack(model, LONGEST)
    with torch.no_grad():
        for way in (PackedPairs(0), SeparatePairs(0)):
            batch = way(pairs)
            values = way.values(model, batch)
            assert values.isfinite().all()
            for row, one in zip(values, pairs, strict=True):
                for side, ids in zip(row, (one["chosen_ids"], one["rejected_ids"]), strict=True):
                    expected = model(torch.tensor([ids]))[0]
                    close(torch.cat([expected[: batch["keep_from"]], side[batch["keep_from"] : len(ids)]]), expected)


@pytest.mark.parametrize(
    ("loss", "fraction", "checkpointing"),
    [
        ("pairwise", 0.34, False),
        ("last_token", 0.34, False),
        ("pairwise", 1.0, False),
        ("last_token", 1.0, False),
        ("pairwise", 1.0, True),
    ],
)
@pytest.mark.parametrize("make", [make_pairs, with_long_posts])
@pytest.mark.parametrize("kind", CONFIGS)
def test_losses_and_gradients_are_those_of_separate_texts(kind, make, loss, fraction, checkpointing):
    model, pairs = make_model(kind).train(), make()
    model.freeze(fraction)
    if checkpointing:
        model.transformer.activation_checkpointing_enable()
    results = []
    for way in (SeparatePairs(0), PackedPairs(0)):
        model.zero_grad()
        batch = way(pairs) | ({"keep_from": 0} if isinstance(way, SeparatePairs) else {})
        losses = LOSSES[loss](*way.values(model, batch).unbind(1), *batch["lengths"].unbind(1), batch["start"])
        losses.mean().backward()
        results.append((losses.detach(), {n: p.grad.clone() for n, p in model.named_parameters() if p.requires_grad}))
    (expected_loss, expected), (actual_loss, actual) = results
    close(actual_loss, expected_loss, "loss")
    whole = torch.cat([gradient.flatten() for gradient in expected.values()])
    close(torch.cat([gradient.flatten() for gradient in actual.values()]), whole, "gradient")
    for name, gradient in expected.items():
        if gradient.abs().max() > 1e-4 * whole.abs().max():  # a bias that cancels has a gradient of rounding only
            close(actual[name], gradient, name)


def test_padding_changes_nothing():
    model, pairs = make_model("gptj").eval(), make_pairs()
    way = PackedPairs(0)
    batch = way(pairs)
    wider = batch | {"input_ids": torch.nn.functional.pad(batch["input_ids"], (0, 9), value=7)}
    with torch.no_grad():
        values, padded = way.values(model, batch), way.values(model, wider)
    for one, other, lengths in zip(values, padded, batch["lengths"], strict=True):
        for side in range(2):
            close(other[side, : lengths[side]], one[side, : lengths[side]])


def test_a_packed_row_is_little_more_than_one_text():
    post = list(range(100))
    pairs = [pair([*post, *[1] * 20], [*post, *[2] * 25])]
    assert PackedPairs(0)(pairs)["input_ids"].shape == (1, 145)
    assert pad_right([pairs[0]["chosen_ids"], pairs[0]["rejected_ids"]], 0)[0].numel() == 250


@pytest.mark.parametrize(("window", "packed"), [(LONGEST - 1, False), (LONGEST, True), (None, True)])
def test_a_window_that_slides_over_a_text_is_not_packed(window, packed):
    config = MistralConfig(**SMALL, **DEEP, num_key_value_heads=1, sliding_window=window)
    model = RewardModel(tune_model(AutoModel.from_config(config)))
    assert can_pack(model, LONGEST) == packed
    assert model.training  # as it was


def test_what_is_not_packed():
    """Bloom takes no positions; an eager attention would add a boolean mask to its scores."""
    bloom = AutoModel.from_config(BloomConfig(vocab_size=V, hidden_size=32, n_head=2, n_layer=1))
    assert not can_pack(RewardModel(tune_model(bloom)), LONGEST)
    eager = AutoModel.from_config(copy.deepcopy(CONFIGS["gpt2"]), attn_implementation="eager")
    assert not can_pack(RewardModel(tune_model(eager)), LONGEST)
    pairs = make_pairs()
    values = SeparatePairs(0).values(RewardModel(bloom).eval(), SeparatePairs(0)(pairs))
    assert values.shape == (len(pairs), 2, LONGEST)
