"""The crew: child processes that do what needs torch or a GPU, and exit.

The operating system frees GPU memory surely; `del model` does not. Children are forked from a server that has
the heavy imports already, and a child whose parent is gone exits by itself.
"""

from __future__ import annotations

import faulthandler
import importlib
import multiprocessing
import multiprocessing.forkserver
import os
import resource
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from loop.errors import LoopError, OutOfMemory, StageError
from loop.records import Spent

PRELOAD = ("loop.training.convergence", "agents.engines.transformers")
"""Modules that the fork server imports once: torch, transformers, TRL and PEFT come with them."""

Report = Callable[[float, float, str], None]
"""Called by a work function now and then: done, total, and the rate in words."""
Ask = Callable[[Any], Any]
"""Called by a work function that is given one beside its report: puts a question to the parent, which answers it."""


@dataclass(frozen=True)
class Limits:
    """How much one piece of work may still spend; None is no limit. Checked after every batch or step."""

    tokens: int | None = None
    seconds: float | None = None
    usd: float | None = None
    """Dollars; the engine that spends them holds to it, request by request."""

    def less(self, spent: Spent, at_least: int = 0) -> Limits:
        """What is left of these when an earlier launch spent so much on the same work."""
        tokens = None if self.tokens is None else max(at_least, self.tokens - spent.tokens_sampled)
        usd = None if self.usd is None else max(0.0, self.usd - spent.usd)
        return replace(self, tokens=tokens, usd=usd)

    def spent_by(self, tokens: int, began: float) -> str:
        """The name of the limit that is reached by `tokens` or by the time since `began`, or ""."""
        if self.tokens is not None and tokens >= self.tokens:
            return "tokens"
        if self.seconds is not None and time.monotonic() - began >= self.seconds:
            return "minutes"
        return ""


NO_LIMITS = Limits()


@dataclass(frozen=True)
class Work:
    """What a child came back with."""

    result: Any
    peak_bytes: int
    """The largest resident set of the process that did it."""


class Crew:
    """Runs work in children, one at a time, and tells how it goes."""

    def __init__(self, logs: Path, tick: Callable[[], None]) -> None:
        self._logs, self.tick = logs, tick
        self._context = multiprocessing.get_context("forkserver")
        self._process: Any = None

    def warm(self, modules: Sequence[str] = PRELOAD) -> None:
        """Start the fork server; it imports the modules while the parent goes on with other things."""
        self._context.set_forkserver_preload(list(modules))
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
        # Threads that spin while they wait make a small student 5 to 10 times slower on a machine with other work.
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        multiprocessing.forkserver.ensure_running()

    def run(self, work: str, job: Any, report: Report, name: str, answer: Ask | None = None) -> Work:
        """Do `work` ("package.module:function", called with job and report) in a child.

        Its output goes to logs/<name>.log. With `answer` the work is given an `Ask` too: each question that it asks
        is answered here, while it waits.

        Raises: the child's own LoopError; StageError when it fails otherwise or dies; what `answer` raises.
        """
        log = self._logs / f"{name}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        ours, theirs = self._context.Pipe()
        theirs_alive, ours_alive = self._context.Pipe(duplex=False)
        self._process = self._context.Process(
            target=_child, args=(work, job, answer is not None, theirs, theirs_alive, str(log)), daemon=True
        )
        try:
            self._process.start()
            theirs.close()
            theirs_alive.close()
            return self._listen(ours, report, answer, name, log)
        finally:
            self._end()
            ours.close()
            ours_alive.close()

    def run_here(self, work: str, job: Any, report: Report, answer: Ask | None = None) -> Work:
        """Do the work in this process: for work that needs neither torch nor a GPU."""
        asks = () if answer is None else (answer,)
        return Work(_resolve(work)(job, report, *asks), peak_bytes())

    def _listen(self, pipe: Connection, report: Report, answer: Ask | None, name: str, log: Path) -> Work:
        while True:
            self.tick()
            try:
                if not pipe.poll(0.2):
                    continue
                kind, content = pipe.recv()
            except (EOFError, ConnectionResetError) as error:
                self._process.join(5)
                raise StageError(
                    f"{name}: the process died (exit {self._process.exitcode}); its last words are in {log}"
                ) from error
            if kind == "progress":
                report(*content)
            elif kind == "question" and answer is not None:
                said = answer(content)
                with suppress(BrokenPipeError):  # that it has died meanwhile is heard at the next look
                    pipe.send(said)
            elif kind == "result":
                return Work(*content)
            elif kind == "refused":
                raise content
            else:
                raise StageError(f"{name}: {content}; see {log}")

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None and process.is_alive():
            process.join(2)
            if process.is_alive():
                process.kill()
                process.join()


def peak_bytes() -> int:
    """The largest resident set of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _resolve(work: str) -> Callable[..., Any]:
    module, _, function = work.partition(":")
    resolved: Callable[..., Any] = getattr(importlib.import_module(module), function)
    return resolved


def _child(work: str, job: Any, may_ask: bool, pipe: Connection, alive: Connection, log: str) -> None:
    """What runs in the child: the work, its output in a file, and a watch on the parent."""
    from tqdm import tqdm

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears the keyboard, and decides
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    faulthandler.enable()
    tqdm.set_lock(threading.RLock())  # its own is a semaphore of the system's, which a child leaves behind
    threading.Thread(target=_exit_with_parent, args=(alive,), daemon=True).start()

    def report(done: float, total: float, rate: str) -> None:
        pipe.send(("progress", (done, total, rate)))

    def ask(question: Any) -> Any:
        pipe.send(("question", question))
        return pipe.recv()

    try:
        function = _resolve(work)
        if "torch" in sys.modules:
            # A student that fits its rows has gradients so small that a CPU takes ten times as long over them.
            sys.modules["torch"].set_flush_denormal(True)
        result = function(job, report, *((ask,) if may_ask else ()))
        pipe.send(("result", (result, peak_bytes())))
    except LoopError as error:
        pipe.send(("refused", error))
    except BaseException as error:
        traceback.print_exc()
        words = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
        pipe.send(("refused", OutOfMemory(f"{words}; see {log}")) if _is_memory(error) else ("failed", words))
    sys.stdout.flush()
    sys.stderr.flush()
    pipe.close()
    os._exit(0)  # torch's threads need no farewell, and half a second each


def _is_memory(error: BaseException) -> bool:
    """Whether it says that memory ran out: that of a GPU (torch.OutOfMemoryError) or that of the machine."""
    return type(error).__name__ == "OutOfMemoryError" or "DefaultCPUAllocator: can't allocate memory" in str(error)


def _exit_with_parent(alive: Connection) -> None:
    """End the process at end of file: the fork server is its parent by process id, the run is not."""
    try:
        alive.recv()
    except (EOFError, OSError):
        os._exit(130)
