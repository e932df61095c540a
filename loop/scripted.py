"""The scripted student's trainer, which counts rows, and what stands in for its hidden states and for clusters.

Torch-free, so that crash tests are quick.
"""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from agents.engines import Request, SamplingJob
from agents.engines.scripted import MODEL_FILE, respond
from agents.training import DIVERGED
from loop.clusters import SMALLEST, Group, GroupJob
from loop.crew import Ask, Report
from loop.files import make_folder
from loop.grading import Grader
from loop.jobs import (
    ConvergeJob,
    DistillJob,
    Diverged,
    DrillJob,
    PairJob,
    PreferenceJob,
    Rewarded,
    RewardJob,
    TrainJob,
)
from loop.links import Distilled, Link, Links
from loop.quality import Embedded, EmbedJob
from loop.records import digest
from loop.reinforcement import Count
from loop.trained import Trained
from loop.verifiers import check_equations

PARAMETERS = 1
DIVERGES_AT = 1e-3
"""A learning rate at which its training goes astray, after one pass: five times that of an adapter."""
FEATURES = 64
"""Of a text: the shares of its words, by digest."""


def sft(job: TrainJob, report: Report) -> Trained:
    """Add the rows to what the student at `job.start` has learnt. A row seen again teaches nothing.

    Raises: Diverged when the learning rate is too high.
    """
    size = sum(_tokens(prompt, response) * copies for prompt, response, copies in job.rows)
    passes = job.epochs if job.tokens is None else job.tokens / max(size, 1)
    if job.start and job.settings.learning_rate >= DIVERGES_AT:
        diverged = Diverged(f"{DIVERGED}: the loss is nan at step {len(job.rows)}; lower the learning rate")
        diverged.trained = Trained(PARAMETERS, steps=len(job.rows), tokens=size, loss=None, engine_seconds=0.0)
        raise diverged
    _learn(job, [prompt for prompt, _, _ in job.rows])
    report(1, 1, "")
    return Trained(PARAMETERS, steps=len(job.rows), tokens=round(size * passes), loss=None, engine_seconds=0.0)


def dpo(job: PreferenceJob, report: Report) -> Trained:
    """A pair teaches what its right attempt does, and costs both."""
    done = sft(replace(job.train, rows=tuple((prompt, chosen, 1) for prompt, chosen, _ in job.pairs)), report)
    size = sum(_tokens(prompt, chosen) + _tokens(prompt, rejected) for prompt, chosen, rejected in job.pairs)
    tokens = round(size * job.train.epochs)
    return replace(done, tokens=tokens, read_flops=2.0 * PARAMETERS * tokens)


def reward(job: PairJob, report: Report) -> Trained:
    """It learns nothing: `score` knows what is right."""
    (Path(job.train.out) / MODEL_FILE).write_text("{}", encoding="utf-8")
    size = sum(2 * len(prompt.split()) + len(f"{good} {bad}".split()) for prompt, good, bad in job.pairs)
    return Trained(PARAMETERS, steps=len(job.pairs), tokens=size, loss=None, engine_seconds=0.0)


def score(job: RewardJob, report: Report) -> Rewarded:
    """1 where every equation holds, else -1."""
    right = [check_equations(response).verdict == "passed" for _, response in job.texts]
    tokens = sum(_tokens(*text) for text in job.texts)
    return Rewarded(tuple(1.0 if good else -1.0 for good in right), tokens, PARAMETERS, 0.0)


def grpo(job: DrillJob, report: Report, ask: Ask | None = None) -> Trained:
    """Answer the problems in groups, and learn those whose answers differ in reward."""
    train, choice = job.train, job.choice
    learnt = json.loads((Path(train.start) / MODEL_FILE).read_text(encoding="utf-8"))["rows"]
    drawing = SamplingJob(train.start, (), choice.temperature, job.max_new_tokens, train.seed)
    grader = Grader(job.judge, Count(choice.group, len(job.problems), job.critics, job.unheard), ask)
    taught: list[str] = []
    for turn in range(max(1, round(train.epochs))):
        for problem in job.problems:
            keys = [digest("group", turn, problem.id, number) for number in range(choice.group)]
            answers = [respond(drawing, Request(key, problem.prompt), learnt=learnt) for key in keys]
            rewards = grader.rewards([problem] * choice.group, answers)
            taught += [problem.prompt] * (min(rewards) < max(rewards))
        report(turn + 1, train.epochs, "")
    _learn(train, taught)
    return Trained(
        PARAMETERS,
        steps=len(grader.count.told.rewards) * choice.iterations,
        tokens=grader.tokens * choice.iterations,
        loss=None,
        engine_seconds=0.0,
        sampled_tokens=grader.tokens,
        reinforced=grader.count.told,
    )


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


def group(job: GroupJob, report: Report) -> list[Group]:
    """In the place of clusters: attempts that have the very same signs."""
    alike: dict[tuple[str, ...], list[int]] = {}
    for place, slip in enumerate(job.slips):
        alike.setdefault(slip.signs, []).append(place)
    found = [Group(tuple(places), signs) for signs, places in alike.items() if signs and len(places) >= SMALLEST]
    return sorted(found, key=lambda group: (-len(group.members), group.members))


def _learn(job: TrainJob, prompts: Sequence[str]) -> None:
    """Write what the student at `job.start` has seen, and these problems too."""
    start = Path(job.start) / MODEL_FILE
    seen = set(json.loads(start.read_text(encoding="utf-8"))["seen"]) if job.start else set()
    seen |= {f"{len(re.findall(r'[0-9]+', prompt))} {digest(prompt)}" for prompt in prompts}
    rows = Counter(row.split()[0] for row in seen)
    learnt = {"rows": dict(sorted(rows.items())), "seen": sorted(seen)}
    (Path(job.out) / MODEL_FILE).write_text(json.dumps(learnt, sort_keys=True), encoding="utf-8")


def _tokens(prompt: str, response: str) -> int:
    return len(prompt.split()) + len(response.split()) + 1
