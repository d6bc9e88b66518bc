"""Everything of an evaluation that takes long: summaries of the test set, their divergences and rewards; resumable."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from datasets import Dataset
from torch import Tensor

from summarize_rlhf import UserError
from summarize_rlhf.data import places
from summarize_rlhf.lm.kl import Divergence
from summarize_rlhf.lm.summaries import Generated
from summarize_rlhf.lm.summariser import Summariser
from summarize_rlhf.run.kept_rows import KeptRows
from summarize_rlhf.text import split_labels, split_prompts

Key = tuple[str, str]  # a model's name and a way of decoding: "greedy" or "sample"
# Scores texts in rows (K·N) under their posts (N): name in the progress bar, bodies, texts, places in a data set.
RewardsOf = Callable[[str, Sequence[str], Sequence[str], Sequence[str] | None], Tensor]


class BestOf(NamedTuple):
    """M samples of each of the first P posts by the first model, sample by sample, and their rewards."""

    summaries: list[Generated]  # (M·P)
    rewards: Tensor  # (M·P)
    posts: int


class Results(NamedTuple):
    """What was computed on N posts. Rows are sample by sample: row r is of post r % N."""

    rows: Dataset  # (N)
    bodies: list[str]
    labels: list[str]
    label_rewards: Tensor  # (N)
    summaries: dict[Key, list[Generated]]  # (K·N)
    rewards: dict[Key, Tensor]
    divergences: dict[Key, list[Divergence]]  # to the first model, of the others where their tokenizers are the same


def summarise(
    models: Sequence[Summariser], rows: Dataset, ways: Sequence[str], samples: int, kept: KeptRows
) -> dict[Key, list[Generated]]:
    """Let each model summarise the posts in each way; one model is in memory at a time."""
    summaries = {}
    for model in models:
        prompts = model.prompts(rows["prompt"], places(rows))
        for way in ways:
            summaries[model.name, way] = model.write(prompts, way, samples if way == "sample" else 1, kept)
        model.release()
    return summaries


def divergences_to_first(
    models: Sequence[Summariser], summaries: dict[Key, list[Generated]], ways: Sequence[str], kept: KeptRows
) -> dict[Key, list[Divergence]]:
    """Measure how far each later model is from the first along its summaries; two models are in memory at a time."""
    first, found = models[0], {}
    for model in models[1:]:
        if not model.same_tokens(first):
            if kept.show:
                print(f"KL of {model.name} to {first.name} is left out: they have different tokenizers")
            continue
        for way in ways:
            found[model.name, way] = model.divergences(first, summaries[model.name, way], kept, way)
            if not all(math.isfinite(figure) for both in found[model.name, way] for figure in both):
                raise UserError(
                    f"the KL of {model.name} to {first.name} is no finite number: weights are damaged, or their "
                    "precision is too low. --kl false leaves it out"
                )
        model.release()
    first.release()
    return found


def compute(
    models: Sequence[Summariser],
    rows: Dataset,
    rewards_of: RewardsOf,
    ways: Sequence[str],
    samples: int,
    kl: bool,
    kept: KeptRows,
) -> Results:
    """Summarise the posts of `rows` with all models, compare these where `kl`, and score summaries and labels."""
    bodies, labels = split_prompts(rows["prompt"], places(rows)), split_labels(rows["label"], places(rows))
    summaries = summarise(models, rows, ways, samples, kept)
    divergences = divergences_to_first(models, summaries, ways, kept) if kl else {}
    label_rewards = rewards_of("labels", bodies, labels, places(rows))
    rewards = {
        key: rewards_of(" ".join(key), bodies, [summary.text for summary in given], None)
        for key, given in summaries.items()
    }
    return Results(rows, bodies, labels, label_rewards, summaries, rewards, divergences)


def best_of(model: Summariser, rows: Dataset, rewards_of: RewardsOf, samples: int, kept: KeptRows) -> BestOf:
    """Draw `samples` of each post from a model, and score them."""
    prompts = model.prompts(rows["prompt"], places(rows))
    summaries = model.write(prompts, "sample", samples, kept, stream=1)
    model.release()
    bodies, texts = split_prompts(rows["prompt"], places(rows)), [summary.text for summary in summaries]
    return BestOf(summaries, rewards_of(f"{model.name} best of {samples}", bodies, texts, None), len(rows))
