"""What children are asked to do, and what they come back with. Plain records: no torch here."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from agents.engines import SamplingJob
from loop.crew import NO_LIMITS, Limits
from loop.errors import StageError
from loop.presets import Architecture, TrainSettings
from loop.records import Problem, digest


class Diverged(StageError):
    """Training went astray: a loss, a gradient or a weight is no number, or the loss rose and stayed up.

    It hangs on the seed and the settings alone, so the same is not tried again: the next plan sees the reason, which
    begins with `agents.training.DIVERGED`.
    """

    again = False
    trained: Trained | None = None
    """What it came to until then: it was spent."""


STEPS = ".steps"
"""Beside a checkpoint's folder, under its name and this: the step from which a killed training goes on."""


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
    rows_at_once: int = 0
    """Rows of an optimizer step that are taken at once, on each of the machine's GPUs; 0 is all of them."""
    recompute: bool = False
    """Whether activations are computed again in the backward pass, to hold fewer (gradient checkpointing)."""
    keep_every: float | None = 120.0
    """Seconds after which a step is kept to go on from, more where keeping one takes more than a fiftieth of that; 0
    keeps every one that is logged, None keeps none."""


@dataclass(frozen=True)
class RanksJob:
    """Have a training's work done on the GPUs of the machine."""

    work: str
    """"package.module:function", called with `job`."""
    job: Any
    shared: TrainJob | None
    """What is shared by all GPUs, where the work can be; else one does it."""
    processes: int | None = None
    """How many share it at the most; None is one for each GPU."""


def identity_of(job: Any) -> str:
    """A digest of all that the outcome of a training job hangs on: not where it writes, nor how far it may go."""
    return digest(type(job).__name__, _essence(asdict(job)))


def _essence(fields: Any) -> Any:
    if not isinstance(fields, dict):
        return fields
    return {name: _essence(value) for name, value in fields.items() if name not in PASSING}


PASSING = frozenset({"out", "log", "limits", "rows_at_once", "recompute", "keep_every"})
"""Fields of a job that change nothing in what it comes to."""


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
    """Step, loss and tokens at each look at held-out rows; in round 0 also the accuracy."""
    held_out: int = 0
    """Rows that were looked at and not trained on."""
    kept: int | None = None
    """Of these looks, the step of the one whose weights were kept."""
    stopped: str = ""
    """The limit that ended training early, or ""."""
    rows_at_once: int = 0
    """As in the job that was done in the end; 0 where memory held all rows of a step."""
    recompute: bool = False
    note: str = ""
    """What a person should know of how it went: that it went on from a step, say."""
