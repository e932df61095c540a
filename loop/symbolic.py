"""Whether two mathematical expressions are equal: math-verify, in a process of its own that can be killed.

SymPy can compute for ever on nine characters (9^{9^{9}}), inside one C call that no Python timeout stops. The
child reads one JSON line [found, answer, seconds] at a time and writes one back; end of file ends it. While
it computes, an alarm is set on which the kernel ends it: even then it outlives its parent by seconds only.
"""

from __future__ import annotations

import atexit
import json
import os
import re
import resource
import select
import signal
import subprocess
import sys
import threading
import time
from functools import cache
from pathlib import Path
from typing import Any

from loop.errors import MissingError

DEADLINE = 5.0
"""Seconds for one comparison, after which the child is killed."""

GRACE = 1.0
"""Seconds past the deadline after which the kernel ends a child that nobody has killed."""

STARTING = 120.0
"""Seconds that importing SymPy may take on a busy machine."""

ROOM = 4 * 2**30
"""Bytes of address space of the child."""

LONGEST = 2000
"""Characters of an expression; what is longer is not an answer."""


def compare(found: str, answer: str) -> str | None:
    """None when math-verify finds `found` equal to `answer`; else why not, or "".

    Raises MissingError when the child cannot be started.
    """
    return _child().compare(found, answer)


class Child:
    """The child process, started when first needed and again after one was killed. Safe among threads."""

    def __init__(self, deadline: float = DEADLINE) -> None:
        self._deadline = deadline
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = 0
        self._lock = threading.Lock()

    @property
    def pid(self) -> int | None:
        """The process id of the child that runs now."""
        return self._process.pid if self._process else None

    def compare(self, found: str, answer: str) -> str | None:
        """As the function of this module."""
        if max(len(found), len(answer)) > LONGEST:
            return "too long"
        with self._lock:
            process = self._running()
            try:
                _send(process, [found, answer, self._deadline])
                reply = _receive(process, self._deadline)
            except BaseException as error:  # an interrupt too: its late reply must not meet the next question
                self._stop()
                if isinstance(error, TimeoutError):
                    return "timed out"
                if isinstance(error, (EOFError, BrokenPipeError)):
                    return "the comparison broke down"
                raise
        return None if reply is True else str(reply)

    def close(self) -> None:
        """End the child, if there is one; the next comparison starts another."""
        with self._lock:
            self._stop()

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process and self._owner != os.getpid():
            self._process = None  # a fork's copy: the pipes are the parent's
        if self._process and self._process.poll() is not None:
            self._stop()
        if not self._process:
            self._process, self._owner = _start(), os.getpid()
        return self._process

    def _stop(self) -> None:
        process, self._process = self._process, None
        if process and self._owner == os.getpid():
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe:
                    pipe.close()


@cache
def _child() -> Child:
    child = Child()
    atexit.register(child.close)
    return child


def _start() -> subprocess.Popen[bytes]:
    path = os.pathsep.join([str(Path(__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])])
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "loop.symbolic"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        bufsize=0,
        env={**os.environ, "PYTHONPATH": path},
    )
    try:
        _receive(process, STARTING)
    except (EOFError, TimeoutError) as error:
        process.kill()
        process.communicate()
        raise MissingError(f"the verifier `math` needs math-verify, which does not start: {error!r}") from error
    return process


def _send(process: subprocess.Popen[bytes], message: Any) -> None:
    assert process.stdin
    process.stdin.write(json.dumps(message).encode() + b"\n")


def _receive(process: subprocess.Popen[bytes], seconds: float) -> Any:
    """The next line of the child. Raises TimeoutError, and EOFError when the child has ended."""
    assert process.stdout
    line, until, poll = b"", time.monotonic() + seconds, select.poll()
    poll.register(process.stdout, select.POLLIN)
    while not line.endswith(b"\n"):
        if not poll.poll(max(0.0, until - time.monotonic()) * 1000):
            raise TimeoutError
        if not (piece := os.read(process.stdout.fileno(), 65536)):
            raise EOFError("it ended")
        line += piece
    return json.loads(line)


def main() -> None:
    """The child: answer each line of standard input until it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_AS, (ROOM, ROOM))
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what SymPy prints is no reply
    import math_verify  # noqa: F401 - takes a second, before the clock runs

    print("true", file=replies, flush=True)
    for line in sys.stdin:
        found, answer, seconds = json.loads(line)
        signal.setitimer(signal.ITIMER_REAL, seconds + GRACE)
        reply = _verify(found, answer)
        signal.setitimer(signal.ITIMER_REAL, 0)
        print(json.dumps(reply), file=replies, flush=True)


def _verify(found: str, answer: str) -> bool | str:
    """True, or why not. Words are compared as words: to SymPy tea is t * e * a, the same as eat."""
    from math_verify import parse, verify

    texts = [_expression(text) for text in (answer, found)]
    if any(text is None for text in texts):
        return "not one expression"
    if any(re.fullmatch(r"[A-Za-z ]{3,}", str(text)) for text in texts):
        return len({str(text).casefold() for text in texts}) == 1 or ""
    right, left = (parse(rf"\boxed{{{text}}}", parsing_timeout=None) for text in texts)
    if not right or not left:
        return "not an expression"
    return bool(verify(right, left, timeout_seconds=None)) or ""


def _expression(text: str) -> str | None:
    """The text without dollar signs around it; None where it is not one expression when in braces."""
    text = re.sub(r"^(\${1,2})(.*)\1$", r"\2", text.strip(), flags=re.DOTALL)
    text = re.sub(r"^\\[(\[](.*)\\[)\]]$", r"\1", text, flags=re.DOTALL)
    text = re.sub(r"^\\?\$(?=\s*[-\d.])", "", text).strip()
    depth = lowest = 0
    for brace in re.findall(r"\\.|[{}]", text):
        depth += {"{": 1, "}": -1}.get(brace, 0)
        lowest = min(lowest, depth)
    return None if depth or lowest or "$" in text else text


if __name__ == "__main__":
    main()
