"""Seek: where a plan says so, questions are sought in documents that the strong solver answers and the weak does not.

Agentic self-instruct (Autodata, arXiv 2606.25996). Nothing is kept on the way but the talks, and that is enough: the
same plan asks the same questions, and what an earlier launch was answered is answered from there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from agents.replies import Plan
from agents.selfinstruct.bands import LEAST_PILOT, Bands, calibrate
from agents.selfinstruct.loop import SelfInstruct, Settings
from agents.selfinstruct.roles import OPTIMISED
from agents.selfinstruct.rows import Round, Source, scores_of
from agents.writers import digest_of
from agents.writers.settings import AgenticSelfInstruct
from loop.bench import Bench
from loop.earlier import Earlier
from loop.records import Checkpoint
from loop.room import SOUGHT, Room
from loop.solving import Manner, Stand, solving, source_of
from loop.written import Sought

AT_ONCE = 16
"""Sources at once, at the most; an endpoint is asked no faster than it stands."""
PILOT_ROUNDS = 3
"""Questions that are tried from one source before a pilot takes the next."""
PILOT_WAVES = 3
"""How many times as many sources as it needs questions a pilot may take."""


def seek_questions(plan: Plan, earlier: Earlier, best: Checkpoint, room: Room, bench: Bench) -> list[Sought]:
    """What came of every source that the plan's strategies take, those of a pilot among them; in order."""
    rows: list[Sought] = []
    sources, first = _sources(bench), earlier.tried["agentic_self_instruct"]
    for place, strategy in enumerate(plan.strategies):
        if isinstance(strategy, AgenticSelfInstruct):
            by_program = strategy.marked_by == "program" or bench.parts["judge"] is None
            manner = Manner(
                by_program, strategy.strong_samples, strategy.temperature, strategy.max_tokens, strategy.writer
            )
            with solving(manner, bench.student_of(best), room, SOUGHT, bench) as stand:
                search = _Search(place, strategy, by_program, sources, first, stand, room, bench)
                rows += search.play([*earlier.pilots, *rows])
            first += strategy.count
    return rows


@dataclass(frozen=True)
class _Search:
    """One strategy of a plan at work."""

    place: int
    strategy: AgenticSelfInstruct
    by_program: bool
    sources: Sequence[Source]
    first: int
    """Number of the first of them: rounds go on where the last one ended."""
    stand: Stand
    room: Room
    bench: Bench

    def play(self, known: Sequence[Sought]) -> list[Sought]:
        """The pilot, where the bands still have to be calibrated, and the batch; `known` are rows from before."""
        wanted = self.strategy.rule(self.by_program)
        if not self.strategy.calibrate or (wanted.weak_mean_below is None and wanted.weak_mean_most is None):
            return self._seek(wanted, range(self.strategy.count))
        weak = self.stand.roles.weak.name
        alike = (True, self.by_program, wanted, weak)
        old = [row for row in known if (row.pilot, row.by_program, row.wanted, row.models["weak"]) == alike]
        new = [] if old else self._pilot(wanted)
        bands = calibrated(wanted, old or new)
        words = f"bands for {weak}: {_bar(wanted):.2f} for the weak mean is {_bar(bands):.2f} after a pilot"
        self.room.screen.note(words if bands != wanted else f"bands for {weak}: too few questions for a pilot")
        return [*new, *self._seek(bands, range(self.strategy.count))]

    def _pilot(self, wanted: Bands) -> list[Sought]:
        """One question each of the first sources of the batch, put to the weak solver alone.

        They are the first of these sources in the batch too, which is answered from the talks: a pilot costs only
        what it asks beyond the batch.
        """
        least = wanted.model_dump(include={"weak_samples", "strong_samples", "most_errors"})
        any_score = Bands(name="pilot", weak_mean_most=1.0, **least)
        rows: list[Sought] = []
        while len(rows) < PILOT_WAVES * LEAST_PILOT:
            owed = LEAST_PILOT - sum(row.accepted is not None for row in rows)
            if owed <= 0:
                break
            rows += self._seek(any_score, range(len(rows), len(rows) + owed), wanted)
        return rows

    def _seek(self, bands: Bands, numbers: range, pilot_of: Bands | None = None) -> list[Sought]:
        """What comes of the sources with these numbers. The first error ends it; what was answered is kept."""
        rows: list[Sought] = []
        pool = ThreadPoolExecutor(AT_ONCE)
        try:
            for row in pool.map(lambda number: self._pursue(bands, number, pilot_of), numbers):
                rows.append(row)
                self.bench.crew.tick()
                self.room.screen.progress(len(rows), len(numbers), "calibrating" if pilot_of else "seeking")
        finally:
            pool.shutdown(cancel_futures=True)
        return rows

    def _pursue(self, bands: Bands, number: int, pilot_of: Bands | None) -> Sought:
        source = self.sources[(self.first + number) % len(self.sources)]
        rounds = min(PILOT_ROUNDS, self.strategy.rounds) if pilot_of else self.strategy.rounds
        settings = Settings(
            bands=bands,
            rubric=None if self.by_program else OPTIMISED,
            rounds=rounds,
            place=self.bench.answer if self.by_program else "",
            strong_sees_source=self.strategy.strong_sees_source,
            temperature=self.strategy.temperature,
            guidance=(*self.bench.guidance, *self.strategy.guidance),
        )
        seed = self.bench.seed_for("self-instruct", self.room.name, self.place, number // len(self.sources))
        seeker = SelfInstruct(self.stand.roles, settings, seed)
        played = list(self._within_budget(seeker.pursue(source)))
        return Sought(
            place=self.place, source=source.id, pilot=pilot_of is not None, by_program=self.by_program,
            wanted=pilot_of or self.strategy.rule(self.by_program), bands=bands, models=self.stand.roles.models,
            rounds=tuple(played), accepted=seeker.outcome(played),
        )  # fmt: skip

    def _within_budget(self, rounds: Iterator[Round]) -> Iterator[Round]:
        self.stand.players.check()
        for done in rounds:
            yield done
            self.stand.players.check()


def calibrated(wanted: Bands, pilot: Sequence[Sought]) -> Bands:
    """The bands as a pilot moves them; as they were where it has too few questions with a score."""
    scores = [scores_of(row.rounds[-1].weak) for row in pilot if row.accepted is not None]
    return calibrate(wanted, scores) if len(scores) >= LEAST_PILOT else wanted


def _bar(bands: Bands) -> float:
    bar = bands.weak_mean_below if bands.weak_mean_below is not None else bands.weak_mean_most
    return 1.0 if bar is None else bar


def _sources(bench: Bench) -> list[Source]:
    """The extracts of the documents, in an order of the run's own. None holds a problem of an exam."""
    extracts = bench.extracts.all if bench.extracts else ()
    ordered = sorted(extracts, key=lambda extract: digest_of("order", bench.seed, extract.id))
    return [source_of(extract) for extract in ordered]
