"""Every file in configs/: read by the real DeepSpeed and Accelerate as on GPUs, and launched by its documented command.

A machine without a GPU starts the same launchers on two processes, over gloo.
"""

import os
import shutil
import subprocess
from pathlib import Path

import deepspeed.runtime.config as ds
import pytest
import torch
from accelerate.commands.config.config_args import load_config_from_file
from configured_launches import ACCELERATE, DEEPSPEED, DOCUMENTED, overrides, values
from deepspeed.launcher.runner import fetch_hostfile
from launch import BIN, deepspeed, flags, free_port, run
from safetensors.torch import load_file

from summarize_rlhf.run.deepspeed_config import check_batch, deepspeed_config

CLUSTER = {"cluster/hostfile", "cluster/slurm.sbatch"}
CONFIGS = Path(__file__).resolve().parents[2] / "configs"


def files() -> set[str]:
    return {path.relative_to(CONFIGS).as_posix() for path in CONFIGS.rglob("*") if path.is_file()}


def test_none_is_left_out() -> None:
    """Of the tests of this file (presets have their own), and of the commands in docs/running.md."""
    named = {f"deepspeed/{name}.json" for name in DEEPSPEED} | {f"accelerate/{name}.yaml" for name in ACCELERATE}
    ours = {name for name in files() if not name.startswith("presets/")}
    assert ours == named | CLUSTER | DOCUMENTED
    page = (CONFIGS.parent / "docs/running.md").read_text(encoding="utf-8")
    assert [name for name in sorted(ours) if f"configs/{name}" not in page] == []


@pytest.mark.parametrize("half", ["bf16", "fp16"])
@pytest.mark.parametrize("name", DEEPSPEED)
def test_deepspeed_reads_it_as_on_gpus(monkeypatch, name: str, half: str) -> None:
    """By our adaptation for a GPU of either precision; a file that insists on bf16 is one for bf16."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}[half]
    if name.endswith("bf16") and half == "fp16":
        pytest.skip("insists on bf16")
    file = f"configs/deepspeed/{name}.json"
    config = deepspeed_config(file, dtype)
    batch = {"train_batch_size": 8, "train_micro_batch_size_per_gpu": 2, "gradient_accumulation_steps": 4}
    check_batch(file, config, batch)
    read = ds.DeepSpeedConfig(config | batch | {"gradient_clipping": 0.0})
    zero = read.zero_config
    assert zero.stage == int(name[4])
    assert (zero.offload_optimizer is not None) == ("offload" in name)
    assert (zero.offload_param is not None) == (name == "zero3_offload")
    assert (read.bfloat16_config.enabled, read.float16_config.enabled) == (half == "bf16", half == "fp16")
    if zero.stage == 3:
        assert zero.gather_16bit_weights_on_model_save


@pytest.mark.parametrize(("name", "machines", "processes"), ACCELERATE.values(), ids=ACCELERATE)
def test_accelerate_reads_it(name: str, machines: int, processes: int) -> None:
    found = load_config_from_file(str(CONFIGS / f"accelerate/{name}.yaml"))
    assert (found.num_machines, found.num_processes) == (machines, processes)
    assert found.distributed_type.value == "DEEPSPEED"
    assert (CONFIGS.parent / found.deepspeed_config["deepspeed_config_file"]).is_file()
    assert found.mixed_precision is None, "the DeepSpeed file and the hardware decide"


def test_the_hostfile_is_four_machines_of_eight() -> None:
    assert list(fetch_hostfile(str(CONFIGS / "cluster/hostfile")).values()) == [8] * 4


# --- launched


@pytest.mark.parametrize("name", DEEPSPEED)
def test_stages_1_and_2_start_with_it(server, root, gptj_dir, tldr_dir, comparisons_dir, tmp_path, name: str) -> None:
    """Two processes: `deepspeed --num_gpus 2 sft/train_gptj_summarize.py --deepspeed_config configs/deepspeed/…`, and
    the reward model on stage 1's directory. Files that insist on bf16 get it, on a CPU, too."""
    more = {"deepspeed_config": f"configs/deepspeed/{name}.json"}
    more |= {"precision": "bf16"} if name.endswith("bf16") else {}
    sft = flags(values("sft") | more | {"dataset": tldr_dir, "model": gptj_dir, "output_dir": tmp_path / "sft"})
    done = deepspeed("sft/train_gptj_summarize.py", sft, root, 2)
    assert done.returncode == 0, done.stderr[-3000:]
    rm = values("rm") | more | {"dataset": comparisons_dir, "model": tmp_path / "sft", "output_dir": tmp_path / "rm"}
    ended = server.run("rm", flags(rm), root, 2)
    assert ended.code == 0, ended.err[-3000:]
    dtype = torch.bfloat16 if name.endswith("bf16") else torch.float32
    for stage in ("sft", "rm"):
        assert dtype in {x.dtype for x in load_file(tmp_path / stage / "model.safetensors").values()}


