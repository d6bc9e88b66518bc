"""Stage 1: what goes wrong in supervised fine-tuning, a function per cause. None: nothing speaks for it.

Each returns a `Finding` from the evidence alone. A threshold is named, and its reason stands beside it.
"""

import math

from summarize_rlhf.doctor.evidence import SFT
from summarize_rlhf.doctor.finding import BROKEN, OVERWRITTEN, STILL_FALLING, SUSPECT, Finding, late_fall

MOST_CUT = 0.5  # the usual post is cut then
TEXT_UNLIKE = 1.5  # label loss on the true text over the loss that training reported
LEAST_LOSS = 0.01  # nats; a loss of next to nothing may double without harm
SPIKE = 1.5  # a loss over the lowest one before it
EOS_UNLIKE = 2.0  # loss of a label's EOS over that of its other tokens
TWICE = 0.5  # probability of a second EOS
STILL_LEARNS = 0.03  # of the held-out loss: further steps took 5 % off where a tenth or a quarter was done, else 1 %
FEW_TEXTS = 0.5  # share of different texts among summaries of different posts


def posts_cut(sft: SFT) -> Finding | None:
    """Posts that lose their end, so that a summary has nothing to rest on.

    Suspect where more than half the rows are cut. Broken where, besides, labels cost the finished model half as much
    again on the true text as the loss that training reported: what was trained is not post, `TL;DR:` and summary.
    """
    if sft.rows_cut is None or sft.rows_cut <= MOST_CUT:
        return None
    text = f"{sft.rows_cut:.0%} of the training rows are longer than max_length ({sft.options.get('max_length')})"
    reported = sft.training.evaluations[-1].loss if sft.training.evaluations else None
    unlike = None not in (sft.label_loss, reported) and sft.label_loss > TEXT_UNLIKE * reported
    if unlike:
        text += (
            f", and labels behind `TL;DR:` cost {sft.label_loss:.2f} nats a token, not the {reported:.2f} of training"
        )
    return Finding(
        BROKEN if unlike else SUSPECT,
        "posts_cut",
        text,
        "raise --max_length; cut the post, never `TL;DR:` or the summary (summarize_rlhf/text.py: cut_post)",
    )


def eos_not_taught(sft: SFT) -> Finding | None:
    """A model that does not know where a summary ends: each response runs into the limit of tokens.

    Two things together. The EOS behind a held-out label is less likely than one in `max_new_tokens`: a response would
    rather run into the limit than end. And it costs more than twice what the label's other tokens cost: the text was
    learned, its end was not (a model that has learned neither is undertrained).
    """
    if sft.eos_loss is None or sft.label_loss is None:
        if sft.ended is None or sft.ended > 0.5:
            return None
        return Finding(SUSPECT, "eos_not_taught", f"{sft.ended:.0%} of the greedy summaries ended", _EOS_NEXT)
    if math.exp(-sft.eos_loss) >= 1 / sft.new_tokens or sft.eos_loss <= EOS_UNLIKE * sft.label_loss:
        return None
    text = (
        f"the EOS behind a held-out label has probability {math.exp(-sft.eos_loss):.1e} (below 1/{sft.new_tokens}); it "
        f"costs {sft.eos_loss:.1f} nats, the label's tokens {sft.label_loss:.2f} each"
    )
    return Finding(BROKEN, "eos_not_taught", text, _EOS_NEXT)


_EOS_NEXT = "supervise the EOS: mask padding by the rows' lengths, never by its id (sft/summarize_dataset.py: PadRight)"


def padding_supervised(sft: SFT) -> Finding | None:
    """Padding that was trained as EOS: what the loss counts is then mostly padding.

    Nothing follows an EOS in training, so a second one behind it is as likely as the model happens to have it; with
    padding trained it is all that is ever seen there. Broken above one half, and ten times as likely as before SFT.
    """
    again, base = sft.eos_again, sft.base_eos_again
    if again is None or again <= TWICE or (base is not None and again <= 10 * base):
        return None
    text = f"behind an EOS the model writes another one with probability {again:.2f}"
    if base is not None:
        text += f" ({base:.4f} before SFT)"
    return Finding(BROKEN, "padding_supervised", text, "label padding -100, by the rows' lengths (PadRight)")


