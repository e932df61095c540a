"""What lm-evaluation-harness said, as people see it."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from loop.lm_eval_score import HarnessScore
from loop.status import plain_table


def as_table(scores: Sequence[HarnessScore]) -> Table:
    """A row a metric; the exams' rows say what we make of the same problems."""
    notes = [
        f"{score.task}, round {score.round}: ours {score.ours.score:.3f}, lm-eval's {score.theirs.score:.3f},"
        f" {'within' if score.agrees else 'NOT within'} one standard error;"
        f" {len(score.differing)} of {score.ours.n} problems differ"
        for score in scores
        if score.ours and score.theirs
    ]
    table = plain_table(f"lm-eval {scores[0].version}" if scores else "lm-eval", *notes)
    for name in ("round", "task", "metric", "answer by", "score", "error", "n"):
        table.add_column(name, justify="left" if name in ("task", "metric", "answer by") else "right")
    for score in scores:
        for m in score.measures:
            error = "" if m.error is None else f"{m.error:.3f}"
            count = f"{m.n:,}" if m.n else ""
            table.add_row(str(score.round), m.task, m.metric, m.filter, f"{m.score:.3f}", error, count)
    return table
