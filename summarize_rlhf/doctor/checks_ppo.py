"""Stage 3: what goes wrong in PPO, a function per cause. None: nothing speaks for it.

σ is the spread of the scores that PPO is paid, after clipping and scaling; β the KL coefficient. Names of figures are
those of docs/metrics.md.
"""

import math
from statistics import fmean, median

from summarize_rlhf.doctor.evidence import PPO, late
from summarize_rlhf.doctor.finding import BROKEN, SUSPECT, Finding
from summarize_rlhf.records import parts

Updates = list[dict[str, float]]

FLAT = 0.1  # of the reward's own spread that is left after clipping and scaling
LARGE_STEP = 0.2  # nats a token between the sampled policy and the last updates on its samples
MANY_CLIPPED = 0.3  # share of tokens
LEAST_KL = 0.5  # nats an episode that the penalty must allow
HELD = 0.5  # of the way to the best policy under the penalty
SMALL_STEP = 1 / 3  # of the clip range: three times the typical change of a token's log-probability is within it
STILL = 0.1  # KL to the reference over what the updates moved
NO_FALL = 0.99  # value error after the updates over that before, on the same rollouts
FEW_TEXTS = 0.5  # of the share of different texts before PPO
ENDING = 0.5  # of the share of responses that ended at first


def paid_spread(ppo: PPO) -> tuple[float, float] | None:
    """Return the spread of the rewards as they came, and of those that PPO is paid: after clipping, after scaling."""
    raw, clipped = ppo.series("rollout_scores/std"), ppo.series("rollout_scores/running_std")
    if not raw or not clipped:
        return None
    scale = ppo.options.get("method.scale_reward")
    divisor = {"running": clipped[-1], "ref": ppo.options.get("method.ref_std") or clipped[0]}.get(scale) or 1.0
    return fmean(raw), clipped[-1] / divisor


def kl_coefficient_zero(ppo: PPO) -> Finding | None:
    """Nothing holds the policy to where the reward model knows the way: it learns what the reward model mistakes.

    (Gao et al. 2023.) β is 0 throughout. Suspect: the reward may have risen honestly so far.
    """
    betas = ppo.series("kl_ctl_value")
    if not betas or any(betas):
        return None
    kl = ppo.series("policy/kl")
    text = f"the KL coefficient is 0; the policy is {late(kl):.1f} nats an episode from SFT"
    return Finding(SUSPECT, "kl_coefficient_zero", text, '"method.init_kl_coef": 0.05 to 0.2; read samples.jsonl')


def reward_flat(ppo: PPO) -> Finding | None:
    """Rewards that are all alike: nothing to learn from.

    Either as they come, or because clipping and scaling left less than a tenth of their spread, and less than β: the
    KL penalty then outweighs them (see `kl_coefficient_too_high`). Scores divided by their own spread ("running") are
    never flat.
    """
    spread = paid_spread(ppo)
    if spread is None:
        return None
    raw, paid = spread
    level = max(abs(x) for x in ppo.series("rollout_scores/mean"))
    if raw <= 1e-4 * max(level, 1e-3):
        text = f"the rewards of a collection differ by {raw:.1e}"
        return Finding(BROKEN, "reward_flat", text, "look at what reward_fn returns for a few samples")
    if paid >= FLAT * raw or paid >= max(ppo.series("kl_ctl_value") or [math.inf]):
        return None
    text = f"the rewards spread by {raw:.2f}, but after clipping and scaling by {paid:.3f}"
    remedy = f'raise "method.cliprange_reward" ({ppo.options.get("method.cliprange_reward")}) above that spread'
    if ppo.options.get("method.scale_reward"):
        remedy = 'use "method.scale_reward": "running", or a "method.ref_std" near that spread'
    return Finding(BROKEN, "reward_flat", text, remedy)


