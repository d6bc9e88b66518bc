"""Benchmarks: what raw files say, what is counted, when a part is measured again. No clock is tested."""

import json
import subprocess
import sys
import time

import datasets
import pytest
import torch
from torch.nn import functional

from benchmarks import bench_sft, machine, ppo_task, published, raw, run_all, tables, workload
from benchmarks.raw import FUSED, OURS, PUBLISHED, Record
from summarize_rlhf.tokenizer import load_tokenizer

MACHINE = {"hardware": "a processor", "threads": [1, 2], "commit": "0" * 40, "busy": 0.0}
MACHINE |= {"versions": {"torch": "2", "transformers": "5"}}


def record(figure: str, gflop: dict | None = None, **values: dict[int, list[float]]) -> dict:
    """A raw file: `values` are a side's figures by number of threads."""
    runs = [
        {"side": side, "threads": threads, figure: value, "peak_rss_gb": 1.0, "matrix_gflops": 100.0}
        for side, by_threads in values.items()
        for threads, found in by_threads.items()
        for value in found
    ]
    return {"bench": "x", "settings": {}, "gflop": gflop or {}, "machine": MACHINE, "runs": runs}


# -------------------------------------------------------------------- raw files


def test_times_faster_divides_rates_and_seconds_the_right_way_round():
    rates = Record(record("pairs_per_s", ours={1: [6.0, 8.0]}, published={1: [2.0, 4.0]}))
    seconds = Record(record("iteration", ours={1: [6.0, 8.0]}, published={1: [12.0, 40.0]}))
    assert rates.times_faster(PUBLISHED, 1, "pairs_per_s") == [3.0, 2.0]  # repeat by repeat
    assert seconds.times_faster(PUBLISHED, 1, "iteration") == [2.0, 5.0]


def test_runs_of_different_threads_are_kept_apart():
    found = Record(record("pairs_per_s", ours={1: [6.0], 2: [20.0]}, published={1: [2.0], 2: [4.0]}))
    assert found.threads() == [1, 2]
    assert [found.times_faster(PUBLISHED, threads, "pairs_per_s") for threads in (1, 2)] == [[3.0], [5.0]]


def test_earlier_raw_files_are_read_as_runs_of_their_threads():
    runs = {OURS: [{"pairs_per_s": 6.0}], PUBLISHED: [{"pairs_per_s": 2.0}]}
    found = Record({"machine": MACHINE | {"threads": 2}, "runs": runs})
    assert found.threads() == [2]
    assert found.times_faster(PUBLISHED, 2, "pairs_per_s") == [3.0]


def test_share_of_the_matrix_rate():
    rate = Record(record("tokens_per_s", {"tokens_per_s": 0.05}, ours={1: [1000.0]}))  # 50 of 100
    seconds = Record(record("optimise", {"optimise": 120.0}, ours={1: [6.0]}))  # 20 of 100
    assert rate.shares(1, "tokens_per_s") == pytest.approx([0.5])
    assert seconds.shares(1, "optimise") == pytest.approx([0.2])


def test_busy_is_the_most_that_others_took():
    raw_file = record("iteration", ours={1: [1.0, 1.0]})
    raw_file["runs"][1]["others"] = 0.3
    assert Record(raw_file).busy() == 0.3
    raw_file["machine"] = MACHINE | {"busy": 0.4}
    assert Record(raw_file).busy() == 0.4


# ----------------------------------------------------------------- what is counted


def test_matrix_products_of_layers_and_attention_are_counted_exactly():
    x, layer, found = torch.rand(5, 7, requires_grad=True), torch.nn.Linear(7, 3), {}
    with machine.counted(found, "linear"):
        layer(x).sum().backward()
    assert found["linear"] * 1e9 == pytest.approx(3 * 2 * 5 * 7 * 3)  # forward, and both gradients
    q, k, v = (torch.rand(2, 4, 16, 8, requires_grad=True) for _ in range(3))
    with machine.counted(found, "attention"):
        functional.scaled_dot_product_attention(q, k, v, is_causal=True).sum().backward()
    assert found["attention"] * 1e9 == pytest.approx(2 * 4 * (2 + 5) * 2 * 16 * 16 * 8)  # two products, and five


