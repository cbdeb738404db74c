"""The few calls of the C library that Python does not have.

Runs in: every process.
"""

import ctypes
import os
import warnings

# linux/prctl.h
_PR_SET_DUMPABLE = 4
_PR_SET_NAME = 15
_PR_SET_NO_NEW_PRIVS = 38

# malloc.h
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3

_LIBC = ctypes.CDLL(None, use_errno=True)


def _prctl(option: int, argument: int | bytes) -> None:
    value = argument if isinstance(argument, bytes) else ctypes.c_ulong(argument)
    zero = ctypes.c_ulong(0)
    if _LIBC.prctl(ctypes.c_int(option), value, zero, zero, zero) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def forbid_new_privileges() -> None:
    """Make every later exec unable to gain rights (setuid files included)."""
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)


def forbid_dumps() -> None:
    """Refuse core dumps of this process, and ptrace by others of its user."""
    _prctl(_PR_SET_DUMPABLE, 0)


def set_process_name(name: str) -> None:
    """Set the name that ps and top show; the kernel keeps 15 bytes."""
    _prctl(_PR_SET_NAME, name.encode())


def fork() -> int:
    """Fork beside the log's thread, which Python 3.12 and later would warn of.

    The thread knows nothing of Python, and the child does not touch what it held:
    docs/decisions/0007-a-thread-for-the-log.md.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


def keep_large_buffers() -> None:
    """Let malloc keep buffers up to 4 MiB instead of mapping each afresh.

    glibc otherwise maps and unmaps a large buffer per use (measured: 2.7 to
    4.5 times the time of a 1 MiB body). Does nothing where mallopt is missing.
    """
    mallopt = getattr(_LIBC, "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, 4 << 20)
        mallopt(_M_TRIM_THRESHOLD, 16 << 20)
