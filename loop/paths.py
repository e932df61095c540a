"""Paths: what a solution computes, whatever its wording. Rows of one path are one row; known paths are archived."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple

from rapidfuzz.distance import Levenshtein

from loop.records import digest
from loop.tasks import folded
from loop.working import Node, Number, Side, judge, parts_of, runs_of, show


class Solution(NamedTuple):
    """A response that passed its critique, as a candidate for training."""

    id: str
    problem: str
    """What tells problems apart: an id, or the folded prompt."""
    response: str
    gold: bool = False
    """Whether a person vouches for it: it is always kept, and counts in no cap."""


def path_of(response: str) -> str:
    """The signature of a solution: its distinct equations in their order; without any, the folded text.

    White space, units, money signs, calculator marks (<<3+4=7>>7 is one equation) and the words around it make no
    difference, nor how a sign or number is written (x and *, 1.0 and 1). Each equation is evaluated again: one that
    holds to 1e-3 is known by what it computes, so that 10 / 8 = 1.25 and 10 / 8 = 1.250 are the same; a wrong one
    keeps its result. The rule is RFT's (arXiv 2308.01825; OFA-Sys/gsm8k-ScRel joins the texts between << and >>),
    read here from plain text too. What cannot be read for certain (see loop/working.py) is not seen.
    """
    return "|".join(equations_of(response)) or folded(response)


@lru_cache(maxsize=2**14)
def equations_of(response: str) -> tuple[str, ...]:
    """The distinct equations of a solution, in their order, as its path has them; none where it shows none."""
    found = (equation for part in parts_of(response) if "=" in part for equation in _equations(part))
    return tuple(dict.fromkeys(found))


def keep_paths(
    rows: Sequence[Solution], most: int, seed: int, archive: Archive | None = None
) -> dict[str, str]:  # fmt: skip
    """Why each row is not kept, by id; "" for those that are: known path, same path, over the cap.

    Of each problem at most `most` paths are kept (ReST-EM, arXiv 2312.06585: 10 of 32 samples), and of each path the
    one text that stands farthest, by the sum of edit distances, from those kept before (RFT). Gold is kept first, and
    a path that gold shows is gold's. Which paths the cap leaves is a lot drawn from `seed`, so the order of the rows
    makes no difference. Whether a working is sound was the critique's to say: nothing is refused for it here.

    Args: archive: paths of earlier rounds, by `Solution.problem`; what it holds is not kept again, but for gold.
    """
    by_problem: defaultdict[str, list[Solution]] = defaultdict(list)
    for row in rows:
        by_problem[row.problem].append(row)
    reasons: dict[str, str] = {}
    for problem, group in by_problem.items():
        gold = [row for row in group if row.gold]
        known = {path_of(row.response) for row in gold}
        ways: defaultdict[str, list[Solution]] = defaultdict(list)
        for row in group:
            if not row.gold:
                ways[path_of(row.response)].append(row)
        reasons |= {row.id: "" for row in gold}
        kept = [row.response for row in gold]
        left = most
        for path in sorted(ways, key=lambda path: digest("path", seed, problem, path)):
            if path in known:
                reason = "same path"
            elif archive is not None and archive.holds_path(problem, path):
                reason = "known path"
            else:
                reason = "" if left > 0 else "over the cap"
            reasons |= {row.id: reason or "same path" for row in ways[path]}
            if not reason:
                chosen = _farthest(ways[path], kept, seed)
                reasons[chosen.id] = ""
                kept.append(chosen.response)
                left -= 1
    return reasons


class Archive:
    """Paths of all rounds so far: novelty is what no earlier round has, by what is computed, not by wording.

    It is made anew from the rows that earlier rounds kept, so a crash cannot take it. `problem` is the problem's key
    where a new way for it is wanted, and "" throughout where the problems themselves are new (written by a model):
    then two problems that are solved by the same equations are one problem in two wordings.
    """

    def __init__(self, rows: Iterable[tuple[str, str]] = ()) -> None:
        """Args: rows: (problem, response) of each."""
        self._names: dict[str, str] = {}
        for problem, response in rows:
            self.add(problem, response)

    def holds(self, problem: str, response: str) -> bool:
        """Whether this path is known."""
        return self.holds_path(problem, path_of(response))

    def holds_path(self, problem: str, path: str) -> bool:
        """The same, for a path that is read already."""
        return _key(problem, path) in self._names

    def add(self, problem: str, response: str, name: str = "") -> bool:
        """Add a path, under a name by which to find its row; whether it is new."""
        key = _key(problem, path_of(response))
        is_new = key not in self._names
        self._names.setdefault(key, name)
        return is_new

    def name_of(self, problem: str, response: str) -> str:
        """The name under which this path was first added; "" of one that is not known."""
        return self._names.get(_key(problem, path_of(response)), "")

    def __len__(self) -> int:
        return len(self._names)


def _key(problem: str, path: str) -> str:
    return digest("path", problem, path)


def _farthest(rows: Sequence[Solution], kept: Sequence[str], seed: int) -> Solution:
    """The text with the largest sum of distances to those kept; among equals, a lot."""
    return max(
        rows,
        key=lambda row: (
            sum(Levenshtein.distance(row.response, text) for text in kept),
            digest("text", seed, row.problem, row.response),
            row.id,
        ),
    )


@lru_cache(maxsize=2**14)
def _equations(part: str) -> tuple[str, ...]:
    return tuple(
        _signature(*((left, right) if left.computes else (right, left)))
        for run in runs_of(part)
        for left, right in run.pairs
        if left.computes or right.computes
    )


def _signature(computing: Side, other: Side) -> str:
    """An equation as a text. The result of one that holds, units aside, follows from what is computed: left out."""
    left = _written(computing.tree)
    bare = [Side(side.text, side.tree, ()) for side in (computing, other)]
    follows = not other.computes and judge(*bare) == ""
    return left if follows else f"{left}={_written(other.tree)}"


def _written(node: Node) -> str:
    if isinstance(node, Number):
        return show(node.value) + "%" * node.percent
    signs = "+-" if node.kind == "sum" else "*/"
    parts = (
        signs[sign < 0] + (_written(part) if isinstance(part, Number) else f"({_written(part)})")
        for sign, part in node.parts
    )
    return "".join(parts).removeprefix(signs[0])
