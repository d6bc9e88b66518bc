"""Guards on PPO: what they say, when, and that NaN always stops."""

import math

import pytest

from summarize_rlhf import UserError
from trlx.trainer.guards import Guards

GOOD = {"policy/kl": 3.0, "rollouts/eos_rate": 0.9, "rollouts/response_length": 30.0}
UPDATE = {"losses/total_loss": 0.1, "policy/gradient_norm": 1.0, "ratio": 1.01}


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"policy/kl": 51.0}, "the KL is 51.0 nats an episode (limit 50.0)"),
        ({"policy/kl": -51.0}, "the KL is -51.0"),
        ({"rollouts/eos_rate": 0.4}, "40% of the responses end by themselves, 90% did at first"),
        ({"rollouts/response_length": 7.0}, "responses have 7.0 tokens, 30.0 at first"),
        ({"rollouts/response_length": 121.0}, "responses have 121.0 tokens"),
    ],
)
def test_a_collapse_is_told_once_or_stops(changed, told):
    guards = Guards({})
    assert guards.collection(GOOD) == []
    (text,) = guards.collection(GOOD | changed)
    assert text.startswith(f"warning: {told}")
    assert guards.collection(GOOD | changed) == []
    strict = Guards({"action": "stop"})
    strict.collection(GOOD)
    with pytest.raises(UserError, match="the last checkpoint is untouched"):
        strict.collection(GOOD | changed)


@pytest.mark.parametrize("ratio", [0.4, 2.1])
def test_a_ratio_outside_its_bounds(ratio):
    (text,) = Guards({}).update(UPDATE | {"ratio": ratio}, 7)
    assert f"the mean ratio is {ratio:.2f} at step 7 (limit 2.0)" in text


def test_what_is_within_its_limits_is_not_told():
    guards = Guards({})
    for stats in (GOOD, GOOD | {"policy/kl": 49.0, "rollouts/eos_rate": 0.5, "rollouts/response_length": 8.0}):
        assert guards.collection(stats) == []
    assert guards.update(UPDATE | {"ratio": 1.9}, 1) == []
    never = Guards({})  # a model that never ended its responses does not collapse by going on so
    never.collection(GOOD | {"rollouts/eos_rate": 0.1})
    assert never.collection(GOOD | {"rollouts/eos_rate": 0.0}) == []


def test_limits_can_be_set_and_switched_off():
    assert Guards({"kl": 2.0}).collection(GOOD)
    off = Guards({"kl": None, "eos_rate": None, "length": None, "ratio": None})
    off.collection(GOOD)
    assert off.collection({"policy/kl": 1e6, "rollouts/eos_rate": 0.0, "rollouts/response_length": 1.0}) == []
    assert off.update(UPDATE | {"ratio": 99.0}, 1) == []


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("name", ["losses/total_loss", "policy/gradient_norm"])
def test_no_number_always_stops(name, value):
    with pytest.raises(UserError, match=rf"{name} is {value} at step 5: lower optimizer.kwargs.lr"):
        Guards({}).update(UPDATE | {name: value}, 5)


def test_in_fp16_the_scaler_sees_to_gradients():
    assert Guards({}, loss_is_scaled=True).update(UPDATE | {"policy/gradient_norm": math.inf}, 5) == []


def test_state_goes_on():
    guards, again = Guards({}), Guards({})
    guards.collection(GOOD)
    guards.collection(GOOD | {"policy/kl": 51.0})
    again.load_state_dict(guards.state_dict())
    assert again.collection(GOOD | {"policy/kl": 51.0}) == []
    assert again.collection(GOOD | {"rollouts/response_length": 7.0})


@pytest.mark.parametrize(
    ("options", "told"), [({"kll": 1}, "no option 'kll'"), ({"action": "cry"}, "'warn' or 'stop'")]
)
def test_options_are_refused_by_name(options, told):
    with pytest.raises(ValueError, match=told):
        Guards(options)
