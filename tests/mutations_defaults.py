# ruff: noqa: E501  a table, one mutation a line
"""The published defaults."""

FILES = "test_published_defaults.py::test_the_files_of_deepspeed_and_accelerate_say_what_was_published"
PINNED = "test_published_defaults.py::test_every_default_is_the_published_one_or_ours_for_a_reason"
RM = "reward_model/train_reward_model_gptj.py"
SFT = "sft/train_gptj_summarize.py"
STAGE3 = "trlx_gptj_text_summarization.py"

# fmt: off
ROWS = [
    # defaults
    ("SFT: schedule falls to 0 by default", SFT, 'lr_scheduler_type: str = knob("constant_with_warmup"', 'lr_scheduler_type: str = knob("linear"', PINNED),
    ("SFT: beta2 of stage 2", SFT, "adam_beta2: float = knob(0.95,", "adam_beta2: float = knob(0.999,", PINNED),
    ("SFT: the last model by default", SFT, 'keep: str = knob("best"', 'keep: str = knob("last"', PINNED),
    ("SFT: clips by default", SFT, "max_grad_norm: float | None = knob(None,", "max_grad_norm: float | None = knob(1.0,", PINNED),
    ("SFT: no warm-up by default", SFT, "warmup_steps: int = knob(100,", "warmup_steps: int = knob(0,", PINNED),
    ("RM: beta2 of stage 1", RM, "adam_beta2: float = knob(0.999,", "adam_beta2: float = knob(0.95,", PINNED),
    ("RM: half of the blocks by default", RM, "trainable_fraction: float = knob(0.3,", "trainable_fraction: float = knob(0.5,", PINNED),
    ("RM: the paper's loss by default", RM, '        "pairwise", "all tokens', '        "last_token", "all tokens', PINNED),
    ("PPO: lam 1 by default", STAGE3, "        lam=0.95,\n", "        lam=1.0,\n", PINNED),
    ("PPO: gamma below 1 by default", STAGE3, "        gamma=1,\n", "        gamma=0.99,\n", PINNED),
    ("PPO: value loss weighs 1 by default", STAGE3, "        vf_coef=0.2,\n", "        vf_coef=1.0,\n", PINNED),
    ("PPO: another first KL coefficient", STAGE3, "        init_kl_coef=0.1,\n", "        init_kl_coef=0.05,\n", PINNED),
    ("PPO: fixed KL coefficient by default", STAGE3, "        target=6,\n", "        target=None,\n", PINNED),
    ("PPO: no weight decay by default", STAGE3, '"weight_decay": 0.01', '"weight_decay": 0.0', PINNED),
    ("PPO: cosine to another floor", STAGE3, '"eta_min": 5e-6', '"eta_min": 0.0', PINNED),
    ("PPO: accumulation of the published file", "configs/ds_config_trlx_gptj_summarize.json", '"gradient_accumulation_steps": 4', '"gradient_accumulation_steps": 1', FILES),
]
