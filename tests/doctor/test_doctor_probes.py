"""What the doctor asks the weights: losses behind a prompt, and what a reward model makes of pairs."""

import itertools
import random
from pathlib import Path
from unittest import mock

import pytest
import torch
from configured_launches import make_reward_dir
from tiny import gptj_config, make_model_dir, tldr_row, write_rows
from torch import nn

from reward_model.scoring import Scorer
from summarize_rlhf.doctor import further_steps, probes
from summarize_rlhf.doctor.evidence import RM, SFT, Run
from summarize_rlhf.lm.precision import PRECISIONS, dtype_for
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
    options = {"dataset": str(tldr_dir), "max_length": 30, "model": str(gptj_dir)}
    sft = SFT(gptj_dir, options)
    assert probes.probe(Run(sft=sft)) == []
    assert sft.rows_cut == 1
    assert sft.eos_again == pytest.approx(sft.base_eos_again)  # it is the model that it began with
    assert sft.moved == 0
    assert 0 < sft.further_fall < 0.1  # eight small steps
    assert sft.label_loss > 1
    assert sft.eos_loss > 1


def test_the_weights_are_asked_in_a_precision(gptj_dir, tldr_dir, comparisons_dir, tmp_path) -> None:
    """In bf16 and fp16 losses come out as in fp32 but for rounding, and not the same."""
    rm_dir = make_reward_dir(tmp_path / "rm", gptj_dir)
    found = {}
    for precision in PRECISIONS:
        sft = SFT(gptj_dir, {"dataset": str(tldr_dir), "max_length": 60, "model": str(gptj_dir)})
        rm = RM(rm_dir, {"dataset": str(comparisons_dir), "model": str(gptj_dir)})
        with mock.patch.object(Scorer, "from_pretrained", watched := mock.Mock(wraps=Scorer.from_pretrained)):
            assert probes.probe(Run(sft=sft, rm=rm), precision) == []
        assert watched.call_args.kwargs["dtype"] == dtype_for("cpu", precision)
        found[precision] = torch.tensor([sft.label_loss, sft.eos_loss])
        assert (sft.moved, sft.eos_again) == (0, sft.base_eos_again)
        assert 0 <= rm.accuracy <= 1
    assert torch.equal(found["auto"], found["fp32"])
    for half, most in (("bf16", 2e-2), ("fp16", 2e-3)):
        assert not torch.equal(found[half], found["fp32"])
        torch.testing.assert_close(found[half], found["fp32"], rtol=most, atol=most)


def test_how_far_weights_have_moved() -> None:
    """Matrices alone, of the same name and shape."""
    before, after = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 3)), nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 4))
    before[0].weight.data = torch.tensor([[3.0, 0.0], [0.0, 4.0]])
    after[0].weight.data = torch.tensor([[3.0, 0.0], [2.0, 4.0]])
    assert probes.distance(after, before) == pytest.approx(2 / 5)
    assert probes.distance(nn.Linear(7, 7), before) is None


def test_further_steps_by_hand() -> None:
    """Of a weight of 1, a step is .003 towards what the batch asks for; the lowest loss on the way counts."""
    model = nn.Linear(1, 1, bias=False)
    model.weight.data.fill_(-1.0)

    def loss(target: float) -> torch.Tensor:
        return (model.weight - target).square().sum()

    fall = further_steps.further_fall(model, loss, [0.0, 0.0, -2.0], 0.0)
    assert fall == pytest.approx(1 - 0.994**2, rel=1e-4)
    assert model.weight.item() == pytest.approx(-0.997)
    assert further_steps.further_fall(model, loss, [-2.0], 0.0) == 0
    with mock.patch.object(further_steps, "MOST_WEIGHTS", 0):
        assert further_steps.further_fall(model, loss, [0.0], 0.0) is None


def test_the_loss_of_further_steps_is_the_run_s_own(gptj_dir, tldr_dir) -> None:
    """Text that a run was trained on as a whole is not judged by its summaries alone."""
    batches = []
    seen = mock.patch.object(probes, "further_fall", lambda model, loss, train, held_out: batches.append(held_out))
    for loss_on in ("text", "summary"):
        with seen:
            probes.probe_sft(SFT(gptj_dir, {"dataset": str(tldr_dir), "max_length": 60, "loss_on": loss_on}))
    text, summary = ((batch["labels"] != -100).sum(1) for batch in batches)
    assert (text > summary).all()
    assert len(text) > 1


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


class InOrder:
    """Likes words in the order of the alphabet; where there is a z, the other way round."""

    def __init__(self, path: Path):
        self.tokenizer = load_tokenizer(path)

    def score(self, bodies, summaries, places=None) -> torch.Tensor:
        ordered = [
            sum(a < b for a, b in itertools.pairwise(text.split())) * (-1 if "z" in text else 1) for text in summaries
        ]
        return torch.tensor(ordered, dtype=torch.float32)


def test_how_many_labels_score_above_their_own_words_in_random_order(gptj_dir, tmp_path) -> None:
    better = "a b c d e f g h i j k l m n o p"
    texts = [better, better, better, f"{better} z"]
    rows = [
        {"prompt": tldr_row(random.Random(i))["prompt"], "chosen": text, "rejected": "f e d c b a"}
        for i, text in enumerate(texts)
    ]
    write_rows(tmp_path / "test.jsonl", rows)
    rm = RM(gptj_dir, {"dataset": str(tmp_path)})
    with mock.patch.object(probes.Scorer, "from_pretrained", lambda path, **_: InOrder(path)):
        probes.probe_rm(rm)
    assert rm.beats_shuffled == 0.75


def test_a_base_model_of_fewer_tokens_is_not_asked_about_them(gptj_dir, tldr_dir, tmp_path) -> None:
    base = make_model_dir(tmp_path / "base", gptj_config(vocab_size=300))
    sft = SFT(gptj_dir, {"dataset": str(tldr_dir), "max_length": 60, "model": str(base)})
    assert probes.probe(Run(sft=sft)) == []
    assert sft.base_eos_again is None
    assert sft.moved > 0


def test_words_are_shuffled_and_none_is_lost() -> None:
    text = "one two three four five six"
    assert probes.shuffled(text, 0) != text
    assert sorted(probes.shuffled(text, 0).split()) == sorted(text.split())


def test_what_is_gone_is_said_and_left_out(gptj_dir, tmp_path) -> None:
    sft = SFT(gptj_dir, {"dataset": str(tmp_path / "gone"), "max_length": 100})
    (told,) = probes.probe(Run(sft=sft))
    assert told.startswith(f"{gptj_dir} was not probed: ")
    assert sft.label_loss is None
