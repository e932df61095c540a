"""Wire: requests to one OpenAI-compatible endpoint, tried again where that may help and paid from a purse."""

from __future__ import annotations

import asyncio
import random
import re
import threading
import time
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

import httpx2
import openai
import tenacity
from pydantic import ValidationError

from agents.engines import EngineError
from agents.engines.faults import OPTIONAL, Endpoint, Fault, NoChat, Refused, judged, line
from agents.engines.pace import PATIENCE, Breaker, Outage, Patience, Window
from agents.engines.responses import Response, most_tokens
from agents.purse import Purse
from agents.talk import Unreachable

CHAT, COMPLETIONS = "/chat/completions", "/completions"

T = TypeVar("T")


class Wire:
    """One endpoint. Belongs to one event loop.

    A failed try is not counted in the purse: the server may have charged for it, and nobody can know.
    """

    def __init__(self, endpoint: Endpoint, purse: Purse, patience: Patience = PATIENCE) -> None:
        self.endpoint, self.purse, self.patience = endpoint, purse, patience
        self.base: bool | None = None
        """Whether it is a base model; None until a request has been answered."""
        self.window = Window(patience)
        self.asleep = 0
        """Requests that wait for their next try."""
        self._breaker = Breaker(patience)
        self._lacks: frozenset[str] = frozenset()
        self._jitter = tenacity.wait_random_exponential(patience.first_wait, max=patience.longest_wait)
        self._client = openai.AsyncOpenAI(
            api_key=endpoint.key(),
            base_url=endpoint.base_url(),
            max_retries=0,
            timeout=httpx2.Timeout(None, connect=30),
        )
        self._calls, self._began, self._seconds = 0, 0.0, 0.0

    @property
    def seconds(self) -> float:
        """Seconds so far in which a request was in flight."""
        return self._seconds + (time.monotonic() - self._began if self._calls else 0.0)

    async def send(self, path: str, body: dict[str, Any]) -> Response:
        """The answer to a request, paid for. `usage` is set in it.

        Raises: PurseEmpty; NoChat, once, from CHAT; Refused; Unreachable; EngineError.
        """
        most = most_tokens(body)
        while (aside := self.purse.set_aside(*most)) is None:
            await asyncio.sleep(0.01)
        paid = 0, 0
        try:
            response = await self._without_what_it_lacks(path, body)
            response.usage = response.used(body)
            paid = response.usage.prompt_tokens, response.usage.completion_tokens
            return response
        finally:
            self.purse.settle(aside, *paid)

    def refusal(self, said: object) -> EngineError:
        """What a request that is refused for good comes to."""
        return EngineError(
            f"{self.endpoint}: {said}; mend what the objective says of this model, or take another one"
        )

    async def close(self) -> None:
        """Hang up."""
        await self._client.close()

    async def _without_what_it_lacks(self, path: str, body: dict[str, Any]) -> Response:
        lacks = self._lacks
        while True:
            kept = {name: value for name, value in body.items() if name not in lacks}
            if "max_tokens" in lacks:
                kept["max_completion_tokens"] = body["max_tokens"]
            try:
                response = await self._patiently(path, kept)
            except Refused as refused:
                named = {part for part in OPTIONAL.keys() & kept if re.search(OPTIONAL[part], str(refused), re.I)}
                if not named or refused.one_prompt:
                    raise
                lacks |= named
            else:
                self._lacks |= lacks
                return response

    async def _patiently(self, path: str, body: dict[str, Any]) -> Response:
        """Tried again: `tries` times while others get through, else for as long as an outage is waited for."""
        counted = timeouts = 0

        async def one() -> Response:
            nonlocal counted, timeouts
            try:
                return await self._in_turn(path, body, timeouts)
            except Fault as fault:
                counted += not self._breaker.is_open
                timeouts += fault.silent
                raise

        def pause(state: tenacity.RetryCallState) -> float:
            fault = state.outcome.exception() if state.outcome else None
            wait = 0.0 if self._breaker.is_open else self._jitter(state)  # an open breaker sets the pace itself
            asked = fault.retry_after if isinstance(fault, Fault) else 0.0
            return max(wait, asked + random.uniform(0, 0.1) if asked else 0.0)

        retrying = tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception_type(Fault),
            wait=pause,
            stop=lambda _: counted >= self.patience.tries,
            sleep=self._sleep,
            reraise=True,
        )
        try:
            response: Response = await retrying(one)
        except Fault as fault:
            raise Unreachable(
                f"{self.endpoint}: {counted} tries failed, the last with: {fault}; see its log"
            ) from fault
        except Outage as outage:
            raise Unreachable(f"{self.endpoint}: {outage}; start it, and go on with the same command") from outage
        return response

    async def _sleep(self, seconds: float) -> None:
        self.asleep += 1
        try:
            await asyncio.sleep(seconds)
        finally:
            self.asleep -= 1

    async def _in_turn(self, path: str, body: dict[str, Any], timeouts: int) -> Response:
        """One try, when there is room for it, and what it tells of the endpoint."""
        async with self.window.slot():
            probe, alive = await self._breaker.admitted(), False
            self._began = self._began if self._calls else time.monotonic()
            self._calls += 1
            began = time.monotonic()
            try:
                response = await self._once(path, body, self.window.allowance(timeouts))
                self.window.succeeded(time.monotonic() - began)
                alive, self.base = True, path == COMPLETIONS
            except Fault as fault:
                self._breaker.failed(probe, fault.retry_after)
                if fault.overload:
                    self.window.overloaded()
                raise
            except (Refused, NoChat):
                alive = True
                raise
            else:
                return response
            finally:
                self._breaker.succeeded() if alive else self._breaker.abandoned(probe)
                self._calls -= 1
                self._seconds += 0 if self._calls else time.monotonic() - self._began

    async def _once(self, path: str, body: dict[str, Any], seconds: float) -> Response:
        """One try. The time limit is on the whole of it: a client's own is on each read, and a trickle passes it."""
        try:
            async with asyncio.timeout(seconds):
                answer = await self._client.post(path, cast_to=httpx2.Response, body=body)
            return Response.model_validate_json(answer.content)
        except (TimeoutError, openai.APITimeoutError) as error:
            raise Fault(f"no answer in {seconds:.0f} seconds", overload=True, silent=True) from error
        except openai.APIStatusError as error:
            raise self._read(path, error) from error
        except openai.APIConnectionError as error:
            raise Fault(f"no connection, or a broken one ({line(error.__cause__ or error)})") from error
        except ValidationError as error:
            raise Fault(f"an answer that is none ({line(error.errors()[0]['msg'])})") from error

    def _read(self, path: str, error: openai.APIStatusError) -> Exception:
        verdict = judged(self.endpoint, error, chat=path == CHAT and self.base is not False)
        if isinstance(verdict, NoChat):
            self.base = True
        elif isinstance(verdict, Fault):
            verdict.retry_after = min(verdict.retry_after, self.patience.longest_retry_after)
        return verdict


class Background:
    """An event loop in a thread of its own."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="endpoint", daemon=True)
        self._thread.start()

    def start(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Run it there."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def close(self, wire: Wire) -> None:
        """Cancel what still runs, hang up and end the thread."""
        self.start(self._end(wire)).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _end(self, wire: Wire) -> None:
        running = asyncio.all_tasks() - {asyncio.current_task()}
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        await wire.close()
        await asyncio.get_running_loop().shutdown_asyncgens()
