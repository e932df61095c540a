"""Records: what the loop vouches for. One noun each, frozen, written as one JSON line each."""

from __future__ import annotations

import hashlib
import json
from typing import Literal, NamedTuple

from agents.strategies import Level
from loop.record import Record as Record
from loop.reinforcement import Reinforcement
from loop.scores import CellScore as CellScore
from loop.scores import Sampled as Sampled
from loop.scores import Score as Score
from loop.scores import SuiteScore as SuiteScore
from loop.scores import Verdict as Verdict
from loop.verifiers import Check


def digest(*parts: object) -> str:
    """The first 16 hex digits of the SHA-256 over the parts' canonical JSON: the key of content."""
    text = json.dumps(parts, sort_keys=True, ensure_ascii=False, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def seed_for(*parts: object) -> int:
    """A seed below 2**31 that depends on every part: (seed, round, step, input)."""
    return int(digest("seed", *parts), 16) % (2**31)


class Cell(NamedTuple):
    """A skill at a level: the grain at which the loop plans and reports."""

    skill: str
    level: Level

    @property
    def title(self) -> str:
        """The cell for people: "chain_sum 7"."""
        return self.skill if self.level is None else f"{self.skill} {self.level}"

    @property
    def order(self) -> tuple[str, bool, float, str]:
        """A sort key: by skill, numeric levels ascending, then the others by name."""
        is_number = isinstance(self.level, int)
        return (
            self.skill,
            not is_number,
            self.level if isinstance(self.level, int) else 0.0,
            str(self.level),
        )


class Problem(Record):
    """One question with its answer. `origin` finds it again in its source."""

    id: str
    prompt: str
    answer: str
    skill: str
    level: Level = None
    source: int
    """Index of its source in the list it was drawn from."""
    origin: tuple[int, int]
    """(seed of the generator, index in it); of a file (0, line number); of a written one (0, 0)."""
    author: str = ""
    """The strategy that wrote it, from `parent`; its `answer` is then "" until independent samples agree on one."""
    parent: str = ""
    solution: str = ""
    """Its reference code, where its file has one; no prompt holds it. That of an exam is looked for in rows."""

    @property
    def cell(self) -> Cell:
        """The cell it belongs to."""
        return Cell(self.skill, self.level)


class Sample(Record):
    """One candidate of a sampler, unjudged. `id` is the digest of all that made it."""

    id: str
    problem: Problem
    response: str
    finish: Literal["stop", "length", "error"]
    """stop: ended by itself; length: cut off at the token limit."""
    prompt_tokens: int
    completion_tokens: int
    strategy: str = ""
    place: int = 0
    """Of its strategy in the plan."""
    hinted: bool = False
    """Whether the prompt told the answer."""
    written: bool = False
    """Whether its strategy wrote the response too, so that there is nothing to vote on."""
    judged: Check | None = None
    """What was found of a written response before it was a sample: by the judge of agentic self-instruct."""
    sampler: str = "student"
    template: str = ""
    """Digest of the prompt's template; "" for the bare problem."""


class Critique(Record):
    """All checks on one sample. `passed` needs every check to pass (an absent one may be allowed)."""

    id: str
    passed: bool
    reason: str
    """Why not: empty, cut off, no agreement, no answer, wrong answer, wrong working, tells of its hint, refused by a
    critic, nobody judged it; else ""."""
    checks: tuple[Check, ...]
    false_positive: bool | None = None
    """Of a passed one, whether a check outside the decision finds its working unsound; None where it sees none."""
    score: float | None = None
    """Of the last critic that was asked, 0 to 1; None where none was."""
    template: str = ""
    """Digest of the last critic's prompt; "" where none was asked."""


class Example(Record):
    """One row that the student is trained on, with where it came from."""

    id: str
    prompt: str
    response: str
    origin: str
    """"demonstration", or the id of the sample it was."""
    round: int
    skill: str = ""
    level: Level = None
    copies: int = 1
    """How often the row stands in the mix."""
    strategy: str = ""


class Admission(Record):
    """What the curator decided on a sample that passed its critique."""

    id: str
    """The sample's."""
    reason: str
    """Why not: duplicate, solved by all, stands in an exam, another is better, known path, same path, over the cap,
    near-duplicate of an earlier row; else ""."""
    matched: str = ""
    """Its text that gives an exam problem away."""
    matched_by: str = ""
    """The kind of match: see loop/contamination.py."""
    exam: str = ""
    """The exam problem that it gives away, or that one's reference code."""
    repeats: str = ""
    """Id of the example that it repeats: of an earlier round, a demonstration, or what an earlier sample became."""
    similarity: float | None = None
    """Of a duplicate or near-duplicate, to that example: see loop/duplicates.py."""
    example: Example | None


class Attempt(Record):
    """The student's greedy answer to one problem of an exam or a probe, judged."""

    problem: Problem
    response: str
    finish: Literal["stop", "length", "error"]
    correct: bool
    kind: str = ""
    """For a wrong one: no answer, cut off, wrong step, wrong answer, wrong format."""
    detail: str = ""


class Evaluation(Record):
    """The student's score on an exam, by cell, and which problems it solved."""

    exam: str
    checkpoint: str
    score: Score
    cells: tuple[CellScore, ...]
    solved: tuple[str, ...]
    """Ids of the solved problems, sorted: what the paired test needs."""
    unanswered: int = 0
    cut_off: int = 0
    verdict: Verdict | None = None
    suites: tuple[SuiteScore, ...] = ()
    """Of an exam that is a list of sources, one each."""
    sampled: Sampled | None = None
    """Of an exam with `samples`."""


class Checkpoint(Record):
    """A trained student: a folder, and the digest of the manifest of all its files."""

    path: str
    """Relative to the run directory."""
    manifest: str
    parameters: int
    steps: int = 0
    tokens: int = 0
    """Non-padding tokens trained on, epochs and copies counted."""
    matched: int = 0
    """Tokens that cost as many FLOPs to train on as all that its training took: see `Trained.matched`."""
    loss: float | None = None
    reinforced: Reinforcement | None = None
    held_out: int = 0
    kept: int | None = None
    """Rows only looked at; and the step of the look whose weights these are, None the last."""
    note: str = ""


class Spent(Record):
    """What a stretch of work cost. Sums are exact; nothing is estimated but FLOPs (2PN forward, 6PN trained)."""

    tokens_sampled: int = 0
    tokens_trained: int = 0
    flops: float = 0.0
    seconds: float = 0.0
    usd: float = 0.0

    def __add__(self, other: Spent) -> Spent:
        """The sum, field by field."""
        return Spent(**{name: getattr(self, name) + getattr(other, name) for name in type(self).model_fields})
