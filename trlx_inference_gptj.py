"""The tables: ROUGE and reward of generated summaries, any number of models side by side.

    python trlx_inference_gptj.py
    accelerate launch --num_processes 4 --config_file configs/default_accelerate_config.yaml \\
        trlx_inference_gptj.py --models sft=DIR ppo=DIR other=DIR

summarises the TL;DR test set with the model of stage 1 and that of stage 3 (or those given), scores these and the human
summaries (labels) with the reward model of stage 2, measures how far the models have moved from the first one (KL), and
writes the published tables, every summary as CSV, and an evaluation with intervals and verdicts: evaluation.md for
people, evaluation.json and samples.jsonl. docs/evaluation.md explains each figure. Run the same command again to take
up a run that was stopped. `--post FILE` summarises one post instead.
"""

import json
import re
import sys
from dataclasses import asdict, dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState

from reward_model.comparisons import load_comparisons
from reward_model.kept_rewards import kept_rewards
from reward_model.reward_model import require
from reward_model.scoring import Scorer
from summarize_rlhf import UserError, versions
from summarize_rlhf.data import fingerprint, load_rows
from summarize_rlhf.evaluation.copying import copied_share
from summarize_rlhf.evaluation.estimates import CONFIDENCE
from summarize_rlhf.evaluation.gold import gold_values
from summarize_rlhf.evaluation.judge import Judge, agreement, judged
from summarize_rlhf.evaluation.page import page, sentence, shown
from summarize_rlhf.evaluation.record import LABEL, opponents
from summarize_rlhf.lm.evaluation_files import check_evaluation_dir, one_row_a_post, write_evaluation
from summarize_rlhf.lm.generation_options import check_options
from summarize_rlhf.lm.precision import PRECISIONS
from summarize_rlhf.lm.published_tables import published_tables, title
from summarize_rlhf.lm.speed import tune_process
from summarize_rlhf.lm.summariser import Summariser
from summarize_rlhf.lm.test_set import Results, best_of, compute
from summarize_rlhf.lm.test_set_figures import best_of_n, columns_by_way, gain_record, sample_rows, way_record
from summarize_rlhf.lm.weights import check_found, find_model
from summarize_rlhf.locations import PPO_MODEL, REWARD_MODEL_DIR, SFT_MODEL
from summarize_rlhf.reading import printable, reading
from summarize_rlhf.report import format_table, print_samples
from summarize_rlhf.run.arguments import knob, parse_arguments
from summarize_rlhf.run.errors import main_guard
from summarize_rlhf.run.kept_answers import KeptAnswers
from summarize_rlhf.run.kept_rows import KeptRows, identity
from summarize_rlhf.run.named_function import load_function, version_of
from summarize_rlhf.text import bare_body, bare_summary, prompt_text

HERE = Path(__file__).resolve().parent
UNFINISHED = "unfinished"  # folder of what a stopped run goes on from
NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,40}")
TAKEN = {LABEL, "post", "prompt", "rouge", "reward"}  # no names of models


@dataclass
class InferenceArguments:
    models: list[str] | None = knob(
        None, "any number of NAME=directory or NAME=Hub id; the first is what the others are compared with. None: the "
        "next two, as sft and ppo",
    )  # fmt: skip
    sft_model: str = knob(find_model(*SFT_MODEL), "stage 1's directory or a Hub id")
    ppo_model: str = knob(find_model(*PPO_MODEL), "stage 3's hf_model directory or a Hub id")
    reward_model: str = knob(str(REWARD_MODEL_DIR), "stage 2's directory, or the published file")
    post: str | None = knob(None, "a text file with one post, or - for stdin: show its summary by each model and stop")
    dataset: str = knob("CarperAI/openai_summarize_tldr", "directory, file or Hub id")
    split: str = knob("test", "split of the data set")
    max_rows: int | None = knob(None, "number of first rows of the split to use; None: all", least=1)
    max_length: int = knob(550, "tokens of post and summary together; a longer post loses its end", least=1)
    max_new_tokens: int = knob(50, "most tokens of a summary, EOS included", least=1)
    decoding: str = knob(
        "greedy", "greedy, sampled from the model's own distribution, or both", choices=["greedy", "sample", "both"]
    )
    temperature: float = knob(1.0, "divides the logits when sampling; 0: greedy", least=0)
    samples: int = knob(1, "sampled summaries of each post; intervals count posts all the same", least=1)
    kl: bool = knob(True, "measure the KL of each model to the first along its summaries; holds both in memory")
    best_of: int | None = knob(None, "measure best-of-N of the first model for N up to this; None: not", least=2)
    best_of_posts: int = knob(200, "number of first posts that best-of-N is measured on", least=1)
    gold: str | None = knob(None, "module:function that knows how good a summary is: (prompt, summary) to a number")
    judge: str | None = knob(
        None, "module:function that judges: (post, summary, other summary) to 1, 0 or 0.5 for a tie"
    )
    judge_pairs: str | None = knob(None, "pairs with known verdicts to check the judge on: comparisons, file or Hub id")
    judge_rows: int = knob(100, "number of first pairs to check the judge on, at each start", least=2)
    batch_size: int = knob(32, "prompts generated at once; changes memory and speed only", least=1)
    precision: str = knob(
        "auto", "run the models in bf16, fp16 or fp32; auto: bf16 on a GPU that has it, fp16 on others, fp32 on a CPU",
        choices=PRECISIONS,
    )  # fmt: skip
    seed: int = knob(0, "seed of the samples", least=0, below=2**32)
    output_dir: str = knob(str(HERE / "results/inference"), "where tables and summaries go")


