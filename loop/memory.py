"""Memory: a training that does not fit is done again with fewer rows at once, and as many in an optimizer step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from loop.crew import Work
from loop.errors import OutOfMemory
from loop.jobs import TrainJob

HALVINGS = 3


def within_memory(do: Callable[[Any], Work], job: Any, tell: Callable[[str], None]) -> Work:
    """Do a training job, each time in a process of its own: only the end of a process frees all that it held.

    The first time that memory runs out, half the rows are taken at once; from the second on activations are computed
    again in the backward pass too (gradient checkpointing), which is slower. Rows come longest first, so that most of
    what does not fit is found by the first step; later a kept step is gone on from.

    Args: tell: hears what was changed.

    Raises: OutOfMemory when it does not fit after three halvings, or with one row at once; what `do` raises.
    """
    for _ in range(HALVINGS):
        try:
            return do(job)
        except OutOfMemory:
            if (smaller := _smaller(job)) is None:
                raise
            job = smaller
            tell(f"training ran out of memory; again {_words(job)}")
    return do(job)


def _smaller(job: Any) -> Any:
    """The same with half the rows at once; None where that cannot be."""
    if not isinstance(job, TrainJob):
        train = _smaller(job.train) if hasattr(job, "train") else None
        return None if train is None else replace(job, train=train)
    rows = job.rows_at_once or job.settings.rows_per_step
    if rows == 1 and job.recompute:
        return None
    return replace(job, rows_at_once=max(1, rows // 2), recompute=bool(job.rows_at_once) or rows == 1)


def _words(job: Any) -> str:
    train = job if isinstance(job, TrainJob) else job.train
    again = " and activations computed twice" if train.recompute else ""
    return f"with {train.rows_at_once} rows of {train.settings.rows_per_step} at once{again}"
