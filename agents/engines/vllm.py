"""The engine `vllm`: offline, in a child process that may live in another Python environment (LOOP_VLLM_PYTHON).

The operating system frees GPU memory surely: when the job is done the child is gone, with all that it started. Sleep
mode is left out: it is an optimisation that frees nothing on a CPU, and a child that has ended frees everything.
"""

from __future__ import annotations

import json
import os
import select
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import agents
from agents.engines import Completion, EngineError, Request, SamplingJob
from agents.engines.gpu import gpu_holders, wait_until_free
from agents.engines.guard import Guarded
from agents.engines.vllm_settings import missing_vllm, read_adapter, vllm_environment, vllm_python, vllm_settings

START_SECONDS = 1800.0
"""Without a sign from a child that loads a model: it may have to be downloaded first."""
SILENT_SECONDS = 300.0
"""Without one finished step from a child that is at work."""


class _Lost(Exception):
    """The child died or fell silent at its work."""


class VllmEngine:
    """A child steps vllm's own engine over all requests, and each row comes out as it finishes."""

    def __init__(self, start_seconds: float = START_SECONDS, silent_seconds: float = SILENT_SECONDS) -> None:
        self.engine_seconds = 0.0
        self.stopped = ""
        self.parameters = 0
        self.seconds_at_work = 0.0
        """Since the child that ran last had its model loaded, until its last row."""
        self._start_seconds, self._silent_seconds = start_seconds, silent_seconds

    def complete(self, job: SamplingJob) -> Iterator[list[Completion]]:
        """See Engine. A child that dies or falls silent is started once more, with what is still owed.

        Raises: EngineError when it does not start, is lost twice, or leaves GPU memory taken.
        """
        owed = {request.key: request for request in job.requests if request.key not in job.done}
        lost = ""
        while owed:
            try:
                for rows in self._play(job, list(owed.values())):
                    for row in rows:
                        del owed[row.key]
                    yield rows
            except _Lost as error:
                if lost:
                    raise EngineError(
                        f"vllm: {error}; and before: {lost}; {len(owed)} completions are owed"
                    ) from error
                lost = str(error)
                print(f"vllm: {lost}; starting it again for {len(owed)} completions", file=sys.stderr, flush=True)

    def _play(self, job: SamplingJob, requests: list[Request]) -> Iterator[list[Completion]]:
        """One child's completions; it is gone, and the GPU is free, when this ends, however it ends."""
        before = gpu_holders()
        with tempfile.TemporaryDirectory(prefix="loop-vllm-") as folder:
            child, said = _start(job, requests, Path(folder))
            try:
                yield from self._listen(child, said)
            finally:
                said.close()
                _end(child)
                wait_until_free(before)

    def _listen(self, child: Guarded, said: _Said) -> Iterator[list[Completion]]:
        loaded, earlier = 0.0, self.engine_seconds
        while True:
            bound = self._silent_seconds if loaded else self._start_seconds
            told = said.next_within(bound)
            if told is None or not told:
                silent = f"no progress for {bound:.0f} s" if told is None else f"ended with exit code {child.stop()}"
                if not loaded:
                    raise EngineError(f"vllm: the engine did not start ({silent}): {child.last_words()}")
                raise _Lost(f"the engine was lost ({silent}): {child.last_words()}")
            loaded, self.parameters = loaded or time.monotonic(), told.get("parameters", self.parameters)
            self.seconds_at_work = time.monotonic() - loaded
            self.engine_seconds = earlier + told.get("seconds", 0.0)
            if rows := told.get("rows"):
                yield [Completion(*row) for row in rows]
            if "done" in told:
                return


class _Said:
    """What the child says on a pipe of its own: a JSON object a line."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor, self._read, self._lines = descriptor, b"", list[bytes]()

    def next_within(self, seconds: float) -> dict[str, Any] | None:
        """The next object; an empty one at the end of the pipe; None when nothing came in time."""
        end = time.monotonic() + seconds
        while not self._lines:
            if not select.select([self._descriptor], [], [], max(0.0, end - time.monotonic()))[0]:
                return None
            if not (piece := os.read(self._descriptor, 1 << 16)):
                return {}
            *self._lines, self._read = (self._read + piece).split(b"\n")
        told: dict[str, Any] = json.loads(self._lines.pop(0))
        return told

    def close(self) -> None:
        os.close(self._descriptor)


def _start(job: SamplingJob, requests: list[Request], folder: Path) -> tuple[Guarded, _Said]:
    if wrong := missing_vllm():
        raise EngineError(wrong)
    asked = {
        "settings": vllm_settings(job.model),
        "adapter": job.model if read_adapter(job.model) else "",
        "temperature": job.temperature,
        "max_new_tokens": job.max_new_tokens,
        "seed": job.seed,
        "requests": [(request.key, request.prompt) for request in requests],
    }
    (folder / "job.json").write_text(json.dumps(asked), encoding="utf-8")
    # A folder with nothing but our package: what stands beside it may belong to another environment.
    (folder / "agents").symlink_to(Path(agents.__file__).parent)
    environment = vllm_environment()
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, (str(folder), environment.get("PYTHONPATH"))))
    reading, writing = os.pipe()
    try:
        command = [vllm_python(), "-m", "agents.engines.vllm_child", str(folder / "job.json"), str(writing)]
        return Guarded(command, environment, pipe=writing), _Said(reading)
    finally:
        os.close(writing)


def _end(child: Guarded) -> None:
    try:
        child.stop()
    except TimeoutError as error:
        raise EngineError(f"vllm: {error}; end them, then run the same command again") from error
