"""Stage 2: what goes wrong in a reward model, a function per cause. None: nothing speaks for it.

An accuracy is a share of pairs: what is said of it is beyond twice its standard error, or it is not said. Chance is one
half, and a loss of log 2.
"""

import math
import re

from summarize_rlhf.doctor.checks_sft import overwritten, too_high, too_little
from summarize_rlhf.doctor.evidence import RM
from summarize_rlhf.doctor.finding import BROKEN, SUSPECT, Finding, late_fall, standard_error
from summarize_rlhf.records import parts

CHANCE = math.log(2)  # the loss of a model that knows nothing
HALF_TO_COME = 0.25  # `late_fall` of exp(-k · way) with 45 % of its fall still ahead (k = 0.8)
LITTLE_LEARNED = 0.8  # of `CHANCE`: what three right pairs in four cost a model that is as sure as it should be
LIKES_NONSENSE = 0.34  # share of labels; two standard errors of the probe's 40 below one half
RARELY_SHORTER = 0.95  # agreement with length at which nothing else decides


def other_model(rm: RM) -> Finding | None:
    """A reward model that grew from another SFT model than the one that PPO trains.

    Compared by the digest of the weights that the reward model began with (run.json) and of those in stage 1's
    directory. The rewards may still be right, but no run of this chain has measured them on this model's summaries.
    """
    if not re.fullmatch("[0-9a-f]{64}", rm.trained_from or "") or rm.sft is None or rm.trained_from == rm.sft:
        return None
    text = f"it was trained from the weights {rm.trained_from[:12]}…, stage 1's are {rm.sft[:12]}…"
    return Finding(SUSPECT, "other_model", text, "train it anew: train_reward_model_gptj.py --model <SFT directory>")


def other_template(rm: RM) -> Finding | None:
    """Texts that are scored otherwise than they were in training: another template, tokenizer or length.

    The same weights on the same pairs give the same accuracy. Where the probe had fewer pairs than the evaluation,
    chance in their choice is allowed for with three standard errors; else with two pairs, for ties in low precision.
    """
    if rm.accuracy is None or not rm.accuracies or not rm.pairs:
        return None
    logged, same = rm.accuracies[-1], rm.pairs == rm.eval_pairs
    most = 2 / rm.pairs if same else 3 * standard_error(logged, rm.pairs)
    if abs(rm.accuracy - logged) <= most:
        return None
    text = (
        f"training logged an accuracy of {logged:.3f} on its test pairs, but as PPO scores them it is {rm.accuracy:.3f}"
    )
    return Finding(BROKEN, "other_template", text, "build both texts by summarize_rlhf/text.py: rm_text; train it anew")


def labels_flipped(rm: RM) -> Finding | None:
    """A reward model that prefers what people rejected.

    Its accuracy is below chance; or, where the test pairs are flipped too, it scores labels below their own words in
    random order, which nobody prefers, though it has learned its pairs.
    """
    last = rm.accuracy if rm.accuracy is not None else rm.accuracies[-1] if rm.accuracies else None
    count = rm.pairs or rm.eval_pairs
    if last is None or not count:
        return None
    margin = 2 * standard_error(0.5, count)
    if last < 0.5 - margin:
        text = f"it prefers the rejected summary in {1 - last:.1%} of {count} test pairs"
        return Finding(BROKEN, "labels_flipped", text, "compare chosen and rejected of a few rows with their sources")
    if rm.beats_shuffled is None or last <= 0.5 + margin or rm.beats_shuffled >= LIKES_NONSENSE:
        return None
    text = f"only {rm.beats_shuffled:.0%} of human summaries score above their own words in random order"
    return Finding(BROKEN, "labels_flipped", text, "compare chosen and rejected of a few rows with their sources")


def pays_for_length(rm: RM) -> Finding | None:
    """A reward model that counts tokens: the longer text of nearly each pair scores higher.

    Twenty to one is beyond any taste for detail: of two summaries of one post the worse is sometimes the longer one.
    Or, in a model that has learned something, length tells its choice better than the labels do, by more than two
    standard errors. Broken; also where the shorter one wins as often. That the labels themselves agree with length as
    much only says where it comes from.
    """
    share = rm.prefers_longer
    if share is None:
        return None
    by_length = max(share, 1 - share)
    if by_length < RARELY_SHORTER and not (_has_learned(rm) and _beyond_labels(by_length, rm)):
        return None
    text = f"the longer summary scores higher in {share:.0%} of test pairs; people chose it in {rm.longer_chosen:.0%}"
    return Finding(BROKEN, "pays_for_length", text, "balance the pairs' lengths, or compare within equal length")


