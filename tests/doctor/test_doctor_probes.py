"""What the doctor asks the weights: losses behind a prompt, and what a reward model makes of pairs."""

import random
from pathlib import Path
from unittest import mock

import pytest
import torch
from tiny import tldr_row, write_rows

from summarize_rlhf.doctor import probes
from summarize_rlhf.doctor.evidence import RM, SFT, Run
from summarize_rlhf.lm.weights import load_causal_lm
from summarize_rlhf.tokenizer import load_tokenizer


def test_losses_behind_a_prompt(gptj_dir) -> None:
    """Word by word: the label's tokens, its EOS, and one more EOS."""
    model = load_causal_lm(gptj_dir).eval()
    ids, start = [5, 6, 7, 8, 9, 0], 3
    with torch.no_grad():
        logprobs = [model(torch.tensor([ids[:t]])).logits[0, -1].log_softmax(-1) for t in range(start, len(ids) + 1)]
    label, eos, again = probes.losses_behind(model, ids, start)
    assert label == pytest.approx(-(logprobs[0][8] + logprobs[1][9]).item() / 2, rel=1e-4)
    assert eos == pytest.approx(-logprobs[2][0].item(), rel=1e-4)
    assert again == pytest.approx(logprobs[3][0].exp().item(), rel=1e-4)


def test_stage_1_is_asked_about_its_own_data(gptj_dir, tldr_dir) -> None:
    options = {"dataset": str(tldr_dir), "max_length": 10, "model": str(gptj_dir)}
    sft = SFT(gptj_dir, options)
    assert probes.probe(Run(sft=sft)) == []
    assert sft.rows_cut == 1
    assert sft.eos_again == pytest.approx(sft.base_eos_again)  # it is the model that it began with
    assert sft.label_loss > 1
    assert sft.eos_loss > 1


class Counting:
    """A scorer that counts the tokens of a summary."""

    def __init__(self, directory: Path):
        self.tokenizer = load_tokenizer(directory)

    def score(self, bodies, summaries, places=None) -> torch.Tensor:
        return torch.tensor([float(len(ids)) for ids in self.tokenizer(list(summaries))["input_ids"]])


def test_a_reward_model_that_counts_tokens(gptj_dir, tmp_path) -> None:
    rng = random.Random(0)
    rows = []
    for i in range(8):  # the chosen one is the longer in six of eight
        row, few, many = tldr_row(rng), "my cat lost a house", "my cat lost a house and a car and a train again"
        chosen, rejected = (many, few) if i < 6 else (few, many)
        rows.append({"prompt": row["prompt"], "chosen": chosen, "rejected": rejected})
    write_rows(tmp_path / "test.jsonl", rows)
    rm = RM(gptj_dir, {"dataset": str(tmp_path)})
    with mock.patch.object(probes.Scorer, "from_pretrained", lambda path, **_: Counting(path)):
        probes.probe_rm(rm)
    assert (rm.pairs, rm.accuracy) == (8, 0.75)
    assert (rm.prefers_longer, rm.longer_chosen) == (1.0, 0.75)


def test_words_are_shuffled_and_none_is_lost() -> None:
    text = "one two three four five six"
    assert probes.shuffled(text, 0) != text
    assert sorted(probes.shuffled(text, 0).split()) == sorted(text.split())


def test_what_is_gone_is_said_and_left_out(gptj_dir, tmp_path) -> None:
    sft = SFT(gptj_dir, {"dataset": str(tmp_path / "gone"), "max_length": 100})
    (told,) = probes.probe(Run(sft=sft))
    assert told.startswith(f"{gptj_dir} was not probed: ")
    assert sft.label_loss is None
