"""The engine `openai`: bulk sampling at an OpenAI-compatible endpoint, many prompts or samples a request."""

from __future__ import annotations

import asyncio
import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from queue import SimpleQueue
from typing import Any

from agents.engines import Completion, Request, SamplingJob
from agents.engines.background import Background
from agents.engines.faults import Endpoint, NoChat, Refused
from agents.engines.pace import PATIENCE, Patience
from agents.engines.responses import Response, Usage, most_tokens, shared
from agents.engines.wire import CHAT, COMPLETIONS, Wire
from agents.purse import Purse, PurseEmpty
from agents.student import student_prompt

ROWS = 32
"""Of one request at most: enough that HTTP costs nothing, few enough that rows are written soon."""
COPIES = 16
"""Samples of one prompt in one request, at most."""
SHORT = 3
"""Answers in a row that have fewer choices than asked, after which that many are not asked any more."""

Parcel = tuple[tuple[Request, ...], ...]
"""What is sent in one request: for each prompt its samples, of each prompt as many."""


class OpenAIEngine:
    """A model at an endpoint, chat or base. Finds out by the first request which of both it is."""

    def __init__(self, patience: Patience = PATIENCE) -> None:
        self.engine_seconds = 0.0
        self.parameters = 0
        """An endpoint does not tell."""
        self.stopped = ""
        """usd when the last job ended early because its dollars were spent, else ""."""
        self._patience = patience

    def complete(self, job: SamplingJob) -> Iterator[list[Completion]]:
        """See Engine. A prompt too long for the model gives a row with the finish `error`.

        Ends early, with `stopped` set, when the dollars are spent: what is in flight then is still waited for.

        Raises: Unreachable, EngineError.
        """
        self.stopped = ""
        owed = list({request.key: request for request in job.requests if request.key not in job.done}.values())
        if not owed:
            return
        wire = Wire(Endpoint(job.model, job.endpoint, job.api_key_env), Purse(job.usd, job.prices), self._patience)
        landed: SimpleQueue[list[Completion] | None] = SimpleQueue()
        sampling, background, before = _Sampling(job, wire, landed.put), Background(), self.engine_seconds
        try:
            ended = background.start(sampling.run(owed))
            ended.add_done_callback(lambda _: landed.put(None))
            while rows := landed.get():
                self.engine_seconds = before + wire.seconds
                yield rows
            self.stopped = ended.result()
        finally:
            self.engine_seconds = before + wire.seconds
            background.close(wire)


