"""The scripted student's trainer: it counts rows. Torch-free, so that crash tests are quick."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

from agents.engines.scripted import MODEL_FILE
from loop.crew import Report
from loop.jobs import ConvergeJob, Trained, TrainJob
from loop.records import digest

PARAMETERS = 1


def train(job: TrainJob, report: Report) -> Trained:
    """Add the rows to what the student at `job.start` has learnt. A row seen again teaches nothing."""
    start = Path(job.start) / MODEL_FILE
    seen = set(json.loads(start.read_text(encoding="utf-8"))["seen"]) if job.start else set()
    size = sum(_tokens(prompt, response) * copies for prompt, response, copies in job.rows)
    passes = job.epochs if job.tokens is None else job.tokens / max(size, 1)
    seen |= {f"{len(re.findall(r'[0-9]+', prompt))} {digest(prompt)}" for prompt, _, _ in job.rows}
    rows = Counter(row.split()[0] for row in seen)
    learnt = {"rows": dict(sorted(rows.items())), "seen": sorted(seen)}
    (Path(job.out) / MODEL_FILE).write_text(json.dumps(learnt, sort_keys=True), encoding="utf-8")
    report(1, 1, "")
    return Trained(PARAMETERS, steps=len(job.rows), tokens=round(size * passes), loss=None, engine_seconds=0.0)


def converge(job: ConvergeJob, report: Report) -> Trained:
    """The student of round 0: it has seen the demonstrations."""
    return train(replace(job.train, start=""), report)


def adopt(job: ConvergeJob, report: Report) -> Trained:
    """A scripted student without demonstrations knows nothing yet."""
    return converge(job, report)


def _tokens(prompt: str, response: str) -> int:
    return len(prompt.split()) + len(response.split()) + 1
