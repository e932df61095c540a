"""A small scripted objective: sums of two and three numbers, played to the end in a fraction of a second."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
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
cast: {{orchestrator: {orchestrator}, sampler: {sampler}, critic: {critic}}}
{more}seed: {seed}
---
# Sums
Add a chain of numbers, a running total a line.
"""


@dataclass(frozen=True)
class Scripted:
    """How large the objective is; as it stands, a round is kept now and then, and has a few dozen samples."""

    budget: str = "rounds: 3"
    orchestrator: str = "rules"
    sampler: str = "student"
    critic: str = "verifier"
    method: str = "auto"
    seed: int = 11
    problems: int = 44
    demonstrations: int = 24
    dev: int = 16
    test: int = 6
    more: str = ""
    """Further lines of the front matter, each with its line break."""

    def write(self, folder: Path) -> Path:
        """Write OBJECTIVE.md and its files of rows; the path of the former."""
        folder.mkdir(parents=True, exist_ok=True)
        chains = [_chain(number) for number in range(self.problems + self.demonstrations)]
        problems = [
            {"prompt": prompt, "answer": str(sum(numbers)), "skill": "sum", "level": len(numbers)}
            for prompt, numbers in chains[: self.problems]
        ]
        demos = [{"prompt": prompt, "response": work_out(numbers)} for prompt, numbers in chains[self.problems :]]
        for name, rows in (("problems.jsonl", problems), ("demos.jsonl", demos)):
            (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        path = folder / "OBJECTIVE.md"
        training = "" if self.method == "auto" else f"training: {{method: {self.method}}}\n"
        told = vars(self) | {"more": training + self.more}
        path.write_text(OBJECTIVE.format(**told), encoding="utf-8")
        return path


def _chain(number: int) -> tuple[str, Sequence[int]]:
    """The sum of this number: no two are alike, and every fourth has three terms."""
    luck = random.Random(number)
    numbers = [100 + number, *(luck.choice((1, -1)) * luck.randint(1, 9) for _ in range(1 + (number % 4 == 3)))]
    words = [str(numbers[0]), *(f"{'-' if n < 0 else '+'} {abs(n)}" for n in numbers[1:])]
    return f"What is {' '.join(words)} ?", numbers
