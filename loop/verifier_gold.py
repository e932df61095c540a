"""The verifier on gold: what of responses known to be right it accepts, and of those known to be wrong refuses.

Critics that are models are gauged every round (loop/calibration.py); a program does not change, and is gauged once.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence

from loop.gold import corrupted
from loop.judging import Judge
from loop.objective import Demonstration, Objective, read_problem_rows
from loop.records import Problem, Sample, digest, seed_for
from loop.rounds import GoldShare, VerifierGold
from loop.statistics import wilson
from loop.tasks import Tasks, folded
from loop.verifiers import extract_answer

MOST = 200
"""Demonstrations that are looked at."""
A_CELL = 5
"""Practice problems of a cell whose own answers are looked at, of at most `CELLS` cells."""
CELLS = 40
SHOWN = 5
RESULT = re.compile(r"=\s*-?\d+\s*$")
"""How a line of working ends whose result can be changed."""


def gauge_verifier(
    objective: Objective, tasks: Tasks, judge: Judge, demonstrations: Sequence[Demonstration]
) -> VerifierGold:
    """What the verifiers make of responses of known worth.

    A demonstration is right by definition. Its answer is that of the file where its prompt stands, else its own, so
    that place, form and working are what is checked; a source with a scorer compares it as number or text, since the
    scorer knows its own problems alone. Wrong are the same responses with another result, and with another result in
    one line of the working. The scorers are gauged on their own problems' answers, as they are and changed.
    """
    found: defaultdict[str, list[bool]] = defaultdict(list)
    refused = []
    stands = _answers(objective, tasks)
    for row in sorted(demonstrations, key=lambda row: digest("gold", row.prompt, row.response))[:MOST]:
        asked = list(_asked(row, stands, tasks, judge, len(objective.tasks.practice)))
        if not asked:
            continue
        accepted = _passes(row.response, asked, judge)
        found["demonstrations accepted"].append(accepted)
        refused += [row.prompt] * (not accepted)
        wrong = corrupted(row.response)
        if wrong and all(_answer(wrong, p, judge) != _answer(row.response, p, judge) for p in asked):
            found["demonstrations with another result refused"].append(not _passes(wrong, asked, judge))
        if judge.checks_working and (wrong := with_a_wrong_line(row.response)):
            found["demonstrations with a wrong line refused"].append(not _passes(wrong, asked, judge))
    for problem in _practice(objective, tasks, judge):
        place = judge.places[problem.source]
        found["answers of practice problems accepted"].append(
            _is_right(_placed(problem.answer, place), problem, judge)
        )
        if other := corrupted(problem.answer):
            found["changed answers of practice problems refused"].append(
                not _is_right(_placed(other, place), problem, judge)
            )
    shares = tuple(GoldShare(what=what, share=wilson(sum(good), len(good))) for what, good in found.items())
    return VerifierGold(shares=shares, refused=tuple(refused[:SHOWN]))


def gold_lines(gold: VerifierGold) -> list[str]:
    """What it came to, for a person; a note where a demonstration is refused."""
    lines = [
        f"verifier on gold: {one.share.correct} of {one.share.n} {one.what}"
        f" (95 %: {100 * one.share.low:.0f} to {100 * one.share.high:.0f} %)"
        for one in gold.shares
    ]
    if gold.refused:
        lines.append(
            f"note: the verifier refuses demonstrations, such as {gold.refused[0][:80]!r}; mend their answers or"
            " working, or the source's verifier"
        )
    return lines


def with_a_wrong_line(response: str) -> str:
    """The response with the result of one line of working changed; "" where no line ends in one."""
    lines = response.split("\n")
    places = [place for place, line in enumerate(lines) if RESULT.search(line)]
    if not places:
        return ""
    place = places[seed_for("wrong line", response) % len(places)]
    return "\n".join([*lines[:place], corrupted(lines[place]), *lines[place + 1 :]])


def _answers(objective: Objective, tasks: Tasks) -> dict[str, tuple[int, str]]:
    """Source and answer of every prompt, folded, that a file of problems holds."""
    stands: dict[str, tuple[int, str]] = {}
    for index, source in enumerate(tasks.sources):
        for row in read_problem_rows(source, objective.folder) if source.is_file else ():
            stands.setdefault(folded(row.prompt), (index, row.answer))
    return stands


def _asked(
    row: Demonstration, stands: dict[str, tuple[int, str]], tasks: Tasks, judge: Judge, practised: int
) -> Iterator[Problem]:
    """The demonstration as a problem: of the file where it stands, or of each source whose place has an answer."""
    if known := stands.get(folded(row.prompt)):
        yield _problem(row.prompt, known[1], known[0])
        return
    for index in range(practised):
        found = extract_answer(row.response, judge.places[index])
        if found is not None:
            compared = judge.verifiers[index] not in ("scorer", "regex")
            yield _problem(row.prompt, found, index, author="" if compared else "demonstration")


def _practice(objective: Objective, tasks: Tasks, judge: Judge) -> Iterator[Problem]:
    """A few practice problems of every cell; none whose answer is a pattern."""
    for cell in list(tasks.practice)[:CELLS]:
        for problem in tasks.draw(cell, A_CELL, seed_for(objective.seed, "gold", *cell), ()):
            if problem.answer and judge.verifiers[problem.source] != "regex":
                yield problem


def _problem(prompt: str, answer: str, source: int, author: str = "") -> Problem:
    return Problem(
        id=digest("gold", prompt), prompt=prompt, answer=answer, skill="", source=source, origin=(0, 0), author=author
    )


def _placed(answer: str, place: str) -> str:
    """The answer where a source looks for it."""
    return {"boxed": f"\\boxed{{{answer}}}", "tags": f"<answer>{answer}</answer>"}.get(place, f"{place} {answer}")


def _answer(response: str, problem: Problem, judge: Judge) -> str | None:
    return extract_answer(response, judge.places[problem.source])


def _passes(response: str, asked: Sequence[Problem], judge: Judge) -> bool:
    """Whether any source would let it through, with its working."""
    return any(judge.critique(_sample(response, problem)).passed for problem in asked)


def _is_right(response: str, problem: Problem, judge: Judge) -> bool:
    return judge.attempt(_sample(response, problem)).correct


def _sample(response: str, problem: Problem) -> Sample:
    return Sample(
        id=problem.id, problem=problem, response=response, finish="stop", prompt_tokens=0, completion_tokens=0
    )
