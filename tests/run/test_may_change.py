"""Which arguments a resumed run may change, where that depends on other arguments."""

import pytest

from reward_model.train_reward_model_gptj import RewardArguments
from sft.train_gptj_summarize import SFTArguments
from summarize_rlhf.run.arguments import names_that_may_change

LENGTH = {"num_train_epochs", "max_steps"}
EVALUATION = {"eval_steps", "max_eval_rows"}


@pytest.mark.parametrize("kind", [SFTArguments, RewardArguments])
def test_the_length_may_change_only_under_a_constant_rate(kind):
    assert names_that_may_change(kind(lr_scheduler_type="constant_with_warmup")) >= LENGTH
    assert not names_that_may_change(kind(lr_scheduler_type="linear")) & LENGTH


def test_evaluations_may_change_only_where_they_do_not_choose_the_model():
    assert names_that_may_change(SFTArguments(keep="last")) >= EVALUATION
    assert not names_that_may_change(SFTArguments(keep="best")) & EVALUATION
    assert names_that_may_change(RewardArguments()) >= EVALUATION
