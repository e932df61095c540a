"""Steady: a stage that raises is tried once more before it has failed for good, unless that is in vain."""

from __future__ import annotations

import traceback
from collections.abc import Callable

from loop.budget import BudgetSpent
from loop.errors import LoopError, StageError
from loop.run import Run


def steadily(run: Run, title: str, work: Callable[[], object]) -> None:
    """Do the work; a stage that raises is tried once more, unless it says that this is in vain.

    Raises: StageError when it raised for good. What is no stage's failing (LoopError, BudgetSpent) passes at once.
    """
    for attempt in (1, 2):
        try:
            work()
        except (LoopError, BudgetSpent) as error:
            if not isinstance(error, StageError):
                raise
            problem, again = str(error), error.again and attempt == 1
        except Exception as error:
            problem, again = f"{type(error).__name__}: {error}", attempt == 1
            _log_traceback(run)
        else:
            return
        run.ledger.event("failure", f"{title}, attempt {attempt}: {problem}")
        run.screen.note(f"{title} failed: {problem}{'; trying once more' if again else ''}")
        if not again:
            break
    raise StageError(f"{title}: {problem}")


def _log_traceback(run: Run) -> None:
    log = run.folder / "logs" / "failures.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a", encoding="utf-8") as file:
        traceback.print_exc(file=file)
