"""Seats: the models of the cast as they run here, and what they are asked to draw."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from agents.purse import FREE, Prices
from loop.records import Problem, Record, Sample, Spent

MOST_TOKENS = 4096
"""Of an answer, a model's thoughts included, where nothing is known of it."""


class Seat(Record):
    """A model of the cast: which one it is, how it is run and what it costs."""

    name: str
    """As the objective has it; "student" for the student as it is."""
    engine: str
    model: str
    """A model folder or id."""
    parameters: int = 0
    """0 where they are not known: then its FLOPs aren't either."""
    max_new_tokens: int = MOST_TOKENS
    endpoint: str = ""
    api_key_env: str = ""
    prices: Prices = FREE
    opening: str = ""
    """How a user's turn begins for it, "" where that is not known; see loop/openings.py."""

    def cost(self, samples: Iterable[Sample]) -> Spent:
        """What drawing these samples took."""
        rows = [(s.prompt_tokens, s.completion_tokens) for s in samples]
        read, written = sum(row[0] for row in rows), sum(row[1] for row in rows)
        return Spent(
            tokens_sampled=read + written,
            flops=2.0 * self.parameters * (read + written),
            usd=self.prices.cost(read, written),
        )


@dataclass(frozen=True)
class Draw:
    """Problems to be put to one model: one completion for each key."""

    sampler: Seat
    problems: dict[str, Problem]
    prompts: Mapping[str, str] = field(default_factory=dict)
    """What the model is told, by key, where that is more than the problem."""
    template: str = ""
    """Digest of the template that wrote these prompts."""
    temperature: float = 0.0
    strategy: str = ""
    place: int = 0
    """Of the strategy in the plan."""
    hinted: bool = False
    """Whether the prompts tell the answers."""


def cost_of(samples: Sequence[Sample], samplers: Mapping[str, Seat]) -> Spent:
    """What the samples cost, by who drew each."""
    drawn: dict[str, list[Sample]] = {}
    for sample in samples:
        if not sample.written:  # who writes talks: that cost stands with the talks
            drawn.setdefault(samplers[sample.id].name, []).append(sample)
    by_name = {sampler.name: sampler for sampler in samplers.values()}
    return sum((by_name[name].cost(rows) for name, rows in drawn.items()), Spent())
