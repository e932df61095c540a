"""Players: the models of the cast that talk, opened for one stage of one room; every answer is kept and counted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from agents.endpoint import EndpointTalker
from agents.engines import EngineError
from agents.engines.faults import Endpoint
from agents.engines.local import LocalTalker
from agents.engines.server import Served, VllmServer
from agents.purse import Purse
from agents.scripts import ScriptedTalker
from agents.talk import Talker, Unreachable
from loop.bench import Bench
from loop.errors import MissingError, StageError
from loop.room import Room, Stage
from loop.seats import Seat
from loop.talks import KeptTalker, talked


@contextmanager
def talking(seat: Seat, part: str, room: Room, stage: Stage[Any], bench: Bench) -> Iterator[KeptTalker]:
    """The player of a seat, to be asked in this stage. It is started with the first question that is new.

    Raises: StageError when it cannot be had now, MissingError when it never can, BudgetSpent when the dollars are
    spent.
    """
    with ExitStack() as stack:

        def start() -> Talker:
            left = bench.meter.check((room.name, stage.name)).usd
            purse = Purse(None if left is None else left - talked(room, stage).usd, seat.prices)
            return _open(seat, purse, room, bench, stack)

        kept = KeptTalker(seat.name, start, part, room, stage, seat.prices)
        stack.callback(kept.close)
        try:
            yield kept
        except Unreachable as error:
            raise StageError(str(error)) from error
        except EngineError as error:
            raise MissingError(str(error)) from error


def _open(seat: Seat, purse: Purse, room: Room, bench: Bench, stack: ExitStack) -> Talker:
    """The talker of a seat's engine; what it started is ended with the stack."""
    if seat.engine == "scripted":
        return ScriptedTalker(seat.model)
    if seat.engine == "transformers":
        local = LocalTalker(seat.model, bench.run / "logs" / f"{room.name.replace('/', '-')}-talk.log")
        stack.callback(local.close)
        return local
    endpoint = Endpoint(seat.model, seat.endpoint, seat.api_key_env)
    if seat.engine == "vllm":
        server = stack.enter_context(VllmServer(Served(seat.model, name="player")))
        endpoint = Endpoint("player", server.address)
    talker = EndpointTalker(endpoint, purse)
    stack.callback(talker.close)
    return talker
