"""Lineage: the rounds whose training led to the best student, and the rows that it learnt in them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from loop.ingredients import shown
from loop.records import Example, Record
from loop.room import DATASET, PLAN, SAMPLES, Room
from loop.rounds import Round

Rooms = Callable[[str], Room]
"""The room of a round by its name, for looking only."""


class Taught(Record):
    """One row that the student was trained on, once however often it was. Every field has the same type in every
    row, so that any reader of tables takes them.
    """

    id: str
    prompt: str
    response: str
    origin: str
    """"demonstration", or the id of the sample it was."""
    sampler: str
    """Who wrote the response; "" for a demonstration."""
    strategy: str
    round: int
    """In which it was written."""
    skill: str
    level: str
    """As text; "" where there is none."""
    trained: tuple[int, ...]
    """Rounds of the lineage in whose mix it stood."""
    copies: tuple[int, ...]
    """How often in each of these mixes."""


def lineage(rounds: Sequence[Round], best: int, rooms: Rooms, lost: Collection[int] = ()) -> tuple[int, ...]:
    """The rounds that were trained one on another to the best, round 0 first.

    A kept round that a later one did not start from is none of them, and so is one whose checkpoint was lost.
    """
    kept = [r.round for r in rounds if r.status in ("kept", "start") and r.round not in lost]
    found: list[int] = []
    number = best
    while number > 0:
        found.append(number)
        starts_from_best = rooms(f"{number:03}").fetch(PLAN).training.start == "best"
        number = max((k for k in kept if k < number), default=0) if starts_from_best else 0
    return (0, *reversed(found))


def taught_rows(rounds: Sequence[Round], line: Sequence[int], rooms: Rooms) -> list[Taught]:
    """The rows of all mixes of the lineage, each once, with where it comes from and in which mixes it stood.

    Round 0 has no mix of its own: it was trained on the demonstrations, once each, which stand in every later mix.
    Where no round came to a mix, there is nothing that would vouch for them, and no row.
    """
    taught: dict[str, tuple[Example, dict[int, int]]] = {}
    for number in line:
        for row in _mix(number, rounds, rooms):
            mixes = taught.setdefault(row.id, (row, {}))[1]
            mixes[number] = mixes.get(number, 0) + row.copies
    samplers = _samplers({row.round for row, _ in taught.values() if row.origin != DEMONSTRATION}, rooms)
    return [_taught(row, mixes, samplers) for row, mixes in taught.values()]


DEMONSTRATION = "demonstration"
"""The origin of a row that a person gave."""


def _mix(number: int, rounds: Sequence[Round], rooms: Rooms) -> list[Example]:
    if number:
        return rooms(f"{number:03}").fetch(DATASET)
    later = (room for closed in rounds[1:] if (room := rooms(f"{closed.round:03}")).has(DATASET))
    rows = next((room.fetch(DATASET) for room in later), [])
    return [row.model_copy(update={"copies": 1}) for row in rows if row.origin == DEMONSTRATION]


def _samplers(written_in: set[int], rooms: Rooms) -> dict[str, str]:
    """Who wrote each sample of these rounds, by its id."""
    found: dict[str, str] = {}
    for number in sorted(written_in):
        found |= {sample.id: sample.sampler for sample in rooms(f"{number:03}").fetch(SAMPLES)}
    return found


def _taught(row: Example, mixes: dict[int, int], samplers: dict[str, str]) -> Taught:
    return Taught(
        id=row.id,
        prompt=row.prompt,
        response=row.response,
        origin=row.origin,
        sampler=shown(samplers.get(row.origin, "")),
        strategy=row.strategy,
        round=row.round,
        skill=row.skill,
        level="" if row.level is None else str(row.level),
        trained=tuple(mixes),
        copies=tuple(mixes.values()),
    )
