"""Curate: rules, not a model, decide which samples become examples and what the student is trained on."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from agents.replies import Mixture, Plan, Strategy
from agents.strategies import Arbitration
from loop.arbitration import Answered, keep_best
from loop.contamination import Match
from loop.objective import Demonstration
from loop.paths import Solution, keep_paths
from loop.records import Admission, Cell, Critique, Example, Sample, digest
from loop.repeats import Known, Repeat, example_id, find_duplicates, find_known_paths, find_near_duplicates


def admit(
    round_number: int,
    plan: Plan,
    samples: Sequence[Sample],
    critiques: Sequence[Critique],
    known: Known,
    seed: int = 0,
) -> list[Admission]:
    """Decide on every sample that passed its critique: nothing twice, nothing of an exam, no more than the caps.

    What was trained on before counts as if it stood before the first sample.
    """
    passed = {s.id: s for s, critique in zip(samples, critiques, strict=True) if critique.passed}
    open_ones = dict(passed)
    reasons: dict[str, str] = {}
    repeats: dict[str, Repeat] = {}

    def refuse(found: Mapping[str, str]) -> None:
        reasons.update(found)
        for key in found:
            open_ones.pop(key)

    def refuse_repeats(find: Callable[[Sequence[Sample], Known], dict[str, Repeat]]) -> None:
        found = find([*open_ones.values()], known)
        repeats.update(found)
        refuse({key: repeat.reason for key, repeat in found.items()})

    refuse_repeats(find_duplicates)
    easy = _solved_by_all(samples, passed)
    refuse({s.id: "solved by all" for s in open_ones.values() if _told(plan, s).skip_solved and s.problem.id in easy})
    matches = {s.id: found for s in open_ones.values() if (found := known.exams.find(s.problem.prompt, s.response))}
    refuse(dict.fromkeys(matches, "stands in an exam"))
    refuse(_beaten(plan, open_ones.values(), {critique.id: critique.score for critique in critiques}))
    refuse_repeats(find_known_paths)
    refuse(_over_paths(plan, open_ones.values(), seed))
    refuse_repeats(find_near_duplicates)
    refuse(_over_strategies(plan, open_ones.values()))
    return [
        _admission(sample, reasons.get(sample.id, ""), matches.get(sample.id), repeats.get(sample.id), round_number)
        for sample in passed.values()
    ]


def _told(plan: Plan, sample: Sample) -> Strategy:
    return plan.strategies[sample.place]


def _solved_by_all(samples: Sequence[Sample], passed: Collection[str]) -> set[str]:
    """Problems with several samples, all of which passed: nothing in them tells a better attempt from a worse."""
    tried = Counter(sample.problem.id for sample in samples)
    solved = Counter(sample.problem.id for sample in samples if sample.id in passed)
    return {problem for problem, number in tried.items() if number > 1 and solved[problem] == number}


def _beaten(plan: Plan, samples: Iterable[Sample], scores: Mapping[str, float | None]) -> dict[str, str]:
    """Where all teachers wrote, all answers but the best by reward; what no critic scored is worth that it passed."""
    answers: dict[str, Answered] = {}
    for sample in samples:
        told, score = _told(plan, sample), scores[sample.id]
        if isinstance(told, Arbitration) and told.routing == "reward":
            worth = 1.0 if score is None else score
            answers[sample.id] = Answered(sample.id, sample.problem.id, sample.sampler, sample.response, worth)
    best = {answer.id for answer in keep_best(answers.values()).values()}
    return {key: "another is better" for key in answers if key not in best}


def _over_paths(plan: Plan, samples: Iterable[Sample], seed: int) -> dict[str, str]:
    """Of each problem and strategy, what is no path of its own or above the cap (RFT, ReST-EM)."""
    groups: defaultdict[tuple[int, str], list[Sample]] = defaultdict(list)
    for sample in samples:
        groups[sample.place, sample.problem.id].append(sample)
    found: dict[str, str] = {}
    for (place, problem), group in groups.items():
        if len(group) > 1:
            ways = [Solution(sample.id, problem, sample.response) for sample in group]
            found |= keep_paths(ways, plan.strategies[place].keep_per_problem, seed)
    return {key: reason for key, reason in found.items() if reason}


def _over_strategies(plan: Plan, samples: Iterable[Sample]) -> dict[str, str]:
    """What is above a strategy's cap on all of its rows."""
    kept: Counter[int] = Counter()
    found = {}
    for sample in samples:
        kept[sample.place] += 1
        if kept[sample.place] > _told(plan, sample).most_rows:
            found[sample.id] = "over the cap"
    return found


def mix(
    demonstrations: Sequence[Demonstration],
    earlier: Sequence[Example],
    newest: Sequence[Example],
    mixture: Mixture,
) -> list[Example]:
    """The training mix: all demonstrations, earlier rounds' examples by the plan, and the newest.

    Older rows are repeated until the newest are no more than `mixture.newest` of the whole (Lee et al., arXiv
    2502.01612: half), and the demonstrations until they are `mixture.anchor` of it: accumulated, anchored data does
    not collapse (Gerstgrasser et al., arXiv 2404.01413).
    """
    shares = {Cell(c.skill, c.level): c.share for c in mixture.rehearse}
    anchor = [demonstration_row(row) for row in demonstrations]
    rehearsed = [row for row in earlier if _lot(row.id) < shares.get(Cell(row.skill, row.level), 1.0)]
    copies = _copies((1 - mixture.newest) / mixture.newest * len(newest), len(anchor) + len(rehearsed))
    others = copies * len(rehearsed) + len(newest)
    again = max(copies, _copies(mixture.anchor / (1 - mixture.anchor) * others, len(anchor)))
    return [
        *(row.model_copy(update={"copies": again}) for row in anchor),
        *(row.model_copy(update={"copies": copies}) for row in rehearsed),
        *newest,
    ]


def _copies(wanted: float, rows: int) -> int:
    """How often so many rows must stand there to be as many as wanted, at the least."""
    return max(1, math.ceil(wanted / rows)) if rows else 1


def demonstration_row(row: Demonstration) -> Example:
    """A demonstration as a row to train on."""
    return Example(
        id=digest("demonstration", row.prompt, row.response),
        prompt=row.prompt,
        response=row.response,
        origin="demonstration",
        round=0,
        skill=row.skill or "",
        level=row.level,
    )


def _admission(
    sample: Sample, reason: str, match: Match | None, repeat: Repeat | None, round_number: int
) -> Admission:  # fmt: skip
    return Admission(
        id=sample.id,
        reason=reason,
        matched=match.span if match else "",
        matched_by=match.kind if match else "",
        exam=match.exam if match else "",
        repeats=repeat.of if repeat else "",
        similarity=repeat.similarity if repeat else None,
        example=None if reason else _example(sample, round_number),
    )


def _example(sample: Sample, round_number: int) -> Example:
    return Example(
        id=example_id(sample),
        prompt=sample.problem.prompt,
        response=sample.response.strip(),
        origin=sample.id,
        round=round_number,
        skill=sample.problem.skill,
        level=sample.problem.level,
        strategy=sample.strategy,
    )


def _lot(key: str) -> float:
    """A number in 0..1 that depends on the row alone: which rows of a cell are rehearsed."""
    return int(key[:8], 16) / 16**8
