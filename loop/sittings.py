"""Sittings: who sat which exam of a run, and how each did."""

from __future__ import annotations

from dataclasses import dataclass

from loop.records import Evaluation


@dataclass(frozen=True)
class Sittings:
    """Evaluations of one run, by the room they were sat in."""

    by_room: dict[str, Evaluation]

    def control(self) -> Evaluation | None:
        """The control's best look at dev."""
        found = [e for room, e in self.by_room.items() if room.startswith("control/")]
        return max(found, key=lambda e: e.score.score, default=None)

    def test(self, who: str, best: int) -> Evaluation | None:
        """A sitting of the test: best, start or control, opened for the run's best round."""
        return self.by_room.get(f"test/{best:03}-{who}")

    def of(self, exam: str, best: int) -> dict[str, Evaluation | None]:
        """How start, best and control did on dev or test, where they sat it."""
        if exam == "test":
            return {who: self.test(who, best) for who in ("start", "best", "control")}
        return {"start": self.by_room.get("000"), "best": self.by_room.get(f"{best:03}"), "control": self.control()}
