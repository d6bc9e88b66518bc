"""What a run's files say, as plain numbers and words: the content of report.json, from which the pages are made."""

import math
from collections.abc import Iterable
from typing import Any

from summarize_rlhf.report_page.curves import curves, plane
from summarize_rlhf.report_page.material import Material, Stage
from summarize_rlhf.report_page.numbers import estimate, number, parts, rows
from summarize_rlhf.report_page.samples import browse
from summarize_rlhf.report_page.verdict import verdict
from summarize_rlhf.run.peak_memory import GPU, HOST

# Name in evaluation.json: what it is called, and how it is written.
MEASURES = {
    "reward": ("Reward", "signed"),
    "reward_over_label": ("Reward over the label’s", "signed"),
    "gold": ("Gold score", "signed"),
    "rouge1": ("ROUGE-1", "share"),
    "rouge2": ("ROUGE-2", "share"),
    "rougeL": ("ROUGE-L", "share"),
    "rougeLsum": ("ROUGE-Lsum", "share"),
    "tokens": ("Tokens", "plain"),
    "eos_rate": ("Ended by EOS", "percent"),
    "repetition": ("Repetition", "percent"),
    "copied_4grams": ("4-grams copied from the post", "percent"),
    "kl_to_first": ("KL to the first model, nats", "plain"),
    "kl_to_first_sampled": ("KL, sampled estimate, nats", "plain"),
}
# What would fill a section, and the command that makes it.
FILLS = {
    "sft": "Supervised fine-tuning",
    "rm": "The reward model",
    "ppo": "PPO",
    "evaluation": "Models, who wins, summaries",
    "card": "The reward model’s card",
    "doctor": "Health",
    "cost": "Times of the stages",
}
COMMANDS = {
    "sft": "cd sft/ && deepspeed train_gptj_summarize.py",
    "rm": "cd reward_model/ && deepspeed train_reward_model_gptj.py",
    "ppo": "accelerate launch --config_file configs/default_accelerate_config.yaml trlx_gptj_text_summarization.py",
    "evaluation": "python trlx_inference_gptj.py --models sft=DIR ppo=DIR --output_dir RUN/inference",
    "card": "python reward_model/gptj_reward_test.py --reward_model DIR",
    "doctor": "python -m summarize_rlhf.doctor RUN --json RUN/doctor.json",
    "cost": "./quickstart.sh",
}
MEMORY = {"host_gb": HOST, "gpu_gb": GPU}  # columns of the costs: their names in metrics.jsonl
RECIPE = {  # of a stage's arguments: the ones that people ask for first
    "sft": ("model", "dataset", "max_length", "loss_on", "global_batch_size", "num_train_epochs", "learning_rate"),
    "rm": ("model", "dataset", "loss", "trainable_fraction", "global_batch_size", "num_train_epochs", "learning_rate"),
    "ppo": (
        "model.model_path", "model.num_layers_unfrozen", "train.epochs", "train.batch_size", "method.num_rollouts",
        "method.ppo_epochs", "method.init_kl_coef", "method.target", "optimizer.kwargs.lr",
    ),
}  # fmt: skip


def facts(found: Material) -> dict[str, Any]:
    """Return what the page shows; None or empty where there is nothing. `missing` names the command per section."""
    cards = [stage.card for stage in found.of("rm") if stage.card]
    known = {
        "title": found.name,
        "verdict": verdict(found),
        "doctor": found.doctor,
        **evaluated(found.evaluation or {}),
        "plane": plane(found),
        "card": card(cards[0]) if cards else None,
        "curves": [{"stage": s.kind, "name": s.name, "curves": drawn} for s in found.stages if (drawn := curves(s))],
        "samples": browse(found),
        "recipe": [recipe(stage) for stage in found.stages],
        "provenance": provenance(found),
        "cost": cost(found),
        "seconds_in_all": sum(found.seconds.values()) if found.seconds else None,
    }
    there = {stage.kind for stage in found.stages} | {name for name in ("card", "doctor") if known[name]}
    there |= {"evaluation"} if found.evaluation else set()
    there |= {"cost"} if found.seconds else set()
    return known | {"missing": {name: command for name, command in COMMANDS.items() if name not in there}}


def evaluated(evaluation: dict[str, Any]) -> dict[str, Any]:
    """Return what evaluation.json says of models: their measures, comparisons, and why the reward rose."""
    models = {name: row for name, row in parts(evaluation, "models").items() if isinstance(row, dict)}
    columns = ({"label": parts(evaluation, "label")} if parts(evaluation, "label") else {}) | models
    measured = []
    for name, (title, form) in MEASURES.items():
        cells = [estimate(row.get(name)) for row in columns.values()]
        if any(cells):
            measured.append({"measure": title, "form": form, "cells": cells})
    gain = parts(evaluation, "gain")
    explained = [
        {"part": name, "estimate": found}
        for name in ("total", "length", "copying", "rest")
        if (found := estimate(gain.get(name)))
    ]
    reach = max((abs(x) for row in explained for x in row["estimate"].values() if x is not None), default=0) or 1
    shown = {"first": gain.get("first"), "second": gain.get("second"), "reach": reach, "parts": explained}
    return {
        "posts": number(evaluation.get("posts")),
        "confidence": number(evaluation.get("confidence")),
        "models": {"columns": list(columns), "rows": measured} if measured else None,
        "comparisons": [comparison(row) for row in rows(evaluation, "comparisons")],
        "gain": shown if explained else None,
    }


