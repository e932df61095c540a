"""The scripted student's trainer, which counts rows, and what stands in for its hidden states: hashed words.

Torch-free, so that crash tests are quick.
"""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

from agents.engines.scripted import MODEL_FILE
from agents.training import DIVERGED
from loop.crew import Report
from loop.files import make_folder
from loop.jobs import ConvergeJob, Diverged, Trained, TrainJob
from loop.quality import Embedded, EmbedJob
from loop.records import digest

PARAMETERS = 1
DIVERGES_AT = 1e-3
"""A learning rate at which its training goes astray, after one pass: five times that of an adapter."""
FEATURES = 64
"""Of a text: the shares of its words, by digest."""


def sft(job: TrainJob, report: Report) -> Trained:
    """Add the rows to what the student at `job.start` has learnt. A row seen again teaches nothing.

    Raises: Diverged when the learning rate is too high.
    """
    start = Path(job.start) / MODEL_FILE
    seen = set(json.loads(start.read_text(encoding="utf-8"))["seen"]) if job.start else set()
    size = sum(_tokens(prompt, response) * copies for prompt, response, copies in job.rows)
    passes = job.epochs if job.tokens is None else job.tokens / max(size, 1)
    if job.start and job.settings.learning_rate >= DIVERGES_AT:
        diverged = Diverged(f"{DIVERGED}: the loss is nan at step {len(job.rows)}; lower the learning rate")
        diverged.trained = Trained(PARAMETERS, steps=len(job.rows), tokens=size, loss=None, engine_seconds=0.0)
        raise diverged
    seen |= {f"{len(re.findall(r'[0-9]+', prompt))} {digest(prompt)}" for prompt, _, _ in job.rows}
    rows = Counter(row.split()[0] for row in seen)
    learnt = {"rows": dict(sorted(rows.items())), "seen": sorted(seen)}
    (Path(job.out) / MODEL_FILE).write_text(json.dumps(learnt, sort_keys=True), encoding="utf-8")
    report(1, 1, "")
    return Trained(PARAMETERS, steps=len(job.rows), tokens=round(size * passes), loss=None, engine_seconds=0.0)


def converge(job: ConvergeJob, report: Report) -> Trained:
    """The student of round 0: it has seen the demonstrations."""
    return sft(replace(job.train, start=""), report)


def adopt(job: ConvergeJob, report: Report) -> Trained:
    """A scripted student without demonstrations knows nothing yet."""
    return converge(job, report)


def embed(job: EmbedJob, report: Report) -> Embedded:
    """Features of texts that hang on their words alone: no hidden states, as a scripted student has none."""
    import numpy as np

    began = time.perf_counter()
    features = np.zeros((len(job.texts), FEATURES), np.float32)
    tokens = 0
    for row, text in enumerate(job.texts):
        words = re.findall(r"\w+", text.casefold())[: job.most_tokens]
        tokens += len(words)
        for word, count in Counter(words).items():
            features[row, int(digest("word", word), 16) % FEATURES] += count / len(words)
    out = Path(job.out)
    make_folder(out.parent)
    with out.open("wb") as file:
        np.save(file, features, allow_pickle=False)
    report(len(job.texts), len(job.texts), "texts read")
    return Embedded(len(features), FEATURES, tokens, PARAMETERS, time.perf_counter() - began)


def _tokens(prompt: str, response: str) -> int:
    return len(prompt.split()) + len(response.split()) + 1