def kl_coefficient_too_high(ppo: PPO) -> Finding | None:
    """A penalty so dear that nothing moves.

    The best policy under reward − β · KL is π_ref · exp(reward / β) / Z: to second order it lies s² / (2 β²) nats an
    episode from π_ref, where s is the spread of the rewards of one post's responses. Of σ², which is over all posts,
    about half is between posts, which no policy can change: s² = σ² / 2. Broken below half a nat. Suspect where the
    reward did not rise (`no_gain`) and the policy is half that far already: it is held where the penalty wants it.
    """
    spread, betas = paid_spread(ppo), ppo.series("kl_ctl_value")
    if spread is None or not betas or not any(betas):
        return None
    beta, sigma = fmean(betas), spread[1]
    best = sigma**2 / 2 / (2 * beta**2)
    held = no_gain(ppo) is not None and late(ppo.series("policy/kl")) >= HELD * best
    if best >= LEAST_KL and not held:
        return None
    text = (
        f"under a KL coefficient of {beta:.2f} and rewards that spread by {sigma:.2f} the best policy lies {best:.2f} "
    )
    text += "nats an episode from SFT"
    if held:
        text += f"; this one, whose reward did not rise, lies {late(ppo.series('policy/kl')):.2f} away"
    status = BROKEN if best < LEAST_KL else SUSPECT
    return Finding(status, "kl_coefficient_too_high", text, f'"method.init_kl_coef": {0.1 * sigma:.2g} or less')


def sampling_bent(ppo: PPO) -> Finding | None:
    """Responses drawn from another distribution than the one that is trained (top-k, top-p, a penalty).

    The ratio then begins at 1, but the gradient is not that of the policy sampled from: tokens outside are never tried,
    and their share grows unseen.
    """
    bent = {}
    for name, value in ppo.options.items():
        kind, _, option = name.rpartition(".")
        sampling = kind in ("method.gen_kwargs", "method.gen_experience_kwargs") and option in NEUTRAL
        if sampling and value is not None and value != NEUTRAL[option]:
            bent[option] = value
    if not bent:
        return None
    text = (
        f"responses are sampled with {', '.join(f'{name} {value}' for name, value in bent.items())}; trained is without"
    )
    return Finding(SUSPECT, "sampling_bent", text, f"leave {', '.join(bent)} out of method.gen_kwargs")


NEUTRAL = {
    "top_k": 0, "top_p": 1.0, "min_p": 0.0, "typical_p": 1.0, "repetition_penalty": 1.0, "no_repeat_ngram_size": 0,
}  # fmt: skip


