"""Every default of the three stages: the published value, or ours with the reason.

Published: CarperAI/trlx 0.7, `examples/summarize_rlhf` (`sft/train_gptj_summarize.py`, `sft/ds_config_gptj.json`,
`reward_model/train_reward_model_gptj.py`, `reward_model/ds_config_gpt_j.json`, `trlx_gptj_text_summarization.py`,
`configs/`), and the defaults of trlX, transformers' Trainer and DeepSpeed of that time where they name none.
"""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

# What transformers' Trainer and the DeepSpeed files of SFT and reward model have in common.
TRAINER = {
    "max_train_rows": None,
    "max_length": 550,
    "num_train_epochs": 5.0,
    "max_steps": -1,
    "learning_rate": 1e-5,
    "lr_scheduler_type": "constant_with_warmup",  # DeepSpeed's WarmupLR
    "warmup_steps": 100,
    "adam_beta1": 0.9,
    "adam_epsilon": 1e-8,
    "weight_decay": 0.0,
    "max_grad_norm": None,  # no gradient_clipping in the file, whose default was 0 then
    "eval_steps": 500,
    "report_to": "wandb",
    "seed": 42,
}
PUBLISHED = {
    "sft": TRAINER | {
        "model": "EleutherAI/gpt-j-6B",
        "dataset": "CarperAI/openai_summarize_tldr",
        "output_dir": str(ROOT / "sft/gptj-supervised-summarize-checkpoint"),
        "deepspeed_config": str(ROOT / "sft/ds_config_gptj.json"),
        "max_eval_rows": 2000,
        "loss_on": "text",
        "global_batch_size": 128,
        "per_device_train_batch_size": 16,
        "adam_beta2": 0.95,
        "gradient_checkpointing": True,
        "keep": "best",  # load_best_model_at_end
        "save_steps": 1000,
        "logging_steps": 50,
        "max_new_tokens": 50,
    },
    "rm": TRAINER | {
        "dataset": "CarperAI/openai_summarize_comparisons",
        "output_dir": str(ROOT / "reward_model/rm_checkpoint"),
        "deepspeed_config": str(ROOT / "reward_model/ds_config_gpt_j.json"),
        "loss": "pairwise",
        "trainable_fraction": 0.3,
        "global_batch_size": 32,
        "per_device_train_batch_size": 1,
        "adam_beta2": 0.999,
        "save_steps": 500,
        "logging_steps": 10,
    },
    "ppo": {
        "train.total_steps": 100000,
        "train.seq_length": 550,
        "train.epochs": 50,
        "train.batch_size": 4,
        "train.checkpoint_interval": 10000,
        "train.eval_interval": 200,
        "train.pipeline": "PromptPipeline",
        "train.trainer": "AcceleratePPOTrainer",
        "train.trainer_kwargs": {},
        "train.entity_name": None,
        "train.group_name": None,
        "train.checkpoint_dir": str(ROOT / "ckpts"),
        "train.rollout_logging_dir": None,
        "train.save_best": True,
        "train.save_optimizer": True,
        "train.tracker": "wandb",
        "train.logging_dir": None,
        "train.tags": [],
        "train.seed": 1000,
        "train.minibatch_size": None,
        "model.model_path": "CarperAI/openai_summarize_tldr_sft",
        "model.model_arch_type": "causal",
        "model.num_layers_unfrozen": 8,
        "model.peft_config": None,
        "model.model_extra_configs": {},
        "tokenizer.padding_side": "left",
        "tokenizer.truncation_side": "right",
        "tokenizer.tokenizer_extra_configs": {},
        "optimizer.name": "adamw",
        "optimizer.kwargs": {"lr": 5e-6, "betas": [0.9, 0.999], "eps": 1e-8, "weight_decay": 0.01},
        "scheduler.name": "cosine_annealing",
        "scheduler.kwargs": {"T_max": 100000, "eta_min": 5e-6},
        "method.name": "PPOConfig",
        "method.ppo_epochs": 4,
        "method.num_rollouts": 128,
        "method.chunk_size": 16,
        "method.init_kl_coef": 0.1,
        "method.target": 6,
        "method.horizon": 10000,
        "method.gamma": 1,
        "method.lam": 0.95,
        "method.cliprange": 0.2,
        "method.cliprange_value": 0.2,
        "method.vf_coef": 0.2,
        "method.scale_reward": None,
        "method.ref_mean": None,
        "method.ref_std": None,
        "method.cliprange_reward": 10,
        "method.gen_kwargs": {"max_new_tokens": 50},
        "method.gen_experience_kwargs": None,
        "method.num_value_layers_unfrozen": 0,
        "task.dataset": "CarperAI/openai_summarize_tldr",
        "task.reward_model": str(ROOT / "reward_model/rm_checkpoint"),
        "task.max_train_prompts": None,
        "task.max_eval_prompts": 1000,
    },
}  # fmt: skip

