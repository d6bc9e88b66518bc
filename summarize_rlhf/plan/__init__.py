"""Will it fit? Each stage's own step is run on fake tensors, and the memory that it takes is added up.

    python -m summarize_rlhf.plan --model EleutherAI/gpt-j-6B --gpus 2x24 --stage ppo

`setups` says what decides a stage's memory, and which command starts it so; `measuring` runs the step; `advice` finds
the nearest setup that fits. `summarize_rlhf/lm/memory_check.py` asks all this for a stage that is about to start.
"""