def _has_learned(rm: RM) -> bool:
    evaluations = rm.training.evaluations
    return bool(evaluations) and evaluations[-1].loss <= LITTLE_LEARNED * CHANCE


def _beyond_labels(by_length: float, rm: RM) -> bool:
    by_labels = max(rm.accuracy, 1 - rm.accuracy)  # flipped ones are labels, too
    return by_length > by_labels + 2 * standard_error(by_length, rm.pairs)


def does_not_read(rm: RM) -> Finding | None:
    """A reward model that does not need the post: as accurate, within two standard errors, under another one.

    From card.json (python -m reward_model.score), which swaps the posts of the test pairs.
    """
    accuracy, swapped = parts(rm.card, "accuracy").get("value"), parts(rm.card, "other_post").get("accuracy")
    count = rm.card.get("pairs")
    if accuracy is None or swapped is None or not count:
        return None
    known = accuracy > 0.5 + 2 * standard_error(0.5, count)
    if not known or swapped < accuracy - 2 * standard_error(accuracy, count):
        return None
    text = f"its accuracy is {accuracy:.3f} under the right post and {swapped:.3f} under another one"
    return Finding(SUSPECT, "does_not_read", text, "more pairs whose summaries differ in what the post says")


def learning_rate_too_high(rm: RM) -> Finding | None:
    """Steps too large: the loss rises again; or it ends at or above chance, on pairs that it was trained on or not.

    Or little was learned, and the SFT model is gone (see `OVERWRITTEN`).
    """
    losses, evaluations = rm.training.losses, rm.training.evaluations
    if found := too_high(losses[len(losses) // 5 :], "--learning_rate"):
        return found
    if found := overwritten(rm.moved, SUSPECT if _has_learned(rm) else BROKEN):
        return found
    if len(losses) < 5 or not evaluations:
        return None
    worst = max(losses, key=lambda point: point.loss).loss
    if evaluations[-1].loss < CHANCE or worst < 1.5 * CHANCE:
        return None
    text = f"the held-out loss ends at {evaluations[-1].loss:.2f} (chance: {CHANCE:.2f}), and it has been {worst:.2f}"
    return Finding(BROKEN, "learning_rate_too_high", text, "divide --learning_rate by 3 to 10")


def overfitted(rm: RM) -> Finding | None:
    """Sure of itself where it is wrong: a held-out loss above chance, a training loss well below it."""
    losses, evaluations = rm.training.losses, rm.training.evaluations
    if not losses or not evaluations or evaluations[-1].loss <= CHANCE or losses[-1].loss >= 0.5 * CHANCE:
        return None
    text = (
        f"loss {losses[-1].loss:.2f} in training, {evaluations[-1].loss:.2f} on held-out pairs (chance: {CHANCE:.2f})"
    )
    return Finding(BROKEN, "overfitted", text, "fewer --num_train_epochs, a smaller --trainable_fraction, more pairs")


def undertrained(rm: RM) -> Finding | None:
    """A reward model that has not learned yet what the pairs could teach it.

    Broken where its accuracy is within two standard errors of chance; suspect where little was learned and the held-out
    loss was still falling from log 2, as fast as a curve that has near half its fall before it: a few hundred pairs are
    too noisy for the bound of `late_fall` that a language model's tokens allow. A late fall alone says nothing: a
    learning rate that is annealed makes one, the more the higher it was.
    """
    count = rm.eval_pairs or rm.pairs
    if not rm.accuracies or not count:
        return None
    told, status = [], SUSPECT
    if abs(rm.accuracies[-1] - 0.5) <= 2 * standard_error(0.5, count):
        told.append(f"accuracy {rm.accuracies[-1]:.3f} on {count} pairs is no better than chance")
        status = BROKEN
    fall = late_fall(rm.training.evaluations, CHANCE)
    if fall is not None and fall > HALF_TO_COME and not _has_learned(rm):
        told.append(f"{fall:.0%} of the held-out loss's fall came in the last third of the way (a straight line: 33 %)")
    if not told:
        return None
    (cause,) = too_little(rm.training.passes)
    remedy = "more --num_train_epochs" if cause == "undertrained" else "raise --learning_rate by 3 to 10"
    return Finding(status, cause, "; ".join(told), remedy)


CHECKS = (
    other_model, pays_for_length, labels_flipped, other_template, learning_rate_too_high, overfitted, undertrained,
    does_not_read,
)  # fmt: skip
