"""Gradients are clipped where we say so and nowhere else, under every launcher; nothing is left to others' defaults."""

import json
from pathlib import Path

import deepspeed.runtime.config as ds
import pytest
from deepspeed.runtime.precision_config import DeepSpeedBF16Config, DeepSpeedFP16Config
from deepspeed.runtime.zero.config import DeepSpeedZeroConfig
from launch import BIN, flags, run
from launched_step import step
from safetensors.torch import load_file

from summarize_rlhf.run.deepspeed_defaults import EXPLICIT, clip_at, written_out

DOCUMENTED = ["--config_file", "configs/default_accelerate_config.yaml"]
LAUNCHES = {
    "documented": (DOCUMENTED, {"train.batch_size": 2}),  # × 4 of the DeepSpeed file
    "flags": (["--num_machines", "1", "--num_processes", "1", "--use_deepspeed", "--zero_stage", "2"], {}),
    "ddp": (
        ["--num_machines", "1", "--num_processes", "2", "--multi_gpu", "--mixed_precision", "no"],
        {"train.batch_size": 4},
    ),
}


# --- stage 3: how long a step is


@pytest.fixture(scope="module")
def norm(gptj_dir, tmp_path_factory) -> float:
    """The gradient's norm, of one process without a launcher; its step has that length."""
    found = step(str(gptj_dir), str(tmp_path_factory.mktemp("plain")), {})
    assert found["norm"] > 20
    assert found["step"] == pytest.approx(found["norm"], rel=1e-3)
    return found["norm"]


def test_a_step_is_clipped_where_it_is_asked_for(gptj_dir, tmp_path, norm):
    found = step(str(gptj_dir), str(tmp_path), {"train.max_grad_norm": 1.0})
    assert (found["step"], found["norm"]) == (pytest.approx(1.0, rel=1e-3), pytest.approx(norm, rel=1e-4))


@pytest.mark.parametrize("launch", LAUNCHES)
def test_launched_a_step_has_the_length_of_the_gradient(root, gptj_dir, tmp_path, norm, launch):
    """One launch takes a step that is not clipped, and one that is."""
    options, overrides = LAUNCHES[launch]
    clips = [None, 1.0]
    cases = [overrides | {"train.max_grad_norm": clip} for clip in clips]
    values = {"model": str(gptj_dir), "out": str(tmp_path), "cases": cases}
    command = [BIN / "accelerate", "launch", "--main_process_port", 0, *options, "tests/launched_step.py"]
    done = run([*command, json.dumps(values)], root, DS_ACCELERATOR="cpu")
    assert done.returncode == 0, done.stderr[-3000:]
    ranks = [json.loads(path.read_text()) for path in sorted(tmp_path.glob("steps_*.json"))]
    assert len(ranks) == (2 if launch == "ddp" else 1)
    for steps in ranks:
        for found, clip in zip(steps, clips, strict=True):
            assert found["norm"] == pytest.approx(norm, rel=1e-4)
            assert found["step"] == pytest.approx(norm if clip is None else clip, rel=1e-3)


# --- stages 1 and 2: what the engine is told


def stage_arguments(stage: str, model: Path, data: Path, out: Path) -> dict:
    values = {"model": model, "dataset": data, "output_dir": out, "report_to": "none", "max_length": 100}
    values |= {"global_batch_size": 4, "per_device_train_batch_size": 4, "max_steps": 1, "warmup_steps": 0}
    values |= {"learning_rate": 10, "adam_epsilon": 1e3, "logging_steps": 1, "max_train_rows": 16}
    return values | ({"rouge_rows": 0} if stage == "sft" else {"max_eval_rows": 4})


