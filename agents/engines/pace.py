"""Pace: how long an endpoint is waited for, when nothing is sent at all, and how much is sent at once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from statistics import median

START_IN_FLIGHT = 8.0
SLOWER = 3.0
"""Times the latency of the quickest window of requests at which sending more of them at once brings no more."""


@dataclass(frozen=True)
class Patience:
    """What is put up with before an endpoint counts as gone. All times in seconds."""

    tries: int = 10
    """Of one request, while others get through."""
    first_wait: float = 0.25
    """Before the second try at most; doubled from try to try."""
    longest_wait: float = 60.0
    longest_retry_after: float = 300.0
    """More than this is not waited because a server says so."""
    failures: int = 8
    """Of any requests in a row that open the breaker. No more than `tries`."""
    first_probe: float = 5.0
    """From the breaker's opening to the first probing request; the pauses between probes double."""
    longest_probe: float = 120.0
    outage: float = 1800.0
    """Without one success, after which the endpoint is given up."""
    silence: float = 600.0
    """One try's time from first to last byte, at most."""
    quick: float = 60.0
    """A try gets this much at least, however fast the endpoint has been so far."""
    most_in_flight: int = 64


PATIENCE = Patience()


class Outage(Exception):
    """The endpoint has been down for longer than patience lasts."""


class Breaker:
    """Stops all sending when `failures` tries in a row have failed; then one probe at a time, until one succeeds."""

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self._failures = 0
        self._since = self._probe_at = self._pause = 0.0
        self._probing = self.is_open = False

    async def admitted(self) -> bool:
        """Wait until a try may be sent. Returns whether it is the probe; then its end must be told.

        Raises: Outage.
        """
        while self.is_open:
            now = time.monotonic()
            if now - self._since > self._patience.outage:
                raise Outage(f"down for {now - self._since:.0f} seconds")
            if now >= self._probe_at and not self._probing:
                self._probing = True
                return True
            await asyncio.sleep(min(max(self._probe_at - now, 0.01), 0.5))
        return False

    def succeeded(self) -> None:
        """The endpoint has answered, if only to refuse."""
        self._failures, self.is_open, self._probing = 0, False, False

    def failed(self, probe: bool, retry_after: float) -> None:
        """A try failed. `retry_after` seconds the endpoint wants to be left alone."""
        now = time.monotonic()
        self._failures += 1
        if self._failures == 1:
            self._since = now
        if self.is_open and probe:
            self._probing, self._pause = False, min(2 * self._pause, self._patience.longest_probe)
        elif not self.is_open and self._failures >= self._patience.failures:
            self.is_open, self._probing, self._pause = True, False, self._patience.first_probe
        else:
            return
        self._probe_at = now + max(self._pause, retry_after)

    def abandoned(self, probe: bool) -> None:
        """A try came to no end: another may be the probe."""
        self._probing = self._probing and not probe


class Window:
    """How many requests may be in flight: more while their latency holds, fewer when the endpoint is overloaded.

    Additive increase, multiplicative decrease. A window that is refused as a whole (429, 503, time-out) is halved,
    one that is refused in part shrinks by its share, as in DCTCP (Alizadeh et al., 2010): one fault is no overload.
    """

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self.size = min(START_IN_FLIGHT, float(patience.most_in_flight))
        self._rising = True
        self._length = int(self.size)
        self._in_flight = self._landed = self._overloads = 0
        self._latencies: list[float] = []
        self._slowest = 0.0
        self._quickest = float("inf")
        self._successes = 0
        self._freed = asyncio.Condition()

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """A place among the requests in flight."""
        async with self._freed:
            await self._freed.wait_for(lambda: self._in_flight < int(self.size))
            self._in_flight += 1
        try:
            yield
        finally:
            self._in_flight -= 1
            async with self._freed:
                self._freed.notify(2)  # the window grows by one a success at most

    def allowance(self, timeouts: int) -> float:
        """Seconds that a try may take, when `timeouts` of the same request have run out already."""
        usual = 10 * self._slowest if self._successes >= 20 else self._patience.silence
        return float(min(max(usual, self._patience.quick) * 2**timeouts, self._patience.silence))

    def succeeded(self, seconds: float) -> None:
        """A try brought an answer after so many seconds."""
        self._successes += 1
        self._slowest = max(self._slowest, seconds)
        self._latencies.append(seconds)
        if self._rising:
            self.size = min(self.size + 1, self._patience.most_in_flight)
        self._count()

    def overloaded(self) -> None:
        """A try was too much for the endpoint."""
        self._overloads += 1
        self._count()

    def _count(self) -> None:
        """At the end of each window: its new size."""
        self._landed += 1
        if self._landed < self._length:
            return
        refused = self._overloads / self._landed
        latency = median(self._latencies or [float("inf")])  # one answer that trickles is no overload either
        self._quickest = min(self._quickest, latency)
        holds = latency <= SLOWER * self._quickest and refused < 0.5
        self._rising = self._rising and holds
        size = self.size * (1 - refused / 2) + (1 if holds and not self._rising else 0)
        self.size = max(1.0, min(size, self._patience.most_in_flight))
        self._length, self._landed, self._overloads, self._latencies = int(self.size), 0, 0, []