RESUME = "runs go on where they were interrupted"
DISK = "disk alone"
PRECISION = "published: fp16, which the DeepSpeed file says; auto takes bf16 where the hardware has it"
NEW = "not in the published code; as it stands, it adds nothing"
LORA = {  # of stages 1 and 2
    "lora_r": (0, "no adapter, as published"),
    "lora_alpha": (16.0, NEW),
    "lora_dropout": (0.0, NEW),
    "lora_target_modules": (None, NEW),
    "merge_adapter": (False, NEW),
}
OURS = {  # name: (value, why it is not the published one)
    "sft": LORA
    | {
        "preset": ("carper", "the published values"),
        "push_to_hub": (False, "nothing leaves the machine unasked"),
        "hub_model_id": (None, "for push_to_hub"),
        "tokenizer": (None, "published: GPT-J's; here the model's own, which is the same for the default model"),
        "precision": ("auto", PRECISION),
        "per_device_eval_batch_size": (16, "published 1; changes no result"),
        "run_name": (None, "names the run at the tracker"),
        "rouge_rows": (300, "published: ROUGE of the teacher-forced argmax; here of so many generated summaries"),
        "plan": (True, NEW),
        "save_minutes": (60.0, RESUME),
        "save_total_limit": (2, DISK),
        "fresh": (False, RESUME),
        "elastic": (False, RESUME),
    },
    "rm": LORA
    | {
        "preset": ("carper", "the published values"),
        "push_to_hub": (False, "nothing leaves the machine unasked"),
        "hub_model_id": (None, "for push_to_hub"),
        "model": (None, "stage 1's directory if it is there, else the published CarperAI/openai_summarize_tldr_sft"),
        "tokenizer": (None, "published: GPT-J's; here the model's own, which is the same for the default model"),
        "max_eval_rows": (5000, "published: all of test; here those of the published accuracy"),
        "precision": ("auto", PRECISION),
        "per_device_eval_batch_size": (4, "published 1; changes no result"),
        "card_pairs": (500, NEW),
        "run_name": (None, "names the run at the tracker"),
        "trunk_cache_gb": (64.0, "changes no result: the frozen blocks run once for all epochs"),
        "gradient_checkpointing": (False, NEW),
        "pack_pairs": (True, "changes no result: a pair's post is computed once"),
        "plan": (True, NEW),
        "save_minutes": (60.0, RESUME),
        "save_total_limit": (2, DISK + "; published 1"),
        "fresh": (False, RESUME),
        "elastic": (False, RESUME),
    },
    "ppo": {
        "task.push_to_hub": (False, "nothing leaves the machine unasked"),
        "task.hub_model_id": (None, "for push_to_hub"),
        "tokenizer.tokenizer_path": ("CarperAI/openai_summarize_tldr_sft", "published 'gpt2', whose tokens these are"),
        "train.project_name": ("summarize_RLHF", "a name alone; published 'trlx', trlX's default"),
        "train.run_name": (None, NEW),
        "train.precision": ("auto", PRECISION),
        "train.resume_from_checkpoint": ("auto", RESUME),
        "train.checkpoint_minutes": (60.0, RESUME),
        "train.elastic": (False, RESUME),
        "train.save_total_limit": (3, DISK),
        "train.guards": ({}, "tell and stop, change nothing"),
        "train.max_grad_norm": (None, NEW),
        "train.gradient_checkpointing": (False, NEW),
        "train.cuda_graphs": (False, NEW),
        "train.reward_on_all_ranks": (True, "who scores, not what"),
        "train.reward_timeout": (None, NEW),
        "method.value_model": (None, NEW),
        "task.plan": (True, NEW),
        "task.require_rm": (None, NEW),
        "method.num_minibatches": (None, NEW),
        "method.score_without_eos": (None, NEW),
        "task.value_from_reward_model": (False, NEW),
    },
}

# The DeepSpeed files, flattened. "auto" is filled by Trainer or by us from the arguments.
ZERO_2 = {
    "fp16.enabled": True,
    "zero_optimization.stage": 2,
    "zero_optimization.contiguous_gradients": True,
    "zero_optimization.allgather_bucket_size": 5e8,
    "zero_optimization.reduce_bucket_size": 5e8,  # DeepSpeed's default, then as now
    "zero_optimization.offload_optimizer.device": "cpu",
}
AUTO = {
    "train_batch_size": "auto",  # published 128 and 32: --global_batch_size
    "train_micro_batch_size_per_gpu": "auto",
    "gradient_accumulation_steps": "auto",
    "gradient_clipping": "auto",
    "fp16.min_loss_scale": 1,
}
FILES = {
    "sft/ds_config_gptj.json": ZERO_2 | AUTO,
    "reward_model/ds_config_gpt_j.json": ZERO_2 | AUTO,
    "configs/ds_config_trlx_gptj_summarize.json": ZERO_2 | {
        "train_micro_batch_size_per_gpu": 2,
        "gradient_accumulation_steps": 4,
        "gradient_clipping": "auto",
        "fp16.min_loss_scale": 0.5,
    },
    "configs/default_accelerate_config.yaml": {
        "compute_environment": "LOCAL_MACHINE",
        "distributed_type": "DEEPSPEED",
        "deepspeed_config.deepspeed_config_file": "configs/ds_config_trlx_gptj_summarize.json",
        "deepspeed_config.zero3_init_flag": False,
        "machine_rank": 0,
        "main_training_function": "main",
        "num_machines": 1,
        "num_processes": 1,
        "rdzv_backend": "static",
        "same_network": True,
        "use_cpu": False,
    },
}  # fmt: skip
