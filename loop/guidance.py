"""Guidance: what a harness that `loop evolve` wrote tells the challenger of later runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from agents.harness import Harness
from agents.selfinstruct.fairness import check_edit
from loop.errors import ObjectiveError

if TYPE_CHECKING:
    from loop.objective import Objective


def guidance_of(objective: Objective) -> tuple[str, ...]:
    """What the objective's harness tells the challenger: `guidance` of the settings of agentic self-instruct."""
    harness = harness_of(objective)
    return harness.guidance if harness else ()


def harness_of(objective: Objective) -> Harness | None:
    """The harness of `strategies.harness`, or None.

    Raises: ObjectiveError.
    """
    name = objective.strategies.harness
    return read_harness(objective.folder / name) if name else None


def read_harness(path: Path) -> Harness:
    """A harness from its file of JSON; no line of it may speak of who solves a question.

    Raises: ObjectiveError, "<file> <what is wrong>; <mend>".
    """
    try:
        harness = Harness.model_validate_json(path.read_bytes(), strict=True)
        for line in harness.guidance:
            check_edit(line)
    except ValidationError as error:
        wrong = error.errors()[0]
        where = ".".join(map(str, wrong["loc"])) or "it"
        words = f"is no harness ({where}: {wrong['msg']}); name the harness.json of loop evolve"
        raise ObjectiveError(f"{path.name} {words}") from error
    except ValueError as error:
        raise ObjectiveError(f"{path.name} {error}") from error
    return harness