def epochs(ppo: PPO) -> list[tuple[Updates, Updates]]:
    """Return the first and the last pass over each collection's rollouts: the same rollouts, before and after."""
    passes = ppo.options.get("method.ppo_epochs") or 4
    counts = [len(rows) // passes for rows in ppo.updates]
    return [(rows[:n], rows[-n:]) for rows, n in zip(ppo.updates, counts, strict=True) if n and passes > 1]


def moved(ppo: PPO) -> list[float]:
    """Return for each collection the KL(π_old ‖ π) in nats a token, over the last pass of its updates."""
    return [fmean(row["policy/approx_kl"] for row in last) for _, last in epochs(ppo)]


def reference_moves(ppo: PPO) -> Finding | None:
    """A reference that trains along: the KL is one of the policy to itself, and its penalty holds nothing.

    What the updates on a collection move (KL(π_old ‖ π) a token, times the length of a response; the median over
    collections) is what the second collection must find between policy and reference, for π_old was the reference
    then; later ones find more. If none ever finds a tenth of it, that is no estimate's spread. The KL found is
    `policy/sqrt_kl`, squared: the estimate that is never negative.
    """
    steps, kl = moved(ppo), [x**2 for x in ppo.series("policy/sqrt_kl")]
    if len(steps) < 2 or len(kl) < 2:
        return None
    expected, most = median(steps) * ppo.rounds[0]["rollouts/response_length"], max(kl[1:])
    if expected < 1e-4 or most >= STILL * expected:
        return None
    text = f"a collection's updates move the policy {expected:.2f} nats an episode; its KL to the reference: {most:.4f}"
    return Finding(BROKEN, "reference_moves", text, "freeze the reference (trlx/models/policy.py: reference_logprobs)")


def learning_rate_too_high(ppo: PPO) -> Finding | None:
    """Updates that leave the region in which their rollouts say anything.

    Above .2 nats a token between the policy that sampled and the policy at the end of its updates, the usual change of
    a token's log-probability is three times the clip range of .2; above .3 of tokens clipped, a third of the data is
    idle. The median over collections, for single ones leap in a healthy run.
    """
    steps = moved(ppo)
    if not steps:
        return None
    clipped = median(fmean(row["policy/clipfrac"] for row in rows) for rows in ppo.updates if rows)
    if median(steps) <= LARGE_STEP and clipped <= MANY_CLIPPED:
        return None
    text = f"a collection's updates move the policy {median(steps):.2f} nats a token and clip {clipped:.0%} of them"
    return Finding(BROKEN, "learning_rate_too_high", text, "divide optimizer.kwargs.lr by 3 to 10")


def learning_rate_too_low(ppo: PPO) -> Finding | None:
    """Updates that hardly change the policy: a token's log-probability by less than a third of the clip range.

    Next to no token is clipped then: three standard deviations are within it.

    KL(π_old ‖ π) is half the mean square of that change, to second order.
    """
    steps, clip = moved(ppo), ppo.options.get("method.cliprange") or 0.2
    if not steps:
        return None
    change = math.sqrt(2 * median(steps))
    if change >= SMALL_STEP * clip:
        return None
    text = f"the updates on a collection change a token's log-probability by {change:.3f}; {clip} are allowed"
    return Finding(SUSPECT, "learning_rate_too_low", text, "raise optimizer.kwargs.lr by 3 to 10")


def values_do_not_fit(ppo: PPO) -> Finding | None:
    """A value function that learns nothing: advantages are then as noisy as the rewards.

    On a collection's rollouts, which stay the same for all PPO epochs, its training must lower its error: that of the
    last epoch is compared with that of the first, over all collections. A hundredth is no training: the states that
    the values are read from move with the policy. (Values that have learned no more than the mean come to .98.)
    """
    errors = [[fmean(row["values/values_error"] for row in rows) for rows in both] for both in epochs(ppo)]
    ratios = [last / first if first else 1.0 for first, last in errors]
    variance = ppo.series("values/explained_variance")
    if not ratios or fmean(ratios) < NO_FALL or (variance and late(variance) > 0.5):
        return None
    text = f"the value error after a collection's updates is {fmean(ratios):.2f} times that before"
    if variance:
        text += f"; explained variance {late(variance):.2f}"
    return Finding(SUSPECT, "values_do_not_fit", text, 'raise "method.vf_coef" or the learning rate')


def collapsed(ppo: PPO) -> Finding | None:
    """One answer to all posts: half as many different texts among an evaluation's samples as before PPO."""
    if len(ppo.distinct) < 2 or ppo.distinct[-1] >= FEW_TEXTS * ppo.distinct[0]:
        return None
    text = f"{ppo.distinct[-1]:.0%} of the samples differ from each other, {ppo.distinct[0]:.0%} did before PPO"
    return Finding(
        BROKEN, "collapsed", text, "read samples.jsonl: what does the reward pay for? raise method.init_kl_coef"
    )


def endless(ppo: PPO) -> Finding | None:
    """Responses that no longer end: half as many as at first (the guard of trlx/trainer/guards.py)."""
    rates = ppo.series("rollouts/eos_rate")
    if len(rates) < 2 or rates[0] <= 0.2 or late(rates) >= ENDING * rates[0]:
        return None
    text = f"{late(rates):.0%} of the responses end by themselves, {rates[0]:.0%} did at first"
    return Finding(BROKEN, "endless", text, "does the reward pay for length? raise method.init_kl_coef")


def over_optimised(ppo: PPO) -> Finding | None:
    """A reward that rose while the quality fell: the gold score in evaluation.json, where there is one."""
    gold = [parts(ppo.evaluation, "models", name, "gold") for name in ("sft", "ppo")]
    before, after = gold[0].get("low"), gold[1].get("high")
    if before is None or after is None or after >= before:  # of one post there is no interval
        return None
    text = f"gold score {gold[1]['value']:.2f} after PPO, {gold[0]['value']:.2f} before"
    return Finding(
        BROKEN, "over_optimised", text, "stop earlier, or raise method.init_kl_coef; train the reward model on"
    )


def no_gain(ppo: PPO) -> Finding | None:
    """A reward that did not rise: the last third of the collections against the first, by two standard errors."""
    means, spread = ppo.series("rollout_scores/mean"), ppo.series("rollout_scores/std")
    count = ppo.options.get("method.num_rollouts")
    if len(means) < 3 or not spread or not count or len(means) != len(spread):
        return None
    gain, error = late(means) - means[0], fmean(spread) * math.sqrt(2 / count)
    if gain > 2 * error:
        return None
    text = f"the reward rose by {gain:+.2f} over {len(means)} collections, where chance alone gives {error:.2f}"
    return Finding(SUSPECT, "no_gain", text, "train longer, with a larger learning rate, or a smaller KL coefficient")


# Causes before what follows from them.
CHECKS = (
    sampling_bent, reference_moves, reward_flat, kl_coefficient_too_high, learning_rate_too_high, kl_coefficient_zero,
    collapsed, endless, over_optimised, learning_rate_too_low, values_do_not_fit, no_gain,
)  # fmt: skip
