"""Two machines made of network namespaces: a cable between them, and nothing else in common but the file system.

Each host has a loopback, an address and a name of its own, so that `127.0.0.1` of one is not the other. Needs root and
`ip` of iproute2.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, NamedTuple

from launch import OF_A_LAUNCH

# The first command of a host's process: name the machine, hide `$HIDDEN` under an empty disk, and become the command.
ENTER = 'hostname "$0"; if [ -n "$HIDDEN" ]; then mount -t tmpfs tmpfs "$HIDDEN"; fi; exec "$@"'
CABLE = "veth0"


class Host(NamedTuple):
    """A network namespace `name`; `rank` is the machine's number in a launch."""

    name: str
    rank: int
    address: str

    def start(self, command: Sequence[object], cwd: Path, hidden: Path | None = None) -> "Started":
        """Start a command here. With `hidden` this host sees an empty disk of its own in place of that directory."""
        env = {name: value for name, value in os.environ.items() if name not in OF_A_LAUNCH}
        env |= {"GLOO_SOCKET_IFNAME": CABLE, "HIDDEN": str(hidden or ""), "OMP_NUM_THREADS": "1"}
        enter = ["ip", "netns", "exec", self.name, "unshare", "--uts", "sh", "-c", ENTER, self.name]
        with tempfile.TemporaryFile() as log:
            words = [*enter, *map(str, command)]
            process = subprocess.Popen(words, cwd=cwd, env=env, stdout=log, stderr=log, start_new_session=True)
            return Started(process, os.fdopen(os.dup(log.fileno()), "r+b"))

    def kill(self) -> None:
        """SIGKILL for every process of the host."""
        pids = subprocess.run(["ip", "netns", "pids", self.name], capture_output=True, text=True, check=True).stdout
        for pid in pids.split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)

    def bytes_sent(self) -> int:
        """Return the bytes that have left the host through its cable."""
        file = f"/sys/class/net/{CABLE}/statistics/tx_bytes"
        found = subprocess.run(["ip", "netns", "exec", self.name, "cat", file], capture_output=True, check=True)
        return int(found.stdout)


class Started(NamedTuple):
    """A command that runs on a host."""

    process: subprocess.Popen
    log: IO[bytes]

    def wait(self, seconds: float) -> int:
        """Return its exit code; raises `subprocess.TimeoutExpired`."""
        return self.process.wait(seconds)

    def output(self) -> str:
        """Return what it has printed so far."""
        self.log.seek(0)
        return self.log.read().decode(errors="replace")


def why_not() -> str | None:
    """Say why this machine cannot be made into two; None if it can."""
    if shutil.which("ip") is None:
        return "there is no `ip` (apt-get install iproute2)"
    probe = f"probe{os.getpid()}"
    made = subprocess.run(["ip", "netns", "add", probe], capture_output=True, text=True)
    if made.returncode != 0:
        return f"`ip netns add` is not permitted here ({made.stderr.strip()})"
    subprocess.run(["ip", "netns", "del", probe], check=True)
    return None


@contextlib.contextmanager
def two_hosts() -> Iterator[list[Host]]:
    """Make two hosts with a cable between them; at the end their processes are killed and both are gone."""
    hosts = [Host(f"host{os.getpid()}-{rank}", rank, f"10.77.0.{rank + 1}") for rank in (0, 1)]
    commands = [["netns", "add", host.name] for host in hosts]
    peer = ["type", "veth", "peer", "name", CABLE, "netns", hosts[1].name]
    commands += [["-n", hosts[0].name, "link", "add", CABLE, *peer]]
    for host in hosts:
        commands += [["-n", host.name, "address", "add", f"{host.address}/24", "dev", CABLE]]
        commands += [["-n", host.name, "link", "set", device, "up"] for device in ("lo", CABLE)]
    try:
        for command in commands:
            subprocess.run(["ip", *command], check=True)
        yield hosts
    finally:
        for host in hosts:
            with contextlib.suppress(subprocess.CalledProcessError):
                host.kill()
            subprocess.run(["ip", "netns", "del", host.name], capture_output=True)
