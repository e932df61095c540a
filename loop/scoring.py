"""Scoring: how good a harness is, by the questions that it leads to from documents that no proposer reads."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Event
from typing import NamedTuple

from agents.harness import Harness
from agents.selfinstruct.loop import SelfInstruct, Settings
from agents.selfinstruct.rows import Round as Asked
from agents.writers.settings import AgenticSelfInstruct
from loop.bench import Bench
from loop.errors import ObjectiveError
from loop.evolution import Terms
from loop.extracts import Extract
from loop.records import digest
from loop.room import SCORED, Room
from loop.seats import Seat
from loop.solving import Manner, solving, source_of

AT_ONCE = 8
"""Documents at once; each of them asks one question after another."""
READ = 4
"""Documents of which a proposer reads what became of the parent's questions."""
SHOWN = 600
"""Characters of a document, and of a question, that a proposer is shown."""


class Split(NamedTuple):
    """Documents, one extract of each: no document is in two parts."""

    train: tuple[Extract, ...]
    """Whose trajectories proposers read."""
    held_out: tuple[Extract, ...]
    """What parents and children are scored on."""
    sealed: tuple[Extract, ...]
    """What the first and the best are scored on at the end: it chose nothing."""


def split_documents(extracts: Iterable[Extract], terms: Terms) -> Split:
    """Documents by the digest of seed and content, so that a name changes nothing; of each its longest extract.

    Raises: ObjectiveError when there are too few.
    """
    documents: defaultdict[str, list[Extract]] = defaultdict(list)
    for extract in extracts:
        documents[extract.document].append(extract)
    check_enough(len(documents), terms)
    longest = [max(parts, key=lambda e: (len(e.text), e.id)) for parts in documents.values()]
    longest.sort(key=lambda e: digest("held out", terms.seed, e.id))
    held = terms.documents
    return Split(tuple(longest[2 * held :]), tuple(longest[:held]), tuple(longest[held : 2 * held]))


def check_enough(documents: int, terms: Terms) -> None:
    """Raise ObjectiveError when there are too few documents to hold some out."""
    needed = 2 * terms.documents + READ
    if documents < needed:
        raise ObjectiveError(
            f"documents: {documents} that can be asked about, and --documents {terms.documents} takes {needed}"
            f" ({terms.documents} to score on, as many sealed, {READ} to learn from); bring more, or lower it"
        )


def settings_of(manner: Manner, place: str) -> Settings:
    """How questions are accepted, whatever the harness: by the bands that a plan has where it names none.

    `place`: where an answer stands that a program reads.
    """
    bands = AgenticSelfInstruct(count=1).rule(manner.by_program)
    return Settings(bands=bands, rubric=None, place=place) if manner.by_program else Settings(bands=bands)


def with_harness(settings: Settings, harness: Harness) -> Settings:
    """The settings with all that a harness may set: guidance, temperature and how many questions are tried."""
    chosen = {"guidance": harness.guidance, "temperature": harness.temperature, "rounds": harness.attempts}
    return Settings(**dict(settings) | chosen)


@dataclass(frozen=True)
class Arena:
    """What every harness is scored with."""

    bench: Bench
    student: Seat
    """Who is meant where the cast says `student`."""
    manner: Manner
    settings: Settings
    """Before any harness."""

    def pose(self, harness: Harness, extracts: Sequence[Extract], seed: int, room: Room) -> list[Asked]:
        """All questions that a harness leads to, done once: in the order of the extracts, of each in turn.

        Raises: BudgetSpent when a limit ends it; what was answered until then is kept.
        """
        return room.once(SCORED, lambda: self._pose(harness, extracts, seed, room))

    def _pose(self, harness: Harness, extracts: Sequence[Extract], seed: int, room: Room) -> list[Asked]:
        rows, stop = list[Asked](), Event()
        with solving(self.manner, self.student, room, SCORED, self.bench) as stand:
            play = SelfInstruct(stand.roles, with_harness(self.settings, harness), seed)

            def pursue(extract: Extract) -> list[Asked]:
                asked = []
                stand.players.check()
                for row in play.pursue(source_of(extract)):
                    asked.append(row)
                    stand.players.check()
                    if stop.is_set():
                        break
                return asked

            pool = ThreadPoolExecutor(AT_ONCE)
            try:
                for done, asked in enumerate(pool.map(pursue, extracts), 1):
                    rows += asked
                    self.bench.crew.tick()
                    room.screen.progress(done, len(extracts), "asking")
            finally:
                stop.set()
                pool.shutdown(cancel_futures=True)
        return rows


def share_accepted(rows: Sequence[Asked], documents: int) -> float:
    """Share of the documents that gave an accepted question."""
    return len({row.source for row in rows if row.accepted}) / documents


def fails_to_run(rows: Sequence[Asked]) -> str:
    """Why a harness does not run at all, or "": not one of its questions could be used."""
    if any(row.challenge is not None for row in rows):
        return ""
    return f"it fails to run: none of {len(rows)} questions could be used, the first for: {rows[0].reason}"


def trajectories(rows: Iterable[Asked], extracts: Iterable[Extract]) -> list[str]:
    """For each text what was asked of it, and what became of that: what a proposer reads."""
    by_source: defaultdict[str, list[Asked]] = defaultdict(list)
    for row in rows:
        by_source[row.source].append(row)
    return [
        "\n".join([f"Text: {_short(extract.text)}", *(_told(row) for row in by_source[extract.id])])
        for extract in extracts
    ]


def _told(row: Asked) -> str:
    question = f"{row.challenge.context} {row.challenge.question}" if row.challenge else "none that could be used"
    outcome = "accepted" if row.heading is None else f"{row.heading.value}: {row.reason}"
    return f"Question {row.number}: {_short(question)}\nOutcome: {outcome}"


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"
