"""What a run's files say: the content of report.json, from which the pages are made."""

from summarize_rlhf.records import parts
from summarize_rlhf.report_page.curves import curves, plane
from summarize_rlhf.report_page.material import Material
from summarize_rlhf.report_page.numbers import Record, number, objects
from summarize_rlhf.report_page.samples import browse
from summarize_rlhf.report_page.verdict import verdict
from summarize_rlhf.run.overrides import flatten
from summarize_rlhf.run.peak_memory import GPU, HOST

COMMANDS = {  # what makes each piece of a page
    "sft": "cd sft/ && deepspeed train_gptj_summarize.py",
    "rm": "cd reward_model/ && deepspeed train_reward_model_gptj.py",
    "ppo": "accelerate launch --config_file configs/default_accelerate_config.yaml trlx_gptj_text_summarization.py",
    "evaluation": "python trlx_inference_gptj.py --models sft=DIR ppo=DIR --output_dir RUN/inference",
    "card": "python reward_model/gptj_reward_test.py --reward_model DIR",
    "doctor": "python -m summarize_rlhf.doctor RUN --json RUN/doctor.json",
    "cost": "./quickstart.sh",
}
MEMORY = {"host_gb": HOST, "gpu_gb": GPU}  # columns of the costs: their names in metrics.jsonl


def facts(found: Material) -> Record:
    """Return what the page shows; None or empty where there is nothing. `missing` names the command per piece."""
    card = next((stage.card for stage in found.of("rm") if stage.card), None)
    pieces = {"evaluation": found.evaluation, "card": card, "doctor": found.doctor, "cost": found.seconds}
    there = {stage.kind for stage in found.stages} | {name for name, piece in pieces.items() if piece}
    return {
        "title": found.name,
        "verdict": verdict(found),
        "doctor": found.doctor,
        "evaluation": found.evaluation,
        "plane": plane(found),
        "card": card,
        "curves": [{"stage": s.kind, "name": s.name, "curves": drawn} for s in found.stages if (drawn := curves(s))],
        "samples": browse(found),
        "recipe": [
            {
                "stage": stage.kind,
                "name": stage.name,
                "arguments": flatten(parts(stage.record, "arguments")),
                "data": objects(stage.record, "data"),
            }
            for stage in found.stages
        ],
        "provenance": provenance(found),
        "cost": cost(found),
        "seconds_in_all": sum(found.seconds.values()) if found.seconds else None,
        "missing": {name: command for name, command in COMMANDS.items() if name not in there},
    }


def cost(found: Material) -> list[Record]:
    """Return the seconds of each stage, and the most memory that one of its processes had, in GB; None if not known."""
    peaks: dict[str, Record] = {}
    for stage in found.stages:
        for place, name in MEMORY.items():
            if logged := [x for row in stage.metrics if (x := number(row.get(name)))]:
                peaks.setdefault(stage.name, dict.fromkeys(MEMORY))[place] = max(logged)
    return [
        {"stage": name, "seconds": found.seconds.get(name), **peaks.get(name, dict.fromkeys(MEMORY))}
        for name in dict.fromkeys([*peaks, *found.seconds])
    ]


def provenance(found: Material) -> Record:
    """Return commits, seeds and versions of the stages; where they agree there is one of each."""
    versions: dict[str, set[str]] = {}
    for name, version in (pair for stage in found.stages for pair in parts(stage.record, "versions").items()):
        versions.setdefault(name, set()).add(str(version))
    return {
        "commits": sorted({str(commit) for stage in found.stages if (commit := stage.record.get("commit"))}),
        "seeds": {stage.name: stage.record["seed"] for stage in found.stages if "seed" in stage.record},
        "machine": parts(found.summary).get("machine"),
        "versions": {name: " and ".join(sorted(given)) for name, given in versions.items()},
    }
