"""Players: the models of the cast that talk, opened for one stage of one room; every answer is kept and counted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from agents.endpoint import EndpointTalker
from agents.engines import EngineError
from agents.engines.faults import Endpoint
from agents.engines.local import LocalTalker
from agents.engines.pace import PATIENCE, Patience
from agents.engines.server import Served, VllmServer
from agents.purse import Purse
from agents.scripts import ScriptedTalker
from agents.talk import Talker, Unreachable
from loop.bench import Bench
from loop.budget import BudgetSpent
from loop.errors import MissingError, StageError
from loop.room import Room, Stage
from loop.seats import Seat
from loop.talks import KeptTalker, Talks


class Company:
    """Players who talk in the same stage, at the same time: they write one file and spend the same dollars."""

    def __init__(
        self, room: Room, stage: Stage[Any], bench: Bench, stack: ExitStack, patience: Patience = PATIENCE
    ) -> None:
        """What is opened is closed with the stack."""
        self.talks = Talks(room, stage)
        self._bench, self._stack, self._patience = bench, stack, patience
        self._opened: dict[Seat, Talker] = {}
        self._purse: Purse | None = None

    def player(self, seat: Seat, part: str) -> KeptTalker:
        """The player of a seat in a part. It is started with the first question that is new, once for all parts."""
        return KeptTalker(seat, lambda: self._start(seat), part, self.talks)

    def check(self) -> None:
        """Raise BudgetSpent where a limit is reached, what the stage's talks have taken so far included."""
        left = self._bench.meter.check((self.talks.room.name, self.talks.stage.name))
        spent = self.talks.spent
        if left.tokens is not None and spent.tokens_sampled >= left.tokens:
            raise BudgetSpent("tokens")

    def _start(self, seat: Seat) -> Talker:
        """Raises: BudgetSpent when nothing may be spent any more."""
        if seat not in self._opened:
            room, stage = self.talks.room, self.talks.stage
            left = self._bench.meter.check((room.name, stage.name)).usd
            if self._purse is None:
                self._purse = Purse(None if left is None else left - self.talks.spent.usd, seat.prices)
            purse = self._purse.beside(seat.prices)
            self._opened[seat] = self._open(seat, purse)
        return self._opened[seat]

    def _open(self, seat: Seat, purse: Purse) -> Talker:
        """The talker of a seat's engine; what it started is ended with the stack."""
        if seat.engine == "scripted":
            return ScriptedTalker(seat.model)
        if seat.engine == "transformers":
            log = f"{self.talks.room.name.replace('/', '-')}-talk.log"
            local = LocalTalker(seat.model, self._bench.run / "logs" / log)
            self._stack.callback(local.close)
            return local
        endpoint = Endpoint(seat.model, seat.endpoint, seat.api_key_env)
        if seat.engine == "vllm":
            server = self._stack.enter_context(VllmServer(Served(seat.model, name="player")))
            endpoint = Endpoint("player", server.address)
        talker = EndpointTalker(endpoint, purse, self._patience)
        self._stack.callback(talker.close)
        return talker


@contextmanager
def company(room: Room, stage: Stage[Any], bench: Bench, patience: Patience = PATIENCE) -> Iterator[Company]:
    """Players for a stage; inside, each is asked as often as is wished, from any thread.

    Args: patience: how long an endpoint that fails is waited for.

    Raises: StageError when one cannot be had now, MissingError when it never can, BudgetSpent when the dollars are
    spent.
    """
    with ExitStack() as stack:
        players = Company(room, stage, bench, stack, patience)
        stack.callback(players.talks.close)
        try:
            yield players
        except Unreachable as error:
            raise StageError(str(error)) from error
        except EngineError as error:
            raise MissingError(str(error)) from error


@contextmanager
def talking(
    seat: Seat, part: str, room: Room, stage: Stage[Any], bench: Bench, patience: Patience = PATIENCE
) -> Iterator[KeptTalker]:
    """One player alone, to be asked in this stage; see `company`."""
    with company(room, stage, bench, patience) as players:
        yield players.player(seat, part)
