"""Short questions to the weights, for what no stage logs. They fill in the last fields of `SFT` and `RM`.

A few dozen texts of the stage's own data, named in its run.json; where those are gone, the fields stay None.
"""

import math
import random
from pathlib import Path
from statistics import fmean

import torch
from torch import nn

from reward_model.accuracy import prefers_chosen
from reward_model.comparisons import load_comparisons
from reward_model.scoring import Scorer
from sft.summarize_dataset import PadRight, encode, with_labels
from summarize_rlhf import UserError
from summarize_rlhf.data import load_rows, places
from summarize_rlhf.doctor.evidence import RM, SFT, Run
from summarize_rlhf.doctor.further_steps import further_fall
from summarize_rlhf.lm.precision import dtype_for
from summarize_rlhf.lm.weights import load_causal_lm
from summarize_rlhf.reading import reading
from summarize_rlhf.text import bare_body, bare_summary
from summarize_rlhf.tokenizer import load_tokenizer, token_ids

LABELS = 24  # texts read by the language models
ROWS = 100  # training rows whose length is counted
STEPS, BATCH, HELD_OUT = 8, 12, 48  # further steps, rows of each, rows they are judged by
PAIRS = 300  # of the test split
SHUFFLED = 40  # labels whose words are shuffled
UNLIMITED = 10**6  # tokens


def probe(run: Run, precision: str = "auto") -> list[str]:
    """Ask the weights of stages 1 and 2. Returns a line for each stage that could not be asked, and why.

    `precision` is one of `PRECISIONS`; "auto" is fp32 for the language models, whose losses differ by little, and for
    the reward model what PPO would take.
    """
    left_out = []
    for evidence, ask in ((run.sft, probe_sft), (run.rm, probe_rm)):
        try:
            if evidence is not None:
                with reading(evidence.directory, "stage in", "is it as the stage wrote it?"):
                    ask(evidence, precision)
        except UserError as error:
            left_out.append(f"{evidence.directory} was not probed: {error}")
    return left_out


def data_of(evidence: SFT | RM) -> str:
    """Return the data set that a stage was trained on. Raises `UserError` where its run.json does not say."""
    if not evidence.options.get("dataset"):
        raise UserError("its run.json does not say what it was trained on")
    return evidence.options["dataset"]


def probe_sft(sft: SFT, precision: str = "auto") -> None:
    """Measure what held-out labels cost, whether the model would still learn (in fp32), and which posts are cut."""
    tokenizer = load_tokenizer(sft.directory)
    model = to_device(load_causal_lm(sft.directory))
    longest = getattr(model.config, "max_position_embeddings", None) or UNLIMITED  # not every family has a limit

    def texts(split: str, most: int, max_length: int) -> dict[str, list]:
        rows = load_rows(data_of(sft), split, ["prompt", "label"], most)
        return encode(tokenizer, rows["prompt"], rows["label"], max_length, places(rows))

    known = sft.options.get("max_length", UNLIMITED)
    sft.rows_cut = fmean(length > known for length in texts("train", ROWS, UNLIMITED)["length"])
    labels = texts_of(texts("valid", LABELS, longest - 1))
    device = model.device.type
    dtype = torch.float32 if precision == "auto" else dtype_for(device, precision)
    autocast = torch.autocast(device, dtype, enabled=dtype != torch.float32)
    with autocast:
        label, eos, again = zip(*(losses_behind(model, *text) for text in labels), strict=True)
    sft.label_loss, sft.eos_loss, sft.eos_again = fmean(label), fmean(eos), fmean(again)
    base = sft.options.get("model", "")
    if base and Path(base).is_dir():
        before = to_device(load_causal_lm(base))
        sft.moved = distance(model.base_model, before.base_model)
        if len(tokenizer) <= before.config.vocab_size:
            with autocast:
                sft.base_eos_again = fmean(losses_behind(before, *text)[2] for text in labels)

    on_summary, collate = sft.options.get("loss_on") != "text", PadRight(tokenizer.pad_token_id)

    def batches(split: str, most: int, size: int) -> list[dict[str, torch.Tensor]]:
        rows = [with_labels(*text, on_summary) for text in texts_of(texts(split, most, min(known, longest)))]
        return [collate(rows[i : i + size]) for i in range(0, len(rows), size)]

    def loss_of(batch: dict[str, torch.Tensor]) -> torch.Tensor:
        return model(batch["input_ids"].to(model.device), labels=batch["labels"].to(model.device)).loss

    (held_out,) = batches("valid", HELD_OUT, HELD_OUT)
    sft.further_fall = further_fall(model, loss_of, batches("train", STEPS * BATCH, BATCH), held_out)


