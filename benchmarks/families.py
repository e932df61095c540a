"""Task families for benchmarks: an objective with demonstrations of its own, by family and seed."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from examples.chain_sum.make_demonstrations import demonstrations


@dataclass(frozen=True)
class Family:
    """What is practised, and how many demonstrations there are of each length of one-digit chains."""

    lengths: Mapping[int, int]
    out_of_reach: tuple[int, int] | None = None
    """Lengths of two-digit chains that are practised too, although no demonstration shows one."""


FAMILIES: Mapping[str, Family] = {
    # Every cell has something to learn from the start on: the default objective.
    "even": Family(dict.fromkeys(range(2, 9), 45)),
    # Three cells that the demonstrations teach outright, four that they touch, four out of reach.
    "skewed": Family({2: 100, 3: 900, 4: 900, 5: 200, 6: 120, 7: 120, 8: 120}, out_of_reach=(3, 6)),
}


def write_objective(folder: Path, family: str, seed: int, plan: str, budget: Mapping[str, int]) -> Path:
    """Write OBJECTIVE.md and its demonstrations; the path of the former."""
    chosen = FAMILIES[family]
    folder.mkdir(parents=True, exist_ok=True)
    rows = demonstrations(chosen.lengths, seed)
    (folder / "demonstrations.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    practice = [chains("chain_sum", 1, (min(chosen.lengths), max(chosen.lengths)))]
    if chosen.out_of_reach:
        practice.append(chains("two_digit_sum", 2, chosen.out_of_reach))
    front = {
        "student": "scratch/tiny",
        "demonstrations": "demonstrations.jsonl",
        "tasks": {
            "practice": practice,
            "dev": {"from": "practice", "size": 1000},
            "test": {"from": "practice", "size": 100},
        },
        "budget": dict(budget),
        "control": False,
        "cast": {"orchestrator": plan},
        "seed": seed,
    }
    path = folder / "OBJECTIVE.md"
    prose = f"# {family} {seed} {plan}\n\nAdd and subtract chains of one-digit numbers, showing each running total.\n"
    path.write_text(f"---\n{yaml.safe_dump(front, sort_keys=False)}---\n{prose}", encoding="utf-8")
    return path


def chains(skill: str, digits: int, lengths: tuple[int, int]) -> dict[str, object]:
    """A source of chain sums, one level a length; each level weighs the same."""
    return {
        "source": "reasoning_gym/chain_sum",
        "skill": skill,
        "config": {"min_digits": digits, "max_digits": digits},
        "sweep": {"terms": list(lengths)},
        "weight": lengths[1] - lengths[0] + 1,
    }
