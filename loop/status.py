"""Status: the ledger for people (a table) and for programs (JSON). It works with no run alive."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from loop.files import file_digest
from loop.ledger import Ledger
from loop.records import Evaluation, Round, Score, Spent
from loop.statistics import paired_gain


@dataclass(frozen=True)
class Exams:
    """Evaluations of one run, by the room they were sat in."""

    by_room: dict[str, Evaluation]

    def control(self) -> Evaluation | None:
        """The control's best look at dev."""
        found = [e for room, e in self.by_room.items() if room.startswith("control/")]
        return max(found, key=lambda e: e.score.score, default=None)

    def test(self, who: str, best: int) -> Evaluation | None:
        """A sitting of the test: best, start or control, opened for the run's best round."""
        return self.by_room.get(f"test/{best:03}-{who}")


@dataclass(frozen=True)
class Standing:
    """All that status and report tell of a run."""

    run: Path
    status: str
    rounds: Sequence[Round]
    spent: dict[str, Spent]
    """By room."""
    exams: Exams
    ended: str
    seconds: float

    @property
    def best(self) -> int:
        """The round whose checkpoint is the best so far."""
        kept = [r.round for r in self.rounds if r.status in ("kept", "start")]
        return kept[-1] if kept else 0

    def gain(self, exam: str = "dev") -> tuple[float, float, float, str] | None:
        """The claimed gain with its 95 % interval, over the better of round 0 and the control; and which it was.

        None without a control: then nothing is claimed.
        """
        if exam == "dev":
            best, start = self.exams.by_room.get(f"{self.best:03}"), self.exams.by_room.get("000")
            control = self.exams.control()
        else:
            best, start, control = (self.exams.test(who, self.best) for who in ("best", "start", "control"))
        if best is None or start is None or control is None:
            return None
        rival, name = max(((start, "round 0"), (control, "the control")), key=lambda pair: pair[0].score.score)
        return (*paired_gain(best.solved, rival.solved, best.score.n), name)


def read_standing(run: Path) -> Standing:
    """How a run stands, read from its ledger and the files that it vouches for.

    Raises: DamagedRunError when there is no ledger or a file was changed.
    """
    ledger = Ledger.read(run / "run.db")
    spent: dict[str, Spent] = {}
    for room, _, cost, _, _ in ledger.spendings():
        spent[room] = spent.get(room, Spent()) + cost
    exams = {room: _evaluation(run, room, card.digest) for (room, stage), card in ledger.cards().items() if stage == "evaluate"}
    launches = ledger.launches()
    return Standing(
        run=run,
        status=_status(ledger, launches),
        rounds=ledger.rounds(),
        spent=spent,
        exams=Exams(exams),
        ended=ledger.fact("ended") or "",
        seconds=sum(launch[2] for launch in launches),
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
        answer["control"] = {"dev": _score(control.score)}
        if tested := standing.exams.test("control", standing.best):
            answer["control"]["test"] = _score(tested.score)
    if standing.ended:
        answer["ended"] = standing.ended
    return answer


def as_table(standing: Standing) -> Table:
    """One row a round, the discarded and failed ones too, and the control below."""
    state = f"{standing.status}" + (f" ({standing.ended} reached)" if standing.ended else "")
    table = Table(title=f"{standing.run}: {state}", title_justify="left")
    for name in ("round", "status", "dev", "95 %", "test", "sampled", "examples", "unsound", "tokens", "time", "reason"):
        table.add_column(name, justify="left" if name in ("status", "reason") else "right")
    for closed in standing.rounds:
        cost = standing.spent.get(f"{closed.round:03}", Spent())
        tested = _tested(standing, closed.round)
        table.add_row(
            f"{closed.round}{' *' if closed.round == standing.best else ''}", closed.status,
            *_shown(closed.dev), tested, f"{closed.sampled:,}", f"{closed.examples:,}",
            "" if closed.false_positive_rate is None else f"{closed.false_positive_rate:.1%}",
            _tokens(cost), _time(cost.seconds), closed.reason,
        )  # fmt: skip
    if control := standing.exams.control():
        rooms = [cost for room, cost in standing.spent.items() if room.startswith("control/")]
        cost = sum(rooms, Spent())
        test = standing.exams.test("control", standing.best)
        table.add_row(
            "control", "", *_shown(control.score), f"{test.score.score:.3f}" if test else "", "", "", "",
            _tokens(cost), _time(cost.seconds), "demonstrations alone, equal training tokens",
        )  # fmt: skip
    return table


def claim(standing: Standing) -> str:
    """The gain in one sentence, or why none is claimed."""
    lines = []
    for exam in ("dev", "test"):
        if gain := standing.gain(exam):
            points, low, high, rival = gain
            lines.append(
                f"{exam}: {100 * points:+.1f} points over {rival} (95 %: {100 * low:+.1f} to {100 * high:+.1f})"
            )
    return "; ".join(lines) or "no gain is claimed: there is no control to compare with"


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
    from loop.errors import DamagedRunError

    path = run / ("rounds" if room[:1].isdigit() else ".") / room / "evaluation.json"
    if not path.is_file() or file_digest(path) != digest:
        raise DamagedRunError(f"{path}: missing or changed since it was written; restore it")
    return Evaluation.model_validate_json(path.read_bytes())


def _round(standing: Standing, closed: Round) -> dict[str, Any]:
    cost = standing.spent.get(f"{closed.round:03}", Spent())
    row: dict[str, Any] = {
        "round": closed.round,
        "status": closed.status,
        "dev": _score(closed.dev) if closed.dev else None,
        "kept": closed.status in ("kept", "start"),
        "strategies": list(closed.strategies),
        "spent": cost.model_dump(),
    }
    who = "best" if closed.round == standing.best else "start" if closed.round == 0 else ""
    if who and (tested := standing.exams.test(who, standing.best)):
        row["test"] = _score(tested.score)
    return row


def _score(score: Score) -> dict[str, Any]:
    return {"score": score.score, "low": score.low, "high": score.high, "n": score.n}


def _tested(standing: Standing, number: int) -> str:
    who = "best" if number == standing.best else "start" if number == 0 else ""
    found = standing.exams.test(who, standing.best) if who else None
    return f"{found.score.score:.3f}" if found else ""


def _shown(score: Score | None) -> tuple[str, str]:
    return (f"{score.score:.3f}", f"{score.low:.2f}-{score.high:.2f}") if score else ("", "")


def _tokens(cost: Spent) -> str:
    return f"{(cost.tokens_sampled + cost.tokens_trained) / 1e6:.2f}M"


def _time(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02}"
