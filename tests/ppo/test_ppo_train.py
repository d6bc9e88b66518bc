"""PPO from beginning to end: it starts, it ends, it learns."""

import pytest
import torch
from logged import metrics
from tiny_trlx import length_reward, tiny_config, tiny_trainer
from transformers import AutoModelForCausalLM, AutoTokenizer

import trlx


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


def test_a_script_without_prompts_starts_from_bos(config) -> None:
    trainer = trlx.train(reward_fn=length_reward, config=config(train__epochs=1))
    assert [item.ids for item in trainer.prompts.items] == [[0]] * 4
    assert len(trainer.eval_prompts) == 4


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
