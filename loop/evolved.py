"""Evolved: what an evolution has come to, as a table and lines for a person."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rich import box
from rich.table import Table

from loop.evolution import Generation, Variant

BEST = "harness.json"
"""The best harness, in the folder of the evolution."""
SHOWN = 6
"""Letters of an id that are shown."""


@dataclass(frozen=True)
class Evolved:
    """What an evolution has come to."""

    first: Variant
    best: Variant
    history: tuple[Generation, ...]
    sealed: tuple[float, float] | None
    """Scores of the first and the best on the sealed documents; None where these are one, or the budget ended it."""
    ended: str
    """The limit of the budget that ended it, or ""."""


def as_table(evolved: Evolved) -> Table:
    """A row a generation, the losers too; of the scores the parent's comes first."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("gen", justify="right")
    for title in ("parent", "child"):
        table.add_column(title, no_wrap=True)
    table.add_column("author", max_width=12)
    for title in ("scores", "accepted"):
        table.add_column(title, no_wrap=True)
    table.add_column("reason")
    for g in evolved.history:
        scores = "" if g.parent_score is None else f"{g.parent_score:.3f} {g.child_score:.3f}"
        row = (str(g.number), g.parent[:SHOWN], g.child[:SHOWN], g.author, scores, "yes" if g.accepted else "no")
        table.add_row(*row, g.reason, style="" if g.accepted else "dim")
    return table


def lines(evolved: Evolved, folder: Path) -> list[str]:
    """What is best, what the sealed documents say of it, and how it is used."""
    first, best = evolved.first, evolved.best
    accepted = sum(g.accepted for g in evolved.history)
    said = [f"{accepted} of {len(evolved.history)} children were accepted"]
    if best.id == first.id:
        said.append(f"nothing is better than the first harness, {first.score:.3f} of the held-out documents")
    else:
        said.append(
            f"best: {best.id[:SHOWN]}, {best.score:.3f} of the held-out documents, the first {first.score:.3f}"
        )
    if evolved.sealed:
        before, after = evolved.sealed
        said.append(f"on the sealed documents, which chose nothing: {after:.3f}, the first {before:.3f}")
    if evolved.ended:
        said.append(f"ended by budget.{evolved.ended}; raise it, and the same command goes on")
    path = (folder / BEST).absolute()
    said.append(f"harness: {path}; later runs use it with strategies: {{harness: {path}}}")
    return said
