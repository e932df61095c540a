"""Talks: every answer that an agent got is a row of the round, so that it is never asked, or paid, twice."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from math import fsum
from typing import Any

from agents.purse import PurseEmpty
from agents.talk import Answer, Question, Talker
from loop.budget import BudgetSpent
from loop.files import RowFile, read_rows
from loop.records import Record, Spent, digest
from loop.room import Room, Stage
from loop.seats import Seat

FILE = "talks.jsonl"


class Talk(Record):
    """One answer of a model that plays a part. `id` is the digest of room, stage, part, model and question."""

    id: str
    part: str
    """Of the cast; the quality verifier is the challenger, asked apart."""
    stage: str
    """Of the room: what its cost is counted to."""
    model: str
    template: str
    """Digest of the template that wrote the question."""
    text: str
    finish: str
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0
    usd: float = 0.0
    flops: float = 0.0
    """0 where the model's size is not known."""


class Talks:
    """A room's talks.jsonl, open for one stage; any number of players talk at once. Close it when they are done."""

    def __init__(self, room: Room, stage: Stage[Any]) -> None:
        """One at a time has the room's file open; a second waits for the first to be closed."""
        self.room, self.stage = room, stage
        self.lock = threading.RLock()  # who is started with the lock held asks what is spent
        self._rows = RowFile(room.folder / FILE)
        self._kept = {row.id: row for row in read_rows(self._rows.path, Talk)}
        self._asking, self._since, self._engine_seconds = 0, 0.0, 0.0

    @property
    def spent(self) -> Spent:
        """What the stage's talks have cost so far. The order of the rows is that of the answers, which is free."""
        with self.lock:
            rows = [row for row in self._kept.values() if row.stage == self.stage.name]
        return Spent(
            tokens_sampled=sum(row.prompt_tokens + row.completion_tokens for row in rows),
            usd=fsum(row.usd for row in rows),
            flops=fsum(row.flops for row in rows),
        )

    def get(self, key: str) -> Talk | None:
        """The answer that is kept under a key."""
        return self._kept.get(key)

    def add(self, talk: Talk) -> None:
        """Keep an answer."""
        with self.lock:
            if talk.id not in self._kept:
                self._rows.append([talk])
                self._kept[talk.id] = talk

    def begin(self) -> None:
        """A question goes out; counted are the seconds in which at least one is out. The lock is held."""
        self._since = self._since if self._asking else time.monotonic()
        self._asking += 1

    def end(self) -> None:
        """A question has come back, however it went."""
        with self.lock:
            self._asking -= 1
            self._engine_seconds += 0.0 if self._asking else time.monotonic() - self._since

    def close(self) -> None:
        """Close the file, and write down what the stage's talks have cost."""
        self._rows.close()
        self.room.spend(self.stage, self.spent, self._engine_seconds, by=FILE)


class KeptTalker:
    """A talker whose answers are kept in the room's talks.jsonl. Safe to be asked from several threads.

    What an earlier launch was answered is answered from there: an agent that is asked the same comes to the same.
    """

    def __init__(self, seat: Seat, start: Callable[[], Talker], part: str, talks: Talks) -> None:
        """`start` opens the talker; called once, with the first question that nobody has answered yet."""
        self.model = seat.name
        self._seat, self._start, self._part, self._talks = seat, start, part, talks
        self._talker: Talker | None = None

    def ask(self, question: Question) -> Answer:
        """See Talker.

        Raises: BudgetSpent when no dollar is left for the question.
        """
        talks = self._talks
        key = digest("talk", talks.room.name, talks.stage.name, self._part, self.model, asdict(question))
        kept = talks.get(key)
        if kept is None:
            answer = self._timed(question)
            tokens = answer.prompt_tokens + answer.completion_tokens
            kept = Talk(
                id=key, part=self._part, stage=talks.stage.name, model=self.model, template=question.prompt,
                usd=self._seat.prices.cost(answer.prompt_tokens, answer.completion_tokens),
                flops=2.0 * self._seat.parameters * tokens, **asdict(answer),
            )  # fmt: skip
            talks.add(kept)
        return Answer(kept.text, kept.finish, kept.prompt_tokens, kept.completion_tokens, kept.cached_tokens)  # type: ignore[arg-type]

    def _timed(self, question: Question) -> Answer:
        with self._talks.lock:
            self._talker = self._talker or self._start()
            self._talks.begin()
        try:
            return self._talker.ask(question)
        except PurseEmpty as empty:
            raise BudgetSpent(str(empty)) from empty
        finally:
            self._talks.end()
