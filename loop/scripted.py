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
from loop.crew import Report
from loop.files import make_folder
from loop.jobs import ConvergeJob, DistillJob, Trained, TrainJob
from loop.links import Distilled, Link, Links
from loop.quality import Embedded, EmbedJob
from loop.records import digest

PARAMETERS = 1
FEATURES = 64
"""Of a text: the shares of its words, by digest."""


def sft(job: TrainJob, report: Report) -> Trained:
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


def distill(job: DistillJob, report: Report) -> Trained:
    """Links that each see the rows alone, from nothing, and the student that is served, which does too."""
    links = Links(job)
    done: list[Link] = []
    for number in range(1, job.links + 1):
        link = links.find(number)
        if link is None:
            trained = sft(replace(job.train, start="", out=str(links.begin())), report)
            read = 2.0 * PARAMETERS * trained.tokens if number > 1 else 0.0
            link = Link(trained.tokens, trained.steps, read, engine_seconds=0.0, loss=None)
            links.publish(number, link)
        done.append(link)
    served = sft(replace(job.train, start=""), report)
    taught = (served.tokens, served.steps, 2.0 * PARAMETERS * job.links * served.tokens)
    done += [Link(*taught, engine_seconds=0.0, loss=None)] if job.serve == "ensemble" else []
    told = Distilled(
        teacher=job.serve, members=(None,) * job.links,
        flops=2.0 * PARAMETERS * job.links, served_flops=2.0 * PARAMETERS,
    )  # fmt: skip
    return replace(
        served,
        steps=sum(link.steps for link in done),
        tokens=sum(link.tokens for link in done),
        read_flops=sum(link.read_flops for link in done),
        distilled=told.model_dump(mode="json"),
    )


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
