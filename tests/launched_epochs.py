"""Trains stages 1 and 2 in several shapes of batches, one after the other; run/test_global_batch.py starts it.

launched_epochs '{"sft": [{…}, …], "rm": [{…}, …], "out": …}'

Each case holds arguments of the stage. Its folder in `out` gets the weights before and after (`before.pt`,
`after.pt`) and what was logged (`log.json`).
"""

import json
import sys
from pathlib import Path
from typing import Any

import torch
from accelerate.state import AcceleratorState, GradientState

from reward_model import train_reward_model_gptj as rm
from reward_model.comparisons import encode_comparisons, load_comparisons
from reward_model.pairs import PackedPairs
from reward_model.reward_model import RewardModel
from sft import train_gptj_summarize as sft
from sft.loss import SupervisedLM
from sft.summarize_dataset import PadRight, TLDRDataset
from summarize_rlhf.data import load_rows
from summarize_rlhf.lm import over_vocabulary
from summarize_rlhf.lm.precision import dtype_for
from summarize_rlhf.lm.weights import load_causal_lm
from summarize_rlhf.run import launch
from summarize_rlhf.run.metrics import MetricsFile
from summarize_rlhf.run.sampler import LengthGroupedSampler
from summarize_rlhf.run.zero3 import gathered_state_dict
from summarize_rlhf.tokenizer import load_tokenizer


def sft_trainer(values: sft.SFTArguments, **kwargs: Any) -> sft.SFTTrainer:
    tokenizer = load_tokenizer(values.model)
    train, valid = (
        TLDRDataset(load_rows(values.dataset, split, ["prompt", "label"]), tokenizer, values.max_length)
        for split in ("train", "valid")
    )
    return sft.SFTTrainer(
        model=SupervisedLM(load_causal_lm(values.model)),
        data_collator=PadRight(tokenizer.pad_token_id),
        train_dataset=train,
        eval_dataset=valid,
        order=LengthGroupedSampler(train.lengths, values.global_batch_size, values.seed),
        **kwargs,
    )


def rm_trainer(values: rm.RewardArguments, **kwargs: Any) -> rm.RewardTrainer:
    tokenizer = load_tokenizer(values.model)
    train, test = (
        encode_comparisons(load_comparisons(values.dataset, split, None)[0], tokenizer, values.max_length)
        for split in ("train", "test")
    )
    return rm.RewardTrainer(
        model=RewardModel.from_causal_lm(values.model),
        pairs=PackedPairs(tokenizer.pad_token_id),
        loss=values.loss,
        train_dataset=train,
        eval_dataset=test,
        order=LengthGroupedSampler(train["length"][:], values.global_batch_size, values.seed),
        **kwargs,
    )


STAGES = {"sft": (sft, sft.SFTArguments, sft_trainer), "rm": (rm, rm.RewardArguments, rm_trainer)}


def train(stage: str, values: dict[str, Any], out: Path) -> None:
    AcceleratorState._reset_state()  # of the case before
    GradientState._reset_state()
    module, arguments, make_trainer = STAGES[stage]
    args = arguments(**values, output_dir=str(out / "unused"), report_to="none")
    torch.manual_seed(args.seed)
    training = module.training_arguments(args, out / "steps", dtype_for())
    trainer = make_trainer(args, args=training, settings={}, minutes=None, metrics=MetricsFile(out / "steps"))
    before = {name: x.clone() for name, x in trainer.model.state_dict().items()}
    trainer.train()
    after = gathered_state_dict(trainer.model)
    if training.process_index == 0:
        torch.save(before, out / "before.pt")
        torch.save(after, out / "after.pt")
        (out / "log.json").write_text(json.dumps(trainer.state.log_history))


def main() -> None:
    cases = json.loads(sys.argv[-1])
    out = Path(cases.pop("out"))
    launch.join_launch()
    over_vocabulary.LOGITS_AT_ONCE = 2**14  # some 40 tokens: one process has more pieces than the other
    for stage in STAGES:
        for number, values in enumerate(cases[stage]):
            train(stage, values, out / f"{stage}_{number}")


if __name__ == "__main__":
    main()
