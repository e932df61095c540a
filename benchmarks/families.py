"""Task families for benchmarks: an objective with demonstrations of its own, by family and seed."""

import json
import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from examples.chain_sum.make_demonstrations import demonstrations


@dataclass(frozen=True)
class Family:
    """What is practised, and how many demonstrations there are of each length of one-digit chains."""

    lengths: Mapping[int, int]
    student: str = "scratch/tiny"
    easy: tuple[int, int] | None = None
    """Numbers of so many digits, of which the sign is asked for: learnt from a few demonstrations."""
    out_of_reach: tuple[int, int] | None = None
    """Lengths of two-digit chains that are practised too, although no demonstration shows one."""


FAMILIES: Mapping[str, Family] = {
    # Every cell has something to learn from the start on: the default objective.
    "even": Family(dict.fromkeys(range(2, 9), 45)),
    # Seven cells to learn, the longer with fewer demonstrations, and as many that give nothing: four solved at the
    # start, three out of reach; twice the samples. With fewer demonstrations some seeds learn them by heart alone.
    "skewed": Family(
        {3: 100, 4: 90, 5: 70, 6: 50, 7: 35, 8: 25, 9: 20}, "scratch/tiny_wide", easy=(3, 6), out_of_reach=(3, 5)
    ),
}
EASY_DEMONSTRATIONS = 10
"""Of each number of digits."""
EASY_PROBLEMS = 1500
EASY_PROMPT = "Is {number} below zero?"


def write_objective(folder: Path, family: str, seed: int, plan: str, budget: Mapping[str, int]) -> Path:
    """Write OBJECTIVE.md, its demonstrations and its problems; the path of the first."""
    chosen = FAMILIES[family]
    folder.mkdir(parents=True, exist_ok=True)
    rows = demonstrations(chosen.lengths, seed)
    practice = [chains("chain_sum", 1, (min(chosen.lengths), max(chosen.lengths)))]
    if chosen.out_of_reach:
        practice.append(chains("two_digit_sum", 2, chosen.out_of_reach))
    if chosen.easy:
        shown, asked = signs(chosen.easy, seed)
        rows += shown
        write_rows(folder / "signs.jsonl", asked)
        practice.append({"source": "signs.jsonl", "verifier": "exact", "weight": chosen.easy[1] - chosen.easy[0] + 1})
    random.Random(seed).shuffle(rows)
    write_rows(folder / "demonstrations.jsonl", rows)
    front = {
        "student": chosen.student,
        "demonstrations": "demonstrations.jsonl",
        "tasks": {
            "practice": practice,
            "dev": {"from": "practice", "size": 1500},
            "test": {"from": "practice", "size": 100},
        },
        "budget": dict(budget),
        "control": False,
        "cast": {"orchestrator": plan},
        "seed": seed,
    }
    path = folder / "OBJECTIVE.md"
    prose = f"# {family} {seed} {plan}\n\nAdd and subtract chains of numbers, showing each running total.\n"
    path.write_text(f"---\n{yaml.safe_dump(front, sort_keys=False)}---\n{prose}", encoding="utf-8")
    return path


def chains(skill: str, digits: int, lengths: tuple[int, int]) -> dict[str, object]:
    """A source of chain sums, one level a length; each level weighs the same."""
    return {
        "source": "reasoning_gym/chain_sum",
        "skill": skill,
        "config": {"min_digits": digits, "max_digits": digits},
        "sweep": {"terms": list(lengths)},
        "verifier": ["scorer", "equations"],
        "weight": lengths[1] - lengths[0] + 1,
    }


def signs(digits: tuple[int, int], seed: int) -> tuple[list[dict[str, object]], list[dict[str, object]]]:
    """Demonstrations and problems that ask for a number's sign, so many of each number of digits."""
    chance = random.Random(seed)
    shown: list[dict[str, object]] = []
    asked: list[dict[str, object]] = []
    for length in range(digits[0], digits[1] + 1):
        least, most = 10 ** (length - 1), 10**length
        numbers = chance.sample(
            [*range(least, most), *range(1 - most, 1 - least)], EASY_DEMONSTRATIONS + EASY_PROBLEMS
        )
        for place, number in enumerate(numbers):
            row = {"prompt": EASY_PROMPT.format(number=number), "skill": "sign", "level": length}
            answer = "yes" if number < 0 else "no"
            if place < EASY_DEMONSTRATIONS:
                shown.append(row | {"response": f"#### {answer}"})
            else:
                asked.append(row | {"answer": answer})
    return shown, asked


def write_rows(path: Path, rows: list[dict[str, object]]) -> None:
    """Write JSON lines."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
