"""The purse: dollars that may still be spent on requests. What a request may cost at most is set aside first."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

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


@dataclass
class _Money:
    left: float | None
    spent: float = 0.0
    aside: float = 0.0
    in_flight: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


class Purse:
    """Thread-safe. All that is spent stays within `left` but for one request in flight at most.

    A request is let through when its largest cost fits beside what is spent and set aside; or alone, as long as
    anything at all is left: nobody knows beforehand what it will come to.
    """

    def __init__(self, left: float | None, prices: Prices) -> None:
        """`left` dollars; None is no limit."""
        self.prices = prices
        self._money = _Money(left)

    @property
    def spent(self) -> float:
        """Dollars, over all requests that were settled."""
        return self._money.spent

    def beside(self, prices: Prices) -> Purse:
        """A purse with the same dollars in it, for a model of other prices: what one spends the other has not."""
        other = Purse(None, prices)
        other._money = self._money
        return other

    def set_aside(self, prompt_tokens: float, completion_tokens: float) -> float | None:
        """Let a request through that may cost so much: the dollars set aside; None while it must wait for others.

        Raises: PurseEmpty when it never will be let through.
        """
        dollars = self.prices.cost(prompt_tokens, completion_tokens)
        money = self._money
        with money.lock:
            if money.left is not None and dollars:
                if money.spent >= money.left:
                    raise PurseEmpty("usd")
                if money.in_flight and money.spent + money.aside + dollars > money.left:
                    return None
            money.aside += dollars
            money.in_flight += 1
            return dollars

    def settle(self, aside: float, prompt_tokens: int, completion_tokens: int) -> float:
        """A request is done (or failed, with no tokens): its dollars."""
        dollars = self.prices.cost(prompt_tokens, completion_tokens)
        money = self._money
        with money.lock:
            money.aside -= aside
            money.in_flight -= 1
            money.spent += dollars
        return dollars
