"""Task families for benchmarks: an objective with demonstrations of its own, by family and seed."""

import json
from collections.abc import Mapping
from pathlib import Path

import yaml

from examples.chain_sum.make_demonstrations import demonstrations

FAMILIES: Mapping[str, Mapping[str, object]] = {
    # Chains of two to eight terms: every cell has something to learn from the start on.
    "even": {"lengths": dict.fromkeys(range(2, 9), 45)},
    # Short chains that the demonstrations teach outright, long ones that hardly stand in them.
    "skewed": {"lengths": {2: 100, 3: 450, 4: 450, 5: 50, 6: 50, 7: 0, 8: 0, 9: 0, 10: 0}},
}


def write_objective(folder: Path, family: str, seed: int, plan: str, budget: Mapping[str, int]) -> Path:
    """Write OBJECTIVE.md and its demonstrations; the path of the former."""
    lengths: Mapping[int, int] = FAMILIES[family]["lengths"]  # type: ignore[assignment]
    folder.mkdir(parents=True, exist_ok=True)
    rows = demonstrations(lengths, seed)
    (folder / "demonstrations.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    front = {
        "student": "scratch/tiny",
        "demonstrations": "demonstrations.jsonl",
        "tasks": {
            "practice": [
                {
                    "source": "reasoning_gym/chain_sum",
                    "config": {"min_digits": 1, "max_digits": 1},
                    "sweep": {"terms": [min(lengths), max(lengths)]},
                }
            ],
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
