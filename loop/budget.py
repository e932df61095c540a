"""The budget: what may still be spent. Its rows are the ledger's, so it outlives a restart."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from agents.briefs import BudgetLeft
from loop.crew import Limits
from loop.ledger import Ledger, Spending
from loop.objective import Budget
from loop.records import Spent

MARGIN = 1.25
"""Held back for an exam, in dev exams sat so far: a student that has learnt more writes more."""


BESIDE = "harness/"
"""Rooms of what a person asks for beside the rounds begin so: it is counted, and no limit is on it."""
NO_SAMPLES: Mapping[str, int] = {"dev": 0, "test": 0}


class BudgetSpent(Exception):
    """A limit of the objective is reached; its name is the message. No error: the run ends as it was told to."""


class Meter:
    """What the run has spent, against what the objective allows.

    From the start on, enough is held back for what no limit may end: the exam and the probe of the round at work;
    the control, trained on as many tokens as the rounds were, with as many looks at dev; the one of each weak
    sampler; and the test: where answers are sampled too, with those. Round 0's sittings are counted, and over before
    anything is asked of the budget.
    """

    def __init__(
        self,
        budget: Budget,
        ledger: Ledger,
        control: bool,
        test_size: float = 1.0,
        weak: int = 0,
        samples: Mapping[str, int] = NO_SAMPLES,
    ) -> None:
        """Where `test_size` is the size of the test, in dev exams; `weak` samplers sit dev at the end; `samples` are
        the answers that each problem of dev and of test is given beside the greedy one.
        """
        self._budget, self._ledger, self._control, self._test_size = budget, ledger, control, test_size
        self._weak, self._samples = weak, samples
        self._began = time.monotonic()
        self._before = ledger.seconds_before()

    @property
    def seconds(self) -> float:
        """Seconds that all launches have worked on the run, this one included."""
        return self._before + time.monotonic() - self._began

    @property
    def here(self) -> float:
        """Seconds of this launch."""
        return time.monotonic() - self._began

    def left(self, but_for: tuple[str, str] | None = None) -> BudgetLeft:
        """What the rounds may still spend; `but_for` leaves out what one (room, stage) has spent."""
        rounds = [r for r in self._ledger.rounds() if r.round > 0]
        rows = [row for row in self._ledger.spendings() if row[:2] != but_for and not row[0].startswith(BESIDE)]
        reserved = self._reserved(rows)
        spent = sum((row[2] for row in rows), Spent())
        budget = self._budget
        return BudgetLeft(
            rounds=None if budget.rounds is None else max(0, budget.rounds - len(rounds)),
            tokens=None
            if budget.tokens is None
            else budget.tokens - spent.tokens_sampled - spent.tokens_trained - int(reserved.tokens_trained),
            seconds=None if budget.minutes is None else budget.minutes * 60 - self.seconds - reserved.seconds,
            usd=budget.usd - spent.usd if budget.usd else None,  # usd: 0 forbids models with a price from the start
        )

    def check(self, but_for: tuple[str, str] | None = None) -> BudgetLeft:
        """What is left.

        Raises: BudgetSpent when nothing is.
        """
        left = self.left(but_for)
        amounts = {"rounds": left.rounds, "tokens": left.tokens, "minutes": left.seconds, "usd": left.usd}
        for name, amount in amounts.items():
            if amount is not None and amount <= 0:
                raise BudgetSpent(name)
        return left

    def limits_of_round_zero(self) -> Limits:
        """The student of round 0 may take half of the minutes: rounds and control must have as much again."""
        minutes = self._budget.minutes
        return Limits(seconds=None if minutes is None else max(1.0, minutes * 30 - self.seconds))

    def limits(self, of: tuple[str, str] | None = None, trains: bool = False) -> Limits:
        """The limits of one piece of work. What trains in a round is trained once more by the control.

        Args: of: its (room, stage). A launch that died may have written down what it spent there; the limits are
        those from before, or a crash would end a round that was within them.

        Raises: BudgetSpent when nothing is left.
        """
        left = self.check(of)
        share = 2 if trains and self._control else 1
        return Limits(
            tokens=None if left.tokens is None else max(1, -(-left.tokens // share)),
            seconds=None if left.seconds is None else left.seconds / share,
            usd=left.usd,
        )

    def _reserved(self, rows: Sequence[Spending]) -> Spent:
        """What is still owed, by what the same work cost so far (tokens of both kinds)."""
        rounds = [(room, stage, s) for room, stage, s, _, _ in rows if room.isdigit()]
        done = sum((s for room, _, s, _, _ in rows if room.startswith(("control", "sampler"))), Spent())
        training = sum((s for room, stage, s in rounds if stage == "train" and room != "000"), Spent())
        again = training if self._control else Spent()
        told = [r.checkpoint.reinforced for r in self._ledger.rounds() if r.checkpoint and r.checkpoint.reinforced]
        talk = sum(one.talk for one in told) if self._control else 0  # of critics: nobody owes that again
        exams = [s for _, stage, s in rounds if stage == "sit the exam"]
        sampled = [s for _, stage, s in rounds if stage == "sit the exam sampled"]
        probes = [s for _, stage, s in rounds if stage == "probe"]
        sitters = 3 if self._control else 2
        looks = len(exams) if self._control else 0  # round 0 stands for the round at work
        dev, test = (1 + self._samples[exam] for exam in ("dev", "test"))
        sittings = (1 + looks) * dev + self._weak + sitters * self._test_size * test

        def owed(exam: float, all_samples: float, probe: float, trained: float, done: float) -> float:
            exam = max(exam, all_samples / max(1, self._samples["dev"]))
            return max(0.0, MARGIN * (sittings * exam + probe) + trained - done)

        tokens = owed(
            max((s.tokens_sampled for s in exams), default=0),
            max((s.tokens_sampled for s in sampled), default=0),
            max((s.tokens_sampled for s in probes), default=0),
            again.tokens_trained + again.tokens_sampled - talk,  # what it sampled, the control trains on in part
            done.tokens_trained + done.tokens_sampled,
        )
        seconds = owed(
            max((s.seconds for s in exams), default=0.0),
            max((s.seconds for s in sampled), default=0.0),
            max((s.seconds for s in probes), default=0.0),
            again.seconds,
            done.seconds,
        )
        return Spent(tokens_trained=round(tokens), seconds=seconds)
