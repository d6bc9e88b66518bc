"""One update of PPO by plain gradient descent: how long was the step? test_clipping.py starts this by the launchers.

accelerate launch … tests/launched_step.py '{"model": …, "out": …, "cases": [overrides, …]}'
"""

import json
import sys
from pathlib import Path

import torch
from accelerate.state import AcceleratorState, GradientState

sys.path.insert(0, str(Path(__file__).resolve().parent))
from tiny_trlx import tiny_config, tiny_trainer

from summarize_rlhf.run.errors import main_guard

LR = 1e-3
ONE_UPDATE = {
    "optimizer.name": "sgd",
    "optimizer.kwargs": {"lr": LR},
    "scheduler.name": "constant",
    "scheduler.kwargs": {},
    "train.epochs": 1,
    "method.ppo_epochs": 1,
    "method.vf_coef": 1000.0,  # a large gradient
}


def step(model: str, out: str, overrides: dict) -> dict[str, float]:
    """`step`: the length of the step over the learning rate; `norm`: the gradient's, as it was logged."""
    config = tiny_config(Path(model), Path(out), **{"train.batch_size": 8, **ONE_UPDATE, **overrides})
    config.optimizer.kwargs = {"lr": LR}  # without those of Adam
    config.scheduler.kwargs = {}
    trainer = tiny_trainer(config)
    trained = [p for p in trainer.policy.parameters() if p.requires_grad]
    before = [p.detach().double() for p in trained]
    trainer.learn()
    length = torch.stack([(p.detach().double() - was).norm() for p, was in zip(trained, before, strict=True)]).norm()
    rows = [json.loads(line) for line in Path(out, "metrics.jsonl").read_text().splitlines()]
    (norm,) = [row["policy/gradient_norm"] for row in rows if "policy/gradient_norm" in row]
    return {"step": length.item() / LR, "norm": norm}


@main_guard
def main() -> None:
    values, found = json.loads(sys.argv[1]), []
    for number, overrides in enumerate(values["cases"]):
        AcceleratorState._reset_state()  # of the case before
        GradientState._reset_state()
        found.append(step(values["model"], f"{values['out']}/{number}", overrides))
    Path(values["out"], f"steps_{torch.distributed.get_rank()}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main()
