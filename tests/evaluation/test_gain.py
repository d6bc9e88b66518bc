"""What explains the gain in reward: made-up data whose answer is known."""

import numpy as np
import pytest

from summarize_rlhf.evaluation.estimates import mean
from summarize_rlhf.evaluation.gain import LEAST_POSTS, PARTS, gain, split


def model(reward, tokens, copied) -> dict[str, np.ndarray]:
    return {"reward": np.asarray(reward), "tokens": np.asarray(tokens), "copied_4grams": np.asarray(copied)}


def two_models(posts: int, per_token: float, per_share: float, rest: float, noise: float = 0.0, seed: int = 5):
    """Two models whose rewards are a known sum: the second is 6 tokens longer and copies .2 more, on average."""
    rng = np.random.default_rng(seed)
    level = rng.normal(0, 3, posts)  # of a post: much larger than what differs between models
    tokens, copied = rng.normal(30, 5, (2, posts)), rng.uniform(0, 0.5, (2, posts))
    tokens[0] += 6
    copied[0] += 0.2
    rewards = [
        level + per_token * tokens[i] + per_share * copied[i] + (rest if i == 0 else 0) + rng.normal(0, noise, posts)
        for i in (0, 1)
    ]
    return [model(rewards[i], tokens[i], copied[i]) for i in (0, 1)]


def test_a_reward_that_is_length_is_explained_by_length() -> None:
    """Singhal et al.'s control (arXiv 2310.03716): whatever the texts say, the reward counts their tokens."""
    ours, theirs = two_models(60, per_token=0.1, per_share=0, rest=0)
    found = gain(ours, theirs, resamples=200)
    expected = 0.1 * (ours["tokens"] - theirs["tokens"]).mean()
    assert found["length"]["value"] == pytest.approx(expected)
    assert found["total"]["value"] == pytest.approx(expected)
    assert found["copying"]["value"] == pytest.approx(0, abs=1e-9)
    assert found["rest"]["value"] == pytest.approx(0, abs=1e-9)


def test_a_sum_of_three_is_taken_apart() -> None:
    ours, theirs = two_models(80, per_token=-0.05, per_share=2.0, rest=0.7)
    found = gain(ours, theirs, resamples=200)
    means = {name: (ours[name] - theirs[name]).mean() for name in ours}
    wanted = {"total": means["reward"], "length": -0.05 * means["tokens"], "copying": 2 * means["copied_4grams"]}
    wanted["rest"] = 0.7
    assert {part: found[part]["value"] for part in PARTS} == pytest.approx(wanted)
    assert sum(found[part]["value"] for part in PARTS[1:]) == pytest.approx(found["total"]["value"])
    assert all(found[part]["low"] - 1e-9 <= found[part]["value"] <= found[part]["high"] + 1e-9 for part in PARTS)


def test_the_fit_is_least_squares() -> None:
    """Against the normal equations of the regression with an intercept, on data with noise."""
    x = np.random.default_rng(5).normal(0, 1, (40, 3)) * (1, 7, 0.2) + (0.5, 4, 0.1)
    design = np.column_stack([np.ones(40), x[:, 1:]])
    rest, per_token, per_share = np.linalg.solve(design.T @ design, design.T @ x[:, 0])
    total, length, copying = x.mean(0) * (1, per_token, per_share)
    np.testing.assert_allclose(split(x), [total, length, copying, rest], rtol=1e-9)


def test_a_difference_that_is_the_same_everywhere_explains_nothing() -> None:
    ours, theirs = two_models(30, per_token=0.1, per_share=0, rest=0)
    ours["tokens"] = theirs["tokens"] + 5
    ours["reward"] = theirs["reward"] + 1
    found = gain(ours, theirs, resamples=50)
    parts = {part: found[part]["value"] for part in PARTS}
    assert parts == pytest.approx({"total": 1, "length": 0, "copying": 0, "rest": 1}, abs=1e-9)


def test_intervals_hold_the_truth() -> None:
    """95 % intervals over posts, on 150 made-up evaluations of 60 posts: from 90 to 99 % hold the true part.

    The binomial standard error of a share of .95 in 150 is .018.
    """
    held = {part: 0 for part in PARTS}
    for seed in range(150):
        found = gain(*two_models(60, per_token=0.1, per_share=1.0, rest=0.5, noise=0.5, seed=seed), resamples=200)
        truth = {"total": 0.6 + 0.2 + 0.5, "length": 0.6, "copying": 0.2, "rest": 0.5}
        for part in PARTS:
            held[part] += found[part]["low"] <= truth[part] <= found[part]["high"]
    assert {part: count for part, count in held.items() if not 135 <= count <= 149} == {}


def test_few_posts_have_a_total_alone() -> None:
    found = gain(*two_models(LEAST_POSTS - 1, 0.1, 0, 0), resamples=50)
    assert found["total"]["low"] < found["total"]["high"]
    assert found["length"] is found["copying"] is found["rest"] is None
    assert gain(*two_models(10, 0.1, 0, 0), resamples=50)["length"] is not None


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda m: m.update(tokens=m["tokens"][:-1]), r"tokens is of \(29,\) posts in the first and \(30,\)"),
        (lambda m: m["reward"].__setitem__(3, np.nan), "is not finite"),
        (lambda m: m["reward"].__setitem__(3, np.inf), "is not finite"),
    ],
)
def test_columns_that_do_not_fit_are_refused(spoil, told) -> None:
    ours, theirs = two_models(30, 0.1, 0, 0)
    spoil(ours)
    with pytest.raises(ValueError, match=told):
        gain(ours, theirs)


def test_the_total_is_that_of_the_comparison_and_of_one_post_has_no_interval() -> None:
    ours, theirs = two_models(30, per_token=0.1, per_share=0, rest=0, noise=1.0)
    assert gain(ours, theirs, 500)["total"] == mean(ours["reward"] - theirs["reward"], 500)
    one = gain(*({name: x[:1] for name, x in side.items()} for side in (ours, theirs)))
    assert (one["total"]["low"], one["total"]["high"]) == (None, None)
