"""Jury: the critics that are believed, where answers are rewarded while the student is trained on them.

The reward of an answer is that of the verifiers times that of the critics: 1 where it would pass as a sample of the
round, by the very same rule (loop/critics.py `heed`), else 0. Rubrics reward so what no program can tell ("Rubrics as
Rewards", arXiv 2507.17746), and a critic only takes away what a verifier has given. The trainer's child asks, and the
run answers: it alone talks to models.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from agents.critics import Critic
from loop.bench import Bench
from loop.calibration import Calibration
from loop.critics import believed_critic, believed_of, heed
from loop.players import Company, company
from loop.records import Critique, Sample, digest
from loop.room import CHECKPOINT, Room
from loop.seats import Seat


def jurors(calibrations: Sequence[Calibration], bench: Bench) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names of the critics that reward in this round; and of the others, each with why it does not.

    One that runs on this machine would need the room that the trainer has: it judges samples alone.
    """
    heard, unheard = [], []
    for seat in bench.critics:
        if seat.engine in ("transformers", "vllm"):
            unheard.append(f"{seat.name} runs on this machine")
        elif believed_of(seat, calibrations) is None:
            unheard.append(f"{seat.name} is not believed")
        else:
            heard.append(seat.name)
    return tuple(heard), tuple(unheard)


class Jury:
    """Says which answers pass, of those that the verifiers have passed. Nothing is asked twice."""

    def __init__(
        self,
        critics: Sequence[Critic],
        known: Sequence[tuple[Sample, Critique]],
        players: Company,
        room: Room,
        bench: Bench,
    ) -> None:
        """Args: known: samples of the round with what its critics made of them."""
        self._critics, self._players, self._room, self._bench = critics, players, room, bench
        self._passes = {
            _key(sample): all(verdicts)
            for sample, critique in known
            if (verdicts := [check.verdict != "failed" for check in critique.checks if check.name == "critic"])
        }

    @property
    def tokens(self) -> int:
        """Read and written by the critics so far."""
        return self._players.talks.spent.tokens_sampled

    def judge(self, answers: Sequence[Sample]) -> list[bool]:
        """Whether each passes, in their order.

        Raises: BudgetSpent when a limit of the budget is reached; what `Critic.judge` raises.
        """
        owed = {_key(answer): answer for answer in answers if _key(answer) not in self._passes}
        if owed:
            self._players.check()
        samples = [answer.model_copy(update={"id": digest("answer", *key)}) for key, answer in owed.items()]
        critiques = [self._bench.judge.critique(sample) for sample in samples]
        for critic in self._critics:
            critiques = heed(critic, samples, critiques, self._room, self._bench)
        self._passes |= {key: critique.passed for key, critique in zip(owed, critiques, strict=True)}
        return [self._passes[_key(answer)] for answer in answers]


@contextmanager
def jury(
    names: Sequence[str],
    calibrations: Sequence[Calibration],
    known: Sequence[tuple[Sample, Critique]],
    room: Room,
    bench: Bench,
) -> Iterator[Jury | None]:
    """The critics of these names, open for a training; None where there are none. What they cost counts to it.

    Raises: as `company`.
    """
    if not names:
        yield None
        return
    with company(room, CHECKPOINT, bench) as players:
        critics = [_critic(seat, calibrations, players, bench) for seat in bench.critics if seat.name in names]
        yield Jury(critics, known, players, room, bench)


def _critic(seat: Seat, calibrations: Sequence[Calibration], players: Company, bench: Bench) -> Critic:
    believed = believed_of(seat, calibrations)
    assert believed is not None and bench.rubric is not None, "jurors has seen to it"
    return believed_critic(players.player(seat, "critic"), believed, bench.rubric)


def _key(sample: Sample) -> tuple[str, str]:
    """Problem and text: what a verdict hangs on."""
    return sample.problem.id, sample.response