def ways(args: InferenceArguments) -> list[str]:
    return ["greedy", "sample"] if args.decoding == "both" else [args.decoding]


def named_models(args: InferenceArguments) -> dict[str, str]:
    """Return directory or Hub id by the name that its model has in tables and files."""
    if args.models is None:
        return {"sft": args.sft_model, "ppo": args.ppo_model}
    models: dict[str, str] = {}
    for given in args.models:
        name, _, path = given.partition("=")
        if not NAME.fullmatch(name) or not path or name.lower() in TAKEN:
            raise UserError(
                f"--models: {given!r} should be NAME=directory or NAME=Hub id, where NAME is made of letters, digits, "
                f"_ . and -, and is none of {', '.join(sorted(TAKEN))}"
            )
        if name.lower() in map(str.lower, models):
            raise UserError(f"--models names {name!r} twice: the files of both would have one name")
        models[name] = path
    return models


def show_post(models: list[Summariser], scorer: Scorer, args: InferenceArguments) -> None:
    """Print the summary of one post by each model, with its score."""
    with reading("stdin" if args.post == "-" else args.post, "post in", "it should be text in UTF-8"):
        text = sys.stdin.read() if args.post == "-" else Path(args.post).read_text(encoding="utf-8-sig")
    body, place = bare_body(text), "the post"
    if not body.strip():
        raise UserError(f"--post {args.post}: the post is empty")
    rows = []
    for model in models:
        prompts = model.prompts([prompt_text(body)], [place])
        for way in ways(args):
            for written in model.write(prompts, way, args.samples if way == "sample" else 1):
                rows.append({
                    "model": model.name if args.decoding != "both" else f"{model.name} ({way})",
                    "summary": printable(written.text), "reward": scorer.score([body], [written.text]).item(),
                    "tokens": len(written.response), "ended by EOS": "yes" if written.ended else "no",
                    "copied": copied_share(written.text, body),
                })  # fmt: skip
        model.release()
    print(format_table(rows))


def check_judge(judge: Judge, args: InferenceArguments) -> dict[str, Any]:
    """Compare the judge's answers with known verdicts; return what evaluation.json says of it."""
    if not args.judge_pairs:
        raise UserError("--judge needs --judge_pairs: pairs with known verdicts, on which it is checked at each start")
    pairs, _ = load_comparisons(args.judge_pairs, "test", args.judge_rows)
    kappa = agreement(args.judge, judge, [{name: bare_summary(pair[name]) for name in pair} for pair in pairs])
    print(f"judge {args.judge}: κ {shown(kappa, 2)} on {len(pairs)} pairs with known verdicts", flush=True)
    known = {"name": args.judge, "version": version_of(args.judge)}
    return known | {"kappa": kappa, "pairs": len(pairs), "data": fingerprint(pairs)}


