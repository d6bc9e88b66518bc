"""The tables of the quickstart's results, for one run or several: a run is what its summary.json holds."""

from statistics import fmean, stdev

from quickstart.measures import WAYS, differences, mean_of, over_seeds, shown, trend
from summarize_rlhf.intervals import Interval, t_interval

ROUGE = {"ROUGE-1": "rouge1", "ROUGE-2": "rouge2", "ROUGE-L": "rougeL", "average": "rougeAvg"}
CHANGES = {
    "key facts kept": "kept",
    "with an invention": "invented",
    "side facts": "side",
    "words": "words",
    "4-grams copied": "copied",
    "ended by EOS": "ended",
}
PROBES = {"another post": "under another post"}  # of reading_probes.jsonl, beside the kinds of a wrong fact
Row = dict[str, object]


def models(runs: list[dict]) -> list[Row]:
    """ROUGE, reward and gold of greedy summaries; one row per model and baseline."""
    rewards = {"reward": "reward", "Δ": "reward_delta", "gold": "gold", "gold, sampled": "gold_sampled"}
    rows = []
    for name, key in (("SFT", "sft"), ("PPO", "ppo")):
        row = {column: fmean(run[key][column] for run in runs) for column in runs[0][key]}
        rows.append({"": name} | {head: row[column] for head, column in (ROUGE | rewards).items()})
    blank = dict.fromkeys(ROUGE | rewards, "")
    human = {"reward": mean_of(runs, "reference", "reward"), "gold": mean_of(runs, "reference", "gold")}
    rows.append({"": "label"} | blank | human)
    for name in ("lead", "title"):
        baseline = runs[0]["baselines"][name]
        rows.append({"": f"{name} baseline"} | blank | {head: baseline[column] for head, column in ROUGE.items()})
    return rows


def changes(runs: list[dict]) -> list[Row]:
    """What PPO changes beside the reward: means per model, and PPO less SFT with 95 % t-intervals."""
    known = {head: name for head, name in CHANGES.items() if name != "ended"}
    rows = [
        {"": "labels"} | {head: mean_of(runs, "reference", name) for head, name in known.items()} | {"ended by EOS": ""}
    ]
    for way, word in WAYS.items():
        for model in ("sft", "ppo"):
            means = {head: mean_of(runs, model, name, way) for head, name in CHANGES.items()}
            rows.append({"": f"{model.upper()}, {word}"} | means)
        gains = {head: shown(t_interval(differences(runs, name, way))) for head, name in CHANGES.items()}
        rows.append({"": f"PPO − SFT, {word}"} | gains)
    return rows


def inventions(runs: list[dict]) -> str:
    """Whether PPO makes summaries say what the post does not say: a sentence for each way of decoding."""
    sentences = []
    for way, word in WAYS.items():
        ppo, sft = (100 * mean_of(runs, model, "invented", way) for model in ("ppo", "sft"))
        gain = t_interval(differences(runs, "invented", way))
        points = {key: 100 * value for key, value in gain.items()}
        sentences.append(
            f"Inventions {trend(gain)} in {word} summaries: {sft:.1f} % of SFT's and {ppo:.1f} % of PPO's say "
            f"something that the post does not say, {shown(points, 1)} points."
        )
    return " ".join(sentences)


def gains(runs: list[dict]) -> list[Row]:
    """Reward and gold score of PPO less SFT over seeds and posts, with both intervals."""
    rows = []
    for name in ("reward", "gold"):
        for way, word in WAYS.items():
            by_t, by_bootstrap = over_seeds(runs, name, way)
            seeds = [fmean(row) for row in differences(runs, name, way)]
            rows.append(
                {
                    "PPO − SFT": f"{name}, {word}",
                    "mean": f"{by_t['mean']:+.2f}",
                    "s.d. of seeds": f"{stdev(seeds):.2f}",
                    "95 %, t": _range(by_t),
                    "95 %, bootstrap": _range(by_bootstrap),
                }
            )
    return rows


def _range(gain: Interval) -> str:
    return f"{gain['low']:+.2f} to {gain['high']:+.2f}"


def one_run(run: dict) -> Row:
    """A seed's own figures: intervals over posts alone."""
    gain = run["ppo_minus_sft"]
    kl = run["kl"]
    return {
        "seed": run["seed"],
        "RM accuracy": rm_accuracy(run["rm"]),
        "reward": shown(gain["reward_greedy"]),
        "gold": shown(gain["gold_greedy"]),
        "reward, sampled": shown(gain["reward_sample"]),
        "gold, sampled": shown(gain["gold_sample"]),
    } | {f"KL, {word}": f"{kl[way]['mean']:.2f} ± {kl[way]['se']:.2f}" for way, word in WAYS.items()}


def in_bf16(runs: list[dict], others: list[dict]) -> list[Row]:
    """Compare `runs` in fp32 with the ones of the same seeds in bf16: what a healthy chain must reach."""
    rows = []
    for other in others:
        run = next(run for run in runs if run["seed"] == other["seed"])
        for precision, each in (("fp32", run), ("bf16", other)):
            own = one_run(each)
            bars = {name: own[name] for name in ("RM accuracy", "reward", "gold", "reward, sampled", "gold, sampled")}
            read = {"RM under another post": each["rm"]["told_apart"]["another post"]}
            rows.append(
                {"seed": own["seed"], "precision": precision} | read | {"SFT ROUGE-1": each["sft"]["rouge1"]} | bars
            )
    return rows


def reading(runs: list[dict]) -> list[Row]:
    """What the reward model can only know from the post, a row per seed, and their mean if there are several.

    Accuracy beside its ceiling; on the same pairs under another post (one half: it reads); and the share of minimal
    pairs in which it scores the true summary higher, by the kind of the fact that is wrong in the other.
    """
    rows = [
        {
            "seed": run["seed"],
            "accuracy": run["rm"]["accuracy"],
            "ceiling": run["rm"]["ceiling"],
            **{PROBES.get(kind, f"{kind} wrong"): share for kind, share in run["rm"]["told_apart"].items()},
        }
        for run in runs
    ]
    if len(rows) > 1:
        rows.append({"seed": "mean"} | {name: fmean(row[name] for row in rows) for name in rows[0] if name != "seed"})
    return rows


def rm_accuracy(rm: dict[str, float]) -> str:
    """Format the accuracy with its standard error after ±: .833 ± .012 (n = 960)."""
    return f"{rm['accuracy']:.3f} ± {rm['accuracy_se']:.3f} (n = {rm['pairs']})"
