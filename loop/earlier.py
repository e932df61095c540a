"""Earlier: what the closed rounds leave to the next one, read from their files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from agents.strategies import Practice
from loop.arbitration import Outcome
from loop.files import iterate_rows
from loop.records import Admission, Critique, Example, Sample
from loop.room import ADMISSIONS, CRITIQUES, PLAN, PROBE, SAMPLES, SOUGHT, Room
from loop.run import Run
from loop.tasks import folded
from loop.written import Sought


@dataclass(frozen=True)
class Earlier:
    """What the rounds before this one drew, and what came of it."""

    seen: Collection[str] = ()
    """All practice prompts, folded, that were put to a sampler."""
    solved: Collection[str] = ()
    """Those with an example that was admitted."""
    outcomes: Sequence[Outcome] = ()
    """What each sampler's answers were worth; where there are no teachers, nobody asks."""
    failures: Sequence[Sample] = ()
    """Wrong answers to the last probe; where nobody writes, nobody asks."""
    tried: Mapping[str, int] = field(default_factory=Counter)
    """Rows that each strategy that writes has tried for."""
    pilots: Sequence[Sought] = ()
    """Questions by which bands were calibrated."""


def earlier_examples(run: Run) -> tuple[list[Example], Earlier]:
    """Examples of all closed rounds, discarded ones too, and what else they leave."""
    examples: list[Example] = []
    seen: set[str] = set()
    outcomes: list[Outcome] = []
    tried: Counter[str] = Counter()
    failures: list[Sample] = []
    pilots: list[Sought] = []
    for closed in run.ledger.rounds():
        room = run.room(f"{closed.round:03}")
        if room.has(SAMPLES):
            seen |= {folded(s.problem.prompt) for s in iterate_rows(room.folder / SAMPLES.file, Sample)}
        if run.bench.teachers and room.has(CRITIQUES):
            outcomes += _outcomes(room)
        if room.has(ADMISSIONS):
            examples += [a.example for a in iterate_rows(room.folder / ADMISSIONS.file, Admission) if a.example]
        if room.has(PLAN):
            written = [s for s in room.fetch(PLAN).strategies if not isinstance(s, Practice)]
            tried.update({strategy.kind: strategy.count for strategy in written})
        if run.bench.writers and room.has(PROBE):
            failures = [s for s in room.fetch(PROBE) if not run.bench.judge.attempt(s).correct]
        if room.has(SOUGHT):
            pilots += [row for row in iterate_rows(room.folder / SOUGHT.file, Sought) if row.pilot]
    solved = {folded(example.prompt) for example in examples}
    return examples, Earlier(seen, solved, outcomes, failures, tried, pilots)


def _outcomes(room: Room) -> Iterator[Outcome]:
    samples = iterate_rows(room.folder / SAMPLES.file, Sample)
    for sample, critique in zip(samples, iterate_rows(room.folder / CRITIQUES.file, Critique), strict=True):
        yield Outcome(sample.problem, sample.sampler, float(critique.passed))
