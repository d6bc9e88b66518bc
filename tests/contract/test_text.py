"""The prompt text, byte for byte, and the one way to cut a post."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import make_tokenizer

from summarize_rlhf import UserError
from summarize_rlhf.text import cut_post, prompt_text, rm_text, sft_text, split_prompt

BODY = "SUBREDDIT: r/pets\nTITLE: A cat\nPOST: My cat moved."
TOKENIZER = make_tokenizer()


def length(text: str) -> int:
    return len(TOKENIZER(text).input_ids)


def test_templates_are_the_published_bytes():
    assert prompt_text(BODY) == BODY + "\nTL;DR:"
    assert sft_text(BODY + "\nTL;DR:", "Cat moved.") == BODY + "\nTL;DR: Cat moved."
    assert rm_text(BODY, "Cat moved.") == "<|startoftext|>" + BODY + "\nTL;DR: Cat moved."


@pytest.mark.parametrize("label", ["Cat moved.", " Cat moved.", "  Cat moved. \n"])
@pytest.mark.parametrize("prompt", [BODY + "\nTL;DR:", BODY + "\nTL;DR: ", BODY + "\nTL;DR:\n"])
def test_one_space_whatever_blanks_the_source_has(prompt, label):
    assert sft_text(prompt, f"TL;DR:{label}") == BODY + "\nTL;DR: Cat moved."
    assert sft_text(prompt, label) == BODY + "\nTL;DR: Cat moved."


@pytest.mark.parametrize("summary", ["Cat moved.", "TL;DR: Cat moved.", " TL;DR:Cat moved. "])
def test_rm_text_never_doubles_the_marker(summary):
    assert rm_text(BODY + "\n", summary).endswith("\nTL;DR: Cat moved.")
    assert rm_text(BODY, summary).count("TL;DR:") == 1


def test_a_post_that_contains_the_marker_survives():
    body = "POST: He wrote TL;DR: nothing, and left.\nTL;DR: odd."
    assert split_prompt(prompt_text(body)) == body
    assert rm_text(body, "x").count("TL;DR:") == 3
    short = cut_post(TOKENIZER, body + " never" * 50, 60, prompt_text)
    assert short.startswith(body)


@pytest.mark.parametrize("prompt", ["POST: no marker", "POST: x\nTL;DR: already summarised", ""])
def test_a_prompt_without_its_marker_is_refused(prompt):
    with pytest.raises(UserError, match="should end with 'TL;DR:'"):
        split_prompt(prompt)


def test_a_body_that_fits_is_unchanged():
    assert cut_post(TOKENIZER, BODY + "  ", length(prompt_text(BODY)), prompt_text) == BODY + "  "


def test_only_the_end_of_the_post_is_cut():
    body = BODY + " lost" * 100
    budget = length(rm_text(BODY, "Cat moved.")) + 7
    cut = cut_post(TOKENIZER, body, budget, lambda b: rm_text(b, "Cat moved."))
    assert body.startswith(cut)
    assert len(BODY) < len(cut) < len(body)
    text = rm_text(cut, "Cat moved.")
    assert text.endswith("\nTL;DR: Cat moved.")
    assert length(text) == budget


def test_no_room_for_the_summary_is_refused():
    with pytest.raises(UserError, match=r"even with an empty post, but 5 are allowed"):
        cut_post(TOKENIZER, BODY, 5, lambda b: rm_text(b, "Cat moved."))


@settings(max_examples=200, deadline=None)
@given(
    body=st.text(st.sampled_from("ab moved cat\n  \t.,'éΩ🙂TL;DR:"), max_size=80),
    budget=st.integers(12, 60),
)
def test_the_cut_is_the_longest_token_aligned_beginning(body, budget):
    cut = cut_post(TOKENIZER, body, budget, prompt_text)
    ends = {0, len(body)} | {end for _, end in TOKENIZER(body, return_offsets_mapping=True).offset_mapping}
    fitting = [end for end in ends if length(prompt_text(body[:end])) <= budget]
    assert cut == body[: max(fitting)]
