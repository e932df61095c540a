"""A small scripted objective: sums of two and three numbers, made here, played end to end in a fraction of a second."""

from __future__ import annotations

import json
import random
from pathlib import Path

from agents.engines.scripted import work_out

OBJECTIVE = """---
student: scripted/learner
demonstrations: demos.jsonl
tasks:
  practice:
    - source: problems.jsonl
      verifier: [numeric, equations]
  dev: {{from: practice, size: {dev}}}
  test: {{from: practice, size: {test}}}
budget: {{{budget}}}
{more}---
# Sums
Add a chain of numbers, a running total a line.
"""


def write_objective(
    folder: Path, budget: str = "rounds: 3", more: str = "seed: 11\n", problems: int = 44, demos: int = 24, dev: int = 16, test: int = 6,
) -> Path:
    """Write OBJECTIVE.md and its files of rows; the path of the former."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [_chain(number) for number in range(problems + demos)]
    _write(folder / "problems.jsonl", [
        {"prompt": prompt, "answer": str(sum(numbers)), "skill": "sum", "level": len(numbers)}
        for prompt, numbers in rows[:problems]
    ])
    _write(folder / "demos.jsonl", [
        {"prompt": prompt, "response": work_out(numbers)} for prompt, numbers in rows[problems:]
    ])
    path = folder / "OBJECTIVE.md"
    path.write_text(OBJECTIVE.format(dev=dev, test=test, budget=budget, more=more), encoding="utf-8")
    return path


def _chain(number: int) -> tuple[str, list[int]]:
    """The sum of this number: no two are alike."""
    luck = random.Random(number)
    numbers = [100 + number, *(luck.choice((1, -1)) * luck.randint(1, 9) for _ in range(1 + (number % 4 == 3)))]
    words = [str(numbers[0]), *(f"{'-' if n < 0 else '+'} {abs(n)}" for n in numbers[1:])]
    return f"What is {' '.join(words)} ?", numbers


def _write(path: Path, rows: list[dict[str, object]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
