"""Tasks: where problems come from, and how practice, dev and test are kept apart.

The exams are drawn first, without the prompts of the demonstrations; practice is what is left. A problem is known
by its prompt, white space and case folded, so no two of the four sets can share one.
"""

from __future__ import annotations

import json
import random
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from loop.errors import ObjectiveError
from loop.objective import Exam, ExamSource, Objective
from loop.records import Cell, Problem, digest, seed_for
from loop.sources import Source, read_problem_rows
from loop.suites import refuse_empty, suites_of

ENDLESS = 1_000_000
"""Problems that a generator is taken to have; each is drawn from its own index."""
TRIES = 20
"""Draws of a generator for each problem wanted, before the level is taken to have no more."""
EXAM_SHARE = 0.25
"""The most that one exam may take of a level with few distinct problems: half at least is left for practice."""


def folded(prompt: str) -> str:
    """What tells problems apart: the prompt with white space and case folded."""
    return " ".join(prompt.split()).casefold()


class Vein:
    """The problems of one cell: an endless generator, or a list that can run out."""

    def __init__(self, cell: Cell, weight: float, source: Callable[[int], Problem] | list[Problem]) -> None:
        self.cell, self.weight = cell, weight
        self.reserved: set[str] = set()
        """Prompts, folded, that are kept out of practice."""
        self._at = None if isinstance(source, list) else source
        self._listed = list(_distinct(iter(source))) if isinstance(source, list) else None
        self._most_for_an_exam: int | None = None

    def list_if_few(self, wanted: int, known: Collection[str]) -> None:
        """List a generator's problems when a fair number of draws finds fewer than twice the `wanted`.

        Those that are `known` (prompts, folded) or reserved count for nothing.
        """
        if self._at is None or self._listed is not None:
            return
        found, free, avoid = [], 0, self.reserved | set(known)
        for problem in _distinct(map(self._at, range(4 * wanted + 100))):
            found.append(problem)
            free += folded(problem.prompt) not in avoid
            if free >= 2 * wanted:
                return
        self._listed, self._most_for_an_exam = found, int(EXAM_SHARE * free)

    def take(self, wanted: int, without: Collection[str]) -> list[Problem]:
        """Draw an exam's problems, fewer where they run out, and keep them out of practice for good."""
        avoid = self.reserved | set(without)
        if self._listed is None:
            taken = self._walk(0, wanted, avoid)
        else:
            most = wanted if self._most_for_an_exam is None else min(wanted, self._most_for_an_exam)
            taken = [p for p in self._listed if folded(p.prompt) not in avoid][:most]
        self.reserved |= {folded(p.prompt) for p in taken}
        return taken

    def draw(self, wanted: int, seed: int, seen: Collection[str]) -> list[Problem]:
        """Practice problems that were never drawn before (`seen` prompts, folded), fewer when they run out."""
        avoid = self.reserved | set(seen)
        if self._listed is None:
            return self._walk(seed % max(1, ENDLESS - TRIES * wanted), wanted, avoid)
        free = [p for p in self._listed if folded(p.prompt) not in avoid]
        random.Random(seed).shuffle(free)
        return free[:wanted]

    def left(self, seen: Collection[str]) -> int | None:
        """Practice problems never drawn so far; None where they do not run out."""
        if self._listed is None:
            return None
        return sum(folded(p.prompt) not in self.reserved and folded(p.prompt) not in seen for p in self._listed)

    def _walk(self, start: int, wanted: int, avoid: Collection[str]) -> list[Problem]:
        assert self._at is not None, "only a generator is walked"
        tries = map(self._at, range(start, min(start + TRIES * wanted + 100, 2 * ENDLESS)))
        fresh = (p for p in _distinct(tries) if folded(p.prompt) not in avoid)
        return [p for p, _ in zip(fresh, range(wanted), strict=False)]


