"""Write demonstrations.jsonl: worked chain sums, the same number of each length.

    python examples/chain_sum/make_demonstrations.py

Each shows the running total after every term, one equation a line, and the answer after ####. A person could have
written them in a day or two; a program is quicker and makes no slips.
"""

import json
import random
from collections.abc import Mapping
from pathlib import Path

LENGTHS = dict.fromkeys(range(2, 9), 45)
"""How many demonstrations of each length."""
PROMPT = "State the final answer to the following arithmetic problem: {chain} ="


def demonstrations(lengths: Mapping[int, int], seed: int) -> list[dict[str, object]]:
    """Chains of one-digit numbers with their working, so many of each length, none twice."""
    chance = random.Random(seed)
    chains: dict[str, list[int]] = {}
    for length, count in lengths.items():
        for _ in range(count):
            numbers = [chance.randint(1, 9)] + [
                chance.choice((1, -1)) * chance.randint(1, 9) for _ in range(length - 1)
            ]
            chains[spell(numbers)] = numbers
    rows: list[dict[str, object]] = [
        {
            "prompt": PROMPT.format(chain=chain),
            "response": work_out(numbers),
            "skill": "chain_sum",
            "level": len(numbers),
        }
        for chain, numbers in chains.items()
    ]
    chance.shuffle(rows)
    return rows


def spell(numbers: list[int]) -> str:
    """The chain as the problem has it: "8 - 9 + 6"."""
    return " ".join([str(numbers[0]), *(f"{'+-'[n < 0]} {abs(n)}" for n in numbers[1:])])


def work_out(numbers: list[int]) -> str:
    """The running totals, one equation a line, and the answer."""
    total, lines = numbers[0], []
    for number in numbers[1:]:
        lines.append(f"{total} {'+-'[number < 0]} {abs(number)} = {total + number}")
        total += number
    return "\n".join([*lines, f"#### {total}"])


def main() -> None:
    rows = demonstrations(LENGTHS, seed=0)
    path = Path(__file__).with_name("demonstrations.jsonl")
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    print(f"{path}: {len(rows)} demonstrations")


if __name__ == "__main__":
    main()
