"""How often a round with no true gain is kept, and how often one with a gain: rules of deciding, simulated.

    python -m benchmarks.decisions [--runs 2000] [--dev 300 1000] [--seed 0]

A problem's chance of being solved is drawn from a Beta distribution: two students of one ability then agree as the
default run's do (16 % of dev apart at a score of 0.3). A round's student has the best one's true ability and a gain.
It sits dev once, against what the best did when it sat dev: a best that was lucky there stays so, and one that was
unlucky is challenged again and again. Nothing is trained; the two tables take a minute.
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from rich.console import Console
from rich.table import Table

from loop.decide import ALPHA, level_after, optimism
from loop.records import Verdict

Kept = tuple[bool, ...]
"""What the earlier rounds of a run came to."""
Rule = Callable[[Kept], float]
"""The level of the next round."""

SETTINGS: dict[str, tuple[int, ...]] = {
    "none": (0,) * 8,
    "none, 20 rounds": (0,) * 20,
    "2 each": (2,) * 8,
    "4 each": (4,) * 8,
    "6 each": (6,) * 8,
    "5 or 0": (5, 0) * 4,
    "0 first": (0, 0, 0, 5, 0, 0, 5, 5),
    "0 later": (6, 6, 6, 0, 0, 0, 0, 4),
    "worse or 10": (-2, 10, -2, 0) * 2,
}
"""True gains of a run's rounds over the best, in points."""


def spending(kept: Kept) -> float:
    """Levels fixed before, 5 % in all: α/(t(t + 1))."""
    return ALPHA / ((len(kept) + 1) * (len(kept) + 2))


def fallback(kept: Kept) -> float:
    """The same, and a kept round hands its level on (Tian & Ramdas 2021, arXiv 1910.04900)."""
    handed = 0.0
    for t, was_kept in enumerate(kept):
        handed = spending(kept[:t]) + handed if was_kept else 0.0
    return spending(kept) + handed


def lord(kept: Kept) -> float:
    """LORD++ (Javanmard & Montanari 2018; Ramdas et al. 2017, arXiv 1710.00499), γ = 1/(j(j + 1)), W₀ = α/2."""
    ages = [len(kept) - t for t, was_kept in enumerate(kept) if was_kept]
    earned = [(ALPHA / 2 if i == 0 else ALPHA) / (age * (age + 1)) for i, age in enumerate(ages)]
    return min(ALPHA, spending(kept) / 2 + sum(earned))


RULES: dict[str, Rule] = {
    "0.05 each": lambda kept: ALPHA,
    "Bonferroni over 8": lambda kept: ALPHA / 8,
    "spending": spending,
    "fallback": fallback,
    "LORD++": lord,
    "investing": level_after,
}


@dataclass(frozen=True)
class Played:
    """What many runs under one rule came to; rounds × their true gains, in columns."""

    kept: np.ndarray
    """runs × rounds."""
    gains: np.ndarray
    """In points, by round."""
    reached: float
    """Mean true gain of the last best over round 0, in points."""
    optimism: float
    """Mean of its score on dev less its true one, in points."""
    corrected: float
    """The same, after what `loop.decide.optimism` takes off."""

    @property
    def false_rate(self) -> float:
        """How often a round without a gain is kept, in the round where it is most often."""
        rates = self.kept.mean(axis=0)[self.gains <= 0]
        return float(rates.max()) if len(rates) else 0.0

    @property
    def any_false(self) -> float:
        """How often a run keeps at least one round without a gain."""
        return float(self.kept[:, self.gains <= 0].any(axis=1).mean())

    @property
    def power(self) -> float:
        """How often a round with a gain is kept."""
        shown = self.kept[:, self.gains > 0]
        return float(shown.mean()) if shown.size else 0.0