def test_sft_counts_real_tokens_alone(tmp_path):
    """On one block, by hand: a row of T tokens has 12 H² weights a token, the head on T - 1, attention's square."""
    rows = workload.synthetic(bench_sft.BATCH + 2, seed=0)
    workload.make(tmp_path, rows, layers=1, width=32, heads=2)
    data = datasets.Dataset.from_list(rows)
    found = bench_sft.matrix_products(tmp_path, data)["tokens_per_s"] * 1e9
    dataset, sampler = bench_sft.data_of(data, load_tokenizer(tmp_path), bench_sft.SFTArguments().seed)
    lengths = [dataset.lengths[i] for i in list(sampler)[bench_sft.BATCH :]]
    assert len(lengths) == 2
    head = workload.VOCABULARY * 32
    by_hand = [6 * (12 * 32**2 * n + head * (n - 1)) + (2 + 5) * 2 * n**2 * 32 for n in lengths]
    assert found == pytest.approx(sum(by_hand) / sum(lengths), rel=1e-6)


def test_others_are_all_that_is_not_this_process(tmp_path, monkeypatch):
    stat, tick = tmp_path / "stat", 100
    monkeypatch.setattr(machine, "STAT", stat)
    monkeypatch.setattr(machine.os, "sysconf", lambda name: tick)
    stat.write_text("cpu 100 20 30 9999 9999 4 5 41 0 0\ncpu0 1 1\n")
    assert machine.busy_seconds() == 2.0  # idle and waiting for disks are no work
    start = time.perf_counter()
    with machine.Others() as others:
        stat.write_text("cpu 200 20 30 9999 9999 4 5 41 0 0\n")  # a second more, of which half is the child's
        subprocess.run([sys.executable, "-Sc", "import time\nwhile time.process_time() < 0.5: pass"], check=True)
    worked = others.share * (time.perf_counter() - start) * machine.os.cpu_count()
    assert 0 < worked < 0.6


def test_fused_attention_is_the_published_way_otherwise(tmp_path):
    rows = workload.synthetic(2, seed=0)
    workload.make(tmp_path, rows, layers=2, width=32, heads=2)
    tokenizer, losses = load_tokenizer(tmp_path), []
    both = [published.padded(tokenizer, row["prompt"][:400]) for row in rows]
    ids, mask = (torch.stack(part) for part in zip(*both, strict=True))
    for side in (PUBLISHED, FUSED):
        torch.manual_seed(0)
        model = published.GPTRewardModel(tmp_path, tokenizer.pad_token_id, published.ATTENTION[side])
        assert model.transformer.config._attn_implementation == ("sdpa" if side == FUSED else "eager")
        losses.append(model(ids, mask)["loss"].item())
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


# ------------------------------------------------------------------ PPO of others


def test_phases_sum_to_the_iteration():
    phases = ppo_task.Phases()
    phases.timed("generate", time.sleep)(0.02)
    time.sleep(0.01)
    phases.timed("reward", time.sleep)(0.03)
    phases.timed(None, time.sleep)(0.04)
    time.sleep(0.05)
    found = phases.figures()
    least = {"generate": 0.02, "reward": 0.03, "policy + reference": 0.05, "optimise": 0.05}
    assert all(found[name] >= seconds for name, seconds in least.items())
    assert sum(found[name] for name in least) == pytest.approx(found["iteration"])


@pytest.mark.parametrize(("unfrozen", "trained"), [(1, ["2", "head"]), (2, ["1", "2", "head"]), (-1, None)])
def test_train_only(unfrozen, trained):
    model = torch.nn.ModuleDict({"blocks": torch.nn.ModuleList(torch.nn.Linear(2, 2) for _ in range(3))})
    model["head"] = torch.nn.Linear(2, 1)
    ppo_task.train_only(model, model["blocks"], model["head"], unfrozen)
    found = {name.split(".")[-2] for name, p in model.named_parameters() if p.requires_grad}
    assert found == set(trained or ["0", "1", "2", "head"])


def test_task_goes_through_its_file(tmp_path):
    task = ppo_task.Task([[1]], [[2, 3]], 50, 16, 4, 4, 4, -1, 0.1, 0.2, 5e-6)
    task.write(tmp_path)
    assert ppo_task.read(tmp_path) == task


# --------------------------------------------------------------------- all of it


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A repository with one commit of code, a document and a raw file's folder; `raw` looks there."""
    for file in ("code.py", "docs/raw.json", "README.md", "tests/test_x.py"):
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_text("1")
    (tmp_path / raw.FOLDER).mkdir(parents=True)
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b"]
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "one"]):
        subprocess.run([*git, *command], check=True)
    monkeypatch.setattr(raw, "ROOT", tmp_path)
    monkeypatch.setattr(run_all, "same_code", lambda commit: raw.same_code(commit, tmp_path))
    return tmp_path


