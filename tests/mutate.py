"""Does each test fail when the code is wrong? Applies one named mutation at a time and runs its test.

    python tests/mutate.py                  all of them, a table, exit code 0 if every test went red
    python tests/mutate.py sft ppo          those of these subjects (mutations_<subject>.py)
    python tests/mutate.py fast             some of each kind, as the test suite does
    python tests/mutate.py "trains in"      those whose name holds this

Works on a copy of the repository; the working tree is not touched. One process loads the libraries and forks for each
mutation.
"""

import gc
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests")]
from mutations import FAST, MUTATIONS, Mutation  # noqa: E402

COPIED = ("trlx", "sft", "reward_model", "summarize_rlhf", "quickstart", "benchmarks", "examples")
COPIED += ("configs", "docs", "tests", "*.py", "*.sh", "*.txt", "*.toml")


def load_libraries() -> None:
    """Once, before the forks. Where the data sets' cache lies is read at this moment."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    sys.dont_write_bytecode = True
    import accelerate  # noqa: F401
    import deepspeed  # noqa: F401
    import evaluate  # noqa: F401
    import hypothesis  # noqa: F401  else pytest loads its plugin anew in each fork, and rewrites its assertions
    import peft  # noqa: F401
    import pytest  # noqa: F401
    import torch  # noqa: F401
    import transformers  # noqa: F401

    gc.freeze()  # what is loaded is no garbage: pytest need not look for it at the end of each fork


def copy_tree(folder: Path) -> Path:
    """The parts of the repository that the tests use."""
    for source in (path for pattern in COPIED for path in ROOT.glob(pattern)):
        if source.is_dir():
            shutil.copytree(source, folder / source.name, ignore=shutil.ignore_patterns("__pycache__", "results"))
        else:
            shutil.copy(source, folder)
    return folder


def run_tests(tree: Path, nodes: list[str]) -> int:
    """pytest's exit code for some tests in `tree`: 0 green, 1 red."""
    process = os.fork()
    if process == 0:
        code = 99
        try:
            code = run_here(tree, nodes)
        finally:
            os._exit(int(code))
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def run_here(tree: Path, nodes: list[str]) -> int:
    import datasets
    import pytest

    os.chdir(tree)
    sys.path[:0] = [str(tree)]
    sink = os.open(os.devnull, os.O_WRONLY)
    os.dup2(sink, 1)
    os.dup2(sink, 2)
    for name in [name for name in sys.modules if name.partition(".")[0] == "mutations"]:
        del sys.modules[name]  # the copy's own, if a test wants them
    with tempfile.TemporaryDirectory() as cache:  # what another mutation left in it would hide this one
        datasets.config.HF_DATASETS_CACHE = Path(cache)
        os.environ |= {"PYTHONPATH": str(tree), "HF_DATASETS_CACHE": cache}
        return pytest.main(["-x", "-q", "-p", "no:cacheprovider", *nodes])


def check(tree: Path, mutation: Mutation) -> str | None:
    """None if the mutation turns its test red, else what happened instead."""
    path = tree / mutation.file
    text = path.read_text(encoding="utf-8")
    if text.count(mutation.before) != 1:
        return f"the text to change stands {text.count(mutation.before)} times in {mutation.file}"
    path.write_text(text.replace(mutation.before, mutation.after), encoding="utf-8")
    try:
        code = run_tests(tree, [mutation.node])
    finally:
        path.write_text(text, encoding="utf-8")
    return {0: "GREEN: the test does not notice", 1: None}.get(code, f"no result (pytest's exit code {code})")


def chosen(which: list[str]) -> list[Mutation]:
    if which == ["fast"]:
        return [m for rows in MUTATIONS.values() for m in rows if m.name in FAST]
    table = [(subject, m) for subject, rows in MUTATIONS.items() for m in rows]
    for word in which:
        if word not in MUTATIONS and not any(word in m.name for _, m in table):
            sys.exit(f"no subject or name {word!r}; subjects: fast, {', '.join(MUTATIONS)}")
    names = [word for word in which if word not in MUTATIONS]
    return [m for subject, m in table if not which or subject in which or any(word in m.name for word in names)]


def main() -> int:
    mutations = chosen(sys.argv[1:])
    load_libraries()
    failures = 0
    with tempfile.TemporaryDirectory() as folder:
        tree = copy_tree(Path(folder))
        if run_tests(tree, sorted({m.node for m in mutations})) != 0:
            print("a test fails without any mutation")
            return 1
        for mutation in mutations:
            start = time.time()
            problem = check(tree, mutation)
            failures += problem is not None
            seconds = f"{time.time() - start:4.1f} s"
            print(f"{'WRONG' if problem else 'red  '} {seconds}  {mutation.name:48} {mutation.test}", flush=True)
            if problem:
                print(f"      {problem}", flush=True)
    print(f"{len(mutations) - failures} of {len(mutations)} mutations turn their test red")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
