"""The report: one self-contained HTML page of what a run tried, what it gained and what that cost."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from agents.replies import Diagnosis, Plan
from loop.decide import optimism
from loop.figures import in_p, in_time, in_tokens
from loop.files import write_atomic
from loop.ledger import Ledger
from loop.links import in_words
from loop.plots import Bar, Mark, Scores, columns, score_plot, shape
from loop.records import Cell, Score, Spent
from loop.report_cast import cast_parts
from loop.report_leaks import leaks_of
from loop.report_samples import sample_parts
from loop.report_suites import suite_parts
from loop.report_training import training_parts
from loop.room import DIAGNOSIS, HARNESS, PLAN, Room
from loop.rounds import Round
from loop.screen import PlainScreen
from loop.status import Standing, claim, read_standing
from loop.timing import time_rows

MODES = 6
"""Failure modes that are shown with examples; the smaller ones are named."""
QUOTE = 700
"""Characters shown of a text that a model wrote."""
UNSAFE = dict.fromkeys(
    (*range(9), *range(11, 32), *range(127, 160), *range(0x202A, 0x202F), *range(0x2066, 0x206A)), "\ufffd"
)
"""Control characters, and those that turn the direction of what follows: no text of a model may bring them."""


def write_report(run: Path) -> Path:
    """Write report.html into the run's folder, also while the run goes on; its path.

    Raises: DamagedRunError when there is no ledger, or a file is not what the ledger vouches for.
    """
    path = run / "report.html"
    write_atomic(path, render_report(run))
    return path


def render_report(run: Path) -> str:
    """The page."""
    standing = read_standing(run)
    ledger = Ledger.read(run / "run.db")
    try:
        page = _page(Source(standing, ledger))
    finally:
        ledger.close()
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {
        "score": lambda value: f"{value:.3f}", "points": _points, "tokens": in_tokens, "clock": in_time,
        "p": in_p, "share": lambda value: f"{100 * value:.1f} %", "flops": _flops, "cut": _cut,
        "distilled": in_words,
    }  # fmt: skip
    template = (files("templates") / "report.html.j2").read_text(encoding="utf-8")
    return environment.from_string(template).render(page).translate(UNSAFE)


@dataclass(frozen=True)
class Source:
    """Where the page's numbers come from: the ledger, and files that it vouches for."""

    standing: Standing
    ledger: Ledger

    def room(self, name: str) -> Room:
        """A room of the run, for looking only."""
        return Room(self.standing.run, name, self.ledger, PlainScreen())

    def rooms(self) -> list[str]:
        """The rounds' rooms in order, the one under way included."""
        closed = [f"{r.round:03}" for r in self.standing.rounds]
        return [*closed, *([self.standing.under_way] if self.standing.under_way else [])]


def _page(source: Source) -> dict[str, Any]:
    standing, ledger = source.standing, source.ledger
    scores = _scores(source)
    folder = standing.run
    text = _text(folder / "settings.json")
    settings = json.loads(text) if text else {}
    cards = list(ledger.cards())
    total = sum(standing.spent.values(), Spent())
    return {
        "name": ledger.fact("name") or folder.name,
        "standing": standing,
        "claim": claim(standing),
        "gains": [("on the sealed test", standing.gain("test")), ("on dev", standing.gain())],
        "claims": standing.status == "finished" and standing.best > 0,
        "best": next((r for r in standing.rounds if r.round == standing.best), None),
        "noise": next((r.noise for r in standing.rounds if r.noise), None),
        "flattery": _flattery(standing),
        "gold": next((r.gold for r in standing.rounds if r.gold), None),
        "last_card": cards[-1] if cards else None,
        "launches": ledger.launches(),
        "total": total,
        "duration": _duration(standing.seconds),
        "control": standing.exams.control(),
        "plots": [score_plot(scores, wide) for wide in (True, False)] if standing.rounds else [],
        "shapes": {kind: _key(kind) for kind in ("start", "kept", "discarded", "failed", "control")},
        "heat": _heat(source),
        "plans": list(_plans(source)),
        "reasons": _reasons(standing.rounds),
        "leaks": leaks_of(standing.rounds, source.room),
        "diagnosis": _last_diagnosis(source),
        "modes": MODES,
        "harness": [source.room(room).fetch(HARNESS) for room, stage in ledger.cards() if stage == HARNESS.name],
        "times": time_rows(folder),
        "costs": _costs(standing),
        "tested": {r.round: _tested(standing, r.round) for r in standing.rounds},
        "events": ledger.events(),
        "recovered": ledger.fact("recovered") or [],
        "objective": _text(folder / "OBJECTIVE.md"),
        "settings": settings,
        **training_parts(folder, ledger, standing),
        **suite_parts(standing),
        **sample_parts(standing.rounds, standing.events, standing.ended),
        **cast_parts([source.room(name) for name in source.rooms()], settings, ledger),
    }


