"""Status: the ledger for people (a table) and for programs (JSON). It works with no run alive."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from loop.errors import DamagedRunError
from loop.figures import as_ending, in_p, in_time, in_tokens, in_usd
from loop.files import file_digest
from loop.ledger import Ledger
from loop.records import Evaluation, Score, Spent
from loop.rounds import LOST, Round, best_of
from loop.sittings import Sittings
from loop.suites import as_public, gain_over

STYLES = {"discarded": "dim", "failed": "red"}
"""How a row looks in a terminal; the words say the same."""


@dataclass(frozen=True)
class Standing:
    """All that status and report tell of a run."""

    run: Path
    status: str
    rounds: Sequence[Round]
    spent: dict[str, Spent]
    """By room."""
    exams: Sittings
    ended: str
    seconds: float
    events: Sequence[tuple[str, str, str]] = ()  # (time, kind, text), oldest first
    lost: Sequence[int] = ()

    @property
    def best(self) -> int:
        """The round whose checkpoint is the best so far."""
        best = best_of(self.rounds, self.lost)
        return best.round if best else 0

    @property
    def under_way(self) -> str:
        """The round that is begun and not closed, as its room's name, or ""."""
        closed = {f"{r.round:03}" for r in self.rounds}
        return next((room for room in self.spent if room.isdigit() and room not in closed), "")

    @property
    def openings(self) -> list[int]:
        """The best rounds for which the sealed test was opened; more than one after the run was prolonged."""
        rooms = [room for room in self.exams.by_room if room.startswith("test/") and room.endswith("-best")]
        return sorted(int(room[5:8]) for room in rooms)

    def tested(self, number: int) -> Evaluation | None:
        """How the student of a round did on the sealed test: only the best and that of round 0 sit it."""
        who = "best" if number == self.best else "start" if number == 0 else ""
        return self.exams.test(who, self.best) if who else None

    def gain(self, exam: str = "dev") -> tuple[float, float, float, str] | None:
        """The claimed gain with its 95 % interval, over the better of round 0 and the control; and which it was.

        None without a control: then nothing is claimed.
        """
        start, best, control = self.exams.of(exam, self.best).values()
        if best is None or start is None or control is None:
            return None
        rival, name = max(((start, "round 0"), (control, "the control")), key=lambda pair: pair[0].score.score)
        return (*gain_over(rival, best), name)


def read_standing(run: Path) -> Standing:
    """How a run stands, read from its ledger and the files that it vouches for.

    Raises: DamagedRunError when there is no ledger or a file was changed.
    """
    ledger = Ledger.read(run / "run.db")
    spent: dict[str, Spent] = {}
    for room, _, cost, _, _ in ledger.spendings():
        spent[room] = spent.get(room, Spent()) + cost
    exams = {
        room: _evaluation(run, room, card.digest)
        for (room, stage), card in ledger.cards().items()
        if stage == "evaluate"
    }
    launches = ledger.launches()
    return Standing(
        run=run,
        status=_status(ledger, launches),
        rounds=ledger.rounds(),
        spent=spent,
        exams=Sittings(exams),
        ended=ledger.fact("ended") or "",
        seconds=sum(launch[2] for launch in launches),
        events=ledger.events(),
        lost=ledger.fact(LOST) or (),
    )


def as_json(standing: Standing) -> dict[str, Any]:
    """The public form of `loop status --json`."""
    answer: dict[str, Any] = {
        "run": str(standing.run),
        "status": standing.status,
        "best_round": standing.best,
        "rounds": [_round(standing, r) for r in standing.rounds],
    }
    if control := standing.exams.control():
        answer["control"] = {"dev": _score(control.score, control)}
    return answer


def as_table(standing: Standing) -> Table:
    """One row a round, the discarded and failed ones too, and the control below: 80 columns are enough."""
    state = standing.status + (f" ({as_ending(standing.ended)})" if standing.ended else "")
    notes = [
        f"round {r.round} failed: {r.reason.removeprefix(f'round {r.round}: ')}"
        for r in standing.rounds
        if r.status == "failed"
    ]
    if room := standing.under_way:
        notes.append(f"round {int(room)} is not finished: {in_time(standing.spent[room].seconds)} so far")
    for kind in ("handover", "critic", "router", "collapse", "rollback"):
        told = list(dict.fromkeys(text for _, of, text in standing.events if of == kind))
        notes += [f"{kind}{f' ({len(told)})' * bool(told[1:])}: {told[-1]}"] if told else []
    table = plain_table(f"{standing.run}: {state}", *notes)
    paid = ("usd",) if any(cost.usd for cost in standing.spent.values()) else ()
    examples = "rows" if paid else "examples"  # or 80 columns were not enough
    for name in ("round", "status", "dev", "95 %", "test", "samples", examples, "tokens", *paid, "time", "p"):
        table.add_column(name, justify="left" if name == "status" else "right")
    for closed in standing.rounds:
        cost = standing.spent.get(f"{closed.round:03}", Spent())
        best, start = closed.round == standing.best, closed.round == 0
        table.add_row(
            f"{'* ' if best else ''}{closed.round}", closed.status,
            *_shown(closed.dev), _tested(standing.tested(closed.round)),
            "" if start else f"{closed.sampled:,}", "" if start else f"{closed.examples:,}",
            in_tokens(cost.tokens_sampled + cost.tokens_trained), *(in_usd(cost.usd) for _ in paid),
            in_time(cost.seconds), in_p(closed.verdict.p) if closed.verdict else "",
            style="bold" if best else STYLES.get(closed.status),
        )  # fmt: skip
    if control := standing.exams.control():
        cost = sum((cost for room, cost in standing.spent.items() if room.startswith("control/")), Spent())
        test = standing.exams.test("control", standing.best)
        table.add_row(
            "", "control", *_shown(control.score), _tested(test), "", "",
            in_tokens(cost.tokens_sampled + cost.tokens_trained), *("" for _ in paid), in_time(cost.seconds), "",
        )  # fmt: skip
    return table


