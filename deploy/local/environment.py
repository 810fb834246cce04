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
PACKAGES_STAMP, PROJECT_STAMP = VENV / "packages-from", VENV / "project-from"
OLDEST = (3, 11)


def say(line):  # type: (str) -> None
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


def digest_of(file):  # type: (Path) -> str
    """What the environment was made from: when it differs from the stamp, that part is made anew."""
    return hashlib.sha256(file.read_bytes() + str(ROOT).encode()).hexdigest()


def is_made(stamp, digest):  # type: (Path, str) -> bool
    return stamp.exists() and stamp.read_text() == digest and os.access(str(VENV / "bin" / "python"), os.X_OK)


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
    packages, project = digest_of(LOCK), digest_of(ROOT / "pyproject.toml")
    pip = (str(VENV / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "install", "--quiet")
    if not is_made(PACKAGES_STAMP, packages):
        say("making .venv (once, about a minute) ...")
        shutil.rmtree(str(VENV), ignore_errors=True)
        if subprocess.run([suitable_python(), "-m", "venv", str(VENV)], stdin=subprocess.DEVNULL).returncode != 0:
            shutil.rmtree(str(VENV), ignore_errors=True)
            sys.exit("python3 cannot make a virtual environment; on Debian and Ubuntu: apt install python3-venv")
        say("installing the locked packages, each checked against its hash ...")
        run(*pip, "--require-hashes", "--only-binary", ":all:", "-r", str(LOCK))
        PACKAGES_STAMP.write_text(packages)
    if not is_made(PROJECT_STAMP, project):
        say("installing Recourse itself ...")
        run(*pip, "--no-deps", "--no-build-isolation", "--editable", str(ROOT))
        PROJECT_STAMP.write_text(project)
        say("ready: .venv/bin/recourse --help")


if __name__ == "__main__":
    main()
