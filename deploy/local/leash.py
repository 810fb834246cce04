"""Runs a command that the kernel ends together with the process that started it: `leash.py PARENT_PID COMMAND…`.

A supervisor killed with SIGKILL runs no clean-up. On Linux the kernel can do it: PR_SET_PDEATHSIG survives `exec`, so this
file sets it and becomes the command, keeping the pid. It is a program of its own because code between fork and exec
(`preexec_fn`) may deadlock in a process with threads. Where the call does not exist, the command just runs.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    parent, command = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before the call: no signal would ever come
            sys.exit(1)
    os.execvp(command[0], command)  # noqa: S606 - the command comes from our own code


if __name__ == "__main__":
    main()
