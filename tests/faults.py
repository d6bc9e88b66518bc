"""The faults that planted_faults.py plants: each a changed option, changed data, or code patched from outside.

A fault trains one stage on healthy ones before it. `patch` runs in the child process that trains, and only there.
"""

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple
from unittest import mock

from summarize_rlhf.text import bare_body, bare_summary

PPO_RATE = ("optimizer.kwargs.lr", "scheduler.kwargs.eta_min")  # the rate and the end of its schedule


class Fault(NamedTuple):
    """Training `stage` with `options` (over the healthy ones) under `patch` on `data`; the doctor must say `cause`.

    `times` multiplies healthy options.
    """

    name: str
    stage: str
    cause: str
    options: Mapping[str, Any] = MappingProxyType({})
    times: Mapping[str, float] = MappingProxyType({})
    patch: Callable[[], Any] = contextlib.nullcontext
    data: Callable[[dict, str], dict] | None = None  # of a row and its split
    start: int = 0  # which of the healthy runs it is trained on; the doctor is given the first


# ---------------------------------------------------------------------- code patched from outside
def eos_masked() -> Any:
    """Drop the loss of each row's EOS, as where pad is EOS and padding is masked by its id."""
    from sft.summarize_dataset import IGNORED, TLDRDataset

    whole = TLDRDataset.__getitem__

    def masked(self, index: int) -> dict:
        row = whole(self, index)
        return {"input_ids": row["input_ids"], "labels": [*row["labels"][:-1], IGNORED]}

    return mock.patch.object(TLDRDataset, "__getitem__", masked)


def padding_trained() -> Any:
    """Supervise padding, as the published code did."""
    from sft.summarize_dataset import PadRight

    whole = PadRight.__call__

    def supervised(self, rows: list[dict]) -> dict:
        batch = whole(self, rows)
        for labels, row in zip(batch["labels"], rows, strict=True):
            labels[len(row["input_ids"]) :] = self.pad_token_id
        return batch

    return mock.patch.object(PadRight, "__call__", supervised)


def text_cut_at_its_end() -> Any:
    """Cut a text that is too long at its end: `TL;DR:` and the summary go first."""
    from sft import summarize_dataset

    whole = summarize_dataset.encode

    def cut(tokenizer, prompts, labels, max_length, places) -> dict[str, list]:
        encoded = whole(tokenizer, prompts, labels, 10**6, places)
        encoded["cut"] = [False] * len(prompts)  # it does not know
        encoded["input_ids"] = [ids[:max_length] for ids in encoded["input_ids"]]
        encoded["length"] = [len(ids) for ids in encoded["input_ids"]]
        return encoded

    return mock.patch.object(summarize_dataset, "encode", cut)


def another_template() -> Any:
    """Train the reward model on texts without start, `TL;DR:` and line end."""
    from reward_model import encoding

    return mock.patch.object(encoding, "rm_text", lambda body, summary: f"{bare_body(body)} {bare_summary(summary)}")


def moving_reference() -> Any:
    """Let the reference be the blocks that train."""
    from trlx.models.policy import PolicyWithValueHead

    def moving(self, tokens, trunk, before, responses, temperature, keep_from):
        states = self.decoder.run_top(list(self.decoder.blocks)[self.depth :], trunk, keep_from)
        return self._of_responses(self.decoder, states, before, responses, temperature)[0]

    return mock.patch.object(PolicyWithValueHead, "reference_logprobs", moving)


def shortness_paid() -> Any:
    """Score a summary by how few words it has."""
    import torch

    from reward_model.scoring import Scorer

    def score(self, bodies, summaries, *_: Any, **__: Any):
        return torch.tensor([-float(len(summary.split())) for summary in summaries])

    return mock.patch.object(Scorer, "score", score)


# ---------------------------------------------------------------------- changed rows
def flipped(row: dict, split: str) -> dict:
    return row | {"chosen": row["rejected"], "rejected": row["chosen"]}


