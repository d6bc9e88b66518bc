"""The tables: ROUGE and reward of generated summaries, SFT against PPO.

    python trlx_inference_gptj.py

summarises the TL;DR test set with the model of stage 1 and that of stage 3, scores these and the human summaries
(labels) with the reward model of stage 2, measures how far stage 3 has moved from stage 1 (KL), prints both tables
and writes them with every summary as CSV.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from datasets import Dataset

from reward_model.scoring import Scorer
from summarize_rlhf import versions
from summarize_rlhf.data import fingerprint, load_rows, places
from summarize_rlhf.handover import check_handover
from summarize_rlhf.intervals import mean_and_se, paired_bootstrap
from summarize_rlhf.lm.generation_options import check_options
from summarize_rlhf.lm.kl import kl_of_responses
from summarize_rlhf.lm.precision import PRECISIONS, dtype_for
from summarize_rlhf.lm.speed import tune_process
from summarize_rlhf.lm.summaries import Generated, generate
from summarize_rlhf.lm.weights import check_found, check_positions, find_model, load_causal_lm
from summarize_rlhf.locations import PPO_MODEL, REWARD_MODEL_DIR, SFT_MODEL
from summarize_rlhf.report import as_csv, format_table, print_samples
from summarize_rlhf.rouge import rouge
from summarize_rlhf.run.arguments import knob, parse_arguments
from summarize_rlhf.run.errors import main_guard
from summarize_rlhf.run.files import check_results_dir, write_files
from summarize_rlhf.text import cut_prompts, prompt_text, split_labels, split_prompts
from summarize_rlhf.tokenizer import load_tokenizer, tokenizer_hash

HERE = Path(__file__).resolve().parent


@dataclass
class InferenceArguments:
    sft_model: str = knob(find_model(*SFT_MODEL), "stage 1's directory or a Hub id")
    ppo_model: str = knob(find_model(*PPO_MODEL), "stage 3's hf_model directory or a Hub id")
    reward_model: str = knob(str(REWARD_MODEL_DIR), "stage 2's directory, or the published file")
    dataset: str = knob("CarperAI/openai_summarize_tldr", "directory, file or Hub id")
    split: str = knob("test", "split of the data set")
    max_rows: int | None = knob(None, "number of first rows of the split to use; None: all", least=1)
    max_length: int = knob(550, "tokens of post and summary together; a longer post loses its end", least=1)
    max_new_tokens: int = knob(50, "most tokens of a summary, EOS included", least=1)
    decoding: str = knob(
        "greedy", "greedy, sampled from the model's own distribution, or both", choices=["greedy", "sample", "both"]
    )
    temperature: float = knob(1.0, "divides the logits when sampling; 0: greedy", least=0)
    kl: bool = knob(True, "measure the KL of PPO to SFT along PPO's summaries; holds both models in memory")
    batch_size: int = knob(32, "prompts generated at once; changes memory and speed only", least=1)
    precision: str = knob(
        "auto", "run the models in bf16, fp16 or fp32; auto: bf16 on a GPU that has it, fp16 on others, fp32 on a CPU",
        choices=PRECISIONS,
    )  # fmt: skip
    seed: int = knob(0, "seed of the samples", least=0, below=2**32)
    output_dir: str = knob(str(HERE / "results/inference"), "where tables and summaries go")


def ways(args: InferenceArguments) -> list[str]:
    return ["greedy", "sample"] if args.decoding == "both" else [args.decoding]


def summarise(name: str, path: str, rows: Dataset, args: InferenceArguments, device) -> dict[str, list[Generated]]:
    """Return the model's summary of each post, by way of decoding. `name` is for the progress bar."""
    tokenizer = load_tokenizer(path)
    if Path(path).is_dir():
        check_handover(path, expects_stage=("sft", "ppo"), tokenizer=tokenizer)
    model = load_causal_lm(path, dtype=dtype_for(device, args.precision)).to(device)
    check_positions(model.config, args.max_length, "--max_length")
    room = args.max_length - args.max_new_tokens
    prompts = [prompt_text(body) for body in cut_prompts(tokenizer, rows["prompt"], room, places(rows))]
    return {
        way: generate(
            model,
            tokenizer,
            prompts,
            max_new_tokens=args.max_new_tokens,
            batch_size=args.batch_size,
            do_sample=way == "sample",
            temperature=args.temperature,
            seed=args.seed,
            progress=f"{name} {way}",
        )
        for way in ways(args)
    }