class _Sampling:
    """One job: what is still to be sent, and what the server has turned out to allow."""

    def __init__(self, job: SamplingJob, wire: Wire, land: Callable[[list[Completion]], None]) -> None:
        self._job, self._wire, self._land = job, wire, land
        self._queue: deque[Parcel] = deque()
        self._copies = job.temperature > 0
        """Whether several samples of a prompt may be asked in one request; greedily they would be the same."""
        self._lists = True
        self._short = 0
        self._stopped = ""

    async def run(self, owed: list[Request]) -> str:
        """Send and land all that is owed. Returns why it ended early, or ""."""
        self._queue.extend(self._packed(owed))
        sending: set[asyncio.Task[None]] = set()
        try:
            while self._queue or sending:
                while self._queue and len(sending) < self._room():
                    sending.add(asyncio.create_task(self._deliver(self._queue.popleft())))
                done, sending = await asyncio.wait(sending, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
                if self._stopped:
                    self._queue.clear()
        finally:
            for task in sending:
                task.cancel()
            await asyncio.gather(*sending, return_exceptions=True)
        return self._stopped

    def _room(self) -> int:
        """For so many requests: those that can be sent soon, since how they are put may have to change till then."""
        size = 1 if self._wire.base is None else int(self._wire.window.size)
        return min(size + self._wire.asleep, 2 * self._wire.patience.most_in_flight)

    async def _deliver(self, parcel: Parcel) -> None:
        body = self._body(parcel)
        if (len(parcel) > 1 and not self._in_lists()) or (len(parcel[0]) > 1 and not self._copies):
            return self._send_again(parcel)
        if self._too_dear(body) and (parts := _parts(parcel)):
            return self._queue.extendleft(parts)
        try:
            path = COMPLETIONS if self._wire.base else CHAT
            response = await self._wire.send(path, body, needed="temperature")
        except PurseEmpty:
            self._stopped = "usd"
        except NoChat:
            waiting = [request for waits in (parcel, *self._queue) for request in _flat(waits)]
            self._queue = deque(self._packed(waiting))
        except Refused as refused:
            self._put_otherwise(parcel, refused)
        else:
            self._deal_out(parcel, response)
        return None

    def _body(self, parcel: Parcel) -> dict[str, Any]:
        prompts, copies = [group[0].prompt for group in parcel], len(parcel[0])
        body: dict[str, Any] = {
            "model": self._job.model,
            "max_tokens": self._job.max_new_tokens,
            "temperature": self._job.temperature,
        }
        if self._wire.base:
            texts = [student_prompt(None, prompt) for prompt in prompts]
            body["prompt"] = texts if len(texts) > 1 else texts[0]
        else:
            body["messages"] = [{"role": "user", "content": prompts[0]}]
        if self._job.temperature > 0:
            keys = " ".join(request.key for request in _flat(parcel))
            body["seed"] = int(hashlib.sha256(f"{self._job.seed} {keys}".encode()).hexdigest()[:8], 16) % 2**31
        return body | ({"n": copies} if copies > 1 else {})

    def _deal_out(self, parcel: Parcel, response: Response) -> None:
        """Rows of the choices that came; what did not come is sent again."""
        asked = _flat(parcel)
        chosen = {
            place if choice.index is None or len(asked) == 1 else choice.index: choice
            for place, choice in enumerate(response.choices)
        }
        came = [(asked[place], chosen[place]) for place in sorted(chosen) if place < len(asked)]
        usage = response.usage or Usage(prompt_tokens=0)
        if came:
            prompts = [len(request.prompt.encode()) + 1 for request, _ in came]
            written = [len((choice.said + choice.thoughts).encode()) + 1 for _, choice in came]
            tokens = shared(usage.prompt_tokens, prompts), shared(usage.completion_tokens, written)
            counts = zip(*tokens, shared(usage.cached_tokens, prompts), strict=True)
            self._land(
                [
                    Completion(request.key, choice.said, choice.finish, *count)
                    for (request, choice), count in zip(came, counts, strict=True)
                ]
            )
        if missing := [request for place, request in enumerate(asked) if place not in chosen]:
            self._short += 1
            if self._short >= SHORT:
                self._forgo(parcel)
            self._queue.extendleft(self._packed(missing))
        elif len(asked) > 1:
            self._short = 0

    def _put_otherwise(self, parcel: Parcel, refused: Refused) -> None:
        """A request that was refused: without the one prompt that it was refused for, or in smaller ones."""
        if refused.one_prompt:
            if parts := _parts(parcel):
                self._queue.extendleft(parts)
            else:
                self._land([Completion(request.key, "", "error", 0, 0) for request in _flat(parcel)])
        elif self._forgo(parcel):
            self._send_again(parcel)
        else:
            raise self._wire.refusal(refused)

    def _forgo(self, parcel: Parcel) -> bool:
        """Ask no more for what this request asked: n first, then lists. Returns whether it asked for either."""
        copies, lists = len(parcel[0]) > 1, len(parcel) > 1
        if copies:
            self._copies = False
        elif lists:
            self._lists = False
        self._short = 0
        return copies or lists

    def _send_again(self, parcel: Parcel) -> None:
        self._queue.extendleft(self._packed(_flat(parcel)))

    def _too_dear(self, body: dict[str, Any]) -> bool:
        """Whether it may cost more than a quarter of what is left: then half of it is sent, that the cap may hold."""
        usd, purse = self._job.usd, self._wire.purse
        return usd is not None and purse.prices.cost(*most_tokens(body)) > (usd - purse.spent) / 4

    def _in_lists(self) -> bool:
        return self._lists and bool(self._wire.base)

    def _packed(self, owed: Iterable[Request]) -> Iterator[Parcel]:
        """Requests put together into as few as the server allows.

        No two groups of a parcel have the same prompt: with one seed they would get the same answers.
        """
        copies = COPIES if self._copies else 1
        by_prompt: dict[str, list[Request]] = {}
        for request in owed:
            by_prompt.setdefault(request.prompt, []).append(request)
        start = 0
        while groups := [tuple(rows[start : start + copies]) for rows in by_prompt.values() if len(rows) > start]:
            for size in sorted({len(group) for group in groups}, reverse=True):
                alike = [group for group in groups if len(group) == size]
                width = max(1, ROWS // size) if self._in_lists() else 1
                yield from (tuple(alike[i : i + width]) for i in range(0, len(alike), width))
            start += copies


def _flat(parcel: Parcel) -> list[Request]:
    """In the order in which servers number their choices: all of the first prompt, then all of the second."""
    return [request for group in parcel for request in group]


def _parts(parcel: Parcel) -> list[Parcel]:
    """A parcel in two; none where it is one prompt's one sample."""
    if (half := len(parcel) // 2) > 0:
        return [parcel[:half], parcel[half:]]
    (group,) = parcel
    return [(group[: (half := len(group) // 2)],), (group[half:],)] if len(group) > 1 else []
