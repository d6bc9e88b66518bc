"""Batch arithmetic, versions, and the DeepSpeed file on each kind of hardware."""

import importlib.metadata
import importlib.util
import json
import os
import shutil

import pytest
import torch

from summarize_rlhf import UserError, versions
from summarize_rlhf.lm.precision import dtype_for
from summarize_rlhf.run.deepspeed_config import deepspeed_config
from summarize_rlhf.run.deepspeed_defaults import written_out
from summarize_rlhf.run.errors import main_guard
from summarize_rlhf.run.launch import accumulation
from summarize_rlhf.run.trackers import quiet_wandb
from summarize_rlhf.versions import check_versions


@pytest.mark.parametrize(
    ("batch", "per_device", "processes", "steps"),
    [(128, 16, 8, 1), (128, 16, 1, 8), (128, 16, 2, 4), (32, 1, 8, 4), (32, 1, 1, 32), (5, 5, 1, 1)],
)
def test_the_global_batch_is_kept(batch, per_device, processes, steps):
    assert accumulation(batch, per_device, processes) == steps


@pytest.mark.parametrize(
    ("batch", "per_device", "processes", "message"),
    [
        (128, 24, 1, r"128 cannot be made of 1 process\(es\) × 24 rows: a per-device batch of 16 .* 120 or 144"),
        (128, 16, 3, r"3 processes cannot share it evenly, or a global batch of 96 or 144"),
        (8, 16, 1, r"a per-device batch of 8 would do, or a global batch of 16$"),
    ],
)
def test_a_batch_that_does_not_divide_names_the_nearest(batch, per_device, processes, message):
    with pytest.raises(UserError, match=message):
        accumulation(batch, per_device, processes)


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
        ({"gradient_clipping": "x"}, 'gradient_clipping should be a number or "auto", but is "x"'),
    ):
        (tmp_path / "bad.json").write_text(json.dumps(content))
        with pytest.raises(UserError, match=told):
            deepspeed_config(tmp_path / "bad.json", dtype_for())


def test_all_untested_versions_are_named_at_once(monkeypatch):
    found = importlib.metadata.version
    strange = {"torch": "1.13.0+cu117", "transformers": "4.45.0"}
    monkeypatch.setattr(importlib.metadata, "version", lambda name: strange.get(name) or found(name))
    with pytest.raises(UserError) as caught:
        check_versions.__wrapped__()
    assert "torch 1.13.0+cu117 (needs <=2.13.0,>=2.11)" in str(caught.value)
    assert "transformers 4.45.0" in str(caught.value)
    assert "pip install -r requirements.txt" in str(caught.value)


def test_a_missing_package_is_named(monkeypatch):
    found = importlib.metadata.version

    def version(name):
        if name == "peft":
            raise importlib.metadata.PackageNotFoundError(name)
        return found(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    with pytest.raises(UserError, match="peft is missing"):
        check_versions.__wrapped__()


def test_an_old_trlx_in_site_packages_is_told(monkeypatch, tmp_path):
    (tmp_path / "trlx").mkdir()
    (tmp_path / "trlx" / "__init__.py").write_text("")
    spec = importlib.util.spec_from_file_location("trlx", tmp_path / "trlx" / "__init__.py")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec)
    with pytest.raises(UserError, match=rf"'import trlx' would take {tmp_path}.*pip uninstall trlx"):
        check_versions.__wrapped__()


def test_wandb_never_asks(monkeypatch, tmp_path):
    for name in ("WANDB_API_KEY", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    quiet_wandb()
    assert os.environ["WANDB_MODE"] == "offline"


@pytest.mark.parametrize("login", ["key", "netrc", "mode"])
def test_a_login_or_a_users_own_mode_is_respected(monkeypatch, tmp_path, login):
    for name in ("WANDB_API_KEY", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    if login == "key":
        monkeypatch.setenv("WANDB_API_KEY", "x")
    elif login == "netrc":
        (tmp_path / "netrc").write_text("machine api.wandb.ai login user password x\n")
        (tmp_path / "netrc").chmod(0o600)
    else:
        monkeypatch.setenv("WANDB_MODE", "disabled")
    quiet_wandb()
    assert os.environ.get("WANDB_MODE") == ("disabled" if login == "mode" else None)


def test_the_commit_is_a_commit():
    assert versions.commit() is None or len(versions.commit().rstrip("+")) == 40


@pytest.mark.parametrize(("rank", "printed"), [("0", "error: no such thing\n"), ("1", "")])
def test_a_user_error_is_one_line_and_exit_code_2(monkeypatch, capsys, rank, printed):
    @main_guard
    def main():
        raise UserError("no such thing")

    monkeypatch.setenv("LOCAL_RANK", rank)
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 2
    assert capsys.readouterr().err == printed
