"""How far a reward model's scores of a policy's own summaries of one post lie apart: what PPO can learn from.

A reward model may rank human summaries well and give all samples of a policy the same score; it then teaches nothing
(Razin et al. 2025, arXiv 2503.15477: the flatter the reward, the slower it rises, whatever the accuracy).
"""

from collections.abc import Sequence

from reward_model.scoring import Scorer
from summarize_rlhf.evaluation.preferences import within_post_spread
from summarize_rlhf.handover import check_handover
from summarize_rlhf.hub import is_local
from summarize_rlhf.lm.summaries import generate
from summarize_rlhf.lm.weights import check_positions, load_causal_lm
from summarize_rlhf.text import cut_prompts, prompt_text
from summarize_rlhf.tokenizer import load_tokenizer


def spread_under_policy(
    scorer: Scorer,
    path: str,
    bodies: Sequence[str],
    *,
    samples: int,
    max_new_tokens: int,
    seed: int = 0,
) -> float:
    """Return the mean over posts of the standard deviation of the scores of `samples` (≥ 2) summaries by the policy.

    Sampled from the policy's own distribution at temperature 1; prompt and summary have `scorer.max_length` tokens
    together, `max_new_tokens` of them for the summary. `path` is a directory or Hub id; the policy runs on the reward
    model's device, in its precision.
    """
    tokenizer = load_tokenizer(path)
    if is_local(path):
        check_handover(path, expects_stage=("sft", "ppo"), tokenizer=tokenizer)
    backbone = scorer.model.transformer
    model = load_causal_lm(path, dtype=backbone.dtype).to(backbone.device)
    check_positions(model.config, scorer.max_length, "--max_length")
    prompts = [prompt_text(body) for body in bodies]
    places = [f"post {number}" for number in range(1, len(bodies) + 1)]
    cut = cut_prompts(tokenizer, prompts, scorer.max_length - max_new_tokens, places)
    written = generate(
        model,
        tokenizer,
        [prompt_text(body) for body in cut for _ in range(samples)],
        max_new_tokens=max_new_tokens,
        do_sample=True,
        seed=seed,
        progress="the policy's summaries",
    )
    scores = scorer.score([body for body in bodies for _ in range(samples)], [one.text for one in written])
    return within_post_spread(scores.view(len(bodies), samples).tolist())
