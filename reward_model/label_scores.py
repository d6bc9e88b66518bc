"""The reward model's scores of the human summaries: computed once, before training, and kept on disk."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from accelerate import PartialState
from accelerate.utils import broadcast_object_list, gather_object

from reward_model.scoring import Scorer
from summarize_rlhf.run import kept
from summarize_rlhf.text import rm_text
from summarize_rlhf.tokenizer import tokenizer_hash


def label_scores(
    scorer: Scorer,
    bodies: Sequence[str],
    labels: Sequence[str],
    file: Path,
    progress: str | None = None,
    places: Sequence[str] | None = None,
    fresh: bool = False,
) -> list[float]:
    """Return the score of each label (human summary) under its post, from `file` where it is known, else computed.

    A text is known by its hash, the scorer by the hashes of weights and tokenizer and by its length limit: after a
    change of either, or with `fresh`, the score is computed anew. `places` name the rows in errors. All processes of a
    launch call this; each scores its share.
    """
    state = PartialState()
    judge = f"{scorer.digest()} {tokenizer_hash(scorer.tokenizer)} {scorer.max_length}"
    names = [hashlib.sha256(rm_text(*pair).encode()).hexdigest() for pair in zip(bodies, labels, strict=True)]
    known = read(file, judge) if state.is_main_process and not fresh else {}
    known = broadcast_object_list([known])[0]
    missing = sorted({name: i for i, name in enumerate(names) if name not in known}.values())
    if missing:
        mine = missing[state.process_index :: state.num_processes]
        where = None if places is None else [places[i] for i in mine]
        found = scorer.score([bodies[i] for i in mine], [labels[i] for i in mine], progress, where).tolist()
        shares = gather_object([(names[i], score) for i, score in zip(mine, found, strict=True)])
        known |= dict(shares)
        if state.is_main_process:
            kept.write_value(file, {"reward_model": judge, "scores": known})
        state.wait_for_everyone()
    return [known[name] for name in names]


def read(file: Path, judge: str) -> dict[str, float]:
    """Read the scores that an earlier start left; none by another reward model, none from a damaged file."""
    content = kept.read_value(file)
    return content["scores"] if content is not None and content["reward_model"] == judge else {}