def flipped_in_train(row: dict, split: str) -> dict:
    return flipped(row, split) if split == "train" else row


def longer_wins(row: dict, split: str) -> dict:
    return flipped(row, split) if len(row["chosen"]) < len(row["rejected"]) else row


def one_label(row: dict, split: str) -> dict:
    return row | {"label": "Somebody did something to me, and I do not know what to do about it now."}


def write_changed(source: Path, target: Path, change: Callable[[dict, str], dict]) -> Path:
    """Write the rows of `source`, each changed, to `target`."""
    target.mkdir(parents=True, exist_ok=True)
    for file in source.glob("*.jsonl"):
        rows = map(json.loads, file.read_text(encoding="utf-8").splitlines())
        text = "".join(json.dumps(change(row, file.stem)) + "\n" for row in rows)
        (target / file.name).write_text(text, encoding="utf-8")
    return target


def faults() -> Iterator[Fault]:
    """Yield all faults, in the order of the stages."""
    yield Fault("EOS masked with the padding", "sft", "eos_not_taught", patch=eos_masked)
    yield Fault("padding supervised as EOS", "sft", "padding_supervised", patch=padding_trained)
    yield Fault("learning rate × 10", "sft", "learning_rate_too_high", times={"learning_rate": 10})
    yield Fault("learning rate ÷ 10", "sft", "learning_rate_too_low", times={"learning_rate": 0.1})
    few = {"max_steps": 38, "eval_steps": 19, "logging_steps": 3}
    yield Fault("a quarter of the steps", "sft", "undertrained", few)
    cut = {"max_length": 96, "loss_on": "text"}
    yield Fault("texts cut at their end, TL;DR: lost", "sft", "posts_cut", cut, patch=text_cut_at_its_end)

    yield Fault("the same label in every row", "sft", "collapsed", data=one_label)

    yield Fault("labels flipped in train", "rm", "labels_flipped", data=flipped_in_train)
    yield Fault("labels flipped in train and test", "rm", "labels_flipped", data=flipped)
    yield Fault("the longer summary always wins", "rm", "pays_for_length", data=longer_wins)
    yield Fault("learning rate × 10", "rm", "learning_rate_too_high", times={"learning_rate": 10})
    yield Fault("learning rate ÷ 10", "rm", "learning_rate_too_low", times={"learning_rate": 0.1})
    yield Fault("trained from another SFT model", "rm", "other_model", start=1)
    yield Fault("trained on another text template", "rm", "other_template", patch=another_template)

    yield Fault("learning rate × 10", "ppo", "learning_rate_too_high", times=dict.fromkeys(PPO_RATE, 10))
    yield Fault("learning rate ÷ 10", "ppo", "learning_rate_too_low", times=dict.fromkeys(PPO_RATE, 0.1))
    yield Fault("KL coefficient 0", "ppo", "kl_coefficient_zero", {"method.init_kl_coef": 0.0})
    yield Fault("KL coefficient × 20", "ppo", "kl_coefficient_too_high", times={"method.init_kl_coef": 20})
    yield Fault("value loss weighs nothing", "ppo", "values_do_not_fit", {"method.vf_coef": 0.0})
    yield Fault("reward clipped flat", "ppo", "reward_flat", {"method.cliprange_reward": 0.02})
    scaled = {"method.scale_reward": "ref", "method.ref_std": 200.0}
    yield Fault("reward scaled flat", "ppo", "reward_flat", scaled)
    top_k = {"method.gen_kwargs": {"max_new_tokens": 50, "top_k": 3}}
    yield Fault("sampled with top-k, trained without", "ppo", "sampling_bent", top_k)
    yield Fault("reference shares the trained blocks", "ppo", "reference_moves", patch=moving_reference)
    collapse = {"method.init_kl_coef": 0.001, "train.epochs": 16}
    yield Fault("a reward that one empty answer wins", "ppo", "collapsed", collapse, patch=shortness_paid)
