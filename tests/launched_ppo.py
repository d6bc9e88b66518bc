"""A tiny PPO run for `accelerate launch`: ppo/test_ppo_processes.py starts it with one and with several processes.

accelerate launch … tests/launched_ppo.py '{"model": …, "out": …, "overrides": {…}}'
"""

import json
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent))
from tiny_trlx import PROMPTS, length_reward, tiny_config

import trlx
from summarize_rlhf.run.errors import main_guard


def run(model: str, out: str, overrides: dict) -> None:
    """Trains, saves, loads what it saved; each rank leaves what it saw in `out`/seen_<rank>.json.

    Under `train.elastic` it saves again what it has loaded, to `out`/as_loaded. One prompt to evaluate: of two ranks,
    one has none.
    """
    seen: list[list[str]] = []

    def reward_fn(prompts, outputs, **_):
        seen.append(prompts)
        return length_reward(outputs)

    config = tiny_config(Path(model), Path(out), **overrides)
    trainer = trlx.train(reward_fn=reward_fn, prompts=PROMPTS, eval_prompts=PROMPTS[:1], config=config)
    ids = torch.tensor([[7, 8, 9]])
    greedy = trainer.generate(ids, max_new_tokens=4, do_sample=False).tolist()
    trainer.load(f"{out}/checkpoint_{trainer.step}")
    if config.train.elastic:
        trainer.save(f"{out}/as_loaded")
    again = trainer.generate(ids, max_new_tokens=4, do_sample=False).tolist()
    rank, processes = trainer.accelerator.process_index, trainer.accelerator.num_processes
    kind = str(trainer.accelerator.distributed_type.value)
    found = {"prompts": seen, "processes": processes, "kind": kind, "greedy": greedy, "again": again}
    Path(out, f"seen_{rank}.json").write_text(json.dumps(found))


@main_guard
def main() -> None:
    run(**json.loads(sys.argv[1]))


if __name__ == "__main__":
    main()
