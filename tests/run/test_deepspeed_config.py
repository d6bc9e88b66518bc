"""Precision, and the DeepSpeed file on each kind of hardware."""

import json
import shutil

import pytest
import torch

from summarize_rlhf import UserError
from summarize_rlhf.lm.precision import dtype_for
from summarize_rlhf.run.deepspeed_config import deepspeed_config
from summarize_rlhf.run.deepspeed_defaults import written_out

PUBLISHED = {
    "fp16": {"enabled": True, "min_loss_scale": 1},
    "zero_optimization": {"stage": 2, "offload_optimizer": {"device": "cpu"}, "contiguous_gradients": True},
}


@pytest.fixture
def file(tmp_path):
    (tmp_path / "ds.json").write_text(json.dumps(PUBLISHED))
    return tmp_path / "ds.json"


def pretend(monkeypatch, cuda, bf16):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: bf16)


def test_on_cpu_neither_half_precision_nor_compiled_offload(monkeypatch, file):
    pretend(monkeypatch, cuda=False, bf16=False)
    assert dtype_for() == torch.float32
    kept = {"zero_optimization": {"stage": 2, "contiguous_gradients": True}}
    assert deepspeed_config(file, dtype_for()) == written_out(kept, "fp32")
    assert json.loads(file.read_text()) == PUBLISHED


def test_on_bf16_hardware(monkeypatch, file):
    pretend(monkeypatch, cuda=True, bf16=True)
    assert dtype_for() == torch.bfloat16
    kept = {"bf16": {"enabled": True}, "zero_optimization": PUBLISHED["zero_optimization"]}
    assert deepspeed_config(file, dtype_for()) == written_out(kept, "bf16")


def test_on_older_gpus_the_file_is_as_published(monkeypatch, file):
    pretend(monkeypatch, cuda=True, bf16=False)
    assert dtype_for() == torch.float16
    assert deepspeed_config(file, dtype_for()) == written_out(PUBLISHED, "fp16")
    assert deepspeed_config(file, dtype_for(), gradient_clipping=1.0)["gradient_clipping"] == 1.0


def test_relative_deepspeed_file_is_found_from_any_folder(root, tmp_path, monkeypatch):
    """The Accelerate file names it from the root; a launch from another folder means the same file."""
    name = "configs/ds_config_trlx_gptj_summarize.json"
    from_root = deepspeed_config(root / name, dtype_for())
    monkeypatch.chdir(tmp_path)
    assert deepspeed_config(name, dtype_for()) == from_root
    (tmp_path / "configs").mkdir()  # one's own file of that name comes first
    (tmp_path / name).write_text(json.dumps({"gradient_clipping": 0.5}))
    assert deepspeed_config(name, dtype_for())["gradient_clipping"] == 0.5


def test_other_options_of_a_section_stay(monkeypatch, tmp_path):
    """But those that offload to main memory, where there is no GPU."""
    pretend(monkeypatch, cuda=False, bf16=False)
    offload = {"offload_param": {"device": "cpu"}, "offload_optimizer": {"device": "cpu"}}
    content = {"bf16": {"immediate_grad_update": False}, "zero_optimization": {"stage": 3, **offload}}
    (tmp_path / "ds.json").write_text(json.dumps(content))
    found = deepspeed_config(tmp_path / "ds.json", torch.bfloat16)
    assert (found["bf16"]["enabled"], found["bf16"]["immediate_grad_update"]) == (True, False)
    assert found["zero_optimization"]["stage"] == 3
    assert not found["zero_optimization"].keys() & offload.keys()


def test_a_missing_compiler_is_told_where_one_is_needed(monkeypatch, file):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    pretend(monkeypatch, cuda=True, bf16=True)
    with pytest.raises(UserError, match=r"no C\+\+ compiler \(g\+\+\): install one"):
        deepspeed_config(file, dtype_for())
    assert "bf16" in deepspeed_config(file, dtype_for(), zero_optimization={"stage": 2})
    pretend(monkeypatch, cuda=False, bf16=False)
    deepspeed_config(file, dtype_for())


def test_a_bad_deepspeed_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"cannot read the DeepSpeed file .*none.json"):
        deepspeed_config(tmp_path / "none.json", dtype_for())
    for content, told in (
        ([], "should hold an object"),
        ({"fp16": True}, "fp16 should be an object, but is true"),
        ({"zero_optimization": 2}, "zero_optimization should be an object, but is 2"),
        ({"zero_optimization": {"stage": 7}}, "zero_optimization.stage is 7: Input should be 0, 1, 2, 3"),
        ({"zero_optimization": {"stage": 2, "reduce_bucket": 1}}, "zero_optimization.reduce_bucket is no option"),
        ({"fp16": {"loss_scale": "x"}}, 'fp16.loss_scale is "x": '),
        ({"fp16": {"min_loss_scale": "x"}}, "DeepSpeed does not take that"),
        ({"gradient_clipping": -1}, 'gradient_clipping should be a number from 0 on or "auto", but is -1'),
        ({"fp16": {"enabled": "yes"}}, 'fp16.enabled should be true, false or "auto"'),
        ({"data_types": {"grad_accum_dtype": "int3"}}, "'int3' is not a valid DtypeEnum; DeepSpeed does not take that"),
        ({"activation_checkpointing": 3}, "DeepSpeed does not take that"),
        ({"wall_clock_breakdown": "x"}, "DeepSpeed does not take that"),
        ({"data_types": "fp32"}, 'data_types should be an object, but is "fp32"'),
        ({"torch_autocast": True}, "torch_autocast should be an object, but is true"),
        ({"gradient_clipping": True}, 'gradient_clipping should be a number from 0 on or "auto", but is true'),
        ({"gradient_clipping": "x"}, 'gradient_clipping should be a number from 0 on or "auto", but is "x"'),
    ):
        (tmp_path / "bad.json").write_text(json.dumps(content))
        with pytest.raises(UserError, match=told):
            deepspeed_config(tmp_path / "bad.json", torch.float16)


def test_a_file_of_another_precision_is_refused(tmp_path):
    """Or one whose weights would have no fp32 copy. The published fp16 gives way."""
    (tmp_path / "ds.json").write_text(json.dumps({"bf16": {"enabled": True}}))
    assert deepspeed_config(tmp_path / "ds.json", torch.bfloat16)["bf16"]["enabled"]
    for dtype, name in ((torch.float32, "fp32"), (torch.float16, "fp16")):
        with pytest.raises(UserError, match=f"ds.json trains in bf16, but the stage in {name}: .*--precision bf16"):
            deepspeed_config(tmp_path / "ds.json", dtype)
    for section in ("bf16", "fp16"):
        (tmp_path / "ds.json").write_text(json.dumps({section: {f"{section}_master_weights_and_grads": True}}))
        with pytest.raises(UserError, match=f"{section}_master_weights_and_grads would keep weights in half"):
            deepspeed_config(tmp_path / "ds.json", torch.bfloat16)
