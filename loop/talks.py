"""Talks: every answer that an agent got is a row of the round, so that it is never asked, or paid, twice."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from math import fsum
from typing import Any

from agents.purse import FREE, Prices, PurseEmpty
from agents.talk import Answer, Question, Talker
from loop.budget import BudgetSpent
from loop.files import RowFile, read_rows
from loop.records import Record, Spent, digest
from loop.room import Room, Stage

FILE = "talks.jsonl"


class Talk(Record):
    """One answer of a model that plays a part. `id` is the digest of room, stage, part, model and question."""

    id: str
    part: str
    """orchestrator or critic."""
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


class KeptTalker:
    """A talker whose answers are kept in the room's talks.jsonl. Safe to be asked from several threads.

    What an earlier launch was answered is answered from there: an agent that is asked the same comes to the same.
    """

    def __init__(
        self, model: str, start: Callable[[], Talker], part: str, room: Room, stage: Stage[Any], prices: Prices = FREE
    ) -> None:
        """One at a time has the room's file open; a second waits for the first to be closed.

        Args: start: opens the talker; called once, with the first question that nobody has answered yet.
        """
        self.model, self._start, self._part = model, start, part
        self._talker: Talker | None = None
        self._room, self._stage, self._prices = room, stage, prices
        self._rows = RowFile(room.folder / FILE)
        self._kept = {row.id: row for row in read_rows(self._rows.path, Talk)}
        self._lock = threading.Lock()
        self._asking, self._since, self._engine_seconds = 0, 0.0, 0.0

    def ask(self, question: Question) -> Answer:
        """See Talker.

        Raises: BudgetSpent when no dollar is left for the question.
        """
        key = digest("talk", self._room.name, self._stage.name, self._part, self.model, asdict(question))
        kept = self._kept.get(key)
        if kept is None:
            answer = self._timed(question)
            kept = Talk(
                id=key, part=self._part, stage=self._stage.name, model=self.model, template=question.prompt,
                usd=self._prices.cost(answer.prompt_tokens, answer.completion_tokens), **asdict(answer),
            )  # fmt: skip
            with self._lock:
                if key not in self._kept:
                    self._rows.append([kept])
                    self._kept[key] = kept
        return Answer(kept.text, kept.finish, kept.prompt_tokens, kept.completion_tokens, kept.cached_tokens)  # type: ignore[arg-type]

    def _timed(self, question: Question) -> Answer:
        """Ask, and count the seconds in which at least one question was out."""
        with self._lock:
            self._talker = self._talker or self._start()
            self._since = self._since if self._asking else time.monotonic()
            self._asking += 1
        try:
            return self._talker.ask(question)
        except PurseEmpty as empty:
            raise BudgetSpent(str(empty)) from empty
        finally:
            with self._lock:
                self._asking -= 1
                self._engine_seconds += 0.0 if self._asking else time.monotonic() - self._since

    def close(self) -> None:
        """Close the file, and write down what the stage's talks have cost."""
        self._rows.close()
        self._room.spend(self._stage, talked(self._room, self._stage), self._engine_seconds)


def talked(room: Room, stage: Stage[Any]) -> Spent:
    """What the talks of a stage have cost so far. FLOPs are not known: a talker does not tell its size."""
    path = room.folder / FILE
    rows = [row for row in read_rows(path, Talk) if row.stage == stage.name] if path.exists() else []
    return Spent(
        tokens_sampled=sum(row.prompt_tokens + row.completion_tokens for row in rows),
        usd=fsum(row.usd for row in rows),  # the order of the rows is that of the answers, which is free
    )
