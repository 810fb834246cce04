"""Starting, recognising and ending processes of which only a pid may be known from an earlier run."""

import functools
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from deploy.local.errors import StackError

LEASH = Path(__file__).with_name("leash.py")
LOG_LIMIT = 20 * 1024 * 1024  # bytes; a larger log is put aside at the next start


@dataclass(frozen=True)
class Launch:
    """How to start one process: absolute command, additions to the environment, folder, log file."""

    name: str
    command: Sequence[str]
    cwd: Path
    log: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    grace: float = 15.0
    """Seconds between SIGTERM and SIGKILL when it is stopped."""


@dataclass(frozen=True)
class Child:
    """A process with proof of identity: `born` differs for a later process that got the same pid."""

    pid: int
    born: str

    @classmethod
    def of(cls, pid: int) -> Self:
        """The process that has this pid now. Errors: StackError when there is none."""
        born = birth(pid)
        if born is None:
            raise StackError(f"there is no process {pid}")
        return cls(pid, born)

    def alive(self) -> bool:
        if birth(self.pid) == self.born:
            return True
        _reap(self.pid)
        return False

    def signal(self, number: int) -> None:
        """Sends a signal to the process and to the group it leads; nothing if it is gone or no longer ours."""
        if self.alive():
            try:
                os.killpg(self.pid, number)
            except ProcessLookupError:
                pass
            except PermissionError as error:
                raise StackError(
                    f"process {self.pid} belongs to another user; stop it as that user (kill {self.pid})"
                ) from error

    def stop(self, grace: float) -> None:
        """SIGTERM, then SIGKILL after `grace` seconds (0: at once); returns when it is gone."""
        if grace > 0:
            self.signal(signal.SIGTERM)
            if self._gone_within(grace):
                return
        self.signal(signal.SIGKILL)
        if not self._gone_within(10):
            raise StackError(f"process {self.pid} does not end, not even by SIGKILL; it hangs in the kernel")

    def _gone_within(self, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while self.alive():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.03)
        return True


def birth(pid: int) -> str | None:
    """What distinguishes this process from others that had its pid; None when there is no such live process."""
    if sys.platform == "linux":
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return None
        return None if fields[0] in "ZX" else f"{_boot_id()}:{fields[19]}"
    found = subprocess.run(
        ["/bin/ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False
    ).stdout.split(maxsplit=1)
    return None if len(found) < 2 or found[0].startswith("Z") else found[1].strip()


@functools.cache
def _boot_id() -> str:
    # Start times count from the boot, so that those of two boots can be alike.
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def start(launch: Launch, *, bound: bool) -> Child:
    """Starts it in a session of its own, output appended to its log.

    `bound`: it ends with the calling process, even when that is killed (Linux). Errors: StackError when the command is
    missing or the log cannot be written.
    """
    command = list(launch.command)
    if bound:
        command = [sys.executable, "-I", "-S", str(LEASH), str(os.getpid()), *command]
    try:
        launch.log.parent.mkdir(parents=True, exist_ok=True)
        if launch.log.exists() and launch.log.stat().st_size > LOG_LIMIT:
            launch.log.replace(launch.log.with_suffix(".old.log"))
        launch.cwd.mkdir(parents=True, exist_ok=True)
        with launch.log.open("ab") as log:
            child = _spawner().spawn(command, launch, log.fileno())
    except OSError as error:
        raise StackError(f"cannot start {launch.name}: {error}") from error
    born = birth(child.pid)
    if born is None:
        child.wait()
        raise StackError(f"{launch.name} ended at once; its last words:\n{tail(launch.log)}")
    _children[child.pid] = child
    return Child(child.pid, born)


def tail(log: Path, lines: int = 12) -> str:
    """The last lines of a log, indented; empty text when there is none."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 16_384))
            text = file.read().decode(errors="replace")
    except OSError:
        return ""
    return "\n".join(f"    {line}" for line in text.splitlines()[-lines:])


_children: dict[int, subprocess.Popen[bytes]] = {}


def _reap(pid: int) -> None:
    child = _children.get(pid)
    if child is not None and child.poll() is not None:
        del _children[pid]


class _Spawner(threading.Thread):
    """The one thread that forks. The kernel ends a leashed process with the *thread* that forked it, and a caller may
    be a worker thread that ends long before the program does; this one lives as long as the program."""

    def __init__(self) -> None:
        super().__init__(name="spawner", daemon=True)
        self._requests: queue.SimpleQueue[tuple[list[str], Launch, int, Future[subprocess.Popen[bytes]]]] = queue.SimpleQueue()
        self.owner = os.getpid()
        self.start()

    def spawn(self, command: list[str], launch: Launch, log: int) -> subprocess.Popen[bytes]:
        answer: Future[subprocess.Popen[bytes]] = Future()
        self._requests.put((command, launch, log, answer))
        return answer.result()

    def run(self) -> None:
        while True:
            command, launch, log, answer = self._requests.get()
            try:
                answer.set_result(
                    subprocess.Popen(
                        command,
                        cwd=launch.cwd,
                        env={**os.environ, **launch.environment},
                        stdin=subprocess.DEVNULL,
                        stdout=log,
                        stderr=log,
                        start_new_session=True,
                    )
                )
            except BaseException as error:
                answer.set_exception(error)


_lock = threading.Lock()
_running: list[_Spawner] = []


def _spawner() -> _Spawner:
    with _lock:
        if not _running or _running[0].owner != os.getpid():  # threads do not survive a fork
            _running[:] = [_Spawner()]
        return _running[0]
