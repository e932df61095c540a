"""What children are asked to do, and what they come back with. Plain records: no torch here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from agents.engines import SamplingJob
from loop.crew import NO_LIMITS, Limits
from loop.errors import StageError
from loop.presets import Architecture, TrainSettings
from loop.records import Problem

TRAINING = "training.json"
"""How a checkpoint came to be, inside its folder: a Trained."""


class Diverged(StageError):
    """The loss is no number any more."""


@dataclass(frozen=True)
class DrawJob:
    """Complete the requests of `job` and append a Sample for each to `rows`."""

    engine: str
    job: SamplingJob
    rows: str
    problems: dict[str, Problem]
    """The problem of each request's key."""
    strategy: str = ""
    place: int = 0
    hinted: bool = False
    sampler: str = ""
    template: str = ""
    limits: Limits = NO_LIMITS


@dataclass(frozen=True)
class Drawn:
    """What drawing came to."""

    engine_seconds: float
    parameters: int
    stopped: str = ""
    """The limit that ended it early, or ""."""


@dataclass(frozen=True)
class TrainJob:
    """Train on from a model, on rows of (prompt, response, copies), with the loss on the responses."""

    start: str
    """Folder or id of the model (or LoRA adapter) to go on from."""
    out: str
    """An empty folder for the checkpoint."""
    rows: tuple[tuple[str, str, int], ...]
    settings: TrainSettings
    weights: str
    """full or lora."""
    seed: int
    epochs: float = 1.0
    tokens: int | None = None
    """Train for this many non-padding tokens instead of `epochs`."""
    limits: Limits = NO_LIMITS
    log: str = ""
    """A file that gets a JSON line every few steps."""


@dataclass(frozen=True)
class ConvergeJob:
    """How the student of round 0 is made: trained in cycles until the held-out part has nothing more to gain."""

    train: TrainJob
    architecture: Architecture | None
    """A scratch student's shape; None goes on from `train.start`."""
    held_out: tuple[tuple[str, str], ...]
    """(prompt, response) pairs never trained on; the checkpoint is the one that answers most of them."""
    answer: str
    """Where a response's answer stands."""
    max_new_tokens: int
    cycle: int = 600
    """Steps of one cycle of the learning rate: it rises, stays and falls, as in every later round."""
    patience: int = 3
    """Over when this many cycles in a row have brought nothing."""
    max_cycles: int = 30


@dataclass(frozen=True)
class DistillJob:
    """Train links in a row and a student to serve, or one student by a teacher (agents/training.py: Distillation)."""

    train: TrainJob
    """Links begin from its `start`, which gives shape and tokenizer where they are `fresh`."""
    fresh: bool
    """Whether links begin with weights of their own."""
    links: int
    alpha: float
    temperature: float
    dropout: float
    serve: str
    links_folder: str
    """Where finished links stay."""
    held_out: tuple[tuple[str, str], ...]
    answer: str
    """Where a response's answer stands."""
    max_new_tokens: int
    teacher: str = ""
    """Folder or id of the model that teaches; "" is the chain."""
    teacher_name: str = ""
    on_policy: bool = False


@dataclass(frozen=True)
class Trained:
    """What training came to."""

    parameters: int
    steps: int
    tokens: int
    """Non-padding tokens trained on."""
    loss: float | None
    engine_seconds: float
    sampled_tokens: int = 0
    looks: tuple[dict[str, float], ...] = ()
    """Round 0: step, accuracy, loss and tokens, at each look at the held-out part."""
    stopped: str = ""
    """The limit that ended training early, or ""."""
    read_flops: float = 0.0
    """Of forward passes that nothing is learnt through: a teacher's, and those of measuring."""
    resumed_tokens: int = 0
    """Of `tokens`, those that an earlier launch trained on."""
    distilled: dict[str, Any] | None = None
    """Of distillation: a Distilled of loop/links.py."""
