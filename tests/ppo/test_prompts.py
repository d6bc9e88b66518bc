"""Prompts: drawn in rounds, tokenized once, cut."""

import copy

import pytest

from trlx.pipeline.offline_pipeline import PromptCursor, PromptPipeline


def test_cursor_goes_through_every_prompt_each_round_in_another_order() -> None:
    cursor = PromptCursor(5, seed=3)
    drawn = cursor.take(7) + cursor.take(1) + cursor.take(7)
    rounds = [drawn[i : i + 5] for i in (0, 5, 10)]
    assert [sorted(r) for r in rounds] == [list(range(5))] * 3
    assert len({tuple(r) for r in rounds}) == 3
    assert PromptCursor(5, seed=3).take(15) == drawn
    assert PromptCursor(5, seed=4).take(15) != drawn


def test_cursor_goes_on_from_its_state() -> None:
    cursor, again = PromptCursor(5, seed=3), PromptCursor(5, seed=3)
    cursor.take(7)
    again.load_state_dict(cursor.state_dict())
    assert again.take(9) == cursor.take(9)


def test_pipeline_takes_strings_and_dictionaries_and_leaves_them_alone(tokenizer) -> None:
    rows = [{"prompt": "my cat", "label": "a"}, {"prompt": "boss", "label": "b"}]
    before = copy.deepcopy(rows)
    pipeline = PromptPipeline(rows, 10, tokenizer)
    assert rows == before
    assert [item.metadata for item in pipeline.items] == [{"label": "a"}, {"label": "b"}]
    plain = PromptPipeline(["my cat", "boss"], 10, tokenizer)
    assert [item.ids for item in plain.items] == [item.ids for item in pipeline.items]
    assert plain[0].ids == tokenizer("my cat").input_ids
    assert (plain[0].text, plain[0].metadata, len(plain)) == ("my cat", {}, 2)


@pytest.mark.parametrize(("side", "kept"), [("right", slice(0, 4)), ("left", slice(-4, None))])
def test_pipeline_cuts_long_prompts_and_their_text(tokenizer, side: str, kept: slice) -> None:
    tokenizer.truncation_side = side
    text = "my sister lost the money never again"
    item = PromptPipeline([text], 4, tokenizer)[0]
    assert item.ids == tokenizer(text).input_ids[kept]
    assert item.text == tokenizer.decode(item.ids)


@pytest.mark.parametrize(
    ("prompts", "message"),
    [
        ([], "no prompts"),
        (["my cat", ""], "prompt 1 is empty"),
        ([{"text": "my cat"}], "prompt 0 has no key 'prompt', only \\['text'\\]"),
        ([{"prompt": "a", "x": 1}, {"prompt": "b"}], "prompt 1 has the keys"),
    ],
)
def test_pipeline_refuses(tokenizer, prompts: list, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PromptPipeline(prompts, 10, tokenizer)