def test_a_part_stands_while_its_code_does(repository):
    head = subprocess.run(["git", "-C", repository, "rev-parse", "HEAD"], capture_output=True, text=True).stdout.strip()
    file = raw.path_of("sft")

    def write(commit: str, others: float = 0.01) -> None:
        found = record("tokens_per_s", ours={1: [1.0]})
        found["runs"][0]["others"] = others
        file.write_text(json.dumps(found | {"machine": MACHINE | {"commit": commit}}))

    assert run_all.why_again("sft") == "no raw file"
    write(head)
    assert run_all.why_again("sft") is None
    write(head + "+")
    assert "other code" in run_all.why_again("sft")
    write("1" * 40)
    assert "other code" in run_all.why_again("sft")
    write(head, others=0.2)
    assert "busy" in run_all.why_again("sft")
    write(head)
    for file in ("docs/raw.json", "README.md", "tests/test_x.py"):
        (repository / file).write_text("2")
    assert run_all.why_again("sft") is None
    (repository / "code.py").write_text("2")
    assert "other code" in run_all.why_again("sft")


def test_the_figures_are_written_at_the_end(monkeypatch):
    commands = []
    monkeypatch.setattr(run_all, "why_again", lambda name: None)
    monkeypatch.setattr(run_all.subprocess, "run", lambda command, **options: commands.append((command, options)))
    monkeypatch.setattr("sys.argv", ["run_all", "--only", "sft"])
    run_all.main()
    [(command, options)] = commands
    assert command == [sys.executable, str(raw.ROOT / "docs/figures.py")]
    assert options["check"]


def test_every_part_is_shown_and_every_table_measured():
    names = {part.name for part in run_all.PARTS}
    shown = {name for name, *_ in (*tables.STAGES, *tables.LIMITS, *tables.LIBRARIES)} | {"trunk_cache"}
    assert names == shown
    assert all((raw.ROOT / "benchmarks" / f"{part.script}.py").is_file() for part in run_all.PARTS)


def test_tables_show_each_number_of_threads_and_both_published_ways(tmp_path, monkeypatch):
    folder = tmp_path / raw.FOLDER
    folder.mkdir(parents=True)
    (folder / "trunk_cache.json").write_text(raw.path_of("trunk_cache").read_text())
    monkeypatch.setattr(raw, "ROOT", tmp_path)
    sides = {OURS: {1: [4.0], 2: [10.0]}, PUBLISHED: {1: [2.0], 2: [2.0]}, FUSED: {1: [4.0], 2: [4.0]}}
    settings = {"rollouts": 32, "update": 4, "micro-batch of ours": 1}
    for name, _, figure, _ in tables.STAGES:
        found = record(figure, {figure: 5.0}, **sides) | {"settings": settings}
        if name == "ppo":
            found["gflop"] = dict.fromkeys(tables.PHASES, 5.0)
            found["runs"] = [run | dict.fromkeys((*tables.PHASES, "references"), run[figure]) for run in found["runs"]]
        (folder / f"{name}.json").write_text(json.dumps(found))
    shown = tables.speed()
    assert "2 threads (median and range): reward model, 1 epoch 5.00 (5.00 to 5.00); SFT" in shown
    assert "PPO iteration of 32 rollouts 0.20" in shown
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in tables.stages().splitlines()[2:4]]
    assert [(row[0], row[1], row[5], row[6]) for row in cells] == [
        ("reward model, 1 epoch", "1", "2.00 (2.00 to 2.00)", "1.00 (1.00 to 1.00)"),
        ("reward model, 1 epoch", "2", "5.00 (5.00 to 5.00)", "2.50 (2.50 to 2.50)"),
    ]
    assert "times faster than published, fused" in tables.stages()
    assert tables.phases().count("| generate ") == 2
    assert "20 of 100: 20 (20 to 20) %" in tables.limit()  # 4 a second of 5 each, 1 thread
    assert tables.libraries() == tables.MISSING
    assert "not idle" not in shown
    busy = json.loads((folder / "sft.json").read_text())
    busy["machine"]["busy"] = 0.5
    (folder / "sft.json").write_text(json.dumps(busy))
    assert "not idle: others took up to 50%" in tables.speed()
