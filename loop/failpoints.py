"""Numbered places where a crash test kills the process; nothing at all unless armed."""

from __future__ import annotations

import os
import signal

_armed: int | None = None
_by: int | None = None
_passed: list[str] = []


def arm(nth: int | None, by: int | None = None) -> None:
    """Die at the nth failpoint passed from now on (1 is the next), or by the signal `by` there; None disarms."""
    global _armed, _by
    _armed, _by = nth, by
    _passed.clear()


def passed() -> list[str]:
    """Names of the failpoints passed since `arm`; they are noted while armed only."""
    return list(_passed)


def is_armed() -> bool:
    """Whether a crash test is running: writers then split each row so that it can be torn."""
    return _armed is not None


def failpoint(name: str) -> None:
    """A place where dying must lose nothing finished. `name` says where, for a reader of the code."""
    if _armed is None:
        return
    _passed.append(name)
    if len(_passed) == _armed:
        if _by is None:
            os._exit(137)  # no atexit, no flush: what SIGKILL leaves
        signal.raise_signal(_by)


def _arm_from_environment() -> None:
    if nth := os.environ.get("LOOP_FAILPOINT"):
        arm(int(nth))


_arm_from_environment()
