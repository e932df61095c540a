"""Earlier: what the closed rounds leave to the next one, read from their files."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from loop.arbitration import Outcome
from loop.files import iterate_rows
from loop.records import Admission, Critique, Example, Sample
from loop.room import ADMISSIONS, CRITIQUES, SAMPLES
from loop.run import Run
from loop.tasks import folded


@dataclass(frozen=True)
class Earlier:
    """Practice prompts, folded, of the rounds before this one."""

    seen: Collection[str] = ()
    """All that were put to the sampler."""
    solved: Collection[str] = ()
    """Those with an example that was admitted."""
    outcomes: Sequence[Outcome] = ()
    """What each sampler's answers were worth; where there are no teachers, nobody asks."""


def earlier_examples(run: Run) -> tuple[list[Example], Earlier]:
    """Examples of all closed rounds, discarded ones too, and the practice prompts drawn and solved so far."""
    examples: list[Example] = []
    seen: set[str] = set()
    outcomes: list[Outcome] = []
    for closed in run.ledger.rounds()[1:]:
        room = run.room(f"{closed.round:03}")
        if room.has(SAMPLES):
            seen |= {folded(s.problem.prompt) for s in iterate_rows(room.folder / SAMPLES.file, Sample)}
        if run.bench.teachers and room.has(CRITIQUES):
            outcomes += [
                Outcome(sample.problem, sample.sampler, float(critique.passed))
                for sample, critique in zip(
                    iterate_rows(room.folder / SAMPLES.file, Sample),
                    iterate_rows(room.folder / CRITIQUES.file, Critique),
                    strict=True,
                )
            ]
        if room.has(ADMISSIONS):
            examples += [a.example for a in iterate_rows(room.folder / ADMISSIONS.file, Admission) if a.example]
    return examples, Earlier(seen, {folded(example.prompt) for example in examples}, outcomes)