def judge_summaries(
    judge: Judge, known: dict[str, Any], results: Results, names: list[str], args: InferenceArguments
) -> dict[str, Any]:
    """Let the judge compare the first summary of each post; return `judge` of evaluation.json.

    Its answers are kept in a file of its own, named by the code that defines it: no table is of two judges.
    """
    way, posts = ways(args)[0], len(results.rows)
    texts = {name: [summary.text for summary in results.summaries[name, way][:posts]] for name in names}
    texts[LABEL] = results.labels
    answers = KeptAnswers(Path(args.output_dir) / f"judge_{known['version'][:12]}.jsonl")
    found, consistent = judged(args.judge, judge, results.bodies, texts, opponents(names), answers)
    return known | {"consistent": consistent, "decoding": way, "comparisons": found}


@main_guard
def main() -> None:
    tune_process()
    args = parse_arguments(InferenceArguments, about=__doc__)
    versions.check_versions()
    check_options({"max_new_tokens": args.max_new_tokens, "temperature": args.temperature}, "the tables' arguments")
    gold = partial(gold_values, args.gold, load_function(args.gold, "--gold")) if args.gold else None
    named = named_models(args)
    if args.post is None:
        check_evaluation_dir(args.output_dir)
    if args.models is None:
        check_found(args.sft_model, *SFT_MODEL)
        check_found(args.ppo_model, *PPO_MODEL)
    state = PartialState(cpu=not torch.cuda.is_available())  # without that, no process of a CPU knows of others
    judge = load_function(args.judge, "--judge") if args.judge else None
    require(args.reward_model)
    options = ("max_length", "max_new_tokens", "temperature", "seed", "batch_size", "precision")
    models = [
        Summariser(name, path, state.device, **{option: getattr(args, option) for option in options})
        for name, path in named.items()
    ]
    source = {"model": models[0].path, "device": state.device, "dtype": models[0].dtype}
    scorer = cache(partial(Scorer.from_pretrained, args.reward_model, **source))  # read when there is a text to score
    if args.post is not None:
        if state.is_main_process:
            show_post(models, scorer(), args)
        return
    known = check_judge(judge, args) if judge and state.is_main_process else None

    # What takes long, on all processes; a stopped run goes on from what is kept.
    kept = KeptRows(Path(args.output_dir) / UNFINISHED)
    rewards_of = partial(kept_rewards, scorer, kept, identity(args.reward_model))
    rows = load_rows(args.dataset, args.split, ["prompt", "label"], args.max_rows)
    rows, repeated = one_row_a_post(rows)
    if repeated and kept.show:
        print(f"{repeated} rows whose post an earlier row has are left out")
    results = compute(models, rows, rewards_of, ways(args), args.samples, args.kl, kept)
    few = rows.select(range(min(len(rows), args.best_of_posts)))
    drawn = best_of(models[0], few, rewards_of, args.best_of, kept) if args.best_of else None
    if not state.is_main_process:
        return

    # The published tables.
    way, names = ways(args)[0], list(named)
    print_samples(
        [
            {"post": results.bodies[i], "label": results.labels[i]}
            | {title(name): results.summaries[name, way][i].text for name in names}
            for i in range(min(3, len(rows)))
        ]
    )
    files, record = published_tables(results, names, args.split)
    provenance = {"data": fingerprint(rows), "arguments": asdict(args)}
    provenance |= {"commit": versions.commit(), "versions": versions.versions()}
    files["inference.json"] = json.dumps(record | provenance, indent=2, ensure_ascii=False) + "\n"

    # The evaluation, with intervals and verdicts.
    columns = columns_by_way(results, models, ways(args), gold)
    by_way = {each: way_record(columns[each], models) for each in columns}
    evaluation = {"posts": len(rows), "seed": args.seed, "confidence": CONFIDENCE, "settings": asdict(args)}
    evaluation |= by_way[way] | {"decoding": way, "ways": by_way, "gain": gain_record(columns[way], names)}
    evaluation["best_of_n"] = best_of_n(drawn, names[0], few, gold) if drawn else None
    evaluation["judge"] = judge_summaries(judge, known, results, names, args) if known else None
    evaluation |= {name: provenance[name] for name in ("data", "commit", "versions")}
    print("\n" + "\n".join(sentence(row) for row in evaluation["comparisons"]))
    samples = sample_rows(results, columns[way], models, way)
    files["samples.jsonl"] = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in samples)
    files["evaluation.json"] = json.dumps(evaluation, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    files["evaluation.md"] = page(evaluation)
    write_evaluation(args.output_dir, files)
    kept.drop()
    print(f"\nwrote {args.output_dir}/: evaluation.md, evaluation.json, rouge.csv, reward.csv and the summaries")


if __name__ == "__main__":
    main()
