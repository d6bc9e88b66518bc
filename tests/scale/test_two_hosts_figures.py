"""benchmarks/two_hosts.py: which runs there are, and what figures are made of what their processes write down."""

import json

from benchmarks import two_hosts
from benchmarks.two_hosts import Case


def rank(*steps: tuple[float, int, int], most: int = 7, phases: str = "") -> dict:
    """What a process wrote: of each step's end the clock, and the bytes of the cable and the loopback so far.

    `phases` has a letter a step: c, a collection of PPO, or u, an update.
    """
    counted = {"all-reduce": 0, "reduce-scatter": 0, "all-gather": 0}
    written = [dict(zip(("seconds", "cable", "loopback"), step, strict=True)) | counted for step in steps]
    for step, letter in zip(written, phases or "u" * len(steps), strict=True):
        step["phase"] = {"c": "collection", "u": "update"}[letter]
    written[-1]["all-gather"] = 30
    return {"weights": 9, "trained": 5, "steps": written, "most_at_start": 3, "most": most}


def test_figures_leave_the_first_step_out_and_count_each_host_once() -> None:
    first, second = ((10.0, 500, 50), (13.0, 600, 60), (18.0, 900, 90)), ((9.0, 70, 7), (12.0, 80, 8), (17.0, 110, 9))
    ranks = [rank(*first, most=1), rank(*first, most=2), rank(*second, most=3), rank(*second, most=4)]
    found = two_hosts.figures_of(Case("sft", 2, 2, 1), ranks)
    assert found["cable"] == [200, 20]  # a step, of each host
    assert found["loopback"] == [20, 1]
    assert found["collectives"] == {"all-reduce": 0, "reduce-scatter": 0, "all-gather": 15}
    assert found["seconds_per_step"] == 4.0
    assert found["tokens_per_s"] == two_hosts.BATCH["sft"] * two_hosts.TOKENS / 4.0
    assert found["peak"] == [1, 2, 3, 4]
    assert (found["weights"], found["trained"]) == (9, 5)
    assert two_hosts.figures_of(Case("rm", 2, 2, 1), ranks)["tokens_per_s"] == 2 * 8 * 250 / 4.0  # both texts


def test_collections_and_updates_of_ppo_are_told_apart() -> None:
    """Of each kind the first one is a warm-up; what is left takes the time and the bytes since what came before it."""
    ends = ((10.0, 0, 0), (20.0, 1000, 0), (22.0, 1004, 0), (24.0, 1010, 0), (30.0, 1110, 0), (31.0, 1115, 0))
    found = two_hosts.figures_of(Case("ppo", 2, 1, 1), [rank(*ends, phases="cuuucu"), rank(*ends, phases="cuuucu")])
    assert found["cable"] == [5, 5]  # 4, 6 and 5
    assert found["seconds_per_step"] == (2 + 2 + 1) / 3
    assert found["tokens_per_s"] == two_hosts.BATCH["ppo"] * two_hosts.TOKENS / found["seconds_per_step"]
    collection = found["collection"]
    assert (collection["cable"], collection["seconds_per_step"]) == ([100, 100], 6.0)
    assert collection["tokens_per_s"] == two_hosts.ROLLOUTS * two_hosts.TOKENS / 6.0


def test_a_run_is_one_micro_batch_of_the_same_global_batch(tmp_path) -> None:
    for case in two_hosts.cases():
        words = two_hosts.arguments(case, tmp_path)
        if case.stage == "ppo":
            given = json.loads(words[0])
            updates = given["method.num_rollouts"] / two_hosts.BATCH["ppo"] * given["method.ppo_epochs"]
            assert updates * given["train.epochs"] == two_hosts.STEPS
            rows = given["train.batch_size"]
        else:
            rows = int(words[words.index("--per_device_train_batch_size") + 1])
        assert rows * case.hosts * case.processes == two_hosts.BATCH[case.stage]


def test_every_layout_and_stage_of_zero_is_run_beside_one_process() -> None:
    names = [case.name for case in two_hosts.cases()]
    assert len(names) == len(set(names)) == 3 * (1 + 2 * 4)
    assert names[:3] == ["sft/1x1/0", "sft/2x1/0", "sft/2x1/1"]
    assert names[-1] == "ppo/2x2/3"
