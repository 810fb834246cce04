"""Ports, identities of processes, and the leash."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from deploy.local.errors import StackError
from deploy.local.ports import HIGHEST, LOWEST, free_port, is_free
from deploy.local.process import LOG_LIMIT, Child, Launch, birth, start

SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]


def launch(folder: Path, command: list[str], grace: float = 5.0) -> Launch:
    return Launch("sleeper", command, cwd=folder, log=folder / "logs" / "sleeper.log", grace=grace)


def test_a_port_in_use_is_neither_free_nor_drawn() -> None:
    port = free_port()
    assert LOWEST <= port <= HIGHEST
    with socket.create_server(("127.0.0.1", port)):
        assert not is_free(port)
    assert is_free(port)
    assert free_port({port}) != port


def test_ports_lie_below_those_of_outgoing_connections() -> None:
    ephemeral = Path("/proc/sys/net/ipv4/ip_local_port_range")
    if not ephemeral.exists():
        pytest.skip("no such file on this system")
    assert int(ephemeral.read_text().split()[0]) > HIGHEST


def test_stop_ends_the_process(tmp_path: Path) -> None:
    child = start(launch(tmp_path, SLEEP), bound=False)
    assert child.alive()
    child.stop(5)
    assert not child.alive()
    child.stop(5)  # a second time does nothing


def test_stop_kills_what_ignores_sigterm(tmp_path: Path) -> None:
    stubborn = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
    child = start(launch(tmp_path, [sys.executable, "-c", stubborn]), bound=False)
    log = tmp_path / "logs" / "sleeper.log"
    while "up" not in log.read_text():
        time.sleep(0.01)
    child.stop(0.3)
    assert not child.alive()


def test_another_process_with_the_same_pid_is_left_alone(tmp_path: Path) -> None:
    child = start(launch(tmp_path, SLEEP), bound=False)
    stale = Child(child.pid, "an earlier process")
    assert not stale.alive()
    stale.stop(1)
    assert child.alive()
    child.stop(0)


def test_a_pid_of_nobody() -> None:
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    assert birth(done.pid) is None
    with pytest.raises(StackError, match="there is no process"):
        Child.of(done.pid)
    assert Child.of(os.getpid()).alive()


def test_a_missing_program_is_named(tmp_path: Path) -> None:
    with pytest.raises(StackError, match=r"cannot start sleeper.*no-such-program"):
        start(launch(tmp_path, ["/no-such-program"]), bound=False)


def test_a_large_log_is_put_aside(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "sleeper.log"
    log.parent.mkdir()
    with log.open("wb") as file:
        file.truncate(LOG_LIMIT + 1)
    start(launch(tmp_path, SLEEP), bound=False).stop(0)
    assert log.stat().st_size < LOG_LIMIT
    assert log.with_suffix(".old.log").stat().st_size > LOG_LIMIT


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's help exists on Linux only")
def test_a_bound_process_ends_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    parent = f"""
import sys, time
from pathlib import Path
from deploy.local.process import Launch, start
child = start(Launch("sleeper", {SLEEP!r}, cwd=Path({str(tmp_path)!r}), log=Path({str(tmp_path)!r}) / "log"), bound=True)
print(child.pid, flush=True)
time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        child = Child.of(int(process.stdout.readline()))
        process.send_signal(signal.SIGKILL)
        process.wait()
        deadline = time.monotonic() + 5
        while child.alive() and time.monotonic() < deadline:
            time.sleep(0.02)
        assert not child.alive()