def divergence(summaries: dict[str, list[Generated]], args: InferenceArguments, device) -> dict[str, list[float]]:
    """Return KL(PPO ‖ SFT) in nats along each of PPO's summaries, by way of decoding; empty if undefined."""
    if not args.kl:
        return {}
    if len({tokenizer_hash(load_tokenizer(path)) for path in (args.sft_model, args.ppo_model)}) == 2:
        print("KL of PPO to SFT is left out: they have different tokenizers")
        return {}
    ppo, sft = (
        load_causal_lm(path, dtype=dtype_for(device, args.precision)).to(device).eval()
        for path in (args.ppo_model, args.sft_model)
    )
    return {
        way: kl_of_responses(
            ppo,
            sft,
            [summary.prompt for summary in given],
            [summary.response for summary in given],
            args.batch_size,
            f"KL {way}",
        )
        for way, given in summaries.items()
    }


@main_guard
def main() -> None:
    tune_process()
    args = parse_arguments(InferenceArguments)
    versions.check_versions()
    check_options({"max_new_tokens": args.max_new_tokens, "temperature": args.temperature}, "the tables' arguments")
    check_results_dir(args.output_dir)
    check_found(args.sft_model, *SFT_MODEL)
    check_found(args.ppo_model, *PPO_MODEL)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    rows = load_rows(args.dataset, args.split, ["prompt", "label"], args.max_rows)
    bodies, labels = split_prompts(rows["prompt"], places(rows)), split_labels(rows["label"], places(rows))

    summaries = {
        name: summarise(name, path, rows, args, device)
        for name, path in (("SFT", args.sft_model), ("PPO", args.ppo_model))
    }
    kl = divergence(summaries["PPO"], args, device)
    scorer = Scorer.from_pretrained(
        args.reward_model, model=args.sft_model, device=device, dtype=dtype_for(device, args.precision)
    )
    label_rewards = scorer.score(bodies, labels, progress="score labels", places=places(rows))

    files: dict[str, str] = {}
    rouge_table, reward_table, rewards = [], [], {}
    for name, way in ((name, way) for name in summaries for way in ways(args)):
        given = summaries[name][way]
        texts = [summary.text for summary in given]
        scores = rewards[name, way] = scorer.score(bodies, texts, progress=f"score {name} {way}")
        title = f"{name} ({way})" if args.decoding == "both" else name
        figures = rouge(texts, labels)
        keys = {"ROUGE-1": "rouge1", "ROUGE-2": "rouge2", "ROUGE-L": "rougeL", "average": "rougeAvg"}
        rouge_table.append({"model": title} | {head: figures[key] for head, key in keys.items()})
        columns = {
            "prompt": rows["prompt"],
            "label": labels,
            "summary": texts,
            "reward": scores.tolist(),
            "label_reward": label_rewards.tolist(),
            "tokens": [len(summary.response) for summary in given],
            "ended": [int(summary.ended) for summary in given],
        }
        if name == "PPO" and way in kl:
            columns["kl"] = kl[way]
        table = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        files[f"{name.lower()}_{way}.csv"] = as_csv(table)
        reward_table.append(
            {
                "model": title,
                "reward": scores.mean().item(),
                "Δ": (scores - label_rewards).mean().item(),
                "tokens": sum(columns["tokens"]) / len(given),
                "ended by EOS": sum(columns["ended"]) / len(given),
            }
        )

    way = ways(args)[0]
    print_samples(
        [
            {
                "post": bodies[i],
                "label": labels[i],
                "SFT": summaries["SFT"][way][i].text,
                "PPO": summaries["PPO"][way][i].text,
            }
            for i in range(min(3, len(rows)))
        ]
    )
    print(f"\nROUGE on {len(rows)} rows of {args.split}\n{format_table(rouge_table)}")
    print(f"\nReward (Δ: less that of the label)\n{format_table(reward_table)}")
    gains = {way: paired_bootstrap(rewards["PPO", way].tolist(), rewards["SFT", way].tolist()) for way in ways(args)}
    for way, gain in gains.items():
        print(f"PPO − SFT, {way}: {gain['mean']:+.3f}, 95 % interval {gain['low']:+.3f} to {gain['high']:+.3f}")
    divergences = {way: dict(zip(("mean", "se"), mean_and_se(values), strict=True)) for way, values in kl.items()}
    for way, found in divergences.items():
        print(f"KL of PPO to SFT, {way}: {found['mean']:.2f} ± {found['se']:.2f} nats a summary")
    record = {"rouge": rouge_table, "reward": reward_table, "reward_gain": gains, "kl": divergences}
    record |= {"data": fingerprint(rows), "arguments": asdict(args)}
    record |= {"commit": versions.commit(), "versions": versions.versions()}
    files |= {"rouge.csv": as_csv(rouge_table), "reward.csv": as_csv(reward_table)}
    files["inference.json"] = json.dumps(record, indent=2, ensure_ascii=False) + "\n"
    write_files(args.output_dir, files)
    print(f"wrote {args.output_dir}/: rouge.csv, reward.csv, inference.json and the summaries")


if __name__ == "__main__":
    main()
