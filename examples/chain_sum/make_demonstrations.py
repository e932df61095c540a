"""Write demonstrations.jsonl: worked chain sums, the same number of each length.

    python examples/chain_sum/make_demonstrations.py

Each shows the running total after every term, one equation a line, and the answer after ####. A person could have
written them in a few days; a program is quicker and makes no slips.
"""

import json
import random
from pathlib import Path

LENGTHS = range(2, 9)
OF_EACH = 60
PROMPT = "State the final answer to the following arithmetic problem: {chain} ="


def draw(length: int, chance: random.Random) -> list[int]:
    signs = [1] + [chance.choice((1, -1)) for _ in range(length - 1)]
    return [sign * chance.randint(1, 9) for sign in signs]


def work_out(numbers: list[int]) -> str:
    total, lines = numbers[0], []
    for number in numbers[1:]:
        lines.append(f"{total} {'+-'[number < 0]} {abs(number)} = {total + number}")
        total += number
    return "\n".join([*lines, f"#### {total}"])


def main() -> None:
    chance = random.Random(0)
    chains: dict[str, list[int]] = {}
    for length in LENGTHS:
        for _ in range(OF_EACH):
            numbers = draw(length, chance)
            chain = " ".join([str(numbers[0]), *(f"{'+-'[n < 0]} {abs(n)}" for n in numbers[1:])])
            chains[chain] = numbers
    rows = [
        {
            "prompt": PROMPT.format(chain=chain),
            "response": work_out(numbers),
            "skill": "chain_sum",
            "level": len(numbers),
        }
        for chain, numbers in chains.items()
    ]
    chance.shuffle(rows)
    path = Path(__file__).with_name("demonstrations.jsonl")
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    print(f"{path}: {len(rows)} demonstrations")


if __name__ == "__main__":
    main()
