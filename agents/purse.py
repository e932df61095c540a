"""The purse: dollars that may still be spent on requests. What a request may cost at most is set aside first."""

from __future__ import annotations

import threading
from dataclasses import dataclass

MILLION = 1e6


@dataclass(frozen=True)
class Prices:
    """Dollars a million tokens."""

    input: float = 0.0
    output: float = 0.0

    def cost(self, prompt_tokens: float, completion_tokens: float) -> float:
        """Dollars of so many tokens."""
        return (prompt_tokens * self.input + completion_tokens * self.output) / MILLION


FREE = Prices()


class PurseEmpty(Exception):
    """Nothing may be sent any more: the dollars are spent."""


class Purse:
    """Thread-safe. All that is spent stays within `left` but for one request in flight at most.

    A request is let through when its largest cost fits beside what is spent and set aside; or alone, as long as
    anything at all is left: nobody knows beforehand what it will come to.
    """

    def __init__(self, left: float | None, prices: Prices) -> None:
        """`left` dollars; None is no limit."""
        self._left, self.prices = left, prices
        self._aside: float = 0.0
        self._in_flight = 0
        self._lock = threading.Lock()
        self.spent = 0.0
        """Dollars, over all requests that were settled."""

    def set_aside(self, prompt_tokens: float, completion_tokens: float) -> float | None:
        """Let a request through that may cost so much: the dollars set aside; None while it must wait for others.

        Raises: PurseEmpty when it never will be let through.
        """
        dollars = self.prices.cost(prompt_tokens, completion_tokens)
        with self._lock:
            if self._left is not None and dollars:
                if self.spent >= self._left:
                    raise PurseEmpty("usd")
                if self._in_flight and self.spent + self._aside + dollars > self._left:
                    return None
            self._aside += dollars
            self._in_flight += 1
            return dollars

    def settle(self, aside: float, prompt_tokens: int, completion_tokens: int) -> float:
        """A request is done (or failed, with no tokens): its dollars."""
        dollars = self.prices.cost(prompt_tokens, completion_tokens)
        with self._lock:
            self._aside -= aside
            self._in_flight -= 1
            self.spent += dollars
        return dollars