def _scores(source: Source) -> Scores:
    standing = source.standing
    best: list[float | None] = []
    for r in standing.rounds:
        kept = r.status in ("kept", "start") and r.dev is not None
        best.append(r.dev.score if kept and r.dev else best[-1] if best else None)
    positions = {r.round: i for i, r in enumerate(standing.rounds)}
    exams = standing.exams
    controls = {
        positions[int(room[8:])]: Mark("", "control", e.score, f"control, round {room[8:]}: {_span(e.score)}")
        for room, e in exams.by_room.items()
        if room.startswith("control/") and int(room[8:]) in positions
    }
    rounds = [Mark(str(r.round), r.status, r.dev, _told(r)) for r in standing.rounds]
    whose = [("best", "kept", f"round {standing.best}"), ("start", "start", "round 0"), ("control",) * 3]
    sat = [(kind, label, exams.test(who, standing.best)) for who, kind, label in whose[standing.best == 0 :]]
    tests = [Mark(label, kind, e.score, f"{label} on the test: {_span(e.score)}") for kind, label, e in sat if e]
    start, control, goal = exams.by_room.get("000"), exams.control(), _goal(source.ledger)
    lines = [("round 0", start.score.score)] if start else []
    lines += [("control", control.score.score)] if control else []
    lines += [("goal", goal)] if goal is not None else []
    desc = "; ".join(mark.title for mark in (*rounds, *tests)) + "."
    return Scores(rounds, best, controls, lines, tests, desc)


class HeatRow(NamedTuple):
    """One level of one skill, over the rounds."""

    cell: Cell
    n: int
    shares: list[tuple[int, int] | None]
    """(correct, n) in each column."""
    change: float | None
    """The best round's share less round 0's."""


def _heat(source: Source) -> dict[str, Any]:
    standing = source.standing
    control = standing.exams.control()
    scored: list[dict[Cell, tuple[int, int]]] = [
        {Cell(c.skill, c.level): (c.correct, c.n) for c in cells}
        for cells in ([r.dev_cells for r in standing.rounds] + ([control.cells] if control else []))
    ]
    position = next((i for i, r in enumerate(standing.rounds) if r.round == standing.best), 0)
    cells = sorted({cell for column in scored for cell in column}, key=lambda cell: cell.order)
    rows = []
    for cell in cells:
        shares = [column.get(cell) for column in scored]
        start, best = shares[0], shares[position]
        change = best[0] / best[1] - start[0] / start[1] if position and best and start else None
        rows.append(HeatRow(cell, max(share[1] for share in shares if share), shares, change))
    return {"rows": rows, "skills": len({cell.skill for cell in cells}), "control": control is not None}


class PlanView(NamedTuple):
    """What a plan chose, and what came of it."""

    number: int
    closed: Round | None
    plan: Plan
    allotted: int
    plot: Markup | None
    before: tuple[int, Score] | None
    """The best until then."""


