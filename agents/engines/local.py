"""A model on this machine that answers questions, in a child process: the talker of the engine `transformers`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import asdict
from pathlib import Path
from queue import Empty, SimpleQueue

from agents.talk import Answer, Question, Unreachable

MOST_AT_ONCE = 64
"""Questions of one batch."""


class LocalTalker:
    """Questions that wait at the same time are answered as one batch. The child ends with `close`, or with us.

    It has no structured output: the schema stands in the prompt, and a reply that is none is asked for once more.
    """

    def __init__(self, model: str, log: Path) -> None:
        """`model` is a folder or id; what the child prints goes to `log`."""
        self.model, self._log = model, log
        self._waiting: SimpleQueue[tuple[Question, Future[Answer]] | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._worker: threading.Thread | None = None
        self._child: subprocess.Popen[str] | None = None

    def ask(self, question: Question) -> Answer:
        """See Talker. The first question waits for the model to be loaded."""
        with self._lock:
            if self._worker is None:
                self._child = self._start()
                self._worker = threading.Thread(target=self._work, args=(self._child,), daemon=True)
                self._worker.start()
        future: Future[Answer] = Future()
        self._waiting.put((question, future))
        return future.result()

    def close(self) -> None:
        """End the child."""
        self._waiting.put(None)
        if self._worker is not None and self._child is not None:
            self._worker.join(5)
            self._child.kill()
            self._child.wait()
            self._worker.join()

    def _start(self) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "agents.engines.local_child", self.model]
        self._log.parent.mkdir(parents=True, exist_ok=True)
        path = os.pathsep.join(filter(None, [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]))
        with self._log.open("ab") as log:
            return subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, encoding="utf-8",
                env=os.environ | {"PYTHONPATH": path},
            )  # fmt: skip

    def _work(self, child: subprocess.Popen[str]) -> None:
        assert child.stdin and child.stdout
        with child.stdin as questions, child.stdout as answers:
            while (first := self._waiting.get()) is not None:
                batch = [first, *self._more()]
                try:
                    questions.write(json.dumps([asdict(question) for question, _ in batch]) + "\n")
                    questions.flush()
                    said = [Answer(**row) for row in json.loads(answers.readline())]
                except (OSError, ValueError) as error:
                    self._give_up(batch, error)
                    continue
                for (_, future), answer in zip(batch, said, strict=True):
                    future.set_result(answer)

    def _more(self) -> list[tuple[Question, Future[Answer]]]:
        """What else is waiting now; the word to end is put back."""
        found: list[tuple[Question, Future[Answer]]] = []
        try:
            while len(found) < MOST_AT_ONCE - 1:
                entry = self._waiting.get_nowait()
                if entry is None:
                    self._waiting.put(None)
                    break
                found.append(entry)
        except Empty:
            pass
        return found

    def _give_up(self, batch: Sequence[tuple[Question, Future[Answer]]], error: Exception) -> None:
        lines = self._log.read_text(encoding="utf-8", errors="replace").splitlines()
        last = next((line.strip() for line in reversed(lines) if line.strip()), str(error))
        for _, future in batch:
            future.set_exception(Unreachable(f"{self.model}: its process died: {last[:300]}; see {self._log}"))
