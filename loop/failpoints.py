"""Numbered places where a crash test kills the process; nothing at all unless armed."""

from __future__ import annotations

import os

_armed: int | None = None
_passed = 0


def arm(nth: int | None) -> None:
    """Die at the nth failpoint passed from now on (1 is the next); None counts only."""
    global _armed, _passed
    _armed, _passed = nth, 0


def passed() -> int:
    """Failpoints passed since `arm`."""
    return _passed


def is_armed() -> bool:
    """Whether a crash test is running: writers then split each row so that it can be torn."""
    return _armed is not None


def failpoint(name: str) -> None:
    """A place where dying must lose nothing finished. `name` says where, for a reader of the code."""
    global _passed
    _passed += 1
    if _passed == _armed:
        os._exit(137)  # no atexit, no flush: what SIGKILL leaves


def _arm_from_environment() -> None:
    if nth := os.environ.get("LOOP_FAILPOINT"):
        arm(int(nth))


_arm_from_environment()
