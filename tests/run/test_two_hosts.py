"""Two machines: each stage by the launchers of the documents, on hosts that have a cable between them and no more.

What one machine with as many processes computes, they compute; a machine that dies or has no common disk is told of.
"""

from pathlib import Path

import chaos
import pytest
from chaos_runs import ROOT, SCRIPTS, STAGES, Case, make_inputs
from forkserver import DOCUMENTED
from hosts import Host, Started, two_hosts, why_not
from launch import BIN

PORT = 29500  # nobody else's: each host has ports of its own
PATIENCE = 1200  # seconds for a start or a run, on a machine that has much else to do
ZERO3 = DOCUMENTED | {"ACCELERATE_DEEPSPEED_CONFIG_FILE": "configs/deepspeed/zero3.json"}  # of 4nodes.yaml
LOST = "error: another process of this launch does not answer"


@pytest.fixture(scope="module")
def inputs(tmp_path_factory) -> Path:
    return make_inputs(tmp_path_factory.mktemp("inputs"))


@pytest.fixture
def hosts():
    reason = why_not()
    if reason is not None:
        pytest.skip(f"two hosts cannot be made: {reason}")
    with two_hosts() as made:
        yield made


def launch(case: Case, hosts: list[Host], hidden: Path | None = None) -> list[Started]:
    """The documented command, on each host with its own number. `hidden` is a directory that the second cannot see."""
    hostfile = case.checkpoints.parent.with_name("hostfile")
    slots = case.processes // len(hosts)
    hostfile.write_text("".join(f"{host.address} slots={slots}\n" for host in hosts))
    started = []
    for host in hosts:
        if case.stage == "ppo":
            words = [BIN / "accelerate", "launch", "--config_file", "configs/accelerate/4nodes.yaml"]
            words += ["--num_machines", len(hosts), "--num_processes", case.processes, "--machine_rank", host.rank]
            words += ["--main_process_ip", hosts[0].address, "--main_process_port", PORT]
        else:
            words = [BIN / "deepspeed", "--hostfile", hostfile, "--no_ssh", "--node_rank", host.rank]
            words += ["--master_addr", hosts[0].address, "--master_port", PORT]
        words += [SCRIPTS[case.stage], *case.arguments]
        started.append(host.start(words, ROOT, hidden if host.rank else None))
    return started


def ends_of(started: list[Started]) -> list[int]:
    """How the launchers ended, in order; what they printed where one has failed."""
    codes = [each.wait(PATIENCE) for each in started]
    for each, code in zip(started, codes, strict=True):
        if code:
            print(each.output()[-3000:])
    return codes


@pytest.mark.parametrize(("stage", "processes"), [("sft", 4), ("rm", 2), ("ppo", 2)])
def test_a_host_is_killed_and_both_go_on_to_what_one_host_computes(
    server, inputs, hosts, tmp_path, stage: str, processes: int
) -> None:
    """Losses, weights and samples, bit for bit."""
    alone = STAGES[stage](inputs, tmp_path / "alone", processes)
    environment = ZERO3 if stage == "ppo" else {}
    assert server.start(stage, alone.arguments, ROOT, processes, **environment).wait(PATIENCE) == 0

    case = STAGES[stage](inputs, tmp_path / "hosts", processes)
    first, _ = launch(case, hosts)
    assert chaos.wait_for(first.process, lambda: chaos.newest_of(case) >= 0, PATIENCE), first.output()[-3000:]
    hosts[1].kill()
    assert first.wait(240) != 0
    assert LOST in first.output()
    hosts[0].kill()  # what its launcher may have left

    started = launch(case, hosts)
    assert ends_of(started) == [0, 0]
    assert "going on from" in started[0].output()
    assert chaos.differences(chaos.result_of(case), chaos.result_of(alone)) == []
    assert min(host.bytes_sent() for host in hosts) > 100_000, "nothing went through the cable"


@pytest.mark.parametrize("stage", ["sft", "ppo"])
def test_a_host_without_the_common_disk_is_one_error(inputs, hosts, tmp_path, stage: str) -> None:
    """On each host once: where, what, and what to do."""
    case = STAGES[stage](inputs, tmp_path / "out", 2)
    (tmp_path / "out").mkdir()
    started = launch(case, hosts, hidden=tmp_path / "out")
    for each in started:
        assert each.wait(PATIENCE) != 0
        (told,) = [line for line in each.output().splitlines() if line.startswith("error: ")]
        assert f"{case.checkpoints} is not the same directory on all machines: process 0 on {hosts[0].name} has" in told
        assert f"but process 1 on {hosts[1].name} finds none" in told
        assert "Mount one disk under the same path on every machine" in told
    assert not case.checkpoints.exists()
