"""The scripted engine: a shipped fake that needs no torch, for tests and dry runs.

Its model is a folder with `scripted.json`, {"rows": {"<terms>": n}}: how many worked rows it has seen for chains of
that many terms. It adds and subtracts the numbers of a prompt in writing, and slips more often the fewer rows it
has seen. What it answers depends on the request's key and the seed alone.

Or the file is a recording, {"answers": {"<prompt>": ["<text>", ...]}}: then the k-th request of a prompt gets its
k-th text, whatever key and seed; one beyond them gets none.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache, partial
from math import exp
from pathlib import Path
from typing import Any, Literal

from agents.engines import Completion, EngineError, Request, SamplingJob

MODEL_FILE = "scripted.json"
BATCH = 8
ROWS_TO_LEARN = 40.0
"""Rows of a length after which it slips at 1/e of the problems of that length."""


class ScriptedEngine:
    """Answers from a function of (seed, key, what it has learnt)."""

    def __init__(self) -> None:
        self.engine_seconds = 0.0
        self.stopped = ""
        self.parameters = 1

    def complete(self, job: SamplingJob) -> Iterator[list[Completion]]:
        """See Engine."""
        path = Path(job.model) / MODEL_FILE
        try:
            known = _read(path, path.stat().st_mtime_ns)
            answer = (
                _play(job, known["answers"]) if "answers" in known else partial(respond, job, learnt=known["rows"])
            )
        except (OSError, ValueError, KeyError) as error:
            raise EngineError(f"{job.model}: no scripted student there") from error
        for start in range(0, len(job.requests), BATCH):
            batch = job.requests[start : start + BATCH]
            rows = [answer(request) for request in batch if request.key not in job.done]
            if rows:
                log(f"{job.seed} {row.key}" for row in rows)
                yield rows


@lru_cache(maxsize=4)
def _read(path: Path, changed: int) -> dict[str, Any]:
    """The model's file as it was at that time."""
    known: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return known


def _play(job: SamplingJob, answers: dict[str, list[str]]) -> Callable[[Request], Completion]:
    """What a recording answers to each request of a job, those that are done counted too."""
    said: dict[str, Completion] = {}
    left = {request.prompt: iter(answers.get(request.prompt, ())) for request in job.requests}
    for request in job.requests:
        text = next(left[request.prompt], None)
        finish: Literal["stop", "error"] = "error" if text is None else "stop"
        tokens = (len(request.prompt.split()), len((text or "").split()) + 1)
        said[request.key] = Completion(request.key, text or "", finish, *tokens)
    return lambda request: said[request.key]


def log(lines: Iterable[str]) -> None:
    """Note what was answered where LOOP_SCRIPTED_LOG says: so a crash test sees what was done twice."""
    if path := os.environ.get("LOOP_SCRIPTED_LOG"):
        with Path(path).open("a", encoding="utf-8") as file:
            file.write("".join(f"{line}\n" for line in lines))


def respond(job: SamplingJob, request: Request, *, learnt: dict[str, int]) -> Completion:
    """What a student that has seen so many rows of each length answers; some answers are cut off."""
    numbers = re.findall(r"[+-]?\s*\d+", request.prompt)
    slips = exp(-learnt.get(str(len(numbers)), 0) / ROWS_TO_LEARN)
    luck = int(hashlib.sha256(f"{job.seed} {request.key}".encode()).hexdigest()[:8], 16) / 16**8
    text = work_out([int(n.replace(" ", "")) for n in numbers], slip=luck < slips)
    finish: Literal["stop", "length"] = "stop"
    if 0.02 < luck < 0.04:
        text, finish = text[: len(text) // 2], "length"
    tokens = len(text.split()) + 1
    return Completion(request.key, text, finish, len(request.prompt.split()), tokens)


def work_out(numbers: list[int], slip: bool = False) -> str:
    """The running totals of a sum, one a line, and the answer; with `slip` the last total is one too high."""
    if not numbers:
        return ""
    total, lines = numbers[0], []
    for position, number in enumerate(numbers[1:], 2):
        result = total + number + (slip and position == len(numbers))
        lines.append(f"{total} {'-' if number < 0 else '+'} {abs(number)} = {result}")
        total = result
    return "\n".join([*lines, f"#### {total}"])
