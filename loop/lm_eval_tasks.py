"""An exam as tasks of lm-evaluation-harness, so that it scores the very problems that we do, by means of its own."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, StrictUndefined, Template

from loop.errors import ObjectiveError
from loop.files import write_atomic
from loop.records import Problem
from loop.sources import Source

PLAIN = (",", r"\$", r"\.0*$")
"""What is left out of numbers before they are compared, as is usual for GSM8K, and zeros after the point."""


def write_tasks(
    name: str, problems: Sequence[Problem], sources: Mapping[int, Source], max_tokens: int, folder: Path
) -> list[str]:
    """Write a task file and its rows for each source of the problems; the tasks' names.

    Args: sources: by the number that the problems know them by; max_tokens: of an answer.

    Raises: ObjectiveError for a verifier that lm-eval has nothing like.
    """
    numbers = sorted({problem.source for problem in problems})
    names = [name if len(numbers) == 1 else f"{name}-{number}" for number in numbers]
    for task, number in zip(names, numbers, strict=True):
        rows = [
            {"id": problem.id, "prompt": problem.prompt, "answer": problem.answer}
            for problem in problems
            if problem.source == number
        ]
        path, source = folder / f"{task}.jsonl", sources[number]
        verifier = source.verifiers[0]
        if verifier not in ("exact", "numeric", "scorer") or not all(row["answer"] for row in rows):
            raise ObjectiveError(
                f"{source.source}: lm-eval has no check like the verifier {verifier}; it can compare exact,"
                " numeric, and a task's scorer where one answer is right"
            )
        is_number = verifier == "numeric"
        written = _template().render(
            name=task,
            rows=str(path.resolve()),
            max_tokens=max_tokens,
            pattern=answer_pattern(source.answer, is_number),
            leave_out=PLAIN if is_number else (),
        )
        write_atomic(path, "".join(json.dumps(row) + "\n" for row in rows))
        write_atomic(folder / f"{task}.yaml", written)
    return names


def answer_pattern(where: str, is_number: bool) -> str:
    r"""A regular expression whose group is the answer, as `extract_answer` finds it but for nested braces.

    Args: where: "boxed", "tags" or a marker; is_number: whether the first number there is meant.
    """
    if where == "boxed":
        return r"(?s:.*)\\boxed\{([^{}]*)\}"
    if where == "tags":
        return r"(?s:.*)<answer>((?s:.*?))</answer>"
    found = r"[^\d\n.-]*?(-?\$?[\d.,]*\d)" if is_number else r"[^\S\n]*([^\n]*)"
    start = r"(?<!\w)" if where[:1].isalnum() else ""
    return f"(?s:.*){start}{re.escape(where)}{found}"


@cache
def _template() -> Template:
    text = (files("templates") / "harness" / "problems.yaml.j2").read_text(encoding="utf-8")
    return Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=False).from_string(
        text
    )
