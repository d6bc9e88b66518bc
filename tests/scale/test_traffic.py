"""What is sent in a step and what that costs on paper, by hand; the figures of a run from what its processes wrote."""

import inspect

import pytest
import torch

from benchmarks import collectives, scale_tables, traffic

# --- on paper

PAPER, DEEPSPEED = traffic.GRADIENTS, traffic.GRADIENTS_OF_DEEPSPEED


@pytest.mark.parametrize(
    ("scheme", "gradients", "numbers"),
    [
        ("DDP", PAPER, 2 * 80),
        ("DDP", DEEPSPEED, 2 * 80),
        ("ZeRO-1", PAPER, 80 + 80),
        ("ZeRO-1", DEEPSPEED, 2 * 80 + 80),
        ("ZeRO-2", PAPER, 80 + 80),
        ("ZeRO-2", DEEPSPEED, 2 * 80 + 80),
        ("ZeRO-3", PAPER, 80 + 1000 + 80),
        ("ZeRO-3", DEEPSPEED, 80 + 1000 + 80),
    ],
)
def test_numbers_that_a_process_sends(scheme: str, gradients: dict, numbers: int) -> None:
    """Of 1000 weights 80 are trained; of each collective a process does not send its own part."""
    assert traffic.sent(scheme, 1, 1000, 80, gradients) == 0
    assert traffic.sent(scheme, 4, 1000, 80, gradients) == pytest.approx(3 / 4 * numbers)


def test_bytes_of_a_step_of_gpt_j() -> None:
    """bf16: 2 bytes of each of 6.05e9 weights; 7/8 of them twice, or three times."""
    assert traffic.bytes_of("DDP", 8) == pytest.approx(21.18e9, rel=1e-3)
    assert traffic.bytes_of("ZeRO-3", 8) == pytest.approx(31.77e9, rel=1e-3)
    assert traffic.bytes_of("ZeRO-2", 512) == pytest.approx(3 * 2 * 6.0509e9 * 511 / 512, rel=1e-3)


def test_inside_a_node_all_goes_over_nvlink_and_beyond_it_an_eighth_over_each_network_card() -> None:
    assert traffic.seconds_to_send(45e9, 8) == pytest.approx(0.1)
    assert traffic.seconds_to_send(40e9, 16) == pytest.approx(40 / 8 / 50)


def test_the_slower_kind_of_link_decides(monkeypatch) -> None:
    monkeypatch.setattr(traffic, "BETWEEN", 500e9)
    assert traffic.seconds_to_send(45e9, 16) == pytest.approx(7 / 8 * 0.1)


def test_seconds_of_a_row() -> None:
    """550 tokens · (6 · 6.0509e9 for the weights + 12 · 28 · 4096 · 550 for attention) at 0.45 · 989e12 a second."""
    assert traffic.seconds_to_compute(1) == pytest.approx(550 * (36.305e9 + 0.757e9) / 445.05e12, rel=1e-3)
    assert traffic.seconds_to_compute(16) == pytest.approx(16 * traffic.seconds_to_compute(1))


def test_efficiency() -> None:
    step = traffic.Step(compute=0.3, wire=0.1, busy=1.0)
    assert (step.without_overlap, step.with_overlap) == pytest.approx((0.75, 1.0))
    step = traffic.Step(compute=0.1, wire=0.4, busy=0.5)
    assert (step.without_overlap, step.with_overlap) == pytest.approx((0.1, 0.125))


def test_fewer_rows_than_gpus_leave_gpus_idle() -> None:
    assert traffic.step("DDP", 8) == traffic.Step(
        traffic.seconds_to_compute(16), traffic.seconds_to_send(traffic.bytes_of("DDP", 8), 8), 1.0
    )
    idle, grown = traffic.step("DDP", 512), traffic.step("DDP", 512, 512)
    assert (idle.busy, grown.busy) == (0.25, 1.0)
    assert idle.compute == grown.compute == traffic.seconds_to_compute(1)


# --- what is counted


def test_what_is_handed_to_collectives_is_counted_in_bytes() -> None:
    """Positional or by name, a tensor or a list of them; the call itself is as before."""

    def gather(output: list[torch.Tensor], mine: torch.Tensor, group: str | None = None) -> str:
        return f"{len(output)} {len(mine)} {group}"

    into = {"all-gather": 0}
    counted = collectives.counting(gather, "all-gather", "output", into)
    assert counted([torch.zeros(3), torch.zeros(3)], torch.zeros(3)) == "2 3 None"
    assert into == {"all-gather": 24}
    counted(mine=torch.zeros(1), output=torch.zeros(5, dtype=torch.bfloat16), group="all")
    assert into == {"all-gather": 34}


def test_every_collective_that_is_counted_is_one_of_torch_and_has_its_argument() -> None:
    for name, (kind, argument) in collectives.COUNTED.items():
        assert argument in inspect.signature(getattr(torch.distributed, name)).parameters
        assert kind in traffic.UNITS


# --- the tables


def test_a_run_beside_one_process_and_beside_rings() -> None:
    """3/4 of 4 bytes of 1e6 weights are 3 MB: an all-reduce sends 6, a gather 3; two hosts of two processes sent 40."""
    alone = {"losses": [2.0, 4.0]}
    run = {
        "stage": "sft", "hosts": 2, "processes": 2, "zero": 1, "losses": [2.0, 4.1], "weights": 10**6, "trained": 10**6,
        "tokens_per_s": 100.0, "others": 0.5, "peak": [1e6, 3e6], "cable": [9e6, 11e6], "loopback": [9e6, 11e6],
        "collectives": {"all-reduce": 4e6, "reduce-scatter": 0, "all-gather": 4e6},
    }  # fmt: skip
    line = scale_tables.row(run, alone)
    assert line["losses differ by"] == "3.3e-02"  # 0.1 of 3
    assert (line["a process sends, MB"], line["by the papers, MB"]) == ("10.0", "6.0")
    assert (line["sent / papers"], line["sent / rings"]) == ("1.67", "1.11")
    assert line["collectives, times the weights"] == "all-reduce 1.00, all-gather 1.00"
    assert (line["tokens/s"], line["others took"]) == ("100", "50%")
    assert (line["over the cable, MB"], line["peak of a process, MB"]) == ("11.0", "3")
    collected = {"tokens_per_s": 50.0, "cable": [4e6, 4e6], "loopback": [0, 0], "collectives": {"all-gather": 4e6}}
    line = scale_tables.collection(run | {"stage": "ppo", "collection": collected})
    assert (line["stage"], line["tokens/s"], line["over the cable, MB"]) == ("PPO, a collection", "50", "4.0")
    assert (line["by the papers, MB"], line["losses differ by"]) == ("", "")
