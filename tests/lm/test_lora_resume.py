"""A killed run with an adapter goes on and ends with the same bytes; under other options it is refused."""

import os
import signal
import time

import pytest
from launch import flags
from logged import metrics
from lora_runs import COMMON, LORA, OWN, train
from safetensors.torch import load_file
from tiny import make_comparisons, make_model_dir, make_tldr


@pytest.mark.parametrize(("stage", "processes"), [("sft", 0), ("rm", 2)])
def test_bit_equal_after_a_kill(server, tmp_path, stage: str, processes: int) -> None:
    model = make_model_dir(tmp_path / "model")
    data = (make_tldr if stage == "sft" else make_comparisons)(tmp_path / "data", train=11)
    (tmp_path / "whole").mkdir()
    (tmp_path / "cut").mkdir()
    more = {"lora_dropout": 0.1, "per_device_train_batch_size": 1}
    whole = train(server, stage, model, data, tmp_path / "whole/out", processes, **more)

    out = tmp_path / "cut/out"
    values = COMMON | OWN[stage] | LORA | more | {"model": model, "dataset": data, "output_dir": out}
    process = server.start(stage, flags(values), out.parent, processes)
    while not (tmp_path / "cut/out-steps/checkpoint-2").is_dir():
        assert process.poll() is None, (process.folder / "err").read_text()[-2000:]
        time.sleep(0.002)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not out.exists(), "it had ended before the kill"

    other = server.run(stage, flags(values | {"lora_r": 8}), out.parent, processes)
    assert other.code == 2
    assert "lora_r was 4, is 8" in other.err
    again = server.run(stage, flags(values), out.parent, processes)
    assert again.code == 0, again.err[-3000:]
    assert "going on from" in again.out
    for file in sorted(path.name for path in whole.glob("*.safetensors")):
        ours, theirs = load_file(out / file), load_file(whole / file)
        assert ours.keys() == theirs.keys()
        assert all((ours[name] == theirs[name]).all() for name in ours), file
    assert metrics(out) == metrics(whole)