def play(
    rule: Rule,
    gains: Sequence[int],
    n: int,
    runs: int,
    seed: int,
    mean: float = 0.3,
    alike: float = 0.6,
    adds_up: bool = False,
) -> Played:
    """Simulate runs whose dev has n problems.

    Args: gains: by round, in points. mean: true ability of round 0's student. alike: correlation of the outcomes of
    two students of one ability on one problem; a Beta distribution with a + b = 1/alike − 1 has it. adds_up: whether
    gains of discarded rounds are there in the next, as their rows are.
    """
    luck = np.random.default_rng(seed)
    weight = 1 / alike - 1
    chance = luck.beta(mean * weight, (1 - mean) * weight, (runs, n)).astype(np.float32)

    def sit(ability: np.ndarray) -> np.ndarray:
        failed = ((1 - ability) / (1 - mean)).astype(np.float32)[:, None]  # raises the mean to exactly `ability`
        return luck.random((runs, n), dtype=np.float32) < 1 - (1 - chance) * failed

    level_of, p_of = cache(rule), tails(n)
    ability = np.full(runs, mean)
    best = sit(ability)
    kept = np.zeros((runs, len(gains)), dtype=bool)
    excess = np.zeros(runs)
    rise = np.zeros(runs)
    for t, gain in enumerate(gains):
        rise = gain / 100 + (rise if adds_up else 0.0)
        new = sit(np.minimum(1.0, ability + rise))
        better, worse = (new & ~best).sum(axis=1), (best & ~new).sum(axis=1)
        levels = np.array([level_of(tuple(map(bool, row[:t]))) for row in kept])
        keep = p_of[better + worse, better] < levels
        for run in np.flatnonzero(keep):
            excess[run] = _optimism(int(better[run]), int(worse[run]), float(levels[run]), n)
        kept[:, t] = keep
        best = np.where(keep[:, None], new, best)
        ability = np.where(keep, np.minimum(1.0, ability + rise), ability)
        rise = np.where(keep, 0.0, rise)
    over = best.mean(axis=1) - ability
    return Played(
        kept=kept, gains=np.array(gains), reached=100 * float(ability.mean() - mean),
        optimism=100 * float(over.mean()), corrected=100 * float((over - excess).mean()),
    )  # fmt: skip


@cache
def tails(most: int) -> np.ndarray:
    """P(X >= k) of a fair coin thrown m times, at [m, k]: the exact test's p."""
    table, chances = np.zeros((most + 1, most + 2)), np.ones(1)
    for m in range(most + 1):
        table[m, : m + 1] = chances[::-1].cumsum()[::-1]
        chances = (np.append(chances, 0.0) + np.insert(chances, 0, 0.0)) / 2
    return table


@cache
def _optimism(better: int, worse: int, level: float, n: int) -> float:
    return optimism(Verdict(better=better, worse=worse, p=0.0, keep=True, level=level), n)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--runs", type=int, default=2000)
    options.add_argument("--dev", type=int, nargs="+", default=[300, 1000])
    options.add_argument("--seed", type=int, default=0)
    chosen = options.parse_args()
    console = Console()
    for n in chosen.dev:
        console.print(compare(n, chosen.runs, chosen.seed))
    console.print(powers(chosen.dev, chosen.runs, chosen.seed))


def compare(n: int, runs: int, seed: int) -> Table:
    """Every rule in every setting."""
    title = f"dev of {n}: a round without gain kept (the worst round) / a run with one / a gain kept, %"
    table = Table(title=title)
    for name in ("gains, points", *RULES):
        table.add_column(name, justify="left" if name == "gains, points" else "right")
    for name, gains in SETTINGS.items():
        table.add_row(name, *(shown(play(rule, gains, n, runs, seed)) for rule in RULES.values()))
    return table


def shown(played: Played) -> str:
    """A cell: rates in percent, "-" where there was no such round."""
    false = f"{100 * played.false_rate:.1f} / {100 * played.any_false:.1f}" if (played.gains <= 0).any() else "- / -"
    return f"{false} / {f'{100 * played.power:.0f}' if (played.gains > 0).any() else '-'}"


def powers(sizes: Sequence[int], runs: int, seed: int) -> Table:
    """The rule of the loop: how often a gain is kept, and how much the best's score on dev flatters."""
    table = Table(title="investing: eight rounds of one gain, in points; reached: true gain of the last best")
    names = (
        "dev",
        "gain",
        "kept first",
        "kept",
        "reached",
        "where gains add up",
        "0.05 each",
        "flattery",
        "corrected",
    )
    for name in names:
        table.add_column(name, justify="right")
    for n in sizes:
        for gain in (0, 2, 4, 6, 8):
            played = play(level_after, (gain,) * 8, n, runs, seed)
            rivals = [play(r, (gain,) * 8, n, runs, seed, adds_up=True) for r in (level_after, RULES["0.05 each"])]
            table.add_row(
                str(n), str(gain), f"{played.kept[:, 0].mean():.1%}", f"{played.kept.mean():.1%}",
                *(f"{p.reached:.1f} of {8 * gain}" for p in (played, *rivals)),
                f"{played.optimism:+.2f}", f"{played.corrected:+.2f}",
            )  # fmt: skip
    return table


if __name__ == "__main__":
    main()