@pytest.mark.parametrize("name", ACCELERATE)
def test_stage_3_starts_with_it(root, gptj_dir, tldr_dir, tmp_path, name: str) -> None:
    """The real launcher; as many processes as two, as many machines as one."""
    fewer = ["--num_machines", "1", "--num_processes", str(min(2, ACCELERATE[name][2]))]
    command = [BIN / "accelerate", "launch", "--config_file", f"configs/accelerate/{name}.yaml", *fewer]
    command += ["--main_process_port", free_port(), "trlx_gptj_text_summarization.py"]
    done = run([*command, overrides(gptj_dir, tldr_dir, tmp_path)], root)
    assert done.returncode == 0, done.stderr[-3000:]
    assert load_file(tmp_path / "out/best_checkpoint/hf_model/model.safetensors")


# What the two commands of SLURM do here: every machine is this one.
SRUN = """#!/bin/bash
while [[ $1 == --* ]]; do shift; done
for ((node = 1; node < SLURM_NNODES; node++)); do SLURM_NODEID=$node "$@" & done
SLURM_NODEID=0 "$@" && wait
"""
SCONTROL = "#!/bin/bash\nprintf '127.0.0.1\\n'\nprintf 'elsewhere%s\\n' {1..20000}\n"  # more than a pipe holds


@pytest.mark.parametrize("stage", ["sft", "rm", "ppo"])
def test_slurm_starts_a_stage_on_two_machines(root, gptj_dir, tldr_dir, comparisons_dir, tmp_path, stage) -> None:
    """The script itself, of which each machine runs the launcher with its own number."""
    for name, text in (("srun", SRUN), ("scontrol", SCONTROL)):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    slurm = {"SLURM_SUBMIT_DIR": str(root), "SLURM_NNODES": "2", "SLURM_GPUS_ON_NODE": "1", "SLURM_JOB_NODELIST": "x"}
    slurm |= {"MASTER_PORT": str(free_port()), "PATH": f"{tmp_path}:{BIN}:{os.environ['PATH']}"}
    if stage == "ppo":
        arguments = ["trlx_gptj_text_summarization.py", overrides(gptj_dir, tldr_dir, tmp_path)]
        written = tmp_path / "out/best_checkpoint/hf_model/model.safetensors"
    else:
        data = {"sft": tldr_dir, "rm": comparisons_dir}[stage]
        chosen = values(stage) | {"dataset": data, "model": gptj_dir, "output_dir": tmp_path / "out"}
        script = {"sft": "sft/train_gptj_summarize.py", "rm": "reward_model/train_reward_model_gptj.py"}[stage]
        arguments = [script, *flags(chosen)]
        written = tmp_path / "out/model.safetensors"
    done = run(["bash", "configs/cluster/slurm.sbatch", *arguments], root, **slurm)
    assert done.returncode == 0, done.stderr[-3000:]
    assert load_file(written)


def test_the_batch_script_says_what_is_missing(root) -> None:
    bare = {"PATH": os.environ["PATH"], "SLURM_SUBMIT_DIR": str(root), "SLURM_JOB_NODELIST": "x"}
    for environment, told in (({"PATH": bare["PATH"]}, "start this by sbatch"), (bare, "name a stage")):
        command = [shutil.which("bash"), "configs/cluster/slurm.sbatch"]
        done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode != 0
        assert told in done.stderr
