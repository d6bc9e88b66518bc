"""What torch.load may make of a checkpoint: tensors, plain values, and the few classes of DeepSpeed's states."""

import os
import pickle
from pathlib import Path

import pytest
import torch
from deepspeed.runtime.fp16.loss_scaler import LossScaler
from deepspeed.runtime.zero.config import ZeroStageEnum

from summarize_rlhf.run.checkpoints import tensors_only


class Evil:
    def __reduce__(self):
        return os.system, ("touch /tmp/evil-was-here",)


class Attribute:
    """Pickled as Python 3.11.2, Debian's, pickles the member of an enumeration."""

    def __init__(self, owner: type, name: str):
        self.owner, self.name = owner, name

    def __reduce__(self):
        return getattr, (self.owner, self.name)


def test_an_enumeration_is_read_as_any_python_wrote_it_and_no_other_attribute(tmp_path):
    file = tmp_path / "state.pt"
    torch.save({"stage": Attribute(ZeroStageEnum, "gradients")}, file)
    with tensors_only():
        assert torch.load(file)["stage"] is ZeroStageEnum.gradients
    for owner, name in ((LossScaler, "__init__"), (ZeroStageEnum, "__class__")):
        torch.save({"stage": Attribute(owner, name)}, file)
        with tensors_only(), pytest.raises((pickle.UnpicklingError, KeyError)):
            torch.load(file)


def test_a_pickle_with_code_is_not_run_whatever_the_caller_says(tmp_path):
    file = tmp_path / "state.pt"
    torch.save({"x": Evil()}, file)
    with tensors_only(), pytest.raises(Exception, match="Weights only load failed"):
        torch.load(file, weights_only=False)
    assert not Path("/tmp/evil-was-here").exists()
    assert "TORCH_FORCE_WEIGHTS_ONLY_LOAD" not in os.environ
