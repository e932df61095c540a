"""Wire: requests to one OpenAI-compatible endpoint, tried again where that may help and paid from a purse."""

from __future__ import annotations

import asyncio
import random
import re
import time
from typing import Any

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

    async def send(self, path: str, body: dict[str, Any], needed: str = "", learn: bool = True) -> Response:
        """The answer to a request, paid for. `usage` is set in it.

        Args: needed: a part of it that it must not be sent without, though it be OPTIONAL. learn: whether an answer
            tells of what kind the model is; a chat model goes on with bare texts too.

        Raises: PurseEmpty; NoChat, once, from CHAT; Refused; Unreachable; EngineError.
        """
        most = most_tokens(body)
        while (aside := self.purse.set_aside(*most)) is None:
            await asyncio.sleep(0.01)
        paid = 0, 0
        try:
            response = await self._without_what_it_lacks(path, body, needed, learn)
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

    async def _without_what_it_lacks(self, path: str, body: dict[str, Any], needed: str, learn: bool) -> Response:
        lacks = self._lacks
        while True:
            kept = {name: value for name, value in body.items() if name not in lacks}
            if "max_tokens" in lacks:
                kept["max_completion_tokens"] = body["max_tokens"]
            try:
                response = await self._patiently(path, kept, learn)
            except Refused as refused:
                parts = OPTIONAL.keys() & kept.keys() - {needed}
                named = {part for part in parts if re.search(OPTIONAL[part], str(refused), re.IGNORECASE)}
                if not named or refused.one_prompt:
                    raise
                lacks |= named
            else:
                self._lacks |= lacks
                return response

    async def _patiently(self, path: str, body: dict[str, Any], learn: bool) -> Response:
        """Tried again: `tries` times while others get through, else for as long as an outage is waited for."""
        counted = timeouts = broken = 0

        async def one() -> Response:
            nonlocal counted, timeouts, broken
            try:
                return await self._in_turn(path, body, timeouts, learn)
            except Fault as fault:
                counted += not self._breaker.is_open
                timeouts += fault.silent
                broken += fault.broken
                if not (fault.broken and broken % 3 == 0 and path == CHAT and self.base is None):
                    raise
                if not await self._completes():
                    raise
            return await self._chat_once_more(body)

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

    async def _completes(self) -> bool:
        """Whether a completion gets through where chat is broken."""
        body = {"model": self.endpoint.model, "prompt": "Hello", "max_tokens": 1}
        if (aside := self.purse.set_aside(*most_tokens(body))) is None:
            return False
        paid = 0, 0
        try:
            usage = (await self._in_turn(COMPLETIONS, body, 0, learn=False)).used(body)
            paid = usage.prompt_tokens, usage.completion_tokens
        except (Fault, Refused, EngineError):
            return False
        finally:
            self.purse.settle(aside, *paid)
        return True

    async def _chat_once_more(self, body: dict[str, Any]) -> Response:
        """`transformers serve` has no other word than 500 for a model without a chat template."""
        try:
            return await self._in_turn(CHAT, body, 0)
        except Fault as fault:
            if fault.broken:
                self.base = True
                raise NoChat(str(fault)) from fault
            raise

    async def _sleep(self, seconds: float) -> None:
        self.asleep += 1
        try:
            await asyncio.sleep(seconds)
        finally:
            self.asleep -= 1

    async def _in_turn(self, path: str, body: dict[str, Any], timeouts: int, learn: bool = True) -> Response:
        """One try, when there is room for it, and what it tells of the endpoint."""
        async with self.window.slot():
            probe, alive = await self._breaker.admitted(), False
            self._began = self._began if self._calls else time.monotonic()
            self._calls += 1
            began = time.monotonic()
            try:
                response = await self._once(path, body, self.window.allowance(timeouts))
                self.window.succeeded(time.monotonic() - began)
                alive = True
                self.base = path == COMPLETIONS if learn else self.base
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
            raise Fault(f"no answer in {seconds:.0f} seconds", silent=True) from error
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
