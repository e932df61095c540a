"""Coverage: what a sampler's samples are worth as training data, per sampler: how many problems, in how many ways."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from math import comb
from statistics import fmean, median_low

from loop.paths import path_of
from loop.records import Critique, Sample
from loop.rounds import AtK, SamplingQuality
from loop.verifiers import check_equations


def coverage_at(k: int, counts: Iterable[tuple[int, int]]) -> float:
    """Share of problems with a right sample among k: the mean of 1 − C(M − c, k) / C(M, k).

    Args: counts: (M samples, c of them right) of each problem. Without bias for the chance that k fresh samples hold
    a right one, since it is the share of all k-subsets that do (Chen et al., arXiv 2107.03374). Computed in integers
    up to the last division, so that no M is too large.

    Raises: ValueError when a problem has fewer than k samples (its value is not known), or there is none.
    """
    return _mean([_share_with(k, drawn, right) for drawn, right in counts], "coverage", k)


def diversity_at(k: int, ways: Iterable[tuple[int, Sequence[int]]]) -> float:
    """Mean number of distinct right solutions a problem among k samples.

    Args: ways: (M samples, how often each distinct right solution is among them) of each problem. A solution found m
    times is in 1 − C(M − m, k) / C(M, k) of all k-subsets; expectation being linear, the sum over the solutions has
    no bias either.

    Raises: as `coverage_at`.
    """
    return _mean([sum(_share_with(k, drawn, m) for m in of_each) for drawn, of_each in ways], "diversity", k)


def sampling_quality(rows: Iterable[tuple[Sample, Critique]]) -> list[SamplingQuality]:
    """One record a sampler, by name. Right is what passed every check; distinct is by path (see `path_of`).

    False positives are what `Critique.false_positive` says of passed samples, which comes from a check outside the
    decision, never from the answer check itself; a sample it says nothing about is not judged.
    """
    by_sampler: defaultdict[str, list[tuple[Sample, Critique]]] = defaultdict(list)
    for sample, critique in rows:
        by_sampler[sample.sampler].append((sample, critique))
    return [_quality(name, by_sampler[name]) for name in sorted(by_sampler)]


def ways_of(responses: Sequence[str]) -> Counter[str]:
    """How often each distinct solution is among them (see `path_of`); one alone is one, and need not be read."""
    return Counter(map(path_of, responses)) if len(responses) > 1 else Counter(responses)


def marked_equations_hold(response: str) -> bool | None:
    """Whether every equation between << and >> holds, to 1e-3: GSM8K's calculator marks. None where there is none."""
    insides = re.findall(r"<<([^<>]*)>>", response)
    verdict = check_equations("\n".join(insides)).verdict
    return None if verdict == "absent" else verdict == "passed"


def _quality(name: str, rows: Sequence[tuple[Sample, Critique]]) -> SamplingQuality:
    drawn = Counter(sample.problem.id for sample, _ in rows)
    right: dict[str, list[str]] = {problem: [] for problem in drawn}
    for sample, critique in rows:
        if critique.passed:
            right[sample.problem.id].append(sample.response)
    ways = {problem: ways_of(texts) for problem, texts in right.items()}
    verdicts = [critique.false_positive for _, critique in rows if critique.passed]
    judged = [verdict for verdict in verdicts if verdict is not None]
    why = Counter(critique.reason for _, critique in rows)
    usual = median_low(drawn.values())
    return SamplingQuality(
        sampler=name, problems=len(drawn), samples=len(rows), passed=len(verdicts),
        distinct=sum(map(len, ways.values())), at=tuple(_at(k, drawn, ways) for k in sizes_up_to(usual)),
        judged=len(judged), false_positives=sum(judged), cut_off=why["cut off"], empty=why["empty"],
    )  # fmt: skip


def sizes_up_to(samples: int) -> list[int]:
    """The numbers of samples that are told of: the powers of two below it, and itself."""
    return [*(2**power for power in range(samples.bit_length()) if 2**power < samples), samples]


def _at(k: int, drawn: Mapping[str, int], ways: Mapping[str, Counter[str]]) -> AtK:
    enough = [problem for problem, number in drawn.items() if number >= k]
    return AtK(
        k=k,
        problems=len(enough),
        coverage=coverage_at(k, [(drawn[problem], ways[problem].total()) for problem in enough]),
        diversity=diversity_at(k, [(drawn[problem], tuple(ways[problem].values())) for problem in enough]),
    )


def _share_with(k: int, drawn: int, marked: int) -> float:
    """The share of all k-subsets of the samples that hold a marked one."""
    if not 1 <= k <= drawn:
        raise ValueError(f"k = {k}: a problem has {drawn} samples; give it {k}, or leave it out and say so")
    subsets = comb(drawn, k)
    return (subsets - comb(drawn - marked, k)) / subsets


def _mean(values: Sequence[float], name: str, k: int) -> float:
    if not values:
        raise ValueError(f"{name}@{k}: no problem has {k} samples; sample more, or ask for a smaller k")
    return fmean(values)
