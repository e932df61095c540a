"""A guard: a small process between us and an engine or a server, so that nothing of it outlives us.

The guard leads a session of its own and waits on a pipe that only we hold. When the pipe ends, because we stop it or
because we were killed, it ends the command and all that the command started. A pipe, since the kernel closes it
however a process dies; PR_SET_PDEATHSIG alone reaches neither grandchildren nor a child whose starting thread has
ended. And a process of its own, since the command may be stuck in a call that never returns. What leaves the session
or loses its parent becomes the guard's own child (PR_SET_CHILD_SUBREAPER), so it is found too.

Run as a script it is the guard, and imports nothing but the standard library: it starts in a few milliseconds.
"""

from __future__ import annotations

import ctypes
import os
import re
import select
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
ENDING = 20.0
"""Seconds that killed processes get to be gone: a driver may hold one for a while."""
KEPT_LINES = 200
SAID_LINES = 4
"""Of the end of a log, in an error."""


class Guarded:
    """A command behind a guard; the end of its output is kept."""

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        grace: float = 0.0,
        pipe: int | None = None,
        echo: bool = True,
    ) -> None:
        """Args: grace: seconds between SIGTERM and SIGKILL when it is stopped; pipe: a descriptor that it inherits;
        echo: copy its output to our standard error.
        """
        self._lines: deque[str] = deque(maxlen=KEPT_LINES)
        self._grace, self._echo = grace, echo
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", __file__, str(grace), *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=dict(environment),
            pass_fds=() if pipe is None else (pipe,),
            start_new_session=True,
        )
        self._copying = threading.Thread(target=self._copy, daemon=True)
        self._copying.start()

    @property
    def pid(self) -> int:
        """Of the guard: also the number of the session and group that the command is in."""
        return self._process.pid

    def code(self) -> int | None:
        """The command's exit code (128 and the signal's number); None while it runs."""
        return self._process.poll()

    def stop(self) -> int:
        """End the command and all that it started; its exit code. Returns when nothing of it is left.

        Raises: TimeoutError when something of it does not die.
        """
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            code = self._process.wait(self._grace + 2 * ENDING)
        except subprocess.TimeoutExpired:
            os.killpg(self.pid, signal.SIGKILL)
            raise TimeoutError(f"processes of session {self.pid} do not die") from None
        self._copying.join(ENDING)
        return code

    def last_words(self) -> str:
        """Why it ended, as far as its log tells, and the end of the log, in one line."""
        if self.code() is not None:
            self._copying.join(1)
        lines = [_plain(line) for line in self._lines]
        lines = [line for line in lines if line]
        causes = [line for line in lines if re.match(r"(\w+\.)*\w*(Error|Exception)\b", line)]
        causes = [line for line in causes if "root cause" not in line] or causes
        said = [*causes[-1:], *(line for line in lines[-SAID_LINES:] if line not in causes[-1:])]
        return " | ".join(line[:300] for line in said) or "its log is empty"

    def _copy(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as output:
            for line in output:
                text = line.decode(errors="replace")
                self._lines.append(text.rstrip())
                if self._echo:
                    sys.stderr.write(text)
                    sys.stderr.flush()


def _plain(line: str) -> str:
    """A line of a log without the marks that loggers put before it."""
    line = re.sub(r"\x1b\[[0-9;]*m", "", line)
    return re.sub(
        r"^(\(\w+ pid=\d+\)\s*)?((ERROR|WARNING|INFO|DEBUG) [\d-]+ [\d:]+ \[[^\]]*\]\s*)?", "", line
    ).strip()


# What follows runs in the guard itself.


def _guard(grace: float, command: Sequence[str]) -> int:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: None)  # a handler, not SIG_IGN: the command must not inherit it
    _prctl(PR_SET_CHILD_SUBREAPER, 1)
    try:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, close_fds=False, preexec_fn=lambda: _prctl(PR_SET_PDEATHSIG, 9)
        )
    except OSError as error:
        print(f"OSError: {command[0]}: {error.strerror}", flush=True)
        return 127
    os.closerange(3, 256)
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)  # the pipe of its output ends with the command's own processes
    os.dup2(null, 2)
    while process.poll() is None and not select.select([0], [], [], 0.2)[0]:
        pass
    if process.poll() is None and grace:
        os.killpg(0, signal.SIGTERM)
        end = time.monotonic() + grace
        while process.poll() is None and time.monotonic() < end:
            time.sleep(0.02)
    if process.poll() is None:
        process.kill()
        process.wait()
    _end_children()
    return process.returncode


def _end_children() -> None:
    """Kill until there is no child: those of a killed child become ours."""
    end = time.monotonic() + ENDING
    while time.monotonic() < end:
        for pid in _children():
            os.kill(pid, signal.SIGKILL)
        try:
            if os.waitpid(-1, os.WNOHANG) == (0, 0):
                time.sleep(0.01)
        except ChildProcessError:
            return


def _children() -> list[int]:
    """Process ids of our children, adopted ones included; waited-for ones too until they are."""
    found, ours = [], str(os.getpid())
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text(errors="replace").rpartition(")")[2].split()
        except OSError:
            continue
        if fields[1] == ours:
            found.append(int(path.parent.name))
    return found


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


if __name__ == "__main__":
    _code = _guard(float(sys.argv[1]), sys.argv[2:])
    os._exit(_code if _code >= 0 else 128 - _code)
