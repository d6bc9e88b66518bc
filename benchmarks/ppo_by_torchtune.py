"""Run a PPO iteration of torchtune's recipe ppo_full_finetune_single_device (0.6.1, the last release; Llama only).

    benchmarks/.venv-torchtune/bin/python benchmarks/ppo_by_torchtune.py FOLDER

`bench_trl_ppo.py` makes the folder and reads the line of JSON. The recipe's own loop runs, with its KV cache, in fp32,
without activation checkpointing and compilation; its checkpoint at the end is left out. Policy, reference, value model
and reward model are four models of the same shape; where ours trains only the top blocks, so do policy and value
model.
"""

import importlib.util
import json
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torchtune.generation
from omegaconf import OmegaConf

from benchmarks import ppo_task

EOS = 0  # also pads: prompts do not hold it, and what stands behind it in a response is masked


class Tokenizer:
    """The few attributes that the recipe needs where prompts are already ids."""

    pad_id, eos_id, stop_tokens = EOS, EOS, [EOS]


class Prompts:
    """The recipe's dataset."""

    def __init__(self, prompts: list[list[int]], tokenizer: Tokenizer):
        self.prompts = prompts

    def __len__(self) -> int:
        return len(self.prompts)

    def __getitem__(self, i: int) -> dict[str, list[int]]:
        return {"tokens": list(self.prompts[i]), "labels": list(self.prompts[i])}


def load_recipe() -> type:
    """Load the recipe's class by path: its folder, beside torchtune, refuses to be imported."""
    path = Path(torchtune.__file__).parents[1] / "recipes" / "ppo_full_finetune_single_device.py"
    spec = importlib.util.spec_from_file_location("ppo_recipe", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.PPOFullFinetuneRecipeSingleDevice


def configuration(folder: Path, out: Path, task: ppo_task.Task, prompts: list[list[int]]):
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    shape = {
        "vocab_size": config["vocab_size"], "num_layers": config["num_hidden_layers"],
        "num_heads": config["num_attention_heads"], "num_kv_heads": config["num_key_value_heads"],
        "embed_dim": config["hidden_size"], "intermediate_dim": config["intermediate_size"],
        "max_seq_len": config["max_position_embeddings"], "norm_eps": config["rms_norm_eps"],
    }  # fmt: skip
    here, llama = "benchmarks.ppo_by_torchtune", "torchtune.models.llama2._component_builders"

    def checkpointer(directory: Path, kind: str) -> dict:
        return {
            "_component_": "torchtune.training.FullModelHFCheckpointer", "checkpoint_dir": str(directory),
            "checkpoint_files": ["model.safetensors"], "output_dir": str(out), "model_type": kind,
        }  # fmt: skip

    update = min(task.micro_batch * task.accumulation, len(prompts))
    return OmegaConf.create(
        {
            "output_dir": str(out),
            "tokenizer": {"_component_": f"{here}.Tokenizer"},
            "dataset": {"_component_": f"{here}.Prompts", "prompts": prompts},
            "policy_model": {"_component_": f"{llama}.llama2", **shape},
            "reward_and_value_model": {"_component_": f"{llama}.llama2_classifier", "num_classes": 1, **shape},
            "checkpointer": checkpointer(folder, "LLAMA2"),
            "ref_policy_checkpointer": checkpointer(folder, "LLAMA2"),
            "value_checkpointer": checkpointer(folder / ppo_task.CLASSIFIER, "REWARD"),
            "reward_checkpointer": checkpointer(folder / ppo_task.CLASSIFIER, "REWARD"),
            "resume_from_checkpoint": False, "seed": 0, "shuffle": True, "device": "cpu", "dtype": "fp32",
            "batch_size": len(prompts), "num_steps": len(prompts), "ppo_epochs": task.epochs,
            "ppo_batch_size": update, "gradient_accumulation_steps": update // task.micro_batch,
            "forward_batch_size": min(task.chunk, len(prompts)), "max_generated_tokens": task.new_tokens,
            "compile": False, "optimizer_in_bwd": False, "enable_activation_checkpointing": False,
            "enable_kv_cache": True, "temperature": 1.0, "top_k": None, "min_response_length": 0,
            "penalise_no_eos": False, "reward_penalty": 0, "stop_token_ids": [EOS], "whiten_rewards": False,
            "gamma": 1, "lmbda": 0.95, "kl_coeff": task.kl_coef,
            "optimizer": {"_component_": "torch.optim.AdamW", "lr": task.learning_rate},
            "loss": {
                "_component_": "torchtune.rlhf.loss.PPOLoss", "epsilon": 0.2, "value_coeff": task.vf_coef,
                "value_clip_range": 0.2,
            },
            "metric_logger": {
                "_component_": "torchtune.training.metric_logging.DiskLogger", "log_dir": str(out),
            },
        }
    )  # fmt: skip


def main() -> None:
    folder = Path(sys.argv[1])
    task, recipe_class, generate = ppo_task.read(folder), load_recipe(), torchtune.generation.generate
    with tempfile.TemporaryDirectory() as out:  # the recipe refuses one inside the checkpoint
        for prompts in (task.warm_up, task.prompts):
            config = configuration(folder, Path(out), task, prompts)
            recipe = recipe_class(config)
            recipe.setup(config)
            recipe.save_checkpoint = lambda *args, **kwargs: None
            policy, value = recipe._policy_model, recipe._value_model
            ppo_task.train_only(policy, policy.layers, None, task.unfrozen)
            ppo_task.train_only(value, value.layers, value.output, task.unfrozen)
            phases = ppo_task.Phases()
            torchtune.generation.generate = phases.timed("generate", generate)
            recipe._reward_model.forward = phases.timed("reward", recipe._reward_model.forward)
            recipe.generate_trajectory_batched = phases.timed(None, recipe.generate_trajectory_batched)
            recipe.train()
            figures = phases.figures()
            recipe.cleanup()
    print(json.dumps(figures), flush=True)


if __name__ == "__main__":
    main()