def _plans(source: Source) -> Iterator[PlanView]:
    rounds = {r.round: r for r in source.standing.rounds}
    before: tuple[int, Score] | None = None
    for name in source.rooms():
        closed, room = rounds.get(int(name)), source.room(name)
        if room.has(PLAN):
            plan = room.fetch(PLAN)
            bars = _allotments(plan, closed)
            plot = columns(f"plan-{name}", f"Samples allotted in round {int(name)}", bars) if bars else None
            yield PlanView(int(name), closed, plan, sum(bar.whole for bar in bars), plot, before)
        if closed and closed.dev and closed.status in ("start", "kept"):
            before = (closed.round, closed.dev)


def _allotments(plan: Plan, closed: Round | None) -> list[Bar]:
    """Samples allotted to each cell, and how many of its samples passed."""
    wanted: Counter[Cell] = Counter()
    for allotment in plan.allotments:
        wanted[Cell(allotment.skill, allotment.level)] += allotment.problems * allotment.samples
    tried = closed.samples if closed and closed.sampled else None
    passed = None if tried is None else {Cell(t.skill, t.level): t.passed for t in tried}
    return [
        Bar(
            cell.skill,
            "" if cell.level is None else str(cell.level),
            wanted[cell],
            None if passed is None else passed.get(cell, 0),
        )
        for cell in sorted(wanted, key=lambda cell: cell.order)
        if wanted[cell]
    ]


def _reasons(rounds: Sequence[Round]) -> list[str]:
    """Why samples were dropped, the most frequent first: each has its pattern by its place."""
    total: Counter[str] = Counter()
    for closed in rounds:
        total.update(closed.dropped)
    return [reason for reason, _ in total.most_common()]


def _last_diagnosis(source: Source) -> tuple[int, Diagnosis] | None:
    rooms = [source.room(name) for name in reversed(source.rooms())]
    return next(((int(room.name), room.fetch(DIAGNOSIS)) for room in rooms if room.has(DIAGNOSIS)), None)


def _costs(standing: Standing) -> list[tuple[str, Spent]]:
    """What every round cost, and the control and the test, in that order."""
    titles: dict[str, Spent] = {}
    for room, cost in standing.spent.items():
        title = f"round {int(room)}" if room.isdigit() else f"the {room.partition('/')[0]}"
        titles[title] = titles.get(title, Spent()) + cost
    return list(titles.items())


def _flattery(standing: Standing) -> float:
    """By how much the best's score on dev is too high, since dev chose it."""
    best = next((r for r in standing.rounds if r.round == standing.best), None)
    return optimism(best.verdict, best.dev.n) if best and best.verdict and best.dev else 0.0


def _tested(standing: Standing, number: int) -> Score | None:
    found = standing.tested(number)
    return found.score if found else None


def _goal(ledger: Ledger) -> float | None:
    """The goal as it stands: a prolonged run may have another than the first."""
    budget = ledger.fact("budget")
    goal = budget["goal"] if budget else ledger.fact("goal")
    return None if goal is None else float(goal)


def _key(kind: str) -> Markup:
    return Markup('<svg class="key" viewBox="0 0 14 14" width="14" height="14" aria-hidden="true">{}</svg>').format(
        shape(kind, 7, 7)
    )


def _told(closed: Round) -> str:
    if closed.dev is None:
        return f"round {closed.round}, {closed.status}: no score"
    return f"round {closed.round}, {closed.status}: {_span(closed.dev)}"


def _span(score: Score) -> str:
    return f"{score.score:.3f} (95 %: {score.low:.3f} to {score.high:.3f}, n = {score.n})"


def _points(share: float) -> str:
    return f"{100 * share:+.1f}".replace("-", "\u2212")


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s" if minutes else f"{rest} s"


def _flops(count: float) -> Markup:
    """A count as 3.1 × 10¹⁵."""
    if count < 1000:
        return Markup("{}").format(f"{count:.0f}")
    number, power = f"{count:.1e}".split("e")
    return Markup("{} × 10<sup>{}</sup>").format(number, int(power))


def _cut(words: str) -> str:
    return words if len(words) <= QUOTE else f"{words[:QUOTE]} … ({len(words) - QUOTE:,} characters more)"


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.is_file() else ""