def texts_of(encoded: dict[str, list]) -> list[tuple[list[int], int]]:
    return list(zip(encoded["input_ids"], encoded["start"], strict=True))


@torch.no_grad()
def losses_behind(model, ids: list[int], start: int) -> tuple[float, float, float]:
    """Return the mean loss of a label's tokens, that of its EOS, and the probability of a second EOS.

    `ids` end with the EOS; the label begins at `start`.
    """
    device = model.get_input_embeddings().weight.device
    logits = (
        model(torch.tensor([ids], device=device)).logits[0, start - 1 :].float()
    )  # what `start` and later are drawn from
    logprobs = logits.log_softmax(-1).cpu()
    targets = torch.tensor(ids[start:])
    losses = -logprobs[: len(targets)].gather(1, targets[:, None]).squeeze(1)
    return losses[:-1].mean().item(), losses[-1].item(), logprobs[-1, ids[-1]].exp().item()


def probe_rm(rm: RM, precision: str = "auto") -> None:
    """Score test pairs as PPO would, and labels whose words stand in random order."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    base = rm.options.get("model")
    scorer = Scorer.from_pretrained(rm.directory, model=base, device=device, dtype=dtype_for(device, precision))
    most = min(PAIRS, rm.options.get("max_eval_rows") or PAIRS)
    rows, _ = load_comparisons(data_of(rm), "test", most)
    bodies, chosen, rejected = [bare_body(x) for x in rows["prompt"]], rows["chosen"][:], rows["rejected"][:]
    better, worse = (scorer.score(bodies, texts, places=places(rows)) for texts in (chosen, rejected))
    rm.pairs, rm.accuracy = len(rows), prefers_chosen(better, worse).float().mean().item()

    tokens = [[len(ids) for ids in token_ids(scorer.tokenizer, list(map(bare_summary, x)))] for x in (chosen, rejected)]
    longer = [a - b for a, b in zip(*tokens, strict=True)]
    uneven = [i for i, difference in enumerate(longer) if difference]
    if uneven:
        rm.prefers_longer = fmean(bool((better[i] > worse[i]) == (longer[i] > 0)) for i in uneven)
        rm.longer_chosen = fmean(longer[i] > 0 for i in uneven)
    mixed = [shuffled(bare_summary(text), i) for i, text in enumerate(chosen[:SHUFFLED])]
    rm.beats_shuffled = (better[: len(mixed)] > scorer.score(bodies[: len(mixed)], mixed)).float().mean().item()
    if base and Path(base).is_dir():
        rm.moved = distance(scorer.model.transformer, load_causal_lm(base).base_model)


@torch.no_grad()
def distance(model: nn.Module, before: nn.Module) -> float | None:
    """Return ‖θ − θ₀‖ / ‖θ₀‖ over the matrices that both models have in the same shape; None where there is none."""
    new, moved, whole = dict(model.named_parameters()), 0.0, 0.0
    for name, old in before.named_parameters():
        if old.dim() > 1 and name in new and new[name].shape == old.shape:
            moved += (new[name].float().cpu() - old.float().cpu()).square().sum().item()
            whole += old.float().square().sum().item()
    return math.sqrt(moved / whole) if whole else None


def shuffled(text: str, seed: int) -> str:
    """Return a text's words in random order."""
    words = text.split()
    random.Random(seed).shuffle(words)
    return " ".join(words)


def to_device(model):
    return model.to("cuda" if torch.cuda.is_available() else "cpu").eval()
