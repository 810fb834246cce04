"""Keeps a set of processes running: starts them, waits until they are healthy, restarts what dies, stops all."""

import signal
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from deploy.local import StackError
from deploy.local.parts import Say
from deploy.local.process import Child, Launch, start, tail

FIRST_PAUSE, LONGEST_PAUSE = 0.2, 10.0  # seconds before a restart; doubled each time
STEADY_AFTER = 5.0  # seconds of life after which the next death counts as the first again
START_TIMEOUT = 120.0  # seconds until all have to be healthy
DEATHS_BEFORE_READY = 3  # more often and the start is given up: it will not get better by itself


@dataclass(frozen=True)
class Kept:
    """A process to keep running, healthy when `health` answers 200."""

    launch: Launch
    health: str


@dataclass(frozen=True)
class Patience:
    """How long to wait before the next start of something that keeps dying; a value, so that it is easy to test."""

    next_pause: float = FIRST_PAUSE

    def after_death(self, lived: float) -> tuple[float, "Patience"]:
        """The pause after a death, `lived` seconds after the start, and the patience left for the next one."""
        pause = FIRST_PAUSE if lived >= STEADY_AFTER else self.next_pause
        return pause, Patience(min(pause * 2, LONGEST_PAUSE))


@dataclass
class _Running:
    kept: Kept
    child: Child
    since: float
    patience: Patience = Patience()
    deaths: int = 0
    restart_at: float | None = None


class Supervisor:
    """Runs on the calling thread; `bound` processes end with this one even if it is killed."""

    def __init__(self, kept: Sequence[Kept], *, say: Say, stop: threading.Event) -> None:
        self._kept = kept
        self._running: dict[str, _Running] = {}
        self._say = say
        self._stop = stop

    @property
    def pids(self) -> Mapping[str, int]:
        """The pid of each process by its name; another one after a restart."""
        return {name: running.child.pid for name, running in self._running.items()}

    def start(self) -> bool:
        """Starts all and waits until all are healthy; False if a stop was asked for meanwhile.

        Errors: StackError naming the process, with the end of its log.
        """
        for kept in self._kept:
            self._running[kept.launch.name] = _Running(kept, start(kept.launch, bound=True), time.monotonic())
        began, waiting = time.monotonic(), [kept.launch.name for kept in self._kept]
        while waiting:
            if self._stop.wait(0.1):
                return False
            self.tend()
            for name in list(waiting):
                running = self._running[name]
                log = running.kept.launch.log
                if is_healthy(running.kept.health):
                    waiting.remove(name)
                    running.deaths = 0
                    self._say(f"{name} ready after {time.monotonic() - began:.1f} s")
                elif running.deaths >= DEATHS_BEFORE_READY:
                    raise StackError(f"{name} does not start; the end of {log}:\n{tail(log, 30)}")
                elif time.monotonic() - began > START_TIMEOUT:
                    raise StackError(f"{name} is not ready after {START_TIMEOUT:.0f} s; see {log}:\n{tail(log, 30)}")
        return True

    def tend(self) -> bool:
        """Restarts what has died, each after its pause; True if a pid has changed."""
        changed = False
        now = time.monotonic()
        for name, running in self._running.items():
            if running.restart_at is None and not running.child.alive():
                running.deaths += 1
                pause, running.patience = running.patience.after_death(now - running.since)
                running.restart_at = now + pause
                self._say(f"{name} (pid {running.child.pid}) has ended; restarting it in {pause:.1f} s")
            if running.restart_at is not None and now >= running.restart_at:
                running.since, running.restart_at = now, None
                try:
                    running.child = start(running.kept.launch, bound=True)
                    changed = True
                except StackError as error:
                    self._say(str(error))
        return changed

    def stop(self, *, impatient: Callable[[], bool]) -> None:
        """Asks all to end and makes sure they do; when `impatient` says so they are killed at once."""
        for running in self._running.values():
            running.child.signal(signal.SIGTERM)
        deadline = time.monotonic() + max((kept.launch.grace for kept in self._kept), default=0)
        while any(running.child.alive() for running in self._running.values()):
            if impatient() or time.monotonic() > deadline:
                break
            time.sleep(0.05)
        for name, running in self._running.items():
            if running.child.alive():
                self._say(f"{name} (pid {running.child.pid}) does not end; killing it")
                running.child.stop(0)


def is_healthy(url: str) -> bool:
    """Whether the URL answers 200 within a second."""
    try:
        with urllib.request.urlopen(url, timeout=1) as answer:  # noqa: S310 - our own http address
            return answer.status == 200
    except (OSError, urllib.error.URLError, ValueError):
        return False
