"""Makes the virtual environment `.venv` from the lock file: `python3 deploy/local/environment.py`.

Written for any Python 3, so that one that is too old gets told so instead of failing on syntax; imports nothing of ours.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
VENV = ROOT / ".venv"
LOCK = ROOT / "requirements.lock"
STAMP = VENV / "made-from"
OLDEST = (3, 11)


def say(line):  # type: (str) -> None
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


def wanted():  # type: () -> str
    """What the environment is made from: when this differs from the stamp, it is made anew."""
    digest = hashlib.sha256()
    for part in (LOCK.read_bytes(), (ROOT / "pyproject.toml").read_bytes(), str(ROOT).encode()):
        digest.update(hashlib.sha256(part).digest())
    return digest.hexdigest()


def suitable_python():  # type: () -> str
    """This interpreter if it is new enough, else a newer one on PATH."""
    if sys.version_info >= OLDEST:
        return sys.executable
    for minor in (14, 13, 12, 11):
        found = shutil.which("python3.%d" % minor)  # noqa: UP031 - also for a Python without f-strings
        if found:
            return found
    return sys.exit(
        "Python %d.%d or later is needed, this is %d.%d; install it and run make setup again"  # noqa: UP031
        % (OLDEST + tuple(sys.version_info[:2]))
    )


def run(*command):  # type: (str) -> None
    done = subprocess.run(command, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        sys.exit("failed: " + " ".join(command))


def main():  # type: () -> None
    stamp = wanted()
    python = str(VENV / "bin" / "python")
    if STAMP.exists() and STAMP.read_text() == stamp and os.access(python, os.X_OK):
        return
    say("making .venv (once; about 300 MB of packages) …")
    shutil.rmtree(str(VENV), ignore_errors=True)
    made = subprocess.run([suitable_python(), "-m", "venv", str(VENV)], stdin=subprocess.DEVNULL)
    if made.returncode != 0:
        shutil.rmtree(str(VENV), ignore_errors=True)
        sys.exit("python3 cannot make a virtual environment; on Debian and Ubuntu: apt install python3-venv")
    pip = (python, "-m", "pip", "--disable-pip-version-check", "install", "--quiet")
    say("installing the locked packages, each checked against its hash …")
    run(*pip, "--require-hashes", "--only-binary", ":all:", "-r", str(LOCK))
    say("installing Recourse itself …")
    run(*pip, "--no-deps", "--no-build-isolation", "--editable", str(ROOT))
    STAMP.write_text(stamp)
    say("ready: .venv/bin/recourse --help")


if __name__ == "__main__":
    main()
