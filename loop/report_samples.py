"""The report's part on what the samples were worth: per round and sampler, the set-up, the routers, collapse."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from loop.rounds import AtK, Round, SamplingQuality
from loop.vitals import compared


class Worth(NamedTuple):
    """What one sampler's samples of a round were worth."""

    round: int
    quality: SamplingQuality
    first: AtK
    """Among one sample a problem."""
    last: AtK
    """Among the usual number."""


def sample_parts(rounds: Sequence[Round], events: Sequence[tuple[str, str, str]], ended: str) -> dict[str, Any]:
    """The page's variables `worth`, `set_ups`, `routed`, `watched` and `signs`.

    Args: events: (time, kind, text), oldest first.
    """
    told = [text for _, kind, text in events if kind == "collapse"]
    signs = [*told, *([ended.partition(": ")[2]] if ended.startswith("collapse: ") else [])]
    return {
        "worth": [Worth(r.round, q, q.at[0], q.at[-1]) for r in rounds for q in r.quality],
        "set_ups": _set_ups(rounds),
        "routed": list(dict.fromkeys(text for _, kind, text in events if kind == "router")),
        "watched": _watched(rounds),
        "signs": list(dict.fromkeys(signs)),
    }


def _set_ups(rounds: Sequence[Round]) -> list[tuple[str, list[int]]]:
    """Each set-up with its rounds; one alone is that of the run."""
    found: dict[str, list[int]] = {}
    for closed in rounds:
        if closed.set_up:
            found.setdefault(closed.set_up, []).append(closed.round)
    return list(found.items())


def _watched(rounds: Sequence[Round]) -> list[str]:
    """What could be compared between any two rounds, in words."""
    last = [pair[1] for i, now in enumerate(rounds) for then in rounds[:i] if (pair := compared(then, now))]
    found = {
        "label accuracy": any(vitals.labels for vitals in last),
        "diversity": any(vitals.diversity for vitals in last),
        "pass@1 and pass@k": any(vitals.pass_k for vitals in last),
    }
    return [words for words, is_measured in found.items() if is_measured]
