"""Chain distillation (Slowrun): students in a row, each taught by the frozen one before; or one taught by a teacher.

Import it only in a child process: it brings torch.
"""

from __future__ import annotations

import math
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.trainer_utils import set_seed

from loop.crew import Report
from loop.jobs import DistillJob, TrainJob
from loop.links import FIRST_LEFT_OUT, Distilled, Link, Links
from loop.records import seed_for
from loop.trained import Trained
from loop.training.distillation import Distiller, Ensemble, fresh, load_teacher
from loop.training.held_out import accuracy, losses
from loop.training.on_policy import on_policy_trainer
from loop.training.sft import arguments
from loop.training.student import adapter_of, add_dropout, load_trainable, save, tokenised
from loop.training.watch import Watch


def distill(job: DistillJob, report: Report) -> Trained:
    """Write the student that is served to `job.train.out`, and measure it beside who taught it.

    Links that an earlier launch finished are not trained again.
    """
    course = _Course(job, report)
    return _by_teacher(job, course) if job.teacher else _by_links(job, course)


def _by_teacher(job: DistillJob, course: _Course) -> Trained:
    model, tokenizer = load_trainable(job.train)
    teacher = load_teacher([job.teacher], tokenizer)
    model = course.train(1, job.train, model, tokenizer, teacher, job.alpha)
    return course.end(model, tokenizer, teacher)


def _by_links(job: DistillJob, course: _Course) -> Trained:
    links = Links(job)
    folders = [str(links.folder(number)) for number in range(1, job.links + 1)]
    for number in range(1, job.links + 1):
        if found := links.find(number):
            course.resume(found)
            continue
        link, model, tokenizer = begin(job, number)
        teacher = load_teacher(folders[number - 2 : number - 1], tokenizer) if number > 1 else None
        model = course.train(number, link, model, tokenizer, teacher, job.alpha)
        if course.stopped:
            return course.trained(model)
        save(model, tokenizer, links.begin())
        links.publish(number, course.done[-1])
    link, model, tokenizer = begin(job, job.links + 1)
    members = load_teacher(folders, tokenizer)
    ensemble = Ensemble(list(members.members)[job.links >= FIRST_LEFT_OUT :])
    if job.serve == "last":
        model, tokenizer = load_trainable(replace(job.train, start=folders[-1]))
    else:
        model = course.train(job.links + 1, link, model, tokenizer, ensemble, job.serve_alpha)
    return course.end(model, tokenizer, members, ensemble)


def begin(job: DistillJob, number: int) -> tuple[TrainJob, PreTrainedModel, PreTrainedTokenizerBase]:
    """A link before it is trained: its own seed, and weights of its own where they are fresh."""
    link = replace(job.train, seed=seed_for(job.train.seed, "link", number))
    model, tokenizer = load_trainable(link)
    if job.fresh:
        set_seed(link.seed)
        model = fresh(model)
    if job.dropout:
        add_dropout(model, job.dropout)
    return link, model, tokenizer


class _Course:
    """What the links have come to so far, and how the next is trained."""

    def __init__(self, job: DistillJob, report: Report) -> None:
        self._job, self._report = job, report
        self._began = time.monotonic()
        self._of = 1 if job.teacher else job.links + (job.serve != "last")
        self.done: list[Link] = []
        self.stopped = ""
        self._sampled = 0

    def resume(self, link: Link) -> None:
        """Count a link that an earlier launch finished."""
        self.done.append(link)

    def train(
        self, number: int, job: TrainJob, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase,
        teacher: Ensemble | None, alpha: float,
    ) -> Any:  # fmt: skip
        """Train a link, count it, and give it back, an adapter around it where one is trained."""
        on_policy = self._job.on_policy
        rows = tokenised(tokenizer, job)
        steps = max(1, math.ceil(job.epochs * math.ceil(len(rows) / job.settings.rows_per_step)))
        whole = replace(self._job, train=job)
        watch = Watch(replace(job, limits=self._left()), steps, self._reporter(number, steps), whole)
        if on_policy and teacher is not None:
            alone: Any = teacher.members[0]
            trainer: Any = on_policy_trainer(self._job, model, tokenizer, alone, steps, watch)
        else:
            trainer = Distiller(
                model=model, args=arguments(job, max_steps=steps), train_dataset=rows, processing_class=tokenizer,
                peft_config=adapter_of(job, model), callbacks=[watch],
                teacher=teacher, alpha=alpha, temperature=self._job.temperature,
            )  # fmt: skip
        watch.train(trainer)
        watch.log({"step": watch.steps, "of": steps, "tokens": watch.tokens})
        reads = teacher is not None and (on_policy or alpha > 0)
        read_flops = 2.0 * _size(teacher) * watch.tokens if reads else 0.0
        self.done.append(Link(watch.tokens, watch.steps, read_flops, watch.engine_seconds, watch.loss))
        self.stopped = watch.stopped
        self._sampled += watch.tokens if on_policy else 0
        return trainer.model

    def end(
        self, model: Any, tokenizer: PreTrainedTokenizerBase, members: Ensemble, ensemble: Ensemble | None = None
    ) -> Trained:
        """Save the student that is served and measure it beside its teachers, unless a limit ended it."""
        if self.stopped:
            return self.trained(model)
        save(model, tokenizer, Path(self._job.train.out))
        ensemble = ensemble or members
        left_out = len(members.members) - len(ensemble.members)
        taught, served = (
            losses(members, tokenizer, self._job, left_out),
            losses(Ensemble([model]), tokenizer, self._job),
        )
        (right, read), (served_right, sampled) = (accuracy(m, tokenizer, self._job) for m in (ensemble, model))
        distilled = Distilled(
            teacher=self._job.teacher_name or self._job.serve,
            members=taught.members,
            by_probability=taught.by_probability,
            by_logit=taught.by_logit,
            accuracy=right,
            served=served.by_probability,
            served_accuracy=served_right,
            flops=2.0 * _size(ensemble),
            served_flops=2.0 * _size(model),
        )
        self._sampled += sampled + read  # which count as the student's: the ensemble takes so much more to write
        more = _size(ensemble) - _size(model)
        measuring = 2.0 * (_size(members) * taught.tokens + _size(model) * served.tokens + more * read)
        trained = self.trained(model)
        return replace(
            trained, read_flops=trained.read_flops + measuring, distilled=distilled.model_dump(mode="json")
        )

    def trained(self, model: Any) -> Trained:
        """The record of what was done."""
        return Trained(
            parameters=_size(model),
            steps=sum(link.steps for link in self.done),
            tokens=self._tokens,
            loss=self.done[-1].loss,
            engine_seconds=sum(link.engine_seconds for link in self.done),
            sampled_tokens=self._sampled,
            stopped=self.stopped,
            read_flops=sum(link.read_flops for link in self.done),
        )

    @property
    def _tokens(self) -> int:
        return sum(link.tokens for link in self.done)

    def _left(self) -> Any:
        """What is left of the limits for the next link."""
        limits = self._job.train.limits
        seconds = None if limits.seconds is None else limits.seconds - (time.monotonic() - self._began)
        return replace(
            limits, tokens=None if limits.tokens is None else limits.tokens - self._tokens, seconds=seconds
        )

    def _reporter(self, number: int, steps: int) -> Report:
        words = f"link {number} of {self._of}, " if self._of > 1 else ""
        return lambda done, _, rate: self._report((number - 1) * steps + done, self._of * steps, words + rate)


def _size(model: Any) -> int:
    return sum(p.numel() for p in model.parameters())
