"""Start `main` of a script in new processes that have the libraries loaded: one process loads them, then forks.

Loading takes some five seconds of each process, a fork none. What a launcher does is tested through the launchers; this
is for what a stage does, on one process or several, once they are there.
"""

import contextlib
import importlib
import json
import os
import signal
import subprocess
import sys
import time
import traceback
from pathlib import Path
from typing import Any, NamedTuple

from chaos_runs import Case
from launch import OF_A_LAUNCH, free_port

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = {
    "sft": "sft.train_gptj_summarize",
    "rm": "reward_model.train_reward_model_gptj",
    "ppo": "trlx_gptj_text_summarization",
    "tables": "trlx_inference_gptj",
    "reward_test": "reward_model.gptj_reward_test",
    "score": "reward_model.score",
    "download": "reward_model.download",
    "merge": "trlx.merge",
    "epochs": "launched_epochs",
    "trlx": "launched_ppo",
    "scorer": "launched_scorer",
}
# What `accelerate launch --config_file configs/default_accelerate_config.yaml` tells its processes.
DOCUMENTED = {
    "ACCELERATE_MIXED_PRECISION": "no",
    "ACCELERATE_CONFIG_DS_FIELDS": "deepspeed_config_file,zero3_init_flag",
    "ACCELERATE_USE_DEEPSPEED": "true",
    "ACCELERATE_DEEPSPEED_ZERO3_INIT": "false",
    "ACCELERATE_DEEPSPEED_CONFIG_FILE": "configs/ds_config_trlx_gptj_summarize.json",
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


class Started:
    """A running script, used like a `subprocess.Popen`. Its processes are the process group `pid`."""

    def __init__(self, folder: Path, server: subprocess.Popen):
        self.folder, self.returncode = folder, None
        while not (folder / "pid").exists():
            assert server.poll() is None, "the server has ended"
            time.sleep(0.002)
        self.pid = int((folder / "pid").read_text())
        self.log = (folder / "err").open("rb")

    def poll(self) -> int | None:
        if self.returncode is None and (self.folder / "code").exists():
            self.returncode = int((self.folder / "code").read_text())
        return self.returncode

    def wait(self, timeout: float = 300) -> int:
        deadline = time.monotonic() + timeout
        while self.poll() is None:
            if time.monotonic() > deadline:
                os.killpg(self.pid, signal.SIGKILL)
                raise subprocess.TimeoutExpired(str(self.folder), timeout)
            time.sleep(0.005)
        return self.returncode


class ForkServer:
    """Run scripts by name: `run("sft", ["--seed", "1"], cwd)`."""

    def __init__(self, folder: Path, root: Path = ROOT):
        """`folder` gets what the scripts print; `root` is the repository, or a copy of it, that they stand in."""
        self.folder, self.count = folder, 0
        env = {name: x for name, x in os.environ.items() if name not in OF_A_LAUNCH}
        command = [sys.executable, __file__, str(root)]
        self.server = subprocess.Popen(command, stdin=subprocess.PIPE, text=True, env=env, cwd=root)

    def start(
        self,
        script: str,
        argv: list,
        cwd: Path,
        processes: int = 0,
        together: bool = True,
        encoding: str | None = None,
        **environment: str,
    ) -> Started:
        """Start it as `python SCRIPT …`, or on `processes` as a launcher does.

        Both outputs go to one file if `together`; `encoding` is that of the console, as a locale sets it.
        """
        self.count += 1
        folder = self.folder / str(self.count)
        folder.mkdir()
        for name in ("out", "err"):
            (folder / name).touch()
        request = {"module": SCRIPTS[script], "argv": list(map(str, argv)), "cwd": str(cwd), "env": environment}
        outputs = [str(folder / name) for name in ("err" if together else "out", "err")]
        request |= {"folder": str(folder), "processes": processes, "outputs": outputs, "encoding": encoding}
        self.server.stdin.write(json.dumps(request) + "\n")
        self.server.stdin.flush()
        return Started(folder, self.server)

    def start_case(self, case: Case) -> Started:
        """Start a run of chaos_runs.py; stage 3 as `accelerate launch` does by the documented file."""
        environment = DOCUMENTED if case.stage == "ppo" else {}
        return self.start(case.stage, case.arguments, ROOT, case.processes, **environment)

    def run(self, script: str, argv: list, cwd: Path, processes: int = 0, **options: Any) -> Ended:
        """Start it and wait for its end; `options` are those of `start`."""
        started = self.start(script, argv, cwd, processes, together=False, **options)
        started.wait()
        out, err = ((started.folder / kind).read_text("utf-8", errors="replace") for kind in ("out", "err"))
        return Ended(started.returncode, out, err)

    def stop(self) -> None:
        self.server.stdin.close()
        self.server.wait(10)


def serve() -> None:
    root = sys.argv[1]
    sys.path.insert(0, root)
    with contextlib.redirect_stdout(sys.stderr):
        for module in SCRIPTS.values():
            importlib.import_module(module)
    if root != str(ROOT):  # a copy, which a test may change: each start imports its modules anew
        files = {name: getattr(module, "__file__", None) or "" for name, module in sys.modules.items()}
        for name in [name for name, file in files.items() if file.startswith(root)]:
            del sys.modules[name]
    for line in sys.stdin:
        if os.fork() == 0:
            if os.fork() == 0:  # init's child, so that this process need not wait for it
                keep(json.loads(line))
            os._exit(0)
        os.wait()
    os._exit(0)  # nothing to clear away, which would take a second


def keep(request: dict[str, Any]) -> None:
    """Start the script in a process group of its own; write down its id, and how it ended."""
    folder = Path(request.pop("folder"))
    child = os.fork()
    if child == 0:
        os.setsid()
        os._exit(launch(**request))
    write(folder / "pid", child)
    write(folder / "code", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    os._exit(0)


def write(file: Path, number: int) -> None:
    file.with_suffix(".new").write_text(str(number))
    file.with_suffix(".new").rename(file)


def launch(
    module: str,
    argv: list[str],
    cwd: str,
    env: dict[str, str],
    processes: int,
    outputs: list[str],
    encoding: str | None,
) -> int:
    """One process, or those of a launcher: where one fails, the others are ended."""
    os.chdir(cwd)
    os.environ.update(env)
    sys.argv = [module, *argv]
    for number, file in enumerate(outputs, start=1):
        os.dup2(os.open(file, os.O_WRONLY | os.O_APPEND), number)
    for stream in (sys.stdout, sys.stderr) if encoding else ():
        stream.reconfigure(encoding=encoding, errors="strict")
    if not processes:
        return run_here(module)
    os.environ |= {"WORLD_SIZE": str(processes), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    workers = []
    for rank in range(processes):
        workers.append(os.fork())
        if workers[-1] == 0:
            os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank)}
            os._exit(run_here(module))
    failed = 0
    for _ in range(processes):
        worker, status = os.wait()
        workers.remove(worker)
        failed = failed or os.waitstatus_to_exitcode(status)
        for other in workers if failed else []:
            os.kill(other, signal.SIGTERM)
    return failed


def run_here(module: str) -> int:
    code = 1
    try:
        importlib.import_module(module).main()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    return code


if __name__ == "__main__":
    serve()