def plain_table(title: str, *notes: str) -> Table:
    """A table with one rule and no frame, spread over 80 columns; each note is one line below it."""
    caption = Text("\n".join(textwrap.shorten(note, 79, placeholder=" ...") for note in notes))
    return Table(
        title=Text(title), title_justify="left", title_style="bold",
        caption=caption if notes else None, caption_justify="left", caption_style="",
        box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=0, min_width=80,
    )  # fmt: skip


def claim(standing: Standing) -> str:
    """What came of the run, in one honest sentence; nothing is claimed that is not shown."""
    best = next((r for r in standing.rounds if r.round == standing.best), None)
    if best is None or best.dev is None:
        return "Round 0 is not finished: there is nothing to compare yet."
    so_far = f"round {best.round} solves {best.dev.score:.3f} of dev"
    if standing.status != "finished":
        return f"So far {so_far}; nothing is claimed before the control and the sealed test are done."
    if best.round == 0:
        played = len(standing.rounds) - 1
        none = ("No round was played, so none is", "The one round played is not")
        words = none[played] if played < len(none) else f"None of the {played} rounds is"
        return f"{words} shown to be better than round 0: nothing is gained."
    dev, test = standing.gain(), standing.gain("test")
    if dev is None or test is None:
        start = standing.rounds[0].dev
        before = f", round 0 {start.score:.3f}" if start else ""
        return f"Nothing is claimed, since there is no control to compare with: {so_far}{before}."
    again = f", opened {len(standing.openings)} times," if len(standing.openings) > 1 else ""
    return (
        f"On the sealed test{again} round {best.round} {_gained(*test)}; on dev, which chose it, it {_gained(*dev)}."
    )


def _gained(points: float, low: float, high: float, rival: str) -> str:
    interval = f"(95 %: {100 * low:+.1f} to {100 * high:+.1f})"
    if low > 0:
        return f"solves {100 * points:.1f} points more than {rival} {interval}"
    return f"is not shown to beat {rival}: {100 * points:+.1f} points {interval}"


def _status(ledger: Ledger, launches: list[tuple[int, str, float, str | None]]) -> str:
    written = ledger.fact("status") or "running"
    if written == "running" and launches:
        pid, _, _, ended = launches[-1]
        if ended:
            return str(ended)
        return "running" if _alive(pid) else "interrupted"
    return str(written)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _evaluation(run: Path, room: str, digest: str) -> Evaluation:
    path = run / ("rounds" if room[:1].isdigit() else ".") / room / "evaluation.json"
    if not path.is_file() or file_digest(path) != digest:
        raise DamagedRunError(f"{path}: missing or changed since it was written; restore it")
    return Evaluation.model_validate_json(path.read_bytes())


def _round(standing: Standing, closed: Round) -> dict[str, Any]:
    room = f"{closed.round:03}"
    cost = standing.spent.get(room, Spent())
    row: dict[str, Any] = {
        "round": closed.round,
        "status": closed.status,
        "dev": _score(closed.dev, standing.exams.by_room.get(room)) if closed.dev else None,
        "kept": closed.status in ("kept", "start"),
        "strategies": list(closed.strategies),
        "spent": cost.model_dump(),
    }
    if tested := standing.tested(closed.round):
        row["test"] = _score(tested.score, tested)
    return row


def _score(score: Score, exam: Evaluation | None) -> dict[str, Any]:
    more = as_public(exam) if exam else {}
    return {"score": score.score, "low": score.low, "high": score.high, "n": score.n, **more}


def _tested(found: Evaluation | None) -> str:
    return f"{found.score.score:.3f}" if found else ""


def _shown(score: Score | None) -> tuple[str, str]:
    return (f"{score.score:.3f}", f"{score.low:.2f}-{score.high:.2f}") if score else ("", "")