def comparison(row: dict[str, Any]) -> dict[str, Any]:
    kept = {name: row.get(name) for name in ("first", "second", "verdict", "warning")}
    figures = {name: estimate(row.get(name)) for name in ("win_rate", "length_controlled", "difference")}
    return kept | figures | {"detectable": number(row.get("detectable"))}


def card(content: dict[str, Any]) -> dict[str, Any]:
    """Return the reward model's card: headline figures, probes and the points of its reliability plot."""
    calibration = parts(content, "calibration")
    rules, correlations = parts(content, "rules"), parts(content, "correlations")
    figures = [
        ("Accuracy", estimate(content.get("accuracy")), "percent"),
        ("Ceiling: labels that the gold score agrees with", estimate(content.get("ceiling")), "percent"),
        ("Rule “longer wins”", estimate(rules.get("longer")), "percent"),
        ("Rule “more copied wins”", estimate(rules.get("more_copied")), "percent"),
        ("Accuracy under another post", estimate(parts(content, "other_post").get("accuracy")), "percent"),
        ("Expected calibration error", estimate(calibration.get("ece")), "share"),
        ("Temperature that fits", estimate(calibration.get("temperature")), "plain"),
        *((f"Correlation with {name}", estimate(value), "signed") for name, value in correlations.items()),
    ]
    probes = [
        {
            "probe": name,
            "description": probe.get("description"),
            "beats_label": number(probe.get("beats_label")),
            "mean_difference": number(probe.get("mean_difference")),
        }
        for name, probe in parts(content, "probes").items()
        if isinstance(probe, dict)
    ]
    bins = [
        {name: number(row.get(name)) for name in ("confidence", "accuracy", "pairs")}
        for row in rows(calibration, "bins")
    ]
    return {
        "pairs": number(content.get("pairs")),
        "paragraph": content.get("paragraph"),
        "figures": [{"name": name, "estimate": found, "form": form} for name, found, form in figures if found],
        "probes": sorted(probes, key=lambda row: -(row["beats_label"] or 0)),
        "bins": [row for row in bins if None not in (row["confidence"], row["accuracy"])],
    }


def recipe(stage: Stage) -> dict[str, Any]:
    """Return a stage's arguments by dotted name, the main ones first, and its data."""
    arguments = dict(_flat(parts(stage.record, "arguments")))
    data = {
        split: {"rows": number(given.get("rows")), "sha256": str(given.get("sha256", ""))[:12]}
        for split, given in parts(stage.record, "data").items()
        if isinstance(given, dict)
    }
    main = {name.rsplit(".", 1)[-1]: arguments[name] for name in RECIPE[stage.kind] if name in arguments}
    return {"stage": stage.kind, "name": stage.name, "main": main, "arguments": arguments, "data": data}


def _flat(section: dict[str, Any], before: str = "") -> Iterable[tuple[str, Any]]:
    for name, value in section.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{before}{name}.")
        else:
            yield before + name, None if isinstance(value, float) and not math.isfinite(value) else value


def cost(found: Material) -> list[dict[str, Any]]:
    """Return the seconds of each stage, and the most memory that one of its processes had, in GB; None if not known."""
    peaks: dict[str, dict[str, float]] = {}
    for stage in found.stages:
        logged = {place: [number(row.get(name)) for row in stage.metrics] for place, name in MEMORY.items()}
        known = {place: max(x for x in values if x is not None) for place, values in logged.items() if any(values)}
        if known:
            peaks[stage.name] = known
    return [
        {"stage": name, "seconds": found.seconds.get(name), **dict.fromkeys(MEMORY), **peaks.get(name, {})}
        for name in dict.fromkeys([*peaks, *found.seconds])
    ]


def provenance(found: Material) -> dict[str, Any]:
    """Return commits, seeds and versions of the stages; where they agree there is one of each."""
    records = [stage.record for stage in found.stages]
    versions = [parts(record, "versions") for record in records]
    merged = {
        name: sorted({str(given[name]) for given in versions if name in given})
        for name in dict.fromkeys(name for given in versions for name in given)
    }
    return {
        "commits": sorted({str(record["commit"]) for record in records if record.get("commit")}),
        "seeds": {stage.name: stage.record["seed"] for stage in found.stages if "seed" in stage.record},
        "machine": (found.summary or {}).get("machine"),
        "versions": {name: " and ".join(given) for name, given in merged.items()},
    }
