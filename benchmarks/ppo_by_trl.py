"""Run a PPO iteration of TRL's PPOTrainer (trl.experimental.ppo of 1.12.0, the last release that has one).

    benchmarks/.venv-trl/bin/python benchmarks/ppo_by_trl.py FOLDER

`bench_trl_ppo.py` makes the folder and reads the line of JSON. TRL runs in its fastest CPU setting: fp32, fused
attention, no activation checkpointing. Policy, reference, value model and reward model are four models of the same
shape; where ours trains only the top blocks, so do its policy and value model.
"""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, PreTrainedTokenizerFast
from trl.experimental.ppo import PPOConfig, PPOTrainer, ppo_trainer

from benchmarks import ppo_task


def blocks_of(model):
    base = model.base_model
    return base.layers if hasattr(base, "layers") else base.h  # Llama and GPT-NeoX; GPT-J and GPT-2


def main() -> None:
    folder = Path(sys.argv[1])
    task = ppo_task.read(folder)
    # A pad token of its own, as TRL's examples have it; the model never sees it.
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder, padding_side="left")
    tokenizer.add_special_tokens({"pad_token": "[PAD]"})
    policy, reference = (AutoModelForCausalLM.from_pretrained(folder) for _ in range(2))
    reward_model, value_model = (
        AutoModelForSequenceClassification.from_pretrained(folder / ppo_task.CLASSIFIER, num_labels=1) for _ in range(2)
    )
    ppo_task.train_only(policy, blocks_of(policy), None, task.unfrozen)
    ppo_task.train_only(value_model, blocks_of(value_model), value_model.score, task.unfrozen)
    update = task.micro_batch * task.accumulation
    generate, get_reward, forward = ppo_trainer.batch_generation, ppo_trainer.get_reward, ppo_trainer.forward

    for prompts in (task.warm_up, task.prompts):
        config = PPOConfig(
            output_dir=str(folder / "trl"), total_episodes=len(prompts), response_length=task.new_tokens,
            per_device_train_batch_size=task.micro_batch,
            gradient_accumulation_steps=len(prompts) // task.micro_batch,
            num_mini_batches=max(1, len(prompts) // update), num_ppo_epochs=task.epochs,
            local_rollout_forward_batch_size=task.chunk, stop_token="eos", temperature=1.0,
            kl_coef=task.kl_coef, vf_coef=task.vf_coef, learning_rate=task.learning_rate,
            gradient_checkpointing=False, bf16=False, use_cpu=True, num_sample_generations=0,
            report_to="none", save_strategy="no", disable_tqdm=True, dataloader_pin_memory=False,
        )  # fmt: skip
        trainer = PPOTrainer(
            args=config, processing_class=tokenizer, model=policy, ref_model=reference, reward_model=reward_model,
            value_model=value_model, train_dataset=Dataset.from_dict({"input_ids": prompts}),
        )  # fmt: skip
        phases = ppo_task.Phases()
        of_reward = phases.timed("reward", get_reward)
        of_value = phases.timed(None, get_reward)
        of_reference = phases.timed(None, forward)
        ppo_trainer.batch_generation = phases.timed("generate", generate)
        ppo_trainer.get_reward = lambda model, *rest, reward=of_reward, value=of_value: (
            reward if model is reward_model else value
        )(model, *rest)
        ppo_trainer.forward = lambda model, *rest, collect=of_reference: (collect if model is reference else forward)(
            model, *rest
        )
        trainer.train()
        figures = phases.figures()
    print(json.dumps(figures), flush=True)


if __name__ == "__main__":
    main()
