"""LoRA in PPO on two processes, under ZeRO-2 and -3, trains the adapter that one process trains."""

import json
from pathlib import Path

import pytest
import torch
from forkserver import DOCUMENTED
from launched_ppo import run
from safetensors.torch import load_file

LORA = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj"]}
OVERRIDES = {
    "model.peft_config": LORA,
    "train.max_grad_norm": 0.5,
    "train.save_optimizer": True,
    "train.gradient_checkpointing": True,
    "optimizer.kwargs.eps": 1e-3,
    "optimizer.kwargs.lr": 1e-3,
    "scheduler.kwargs.eta_min": 1e-3,
}


def adapter(out: Path) -> dict[str, torch.Tensor]:
    (folder,) = out.glob("checkpoint_*/hf_model")
    assert not (folder / "model.safetensors").exists()
    return load_file(folder / "adapter_model.safetensors") | load_file(folder / "value_head.safetensors")


@pytest.fixture(scope="module")
def alone(gptj_dir, tmp_path_factory) -> dict[str, torch.Tensor]:
    out = tmp_path_factory.mktemp("alone")
    run(str(gptj_dir), str(out), OVERRIDES | {"train.batch_size": 8})
    return adapter(out)


@pytest.mark.parametrize("zero", [{"stage": 2}, {"stage": 3, "stage3_param_persistence_threshold": 0}])
def test_two_processes_train_the_adapter_of_one(server, alone, gptj_dir, tmp_path, zero: dict) -> None:
    values = {"model": str(gptj_dir), "out": str(tmp_path / "out"), "overrides": OVERRIDES | {"train.batch_size": 4}}
    (tmp_path / "ds.json").write_text(json.dumps({"zero_optimization": zero}))
    environment = DOCUMENTED | {"ACCELERATE_DEEPSPEED_CONFIG_FILE": str(tmp_path / "ds.json")}
    ended = server.run("trlx", [json.dumps(values)], tmp_path, 2, **environment)
    assert ended.code == 0, ended.err[-3000:]
    found = adapter(tmp_path / "out")
    assert any("lora_B" in name and x.abs().max() > 1e-5 for name, x in found.items()), "nothing was trained"
    torch.testing.assert_close(found, alone, rtol=0, atol=1e-5)
    seen = [json.loads((tmp_path / f"out/seen_{rank}.json").read_text()) for rank in (0, 1)]
    assert all(one["greedy"] == one["again"] == seen[0]["greedy"] for one in seen), "loaded again, it is the same"
