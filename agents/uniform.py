"""The baseline orchestrator, every cell alike; and the diagnosis without a model, which `rules` shares."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Literal

from agents.briefs import CellBrief, Evidence, PlanBrief
from agents.replies import Diagnosis, FailureMode, Plan
from agents.strategies import Allotment, Level, RejectionSampling
from agents.training import DIVERGED, GRPO, METHODS, Distillation, TrainingChoice

Key = tuple[str, Level]
Kind = Literal["no answer", "cut off", "wrong step", "wrong answer", "wrong format"]

SAMPLES_EACH = 4
"""Samples a problem in the baseline: design.md §5, "1,500 problems × 4 samples"."""
FROM_NOTHING = 4.0
"""Times the usual passes for students that begin from nothing: as many as a plan may have (agents/choices.py)."""
EXAMPLES = 3
QUOTE = 160
"""Characters of a quote: a mode of three examples stays near a hundred tokens of a prompt."""

ADVICE: dict[Kind, str] = {
    "wrong step": "Practise {cell} on fresh problems, keeping only rows with every step right; where an "
    "easier level fails as often, that one first.",
    "wrong answer": "Practise {cell} on fresh problems; no step is known to be wrong, so look at how the "
    "answer follows from the working.",
    "wrong format": "Keep the verified rows of {cell} whole in the mix: they show the form that is missed.",
    "no answer": "Keep the verified rows of {cell} whole in the mix: their working ends in an answer.",
    "cut off": "Practise the level below {cell} first, where responses end in time; a response that is cut "
    "off gives no row.",
}


class Uniform:
    """Every cell gets the same number of samples, the whole mixture is rehearsed; it looks at no score."""

    def plan(self, brief: PlanBrief) -> Plan:
        """`samples_per_round` spread evenly, four samples a problem, as far as a cell has problems left."""
        each = uniform_problems(brief)
        counts = spread([math.floor(each) if each >= 1 else each for _ in brief.cells], len(brief.history))
        allotments = tuple(
            Allotment(skill=cell.skill, level=cell.level, problems=within(cell, count), samples=SAMPLES_EACH)
            for cell, count in zip(brief.cells, counts, strict=True)
            if within(cell, count) > 0
        )
        total = sum(allotment.problems for allotment in allotments)
        return Plan(
            hypothesis=f"The baseline: {total} fresh problems spread evenly over {len(allotments)} cells, "
            f"{SAMPLES_EACH} samples each, and every earlier row rehearsed.",
            strategies=(RejectionSampling(allotments=allotments),) if allotments else (),
            training=training_of(brief, min(100.0, max(0.01, brief.epochs))),
        )

    def diagnose(self, attempts: Sequence[Evidence]) -> Diagnosis:
        """The failure modes of a probe, largest first."""
        return name_failures(attempts)


def uniform_problems(brief: PlanBrief) -> float:
    """Problems a cell gets from the baseline, as a fraction where there are more cells than problems."""
    return brief.samples_per_round / (SAMPLES_EACH * max(1, len(brief.cells)))


def within(cell: CellBrief, problems: int) -> int:
    """As many problems as are asked for and there are."""
    return max(0, min(problems, 1_000_000 if cell.left is None else cell.left, 1_000_000))


def in_groups(allotments: Iterable[Allotment | None], brief: PlanBrief) -> tuple[Allotment, ...]:
    """Those that there are; with several samples a problem, as many in all, where the method compares attempts."""
    found = tuple(filter(None, allotments))
    if not METHODS[brief.methods[0]].compares:
        return found
    counts = [math.ceil(allotment.problems * allotment.samples / SAMPLES_EACH) for allotment in found]
    return tuple(
        allotment.model_copy(update={"problems": count, "samples": SAMPLES_EACH})
        for allotment, count in zip(found, counts, strict=True)
    )


def training_of(brief: PlanBrief, epochs: float) -> TrainingChoice:
    """By the first method that the objective allows, from where it says. `epochs` are of the mix.

    Where it is reinforcement, one pass over so many problems that twice as many answers are trained on as samples
    were drawn to find them; fewer where the tokens left are few. To be distilled the student has the first teacher
    whose distribution can be learnt; a chain has four times the passes, since it begins from nothing. The rate is
    half as high for each training that diverged.
    """
    start: Literal["base", "best"] = "base" if brief.start == "base" else "best"
    method = METHODS[brief.methods[0]]
    diverged = sum(past.status == "failed" and DIVERGED in past.reason for past in brief.history)
    scale = 0.5**diverged
    if method is GRPO:
        usual = GRPO()
        answers = 2.0 * brief.samples_per_round
        tokens = [tally.tokens / tally.tried for past in brief.history for tally in past.samples if tally.tokens]
        if tokens and brief.budget.tokens is not None:
            answers = min(answers, brief.budget.tokens / 4 / (sum(tokens) / len(tokens)))
        return GRPO(start=start, learning_rate_scale=scale, problems=max(1, min(4096, int(answers / usual.group))))
    if method is Distillation:
        teacher = brief.distil_from[0] if brief.distil_from else ""
        passes = epochs if teacher else min(100.0, FROM_NOTHING * min(epochs, brief.epochs))
        return Distillation(start=start, epochs=passes, learning_rate_scale=scale, teacher=teacher)
    return method(start=start, epochs=epochs, learning_rate_scale=scale)


def spread(wanted: Sequence[float], round_number: int) -> list[int]:
    """Whole numbers whose running sum stays within one of `wanted`'s.

    The remainder is carried from cell to cell and starts elsewhere each round (by the golden ratio), so that
    with more cells than problems every cell has its turn.
    """
    carried = (round_number * 0.6180339887) % 1.0
    counts = []
    for number in wanted:
        carried += number
        counts.append(math.floor(carried + 1e-9))
        carried -= counts[-1]
    return counts


def name_failures(attempts: Sequence[Evidence]) -> Diagnosis:
    """Group wrong attempts by skill, level and kind; shares are of all attempts in the cell."""
    tried = Counter((attempt.skill, attempt.level) for attempt in attempts)
    wrong: dict[tuple[Key, Kind], list[Evidence]] = {}
    for attempt in attempts:
        if not attempt.correct:
            wrong.setdefault(((attempt.skill, attempt.level), kind_of(attempt)), []).append(attempt)
    modes = [
        FailureMode(
            name=f"{kind} in {name_of(key)}",
            kind=kind,
            skill=key[0],
            level=key[1],
            count=len(group),
            share=len(group) / tried[key],
            examples=tuple(quote(attempt) for attempt in unlike(group)),
            advice=ADVICE[kind].format(cell=name_of(key)),
        )
        for (key, kind), group in wrong.items()
    ]
    modes.sort(key=lambda mode: (-mode.count, mode.name))
    return Diagnosis(attempts=len(attempts), wrong=sum(mode.count for mode in modes), modes=tuple(modes))


def name_of(key: Key) -> str:
    """A cell in words."""
    return key[0] if key[1] is None else f"{key[0]} at level {key[1]}"


def kind_of(attempt: Evidence) -> Kind:
    """The kind a program found, or what the attempt itself shows where none was given."""
    for kind in ADVICE:
        if attempt.kind == kind:
            return kind
    if attempt.finish == "length":
        return "cut off"
    if not attempt.response.strip():
        return "no answer"
    return "wrong step" if attempt.detail else "wrong answer"


def quote(attempt: Evidence) -> str:
    """One attempt in a few words: the problem, the end of what was answered, the first wrong step."""
    said = _clean(attempt.response)
    said = said if len(said) <= QUOTE else "… " + said[-QUOTE:]
    parts = [f"Problem: {_clean(attempt.prompt)[:QUOTE]}", f"Answered: {said or '(nothing)'}"]
    parts += [f"First wrong step: {_clean(attempt.detail)[:QUOTE]}"] if attempt.detail else []
    return " | ".join([*parts, f"Right: {_clean(attempt.answer)[:QUOTE]}"])


def unlike(group: Sequence[Evidence]) -> list[Evidence]:
    """Up to three attempts, those that went wrong in different places first."""
    first = {attempt.detail: attempt for attempt in reversed(group)}
    chosen = [attempt for attempt in group if first[attempt.detail] is attempt]
    return [*chosen, *(attempt for attempt in group if first[attempt.detail] is not attempt)][:EXAMPLES]


def _clean(text: str) -> str:
    """One line without control characters (reliability.md, "numbers, not text, upward")."""
    return re.sub(r"\s+", " ", "".join(char if char.isprintable() else " " for char in text)).strip()
