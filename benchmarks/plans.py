"""The rules plan against the uniform plan: dev score by tokens spent, at the same budget.

    python -m benchmarks.plans [--seeds 0 1 2] [--families even skewed] [--out FOLDER] [--at-once 2]

Each run is `loop run` on an objective of its own, without a control; both plans start from the very same student of
round 0. The uniform plan plays a fixed number of rounds; the rules plan gets the tokens that it spent. Runs that are
finished in FOLDER are not run again, so the command can be stopped and goes on.
"""

import argparse
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.families import FAMILIES, write_objective

ROUNDS = 6
"""Rounds of the uniform plan."""
ORDER = ("uniform", "rules")


@dataclass(frozen=True)
class Point:
    """Where a run stood after a round: tokens of all kinds since round 0, and the best dev score so far."""

    tokens: int
    score: float
    low: float
    high: float
    status: str


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    options.add_argument("--families", nargs="+", default=sorted(FAMILIES), choices=sorted(FAMILIES))
    options.add_argument("--out", type=Path, default=Path("runs/benchmark-plans"))
    options.add_argument("--at-once", type=int, default=os.cpu_count() or 1)
    chosen = options.parse_args()
    pairs = [(family, seed) for family in chosen.families for seed in chosen.seeds]
    with ThreadPoolExecutor(chosen.at_once) as pool:
        curves = dict(zip(pairs, pool.map(lambda pair: play(*pair, chosen.out), pairs), strict=True))
    show(curves)


def play(family: str, seed: int, out: Path) -> dict[str, list[Point]]:
    """The curves of both plans for one family and seed."""
    uniform = curve(family, seed, "uniform", {"rounds": ROUNDS}, out)
    spent = uniform[-1].tokens + uniform[0].tokens
    rules = curve(family, seed, "rules", {"rounds": 4 * ROUNDS, "tokens": spent}, out)
    return {"uniform": uniform, "rules": rules}


def curve(family: str, seed: int, plan: str, budget: dict[str, int], out: Path) -> list[Point]:
    """Run one objective to its end, unless that was done before; a point a round, round 0 first."""
    folder = out / f"{family}-{seed}"
    objective = write_objective(folder / plan, family, seed, plan, budget)
    run = folder / f"run-{plan}"
    threads = {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "loop.cli", "run", str(objective), "--run", str(run)]
    with (folder / f"{plan}.log").open("a", encoding="utf-8") as log:
        subprocess.run(command, check=True, stdout=log, stderr=log, env=os.environ | threads)
    text = subprocess.run(
        [sys.executable, "-m", "loop.cli", "status", str(run), "--json"], check=True, capture_output=True, text=True
    ).stdout
    return points(json.loads(text))


def points(status: dict) -> list[Point]:
    """The best dev score so far by tokens spent; round 0's own tokens stand in the first point only."""
    found: list[Point] = []
    tokens = 0
    for row in status["rounds"]:
        cost = row["spent"]["tokens_sampled"] + row["spent"]["tokens_trained"]
        tokens = cost if row["round"] == 0 else tokens + cost if row["round"] > 1 else cost
        dev = row["dev"] if row["kept"] else None
        best = dev or {"score": found[-1].score, "low": found[-1].low, "high": found[-1].high}
        found.append(Point(tokens, best["score"], best["low"], best["high"], row["status"]))
    return found


def tokens_to_reach(score: float, found: list[Point]) -> float | None:
    """Tokens after round 0 at which a curve first stands at `score`: a score counts once its round is closed."""
    return next((float(p.tokens) for p in found[1:] if p.score >= score), None)


def show(curves: dict[tuple[str, int], dict[str, list[Point]]]) -> None:
    console = Console()
    table = Table(title="dev score by tokens spent after round 0 (millions)")
    for name in ("family", "seed", "plan", "round", "tokens", "dev", "95 %", "status"):
        table.add_column(name, justify="left" if name in ("family", "plan", "status") else "right")
    for (family, seed), plans in curves.items():
        for plan, found in plans.items():
            for number, p in enumerate(found):
                tokens = f"{p.tokens / 1e6:.2f}" if number else "0"
                interval = f"{p.low:.2f}-{p.high:.2f}"
                table.add_row(family, str(seed), plan, str(number), tokens, f"{p.score:.3f}", interval, p.status)
    console.print(table)
    console.print(summary(curves))


def summary(curves: dict[tuple[str, int], dict[str, list[Point]]]) -> Table:
    table = Table(title="what it comes to")
    for name in ("family", "seed", "round 0", "uniform", "rules", "rules' tokens for uniform's score"):
        table.add_column(name, justify="left" if name == "family" else "right")
    spent: dict[str, list[tuple[float | None, float]]] = {}
    for (family, seed), plans in curves.items():
        uniform, rules = plans["uniform"], plans["rules"]
        needed = tokens_to_reach(uniform[-1].score, rules)
        reached = tokens_to_reach(uniform[-1].score, uniform) or uniform[-1].tokens
        spent.setdefault(family, []).append((needed, reached))
        share = f"{needed / reached:.0%}" if needed else "not reached"
        scores = (f"{uniform[0].score:.3f}", f"{uniform[-1].score:.3f}", f"{rules[-1].score:.3f}")
        table.add_row(family, str(seed), *scores, share)
    for family, pairs in spent.items():
        needs = [needed for needed, _ in pairs if needed]
        share = f"{sum(needs) / sum(reached for _, reached in pairs):.0%}" if len(needs) == len(pairs) else ""
        finals = [[plans[name][-1].score for (f, _), plans in curves.items() if f == family] for name in ORDER]
        table.add_row(family, "all", "", *(f"{sum(scores) / len(scores):.3f}" for scores in finals), share)
    return table


if __name__ == "__main__":
    main()
