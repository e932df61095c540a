"""What children are asked to do, and what they come back with. Plain records: no torch here."""

from __future__ import annotations

from dataclasses import dataclass, fields, is_dataclass
from typing import Any

from agents.engines import SamplingJob
from agents.training import GRPO
from loop.crew import NO_LIMITS, Limits
from loop.errors import StageError
from loop.judging import Judge
from loop.presets import Architecture, TrainSettings
from loop.records import Problem, Record, digest
from loop.trained import Trained

TRAINING = "training.json"
"""How a checkpoint came to be, inside its folder: a Trained."""


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
class ExportJob:
    """Write a checkpoint as a model folder that needs nothing of the run."""

    checkpoint: str
    out: str
    """A folder, made where it is not there."""
    max_new_tokens: int
    """Of an answer, as the student was examined."""
    base: str = ""
    """The model that an adapter is merged into; "" takes the one that it names."""


@dataclass(frozen=True)
class Exported:
    """What was written."""

    parameters: int
    dtype: str
    """Of the weights in the file, such as float32."""
    merged: bool
    """Whether they are a base's with an adapter merged into it."""
    template: str
    """own: the chat template that the student came with; bare: one that puts a prompt as it was trained on."""


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
    return digest(type(job).__name__, _essence(job))


def _essence(part: Any) -> Any:
    if not is_dataclass(part):
        return part.model_dump(mode="json") if isinstance(part, Record) else part
    return {f.name: _essence(getattr(part, f.name)) for f in fields(part) if f.name not in PASSING}


PASSING = frozenset({"out", "log", "limits", "rows_at_once", "recompute", "keep_every", "links_folder", "judge"})
"""Fields of a job that change nothing in what it comes to, or (the judge) are the run's own."""


@dataclass(frozen=True)
class PairJob:
    """Train on from a model by pairs of (prompt, chosen, rejected); `train` has no rows."""

    train: TrainJob
    pairs: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True)
class PreferenceJob(PairJob):
    """Have the student prefer the chosen ones."""

    beta: float
    sft: float
    """Weight of the next-token loss on the chosen ones."""


@dataclass(frozen=True)
class RewardJob:
    """Have a reward model judge (prompt, response) pairs."""

    model: str
    """Its folder."""
    texts: tuple[tuple[str, str], ...]
    settings: TrainSettings


@dataclass(frozen=True)
class Rewarded:
    """What a reward model made of texts, in their order: above 0 is more likely right than wrong."""

    rewards: tuple[float, ...]
    tokens: int
    parameters: int
    engine_seconds: float


@dataclass(frozen=True)
class DrillJob:
    """Have the student answer problems in groups and train it by what verifiers and critics say of the answers."""

    train: TrainJob
    """Its rows and tokens are not used."""
    choice: GRPO
    problems: tuple[Problem, ...]
    judge: Judge
    max_new_tokens: int
    vllm: bool = False
    """Whether vllm answers, beside the trainer on its GPU."""
    critics: tuple[str, ...] = ()
    """Names of those whom the trainer asks about answers that the verifiers pass; see loop/jury.py."""
    unheard: tuple[str, ...] = ()
    """Critics of the cast that are not asked, each with why."""


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
    serve_alpha: float = 1.0
    """That of the student taught by a chain's ensemble."""
