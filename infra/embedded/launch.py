"""Become another program, as another user, that cannot outlive its parent.

`children.spawn` runs this file as a script: `python -I -S launch.py SPEC`, SPEC being a `LaunchSpec` as JSON. It is a
separate program rather than a `preexec_fn`, which is unsafe in a process with threads. It imports the standard library
alone, so that it starts in milliseconds, and ends by `exec`, so that the child keeps its process id.
"""

import contextlib
import ctypes
import errno
import json
import os
import select
import signal
import sys
from typing import Any

# From Linux' prctl.h, securebits.h and capability.h; the numbers are part of its stable interface.
PR_SET_PDEATHSIG = 1
PR_SET_SECUREBITS = 28
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_RAISE = 2
SECBIT_NO_SETUID_FIXUP = 1 << 2
CAP_DAC_OVERRIDE = 1
CAPABILITY_VERSION_3 = 0x20080522

WATCH_INTERVAL_S = 1.0


class _CapHeader(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _CapData(ctypes.Structure):
    _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32))


def prctl(*arguments: int) -> None:
    """Ask the Linux kernel for an operation on this process. Raises `OSError`."""
    libc = ctypes.CDLL(None, use_errno=True)
    padded = (*arguments, 0, 0, 0, 0)[:5]
    if libc.prctl(*(ctypes.c_ulong(argument) for argument in padded)) < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"prctl{arguments}: {os.strerror(number)}")


def keep_only_dac_override() -> None:
    """Hold CAP_DAC_OVERRIDE and nothing else, across exec. Raises `OSError`."""
    libc = ctypes.CDLL(None, use_errno=True)
    mask = 1 << CAP_DAC_OVERRIDE
    header = _CapHeader(CAPABILITY_VERSION_3, 0)
    data = (_CapData * 2)(_CapData(mask, mask, mask), _CapData())
    if libc.capset(ctypes.byref(header), data) < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"capset: {os.strerror(number)}")
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_DAC_OVERRIDE)


def drop_user(uid: int, gid: int, *, keep_dac: bool) -> None:
    """Become `uid` and `gid` for good; with `keep_dac`, still pass through directories closed to that user.

    Raises `OSError` when the process may not change its user.
    """
    if keep_dac:
        # Without this, access(2) ignores capabilities for a real uid other than 0, and Postgres asks access(2)
        # whether it can find its own executable.
        prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP)
    os.setgroups([])
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    if keep_dac:
        keep_only_dac_override()


def restore_signals() -> None:
    """Take back what Python, or a shell that put us in the background, changed: exec would hand it on."""
    names = ("SIGPIPE", "SIGXFSZ", "SIGINT", "SIGQUIT", "SIGTERM", "SIGHUP")
    for number in (getattr(signal, name, None) for name in names):
        if number is not None:
            signal.signal(number, signal.SIG_DFL)


def die_with_parent(parent_pid: int, death_signal: int) -> None:
    """Ask the kernel for `death_signal` when the parent dies; end at once if it already has."""
    prctl(PR_SET_PDEATHSIG, death_signal)
    if os.getppid() != parent_pid:
        sys.exit("The parent process died before its child was ready.")


def fork_watcher(watch_fd: int, death_signal: int) -> None:
    """Fork a process that signals this one when `watch_fd`, a pipe that only the parent writes to, closes.

    The way of systems without PR_SET_PDEATHSIG. The watcher ends by itself once this process is gone.
    """
    server_pid = os.getpid()
    if os.fork() != 0:
        return
    while os.getppid() == server_pid:
        readable, _, _ = select.select([watch_fd], [], [], WATCH_INTERVAL_S)
        if readable:
            with contextlib.suppress(ProcessLookupError):
                os.kill(server_pid, death_signal)
            break
    os._exit(0)


def main(spec: dict[str, Any]) -> None:
    """Do what SPEC says, then exec its program. Exits with 126 (may not) or 127 (not found), the shell's codes."""
    try:
        if spec["uid"] is not None:
            drop_user(spec["uid"], spec["gid"], keep_dac=spec["keep_dac"])
        restore_signals()
        # After the change of user, which clears it.
        if spec["watch_fd"] is None:
            die_with_parent(spec["parent_pid"], spec["death_signal"])
        else:
            os.set_inheritable(spec["watch_fd"], False)
            fork_watcher(spec["watch_fd"], spec["death_signal"])
        os.execvp(spec["argv"][0], spec["argv"])  # noqa: S606  # no shell is wanted
    except OSError as error:
        print(f"Cannot start {spec['argv'][0]}: {error}", file=sys.stderr, flush=True)
        os._exit(127 if error.errno == errno.ENOENT else 126)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
