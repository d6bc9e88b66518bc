"""Starts `main` of a script in a new process without loading the libraries anew: they are loaded once, then it forks.

A new start of a stage takes some five seconds, a fork none. What a launcher does is tested through the launchers; this
is for the many inputs that end a stage before it trains.
"""

import contextlib
import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
STAGES = {
    "sft": "sft.train_gptj_summarize",
    "rm": "reward_model.train_reward_model_gptj",
    "ppo": "trlx_gptj_text_summarization",
    "tables": "trlx_inference_gptj",
    "reward_test": "reward_model.gptj_reward_test",
}


class Ended(NamedTuple):
    """How a script ended, and what it printed."""

    code: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """Its one line of error; fails where there are several, or a traceback."""
        lines = [line for line in self.err.splitlines() if line.startswith("error: ")]
        assert "Traceback" not in self.err, self.err[-3000:]
        assert len(lines) == 1, self.err[-3000:]
        return lines[0]


class ForkServer:
    """`run("sft", ["--seed", "1"], cwd)` as often as wanted."""

    def __init__(self, folder: Path):
        self.folder, self.count = folder, 0
        env = {name: x for name, x in os.environ.items() if name not in ("RANK", "LOCAL_RANK", "WORLD_SIZE")}
        self.server = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env, cwd=ROOT
        )

    def run(self, stage: str, argv: list, cwd: Path, **environment: str) -> Ended:
        self.count += 1
        out, err = (self.folder / f"{self.count}.{kind}" for kind in ("out", "err"))
        request = {"module": STAGES[stage], "argv": list(map(str, argv)), "cwd": str(cwd), "env": environment}
        self.server.stdin.write(json.dumps(request | {"out": str(out), "err": str(err)}) + "\n")
        self.server.stdin.flush()
        return Ended(int(self.server.stdout.readline()), out.read_text(), err.read_text())

    def stop(self) -> None:
        self.server.stdin.close()
        self.server.wait(10)


def serve() -> None:
    sys.path.insert(0, str(ROOT))
    with contextlib.redirect_stdout(sys.stderr):
        for module in STAGES.values():
            importlib.import_module(module)
    for line in sys.stdin:
        request = json.loads(line)
        child = os.fork()
        if child == 0:
            os._exit(run_here(**request))
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


def run_here(module: str, argv: list[str], cwd: str, env: dict[str, str], out: str, err: str) -> int:
    os.chdir(cwd)
    os.environ.update(env)
    sys.argv = [module, *argv]
    for number, file in ((1, out), (2, err)):
        os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT), number)
    code = 1
    try:
        importlib.import_module(module).main()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:
        import traceback

        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    return code


if __name__ == "__main__":
    serve()