@pytest.mark.parametrize("stage", ["sft", "rm"])
def test_stages_1_and_2_clip_nothing_unless_asked(server, gptj_dir, tldr_dir, comparisons_dir, tmp_path, stage):
    """With an epsilon far above every gradient, Adam's first step is lr / eps × gradient."""
    data = tldr_dir if stage == "sft" else comparisons_dir
    steps = {}
    for name, clip in (("none", {}), ("clipped", {"max_grad_norm": 0.5})):
        values = stage_arguments(stage, gptj_dir, data, tmp_path / name)
        ended = server.run(stage, flags(values | clip), tmp_path, 1)
        assert ended.code == 0, ended.err[-3000:]
        after, before = load_file(tmp_path / name / "model.safetensors"), load_file(gptj_dir / "model.safetensors")
        shared = [key for key in after if key in before]
        squares = sum((after[key].double() - before[key].double()).square().sum() for key in shared)
        lines = [json.loads(line) for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
        (norm,) = [line["grad_norm"] for line in lines if "grad_norm" in line]
        steps[name] = (squares.sqrt().item() * 1e3 / 10, norm)
    assert steps["none"][1] == steps["clipped"][1] > 1
    assert steps["none"][0] / steps["clipped"][0] == pytest.approx(steps["none"][1] / 0.5, rel=1e-2)
    if stage == "sft":  # of the reward model, the head is not in `before`
        assert [length for length, _ in steps.values()] == pytest.approx([steps["none"][1], 0.5], rel=1e-2)


@pytest.mark.parametrize(
    ("asked", "in_file", "at"),
    [(None, "auto", 0.0), (None, None, 0.0), (None, 0.5, 0.5), (2.0, "auto", 2.0), (2.0, 0.5, 2.0), (2.0, None, 2.0)],
)
def test_what_is_asked_for_comes_before_what_the_file_says(asked, in_file, at):
    assert clip_at(asked, in_file) == at


# --- nothing is left to a default of DeepSpeed's

STRUCTURE = {"stage", "zenflow", "leaf_module", "stage3_model_persistence_threshold"}
STRUCTURE |= {"offload_param", "offload_optimizer", "cpu_offload", "cpu_offload_param", "cpu_offload_use_pin_memory"}
NO_NUMBER = {"legacy_stage1", "log_trace_cache_warnings", "enable_sanity_checks", "pipeline_loading_checkpoint"}
NO_NUMBER |= {"stage3_gather_fp16_weights_on_model_save", "save_muon_momentum_buffer_in_memory"}


@pytest.mark.parametrize("half", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("stage", [0, 2, 3])
def test_deepspeed_finds_each_option_written_out(monkeypatch, half, stage):
    """DeepSpeed reads the configuration and takes no default of its own, but for what has no bearing on a number."""
    taken: set[str] = set()
    real = ds.get_scalar_param

    def get_scalar_param(config, name, default):
        taken.update({name} - config.keys())
        return real(config, name, default)

    monkeypatch.setattr(ds, "get_scalar_param", get_scalar_param)
    config = written_out(
        {"train_micro_batch_size_per_gpu": 1, "gradient_accumulation_steps": 1, "zero_optimization": {"stage": stage}}
        | ({half: {"enabled": True}} if half != "fp32" else {}),
        "fp32",
    )
    read = ds.DeepSpeedConfig(config)
    sequence_parallel = {"seq_parallel_communication_data_type", "use_data_before_expert_parallelism"}
    assert taken <= {"train_batch_size", "checkpoint_tag_validation", "log_level"} | sequence_parallel
    assert read.gradient_clipping == 0
    assert read.grad_accum_dtype == ("fp16" if half == "fp16" else "bf16" if (half, stage) == ("bf16", 0) else "fp32")


@pytest.mark.parametrize(
    ("section", "kind"),
    [("fp16", DeepSpeedFP16Config), ("bf16", DeepSpeedBF16Config), ("zero_optimization", DeepSpeedZeroConfig)],
)
def test_each_section_is_whole(section, kind):
    """A field that a new release brings is put into the table, or named here."""
    names = {field.alias or name for name, field in kind.model_fields.items()}
    written = set(EXPLICIT[section]) | {"enabled", "overlap_comm"}
    assert names - written - STRUCTURE - NO_NUMBER == set()
    assert set(EXPLICIT[section]) <= names


def test_a_file_comes_before_the_table_and_the_published_scale_is_taken():
    file = {"gradient_clipping": "auto", "prescale_gradients": True, "fp16": {"enabled": True, "min_loss_scale": 0.5}}
    file["zero_optimization"] = {"stage": 2, "reduce_bucket_size": 5, "stage3_gather_fp16_weights_on_model_save": True}
    written = written_out(file, "fp32")
    assert (written["gradient_clipping"], written["prescale_gradients"]) == ("auto", True)
    assert written["fp16"]["min_loss_scale"] == 1
    assert file["fp16"]["min_loss_scale"] == 0.5
    assert written["zero_optimization"]["reduce_bucket_size"] == 5
    assert written["communication_data_type"] == "fp16"
    DeepSpeedFP16Config(**written["fp16"])
    DeepSpeedZeroConfig(**written["zero_optimization"])
