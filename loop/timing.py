"""Where the time went: inside the engines' own calls, and around them."""

from __future__ import annotations

from pathlib import Path

from rich.table import Table

from loop.budget import BESIDE
from loop.ledger import Ledger
from loop.status import plain_table


def time_rows(run: Path) -> list[tuple[str, float, float, int]]:
    """(stage, seconds, of these inside engines, peak bytes), summed over rooms; first the whole run."""
    ledger = Ledger.read(run / "run.db")
    by_stage: dict[str, tuple[float, float, int]] = {}
    for room, stage, spent, engine, peak in ledger.spendings():
        if room.startswith(BESIDE):
            continue
        seconds, inside, most = by_stage.get(stage, (0.0, 0.0, 0))
        taken = max(spent.seconds, engine)  # a launch that was killed has told its engines' seconds alone
        by_stage[stage] = (seconds + taken, inside + engine, max(most, peak))
    wall = sum(launch[2] for launch in ledger.launches())
    staged, inside = (sum(row[i] for row in by_stage.values()) for i in (0, 1))
    rows = [(stage, *row) for stage, row in by_stage.items()]
    rows.append(("around the stages", max(0.0, wall - staged), 0.0, 0))
    return [("the whole run", wall, inside, max((row[2] for row in by_stage.values()), default=0)), *rows]


def time_table(run: Path) -> Table:
    """The rows for people."""
    table = plain_table("where the time went")
    for name in ("stage", "seconds", "in engines", "around them", "share around", "peak memory"):
        table.add_column(name, justify="left" if name == "stage" else "right")
    rows = time_rows(run)
    wall = rows[0][1] or 1.0
    for stage, seconds, inside, peak in rows:
        around, memory = seconds - inside, f"{peak / 2**30:.2f} GiB" if peak else ""
        table.add_row(stage, f"{seconds:,.1f}", f"{inside:,.1f}", f"{around:,.1f}", f"{around / wall:.1%}", memory)
    return table
