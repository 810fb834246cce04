"""A sandbox of one's own for a while: `recourse up --sandbox` as a child, and what it says about itself."""

import contextlib
import json
import os
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from contracts.base import format_moment
from deploy.local import Choice, StackError
from deploy.local.process import Child, Launch, start, tail
from deploy.local.stack import STATE_FILE
from recourse.instances import ONE_OF_EACH, Instances, written
from recourse.up import OWN_FILE, READY_FILE
from simulator.player import Keys

__all__ = ["Sandbox", "cpu_seconds", "empty_folder", "existing_sandbox", "own_sandbox"]

_MARKER = "simulated.json"
_START_TIMEOUT_S = 600.0
"""The first start on a machine may download the broker."""


@dataclass(frozen=True, slots=True)
class Sandbox:
    """A running sandbox: the URLs of its gateways and the keys of platform and partner."""

    urls: tuple[str, ...]
    keys: Keys
    data: Path | None = None
    mail_stats: str | None = None
    """Where its mail server counts what arrived; known for a sandbox of one's own."""

    def ready(self) -> dict[str, Any]:
        """What `ready.json` says now: pids change when a service is restarted. Only for a sandbox of one's own."""
        if self.data is None:
            raise ValueError("an existing sandbox is known by its address only")
        return json.loads((self.data / READY_FILE).read_text())

    def cpu(self) -> dict[str, float]:
        """Seconds of processor time of each of its processes so far; empty for an existing sandbox."""
        if self.data is None:
            return {}
        pids = {name: one["pid"] for name, one in self.ready()["services"].items()}
        stack = json.loads((self.data / STATE_FILE).read_text())
        pids |= {name: child["pid"] for name, child in stack["processes"].items()}
        return {name: cpu_seconds(pid) for name, pid in pids.items()}


def cpu_seconds(pid: int) -> float:
    """User and system time of a process; 0 where the system does not tell by `/proc`."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def existing_sandbox(url: str, key: str) -> Sandbox:
    """One that runs already, acted on with the platform's key for everything."""
    return Sandbox((url.rstrip("/"),), Keys(platform=key, partner=key))


def empty_folder(data: Path) -> None:
    """Make `data` a fresh folder for a simulation: what an earlier one left there goes. Raises StackError where it holds
    anything else."""
    if data.exists() and any(data.iterdir()):
        if not (data / _MARKER).exists():
            raise StackError(f"{data} holds something that no simulation left there; choose another --data")
        if (data / READY_FILE).exists():
            raise StackError(f"a sandbox runs in {data}; stop it, or choose another --data")
        shutil.rmtree(data)
    data.mkdir(parents=True, exist_ok=True)
    (data / _MARKER).write_text('{"made_by": "recourse replay, demo or bench"}\n')


@contextlib.contextmanager
def own_sandbox(
    data: Path,
    clock: datetime,
    *,
    instances: Instances = ONE_OF_EACH,
    stack: Choice = Choice.AUTO,
    environment: Mapping[str, str] | None = None,
) -> Iterator[Sandbox]:
    """Start a sandbox in a fresh `data` folder with its clock at `clock`; it ends with the block, its data stays.

    `environment` adds to that of the sandbox, e.g. addresses of a broker and a store. Raises StackError with the last words of
    its log."""
    empty_folder(data)
    log = data / "logs" / "up.log"
    command = [sys.executable, "-m", "recourse.main", "up", "--sandbox", "--clock", format_moment(clock)]
    command += ["--data", str(data.absolute()), "--instances", written(instances), "--stack", stack.value]
    launch = Launch("recourse up", command, cwd=Path.cwd(), log=log, environment=dict(environment or {}), grace=60.0)
    child = start(launch, bound=True)
    try:
        ready = _await_ready(child, data / READY_FILE, log)
        gateways = [one["url"] for one in ready["services"].values() if "url" in one]
        keys = Keys(platform=ready["keys"]["platform"], partner=ready["keys"]["partner"])
        mail_port = json.loads((data / OWN_FILE).read_text())["ports"]["mailsink.http"]
        stats = f"http://127.0.0.1:{mail_port}/stats"
        yield Sandbox(tuple(gateways) or (ready["base_url"],), keys, data, stats)
    finally:
        child.stop(60.0)


def _await_ready(child: Child, path: Path, log: Path) -> dict[str, Any]:
    deadline = time.monotonic() + _START_TIMEOUT_S
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError, ValueError):
            return json.loads(path.read_text())
        if not child.alive():
            raise StackError(f"the sandbox did not start; the end of {log}:\n{tail(log, 30)}")
        time.sleep(0.1)
    raise StackError(f"the sandbox was not ready after {_START_TIMEOUT_S:.0f} s; see {log}")