class Tasks:
    """All problems of an objective: the two exams, and practice to draw from."""

    def __init__(self, objective: Objective, demonstrations: Sequence[str]) -> None:
        tasks = objective.tasks
        self._folder = objective.folder
        self.sources: list[Source] = [*tasks.practice, *tasks.dev.sources, *tasks.test.sources]
        self.notes: list[str] = []
        """What a person should know: levels with fewer problems than asked for."""
        known = {folded(prompt) for prompt in demonstrations}
        self._seed = objective.seed
        self.practice = self._veins(range(len(tasks.practice)))
        after_dev = len(tasks.practice) + len(tasks.dev.sources)
        self.samples = {"dev": tasks.dev.samples or 0, "test": tasks.test.samples or 0}
        self.suites = suites_of(tasks.dev, len(tasks.practice)) | suites_of(tasks.test, after_dev)
        listed = self._listed(tasks.dev, len(tasks.practice), known, "dev")
        listed_test = self._listed(tasks.test, after_dev, known | _prompts(listed), "test")
        self._keep_out(_prompts([*listed, *listed_test]))
        sizes = [exam.size or 0 for exam in (tasks.dev, tasks.test) if exam.from_practice]
        for cell, wanted in self._apportion(sum(sizes)).items():
            self.practice[cell].list_if_few(wanted, known)
        self.dev = listed or self._from_practice(tasks.dev, known, "dev")
        self.test = listed_test or self._from_practice(tasks.test, known | _prompts(self.dev), "test")
        self._keep_out(known | _prompts([*self.dev, *self.test]))
        self._refuse_if_empty()
        refuse_empty(self.suites, [*self.dev, *self.test])

    def draw(self, cell: Cell, wanted: int, seed: int, seen: Collection[str]) -> list[Problem]:
        """Fresh practice problems of a cell, at most `wanted`; none of a cell that there is not."""
        vein = self.practice.get(cell)
        return vein.draw(wanted, seed, seen) if vein else []

    def _veins(self, indices: Collection[int]) -> dict[Cell, Vein]:
        veins: dict[Cell, Vein] = {}
        rows: dict[Cell, list[Problem]] = {}
        weights: dict[Cell, float] = defaultdict(float)
        for index in indices:
            source = self.sources[index]
            if source.is_file:
                found = list(_file_problems(source, index, self._folder))
                for problem in found:
                    rows.setdefault(problem.cell, []).append(problem)
                    weights[problem.cell] += source.weight / len(found)
                continue
            levels = source.levels()
            for level in levels:
                cell = Cell(source.skill or source.task, _level(level))
                if cell in veins:
                    raise ObjectiveError(
                        f"tasks.practice.{index}: {cell.title} comes from two sources; give one another skill:"
                    )
                at = _generator(source, index, level, cell, self._seed)
                veins[cell] = Vein(cell, source.weight / len(levels), at)
        for cell, problems in rows.items():
            if cell in veins:
                raise ObjectiveError(f"tasks.practice: {cell.title} comes from two sources; give one another skill:")
            random.Random(seed_for(self._seed, "file", cell.title)).shuffle(problems)
            veins[cell] = Vein(cell, weights[cell], problems)
        return dict(sorted(veins.items(), key=lambda pair: pair[0].order))

    def _apportion(self, size: int) -> dict[Cell, int]:
        """Problems of an exam of this size by cell, each by its weight."""
        return _apportion(size, {cell: vein.weight for cell, vein in self.practice.items()})

    def _from_practice(self, exam: Exam, known: Collection[str], name: str) -> list[Problem]:
        """An exam drawn from practice. One prompt may stand in several cells: it is taken once."""
        drawn: list[Problem] = []
        for cell, wanted in self._apportion(exam.size or 0).items():
            taken = self.practice[cell].take(wanted, {*known, *_prompts(drawn)})
            self._note_if_fewer(name, cell, len(taken), wanted)
            drawn += taken
        return drawn

    def _note_if_fewer(self, exam: str, cell: Cell, taken: int, wanted: int) -> None:
        if taken < wanted:
            self.notes.append(f"{exam}: {cell.title} has few distinct problems: {taken} of {wanted}")

    def _listed(self, exam: Exam, first: int, known: Collection[str], name: str) -> list[Problem]:
        """An exam from sources of its own."""
        problems: list[Problem] = []
        for index, source in enumerate(exam.sources, first):
            problems += self._all_of(source, index, {*known, *_prompts(problems)}, name)
        shared = [p for p in problems if folded(p.prompt) in known]
        if shared:
            raise ObjectiveError(
                f"tasks.{name}: {len(shared)} of its problems stand in the demonstrations or in dev too, such as"
                f" {shared[0].prompt[:60]!r}; take them out of one"
            )
        return list(_distinct(iter(problems)))

    def _all_of(self, source: ExamSource, index: int, known: Collection[str], name: str) -> list[Problem]:
        if source.is_file:
            rows = list(_distinct(_file_problems(source, index, self._folder)))
            return rows if source.size is None else self._stratified(rows, source.size)
        problems: list[Problem] = []
        levels = source.levels()
        for number, wanted in _apportion(source.size or 0, dict.fromkeys(range(len(levels)), 1.0)).items():
            cell = Cell(source.skill or source.task, _level(levels[number]))
            at = _generator(source, index, levels[number], cell, self._seed)
            taken = Vein(cell, 1.0, at).take(wanted, {*known, *_prompts(problems)})
            self._note_if_fewer(name, cell, len(taken), wanted)
            problems += taken
        return problems

    def _stratified(self, rows: Sequence[Problem], size: int) -> list[Problem]:
        """So many of the rows, each cell in proportion: a file is often sorted."""
        by_cell: dict[Cell, list[Problem]] = defaultdict(list)
        for problem in rows:
            by_cell[problem.cell].append(problem)
        chosen: list[Problem] = []
        for cell, wanted in _apportion(size, {cell: float(len(found)) for cell, found in by_cell.items()}).items():
            random.Random(seed_for(self._seed, "file", cell.title)).shuffle(by_cell[cell])
            chosen += by_cell[cell][:wanted]
        return chosen

    def _keep_out(self, prompts: Collection[str]) -> None:
        for vein in self.practice.values():
            vein.reserved |= set(prompts)

    def _refuse_if_empty(self) -> None:
        for name, exam in (("dev", self.dev), ("test", self.test)):
            if not exam:
                raise ObjectiveError(
                    f"tasks.{name}: practice has too few distinct problems for it; widen tasks.practice, or name"
                    " sources of its own"
                )
        if not any(vein.left(()) != 0 for vein in self.practice.values()):
            raise ObjectiveError(
                "tasks.practice: the exams and the demonstrations leave nothing to practise on; lower dev and test,"
                " or widen it"
            )


