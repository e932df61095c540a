"""A student served where there is no vllm: the engine transformers behind an OpenAI-compatible address.

For who asks in his own time, as a test harness does; `VllmServer` serves people.
"""

from __future__ import annotations

import json
import os
import sys
import time
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from agents.engines import EngineError
from agents.engines.guard import Guarded
from agents.engines.server import free_port

HOST = "127.0.0.1"
START_SECONDS = 1800.0
"""Until it answers: a large model takes minutes to load."""
ASKED_SECONDS = 5.0
"""For an answer that waits for no model."""
THREADS = {"OMP_WAIT_POLICY": "PASSIVE", "TOKENIZERS_PARALLELISM": "false"}
"""Threads that spin while they wait make a small student many times slower on a machine with other work."""


@dataclass(frozen=True)
class Usage:
    """What a server's work came to so far."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    seconds: float = 0.0
    """Inside the model's own calls."""
    parameters: int = 0
    positions: int = 0
    """The most tokens that a prompt and its answer may have."""
    peak_bytes: int = 0


class StudentServer:
    """As a context manager: it answers inside, and nothing of it is left outside, however our process ends."""

    def __init__(self, model: str, environment: Mapping[str, str] | None = None) -> None:
        """`model` is a folder or id of a model, or the folder of a LoRA adapter; `environment` is added to ours."""
        path = os.pathsep.join(filter(None, [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]))
        self._model = model
        self._environment = {**THREADS, **os.environ, "PYTHONPATH": path, **(environment or {})}
        self._port = free_port(HOST)
        self._process: Guarded | None = None
        self.usage = Usage()
        """As `look` saw it last."""

    @property
    def address(self) -> str:
        """What an OpenAI client takes as its base address."""
        return f"http://{HOST}:{self._port}/v1"

    def __enter__(self) -> StudentServer:
        """Start it and wait until it answers.

        Raises: EngineError with the end of its log when it does not.
        """
        command = (sys.executable, "-m", "agents.engines.completions_child", self._model, str(self._port))
        self._process = Guarded(command, self._environment, echo=False)
        end, wrong = time.monotonic() + START_SECONDS, ""
        try:
            while not self.look() and not wrong:
                time.sleep(0.2)
                late = f"no answer in {START_SECONDS:.0f} s" if time.monotonic() > end else ""
                wrong = late if (code := self._process.code()) is None else f"exit code {code}"
        except BaseException:
            self._process.stop()
            raise
        if wrong:
            self._process.stop()
            raise EngineError(f"the student could not be served ({wrong}): {self._process.last_words()}")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process is not None
        self.look()
        self._process.stop()

    def look(self) -> bool:
        """Read `usage` again; whether the server told it."""
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(f"http://{HOST}:{self._port}/usage", timeout=ASKED_SECONDS) as answer:
                self.usage = Usage(**json.load(answer))
        except (OSError, ValueError):
            return False
        return True

    def last_words(self) -> str:
        """Why it ended, as far as its log tells."""
        assert self._process is not None
        return self._process.last_words()