def learning_rate_too_high(sft: SFT) -> Finding | None:
    """Steps too large for the loss: it rises again, or stays where it was.

    The loss of a log line is a mean over several global batches, whose own spread is a few per cent: half as much
    again as the lowest line before it is no noise. Or the weights are far from where they began (see `OVERWRITTEN`):
    the loss may have come down all the same, but what the model knew before is gone.
    """
    return too_high(sft.training.losses, "--learning_rate") or overwritten(sft.moved, SUSPECT)


def overwritten(moved: float | None, status: str) -> Finding | None:
    if moved is None or moved <= OVERWRITTEN:
        return None
    text = f"the weights have moved by {moved:.2f} times their norm from those that the stage began with"
    return Finding(status, "learning_rate_too_high", text, "divide --learning_rate by 3 to 10")


def too_high(losses, knob: str) -> Finding | None:
    lowest, worst, where = math.inf, 0.0, None
    for point in losses:
        if point.loss / lowest > worst:
            worst, where = point.loss / lowest, (lowest, point.loss)
        lowest = max(min(lowest, point.loss), LEAST_LOSS)
    if worst <= SPIKE:
        return None
    text = f"the training loss rose from {where[0]:.2f} to {where[1]:.2f}, {worst:.1f} times its lowest so far"
    status = BROKEN if losses[-1].loss > SPIKE * lowest else SUSPECT
    return Finding(status, "learning_rate_too_high", text, f"divide {knob} by 3 to 10, or clip (--max_grad_norm 1)")


def undertrained(sft: SFT) -> Finding | None:
    """A model that has not learned yet what the data could teach it.

    Either the held-out loss was still falling: see `STILL_FALLING`; or it falls when the model is trained on for a
    moment: see `STILL_LEARNS`. Or the summaries are no better (ROUGE-1) than the post's own first words, which cost
    nothing. With a pass over the data behind it, more steps would only mean the
    same rows again: the learning rate is too low.
    """
    training = sft.training
    points = training.evaluations if len(training.evaluations) >= 3 else training.losses
    fall = late_fall(points, training.losses[0].loss) if training.losses else None
    poor = None not in (sft.rouge, sft.lead_rouge) and sft.rouge <= sft.lead_rouge
    falling = fall is not None and fall > STILL_FALLING
    learns = sft.further_fall is not None and sft.further_fall > STILL_LEARNS
    if not falling and not learns and not poor:
        return None
    told = []
    if falling:
        told.append(f"{fall:.0%} of the loss's fall came in the last third of the way (a straight line: 33 %)")
    if learns:
        told.append(f"a few further steps on training rows lower the held-out loss by {sft.further_fall:.1%}")
    if poor:
        told.append(f"ROUGE-1 of its summaries is {sft.rouge:.3f}, that of the posts' first words {sft.lead_rouge:.3f}")
    return Finding(BROKEN if poor else SUSPECT, *too_little(training.passes), "; ".join(told), _more(training.passes))


def too_little(passes: float | None) -> tuple[str]:
    return ("learning_rate_too_low" if passes is not None and passes >= 0.99 else "undertrained",)


def _more(passes: float | None) -> str:
    return "raise --learning_rate by 3 to 10" if too_little(passes)[0] != "undertrained" else "more --num_train_epochs"


def collapsed(sft: SFT) -> Finding | None:
    """The same summary for posts that differ. Half of the greedy texts may repeat another; a label hardly ever does."""
    if sft.distinct is None or sft.distinct >= FEW_TEXTS:
        return None
    text = f"only {sft.distinct:.0%} of the summaries of different posts differ"
    return Finding(BROKEN, "collapsed", text, "read samples.jsonl; lower --learning_rate, and train on the whole data")


def overfitted(sft: SFT) -> Finding | None:
    """A model that is worse on held-out rows than it was: the loss there rose by a tenth from its lowest."""
    losses = [point.loss for point in sft.training.evaluations]
    if len(losses) < 3 or losses[-1] <= 1.1 * min(losses) or sft.options.get("keep") == "best":
        return None
    text = f"the held-out loss rose from {min(losses):.2f} to {losses[-1]:.2f}"
    return Finding(SUSPECT, "overfitted", text, "--keep best, or fewer --num_train_epochs")


CHECKS = (posts_cut, padding_supervised, learning_rate_too_high, undertrained, eos_not_taught, collapsed, overfitted)
