"""Links: the students of a chain that are finished, each in a folder of its own, and what came of distilling.

Nothing here imports torch; the trainers keep their links here, so that a child that was killed goes on with the link
it was at.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

from loop.files import as_json, publish_folder
from loop.jobs import TRAINING, DistillJob, identity_of
from loop.records import Record

LINK = "link.json"
"""What a link came to, inside its folder."""
FIRST_LEFT_OUT = 10
"""Links from which on the ensemble is without the first, which had no teacher (Slowrun's runs of 10 and more)."""


@dataclass(frozen=True)
class Link:
    """What one link came to."""

    tokens: int
    """Trained on."""
    steps: int
    read_flops: float
    """Of its teacher's forward passes."""
    engine_seconds: float
    loss: float | None
    """Of the last steps, in nats a token, the teacher's part included."""


class Links:
    """The links of one training, in a folder beside its checkpoint; those of another training are not reused."""

    def __init__(self, job: DistillJob) -> None:
        self._folder = Path(job.links_folder)
        self._key = identity_of(job)

    def folder(self, number: int) -> Path:
        """Where link `number` (1 is the first) is once it is finished."""
        return self._folder / f"{number:02}"

    def find(self, number: int) -> Link | None:
        """What a link came to; None where it is still owed."""
        path = self.folder(number) / LINK
        told = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        return Link(**told["link"]) if told.get("key") == self._key else None

    def begin(self) -> Path:
        """An empty folder for a link to be written into; it counts only once published."""
        folder = self._folder / ".tmp"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        return folder

    def publish(self, number: int, link: Link) -> None:
        """Give the link that was begun its place, all at once."""
        folder = self._folder / ".tmp"
        (folder / LINK).write_text(as_json({"key": self._key, "link": asdict(link)}), encoding="utf-8")
        publish_folder(folder, self.folder(number))


class Distilled(Record):
    """How members (a chain's links, or one teacher) and the student taught by them do on the held-out demonstrations.

    Losses are in nats a response token, accuracies those of greedy answers; None where nothing is held out.
    """

    teacher: str
    """ensemble, last, or the name of a model of the cast."""
    members: tuple[float | None, ...]
    """Loss of each, in order."""
    by_probability: float | None = None
    """Loss of their ensemble, probabilities averaged: what is predicted with, for labels and for evaluation."""
    by_logit: float | None = None
    accuracy: float | None = None
    """Of that ensemble."""
    served: float | None = None
    """Loss of the student that is served."""
    served_accuracy: float | None = None
    flops: float
    """A token that the ensemble reads or writes: 2 · parameters of each member."""
    served_flops: float

    @property
    def times(self) -> float:
        """What the ensemble costs to serve, in what the student costs."""
        return self.flops / self.served_flops

    @property
    def lost(self) -> float | None:
        """What the served student loses to the ensemble, in nats a token."""
        return None if self.served is None or self.by_probability is None else self.served - self.by_probability


def distilled_of(checkpoint: Path) -> Distilled | None:
    """What distilling a checkpoint came to; None where it was trained otherwise."""
    path = checkpoint / TRAINING
    told = json.loads(path.read_text(encoding="utf-8")).get("distilled") if path.is_file() else None
    return Distilled.model_validate(told) if told else None


def in_words(distilled: Distilled) -> str:
    """One line for people."""
    members = ", ".join("?" if loss is None else f"{loss:.3f}" for loss in distilled.members)
    who = "links" if distilled.teacher in ("ensemble", "last") else distilled.teacher
    cost = f"serving {'all of them' if who == 'links' else who} costs {distilled.times:.3g} times the student"
    if distilled.lost is None or distilled.by_probability is None or distilled.served is None:
        return f"{who}: nothing is held out to measure them on; {cost}"
    words = f"{who}: held-out loss {members}"
    if who == "links":
        words += f", averaged {distilled.by_probability:.3f} (logits {distilled.by_logit:.3f})"
    right = ""
    if distilled.accuracy is not None and distilled.served_accuracy is not None:
        right = f"; answers right {distilled.accuracy:.2f} and {distilled.served_accuracy:.2f}"
    return f"{words}; the served student {distilled.served:.3f}, {distilled.lost:+.3f}{right}; {cost}"