def scorer_of(source: Source, problem: Problem) -> Callable[[str], float] | None:
    """The library's own scorer for a problem of this source, or None where it is a file."""
    if source.is_file:
        return None
    config = next(source.config_at(level) for level in source.levels() if _level(level) == problem.level)
    gym = _gym(source.task, _frozen(config), problem.origin[0])
    entry = gym[problem.origin[1]]
    return lambda answer: float(gym.score_answer(answer, entry))


def _prompts(problems: Sequence[Problem]) -> set[str]:
    return {folded(problem.prompt) for problem in problems}


def _distinct(problems: Iterator[Problem]) -> Iterator[Problem]:
    seen: set[str] = set()
    for problem in problems:
        if (key := folded(problem.prompt)) not in seen:
            seen.add(key)
            yield problem


def _apportion(total: int, weights: dict[Any, float]) -> dict[Any, int]:
    """Whole numbers that add up to `total`, by largest remainder."""
    whole = sum(weights.values())
    exact = {key: total * weight / whole for key, weight in weights.items()}
    parts = {key: int(value) for key, value in exact.items()}
    by_remainder = sorted(exact, key=lambda key: parts[key] - exact[key])
    for key in by_remainder[: total - sum(parts.values())]:
        parts[key] += 1
    return parts


def _level(level: dict[str, int]) -> int | str | None:
    """One swept name: its value. Several: "digits 2, terms 3"."""
    if len(level) <= 1:
        return next(iter(level.values()), None)
    return ", ".join(f"{name} {value}" for name, value in sorted(level.items()))


def _file_problems(source: Source, index: int, folder: Path) -> Iterator[Problem]:
    for number, row in enumerate(read_problem_rows(source, folder), 1):
        yield Problem(
            id=digest("problem", folded(row.prompt)),
            prompt=row.prompt,
            answer=row.answer,
            solution=row.solution or "",
            skill=row.skill or source.skill or Path(source.source).stem,
            level=row.level,
            source=index,
            origin=(0, number),
        )


def _generator(source: Source, index: int, level: dict[str, int], cell: Cell, seed: int) -> Callable[[int], Problem]:
    """Problem number n of a level. The library seeds its nth with seed + n: the seeds lie far apart."""
    seed = seed_for(seed, "gym", source.task, source.config, level) % 1000 * 2 * ENDLESS

    def at(number: int) -> Problem:
        entry = _gym(source.task, _frozen(source.config_at(level)), seed)[number]
        prompt = str(entry["question"]).strip()
        answer = "" if entry["answer"] is None else str(entry["answer"])
        return Problem(
            id=digest("problem", folded(prompt)), prompt=prompt, answer=answer, skill=cell.skill,
            level=cell.level, source=index, origin=(seed, number),
        )  # fmt: skip

    return at


def _frozen(config: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((name, json.dumps(value)) for name, value in config.items()))


@cache
def _gym(task: str, config: tuple[tuple[str, str], ...], seed: int) -> Any:
    import reasoning_gym

    settings = {name: json.loads(value) for name, value in config}
    return reasoning_gym.create_dataset(task, seed=seed, size=2 * ENDLESS, **settings)
