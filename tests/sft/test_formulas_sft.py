"""Stage 1 gives the weights, rates and figures that its formulas give, computed the slow way."""

import json
import math

import pytest
import torch
from forked import forked, run_main
from formulas import OPTIONS, RATES, check_weights, metrics
from tiny import make_tldr
from transformers import AutoModelForCausalLM

from sft import train_gptj_summarize as stage
from sft.summarize_dataset import encode
from summarize_rlhf.data import load_rows
from summarize_rlhf.rouge import rouge
from summarize_rlhf.text import cut_post
from summarize_rlhf.tokenizer import load_tokenizer

VALUES = OPTIONS | {
    "max_grad_norm": 0.4,
    "max_length": 80,
    "max_new_tokens": 12,
    "rouge_rows": 5,
}


def main_observed(values: dict) -> dict:
    """Runs the stage; returns the modes in which its model ran, with gradients and without."""
    seen = {"with": set(), "without": set(), "checkpointing": set()}
    original = stage.SFTTrainer.train

    def observed(trainer, **kwargs):
        def note(model, *_):
            seen["with" if torch.is_grad_enabled() else "without"].add(model.model.training)
            seen["checkpointing"].add(model.model.is_gradient_checkpointing)

        trainer.model.register_forward_hook(note)
        return original(trainer, **kwargs)

    stage.SFTTrainer.train = observed
    run_main(stage.main, values)
    return seen


@pytest.fixture(scope="module")
def run(gptj_dir, tmp_path_factory):
    """The real stage under DeepSpeed: its directory, its data, and what was observed."""
    folder = tmp_path_factory.mktemp("sft")
    data = make_tldr(folder / "data", train=24, valid=8, test=1)
    values = VALUES | {"model": gptj_dir, "dataset": data, "output_dir": folder / "out"}
    return folder / "out", data, forked(main_observed, values)


def token_losses(model, ids: list[int]) -> torch.Tensor:
    """The cross-entropy of each token but the first."""
    logits = model(torch.tensor([ids])).logits[0].double()
    return -logits[:-1].log_softmax(-1)[torch.arange(len(ids) - 1), ids[1:]]


def texts_as_ids(data, split: str, tokenizer) -> list[list[int]]:
    rows = load_rows(data, split, ["prompt", "label"])
    texts = tokenizer([f"{row['prompt']} {row['label']}" for row in rows]).input_ids
    return [[*ids, tokenizer.eos_token_id] for ids in texts]


def test_weights_are_those_of_adamw(run, gptj_dir):
    """Every optimizer option, the schedule, the order by seed, the mean over a global batch's tokens: to 1e-5."""
    out, data, _ = run
    model = AutoModelForCausalLM.from_pretrained(gptj_dir)
    texts = texts_as_ids(data, "train", load_tokenizer(gptj_dir))
    assert max(map(len, texts)) <= VALUES["max_length"]  # nothing is cut here

    def loss(rows: list[int]) -> torch.Tensor:
        return torch.cat([token_losses(model, texts[row]) for row in rows]).mean().float()

    check_weights(out, model, loss, list(map(len, texts)), max_norm=0.4)


def test_rate_of_each_step(run):
    assert metrics(run[0], "learning_rate") == pytest.approx(RATES)


def test_loss_of_valid_is_the_mean_over_all_its_tokens(run):
    out, data, _ = run
    model = AutoModelForCausalLM.from_pretrained(out).eval()
    with torch.no_grad():
        losses = [token_losses(model, ids) for ids in texts_as_ids(data, "valid", load_tokenizer(out))]
    loss = torch.cat(losses).mean().item()
    assert metrics(out, "eval_loss") == pytest.approx([loss], abs=1e-5)
    assert metrics(out, "eval_perplexity") == pytest.approx([math.exp(loss)], rel=1e-5)


def test_model_trains_in_training_mode_and_is_evaluated_without_dropout(run):
    assert run[2]["with"] == {True}
    assert run[2]["without"] == {False}
    assert run[2]["checkpointing"] == {True}  # the default: activations are computed again


@pytest.fixture(scope="module")
def run_on_summaries(gptj_dir, tmp_path_factory):
    """One step on the summaries alone, of posts that are too long."""
    folder = tmp_path_factory.mktemp("summaries")
    data = make_tldr(folder / "data", train=4, valid=5, test=1, words=40)
    values = VALUES | {"model": gptj_dir, "dataset": data, "output_dir": folder / "out", "max_steps": 1}
    values |= {"loss_on": "summary", "gradient_checkpointing": False}
    return folder / "out", data, forked(main_observed, values)


def test_summaries_leave_room_for_themselves(run_on_summaries):
    """Prompts of at most max_length - max_new_tokens tokens, as in PPO; ROUGE is that of what was written."""
    out, _, seen = run_on_summaries
    assert seen["checkpointing"] == {False}
    samples = [json.loads(line) for line in (out / "samples.jsonl").read_text().splitlines()]
    tokenizer = load_tokenizer(out)
    lengths = [len(tokenizer(sample["prompt"]).input_ids) for sample in samples]
    assert max(lengths) <= 80 - 12
    assert max(lengths) > 80 - 12 - 5
    figures = rouge([sample["summary"] for sample in samples], [sample["label"] for sample in samples])
    assert metrics(out, "generated_rouge1") == [figures["rouge1"]]


def test_loss_on_the_summary_alone(run_on_summaries):
    """The mean over the tokens of the summaries and their EOS, of posts cut so that all fits."""
    out, data, _ = run_on_summaries
    model, tokenizer = AutoModelForCausalLM.from_pretrained(out).eval(), load_tokenizer(out)
    losses = []
    for row in load_rows(data, "valid", ["prompt", "label"]):
        body = row["prompt"].removesuffix("\nTL;DR:")
        body = cut_post(tokenizer, body, 79, lambda cut, row=row: f"{cut}\nTL;DR: {row['label']}")
        count = len(tokenizer(f" {row['label']}").input_ids) + 1
        ids = [*tokenizer(f"{body}\nTL;DR: {row['label']}").input_ids, tokenizer.eos_token_id]
        with torch.no_grad():
            losses.append(token_losses(model, ids)[-count:])
    assert metrics(out, "eval_loss") == pytest.approx([torch.cat(losses).mean().item()], abs=1e-5)


def test_a_row_of_exactly_the_limit_is_whole(gptj_dir):
    """The limit counts the EOS; a row one token longer loses the end of its post, and no more than it must."""
    tokenizer = load_tokenizer(gptj_dir)
    row = {"prompt": "POST: my cat moved again\nTL;DR:", "label": "my cat moved"}
    whole = len(tokenizer(f"{row['prompt']} {row['label']}").input_ids) + 1
    (ids,) = encode(tokenizer, [row["prompt"]], [row["label"]], whole, [""])["input_ids"]
    assert tokenizer.decode(ids) == "POST: my cat moved again\nTL;DR: my cat moved<|endoftext|>"
    (ids,) = encode(tokenizer, [row["prompt"]], [row["label"]], whole - 1, [""])["input_ids"]
    assert len(ids) == whole - 1
    assert tokenizer.decode(ids) == "POST: my cat moved\nTL;DR: my cat moved<|endoftext|>"
