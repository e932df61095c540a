"""The report's parts on models that plan, draw and judge: who plays what, how critics did, tokens and dollars."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from pydantic import BaseModel, ValidationError

from agents.purse import FREE
from loop.calibration import Calibration
from loop.cast import PARTS, Cast, Player
from loop.errors import DamagedRunError
from loop.ledger import Ledger
from loop.prepared import Prepared, Scorer, tally_prepared
from loop.records import Sample
from loop.room import CALIBRATIONS, CRITIQUES, PLAN, PREPARED, SAMPLES, SCORERS, Room
from loop.talks import FILE, Talk

R = TypeVar("R", bound=BaseModel)


class Played(NamedTuple):
    """What one player of the cast did in all rounds."""

    part: str
    model: str
    where: str
    """Its engine, and its endpoint; "" for a word of the house."""
    answers: int
    """Plans and looks, samples, or verdicts with those of calibration."""
    read: int
    written: int
    prices: str
    usd: float


class Gauge(NamedTuple):
    """The critics of one round."""

    round: int
    calibrations: list[Calibration]
    judged: int | None
    """Samples that a critic was asked about; None before they are judged."""
    refused: int
    unusable: int
    """Samples about which a critic's answer could not be used: they stand as the verifiers left them."""


def cast_parts(rooms: Sequence[Room], settings: dict[str, Any], ledger: Ledger) -> dict[str, Any]:
    """The page's variables `planner`, `gauges`, `prepared` and `cast`; `cast` is None where no model plays.

    Args: rooms: of the rounds, in order. settings: settings.json; {} where there is none.

    Raises: DamagedRunError when a file is not what the ledger vouches for, or a row of it is none.
    """
    cast = Cast.model_validate(settings["objective"]["cast"]) if settings else Cast()
    gauges = [gauge for room in rooms if (gauge := _gauge(room))]
    prepared = [(int(room.name), tally_prepared(*_prepared(room))) for room in rooms if room.has(PREPARED)]
    page: dict[str, Any] = {"planner": cast.orchestrator[0].model, "gauges": gauges, "cast": None}
    page["prepared"] = prepared
    if any(cast.models()):
        plans = [(int(room.name), room.fetch(PLAN)) for room in rooms if room.has(PLAN)]
        budget = (ledger.fact("budget") or {}).get("budget", {})
        page["cast"] = {
            "rows": list(_played(rooms, cast, settings.get("engines", {}))),
            "cap": budget.get("usd"),
            "handovers": [number for number, plan in plans if plan.handover],
        }
    return page


def _prepared(room: Room) -> tuple[list[Prepared], list[Scorer]]:
    return room.fetch(PREPARED), room.fetch(SCORERS)


def _gauge(room: Room) -> Gauge | None:
    calibrations = room.fetch(CALIBRATIONS) if room.has(CALIBRATIONS) else []
    if not calibrations:
        return None
    if not room.has(CRITIQUES):
        return Gauge(int(room.name), calibrations, None, 0, 0)
    critiques = room.fetch(CRITIQUES)
    asked = [[check.verdict for check in c.checks if check.name == "critic"] for c in critiques]
    return Gauge(
        int(room.name), calibrations, judged=sum(map(bool, asked)),
        refused=sum(c.reason == "refused by a critic" for c in critiques),
        unusable=sum("absent" in verdicts for verdicts in asked),
    )  # fmt: skip


def _played(rooms: Sequence[Room], cast: Cast, engines: dict[str, str]) -> Iterator[Played]:
    """A row a player, in the order of the cast."""
    asked: dict[tuple[str, str], list[tuple[int, int]]] = {}
    paid: dict[tuple[str, str], float] = {}
    for room in rooms:
        for talk in _rows(room.folder / FILE, Talk):
            asked.setdefault((talk.part, talk.model), []).append((talk.prompt_tokens, talk.completion_tokens))
            paid[talk.part, talk.model] = paid.get((talk.part, talk.model), 0.0) + talk.usd
        drawn = room.fetch(SAMPLES) if room.has(SAMPLES) else _rows(room.folder / SAMPLES.file, Sample)
        for sample in drawn:
            asked.setdefault(("sampler", sample.sampler), []).append((sample.prompt_tokens, sample.completion_tokens))
    for part in PARTS:
        for player in getattr(cast, part) or ():
            tokens = asked.get((part, player.model), [])
            read, written = sum(row[0] for row in tokens), sum(row[1] for row in tokens)
            usd = player.tariff.cost(read, written) if part == "sampler" else paid.get((part, player.model), 0.0)
            engine = engines.get(f"{part} {player.model}", "")
            where = " at ".join(filter(None, (engine, player.address)))
            yield Played(part, player.model, where, len(tokens), read, written, _prices(player), usd)


def _prices(player: Player) -> str:
    """Dollars a million tokens, read / written."""
    if player.tariff == FREE:
        return "not known" if player.is_public and player.prices is None else ""
    return f"${player.tariff.input:g} / ${player.tariff.output:g}"


def _rows(path: Path, kind: type[R]) -> list[R]:
    """The rows of a file that may still grow: one that is torn at its end is not there yet."""
    whole = path.read_bytes().rpartition(b"\n")[0].splitlines() if path.exists() else []
    try:
        return [kind.model_validate_json(line) for line in whole]
    except ValidationError as error:
        raise DamagedRunError(f"{path}: holds a line that is no {kind.__name__}; restore it") from error
