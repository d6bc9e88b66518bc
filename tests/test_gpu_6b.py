"""The benchmark for one GPU, run at a tiny size where there is none: all phases, with and without CUDA graphs."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from launch import OF_A_LAUNCH


@pytest.mark.skipif(torch.cuda.is_available(), reason="runs at full size there")
def test_all_phases_end_and_are_written(root: Path, tmp_path: Path) -> None:
    own = {name: value for name, value in os.environ.items() if name not in OF_A_LAUNCH}
    command = [sys.executable, "benchmarks/gpu_6b.py", "--out", str(tmp_path / "raw.json")]
    done = subprocess.run(
        command, cwd=root, env=own | {"PYTHONPATH": str(root)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads((tmp_path / "raw.json").read_text(encoding="utf-8"))
    assert json.loads(done.stdout.splitlines()[-1]) == found
    phases = {"hardware", "sft", "decoding_1", "decoding_6", "rm", "ppo"}
    assert phases < found.keys()
    for phase in phases:
        assert all(value > 0 for value in found[phase].values()), phase
    for rows in (1, 6):
        decoding = found[f"decoding_{rows}"]
        assert decoding["rows"] == rows
        assert decoding["same_tokens"] == 1
        assert {"tokens_per_s", "tokens_per_s_graphs", "share_of_bandwidth_graphs"} < decoding.keys()
    assert {"generate_s", "generate_graphs_s", "hours_for_6400_episodes", "peak_gb"} < found["ppo"].keys()
