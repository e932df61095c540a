from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest

from loop.errors import ObjectiveError
from loop.objective import read_objective
from loop.records import Cell, Problem
from loop.tasks import Tasks, folded, scorer_of

SUMS = "reasoning_gym/chain_sum, config: {min_digits: 1, max_digits: 1}"
TWO_TERMS = "reasoning_gym/chain_sum, config: {min_digits: 1, max_digits: 1, min_terms: 2, max_terms: 2}"


def rows(numbers: Iterable[int], **more: object) -> list[dict[str, object]]:
    return [{"prompt": f"What is {n} + {n}?", "answer": str(2 * n), **more} for n in numbers]


def write(path: Path, content: Sequence[dict[str, object]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in content), encoding="utf-8")


def make(
    folder: Path, practice: str, dev: str = "{from: practice, size: 20}", test: str = "{from: practice, size: 30}",
    demonstrations: Sequence[str] = (), seed: int = 0,
) -> Tasks:  # fmt: skip
    path = folder / "OBJECTIVE.md"
    path.write_text(
        f"---\nstudent: scripted/learner\ntasks:\n  practice: [{practice}]\n  dev: {dev}\n  test: {test}\n"
        f"budget: {{rounds: 1}}\nseed: {seed}\n---\nLearn.\n"
    )
    return Tasks(read_objective(path), demonstrations)


def prompts(problems: Iterable[Problem]) -> set[str]:
    return {folded(problem.prompt) for problem in problems}


def practice_of(tasks: Tasks, wanted: int = 300, seed: int = 7) -> list[Problem]:
    return [problem for cell in tasks.practice for problem in tasks.draw(cell, wanted, seed, ())]


def check_apart(tasks: Tasks, demonstrations: Sequence[str] = ()) -> None:
    """No problem in two of the four sets, none twice in an exam."""
    sets = [prompts(tasks.dev), prompts(tasks.test), {folded(p) for p in demonstrations}]
    sets.append(set().union(*(prompts(practice_of(tasks, seed=seed)) for seed in range(4))))
    for one in range(4):
        for other in range(one):
            assert not sets[one] & sets[other], (other, one)
    assert (len(sets[0]), len(sets[1])) == (len(tasks.dev), len(tasks.test))
    assert sets[0] and sets[1] and sets[3]


# The four sets.


def test_a_generators_sets_are_disjoint(tmp_path: Path) -> None:
    plain = make(tmp_path, f"{{source: {SUMS}, sweep: {{terms: [2, 4]}}}}")
    taught = [problem.prompt for problem in plain.dev[::2]] + [f"  {p.prompt.upper()}  " for p in plain.test[::2]]
    tasks = make(tmp_path, f"{{source: {SUMS}, sweep: {{terms: [2, 4]}}}}", demonstrations=taught)
    check_apart(tasks, taught)
    assert (len(tasks.dev), len(tasks.test), tasks.notes) == (20, 30, [])
    assert Counter(p.cell.title for p in tasks.dev) == {"chain_sum 2": 7, "chain_sum 3": 7, "chain_sum 4": 6}


def test_a_files_sets_are_disjoint(tmp_path: Path) -> None:
    again = [{"prompt": f"WHAT is {n}  + {n}?", "answer": "x"} for n in range(9)]
    write(tmp_path / "p.jsonl", [*rows(range(120)), *again])
    taught = [f"What is {n} + {n}?" for n in range(30, 50)]
    tasks = make(tmp_path, "{source: p.jsonl}", demonstrations=taught)
    check_apart(tasks, taught)
    assert len(tasks.dev) + len(tasks.test) + len(practice_of(tasks)) + len(taught) == 120


def test_a_prompt_in_two_cells_is_one_problem(tmp_path: Path) -> None:
    cells: tuple[dict[str, object], ...] = ({"level": 1}, {"level": 2}, {"skill": "other"})
    write(tmp_path / "p.jsonl", [row for cell in cells for row in rows(range(60), **cell)])
    check_apart(make(tmp_path, "{source: p.jsonl}"))
    check_apart(make(tmp_path, f"{{source: {TWO_TERMS}, skill: a}}, {{source: {TWO_TERMS}, skill: b}}"))


def test_exams_with_sources_of_their_own(tmp_path: Path) -> None:
    """Two exams and practice of one generator share its numbering, not its problems."""
    of_their_own = [f"[{{source: {TWO_TERMS}, size: {size}}}]" for size in (40, 50)]
    plain = make(tmp_path, f"{{source: {TWO_TERMS}}}", *of_their_own)
    check_apart(plain)
    assert (len(plain.dev), len(plain.test), plain.notes) == (40, 50, [])
    taught = [problem.prompt for problem in (*plain.dev, *plain.test)]
    tasks = make(tmp_path, f"{{source: {TWO_TERMS}}}", *of_their_own, demonstrations=taught)
    check_apart(tasks, taught)
    assert len(tasks.dev) == 40
    assert {p.source for p in tasks.dev} == {1} and {p.source for p in tasks.test} == {2}


def test_an_exams_file_stays_out_of_practice(tmp_path: Path) -> None:
    write(tmp_path / "p.jsonl", rows(range(100)))
    write(tmp_path / "exam.jsonl", rows(range(90, 120)))
    tasks = make(tmp_path, "{source: p.jsonl}", test="[{source: exam.jsonl}]")
    check_apart(tasks)
    assert len(tasks.test) == 30 and len(practice_of(tasks)) == 70
    both = make(tmp_path, "{source: p.jsonl}", dev="[{source: exam.jsonl}]", test="{from: practice, size: 60}")
    check_apart(both)


def test_an_exams_file_may_not_share_problems(tmp_path: Path) -> None:
    write(tmp_path / "p.jsonl", rows(range(100)))
    write(tmp_path / "exam.jsonl", rows(range(200, 230)))
    with pytest.raises(ObjectiveError, match=r"tasks\.dev: 1 of its problems.*What is 203 \+ 203") as caught:
        make(tmp_path, "{source: p.jsonl}", dev="[{source: exam.jsonl}]", demonstrations=["what IS 203 + 203?"])
    assert "\n" not in str(caught.value)
    with pytest.raises(ObjectiveError, match=r"tasks\.test: 30 of its problems"):
        make(tmp_path, "{source: p.jsonl}", dev="[{source: exam.jsonl}]", test="[{source: exam.jsonl}]")


# Few problems.


def test_a_level_with_few_problems_leaves_half_to_practise_on(tmp_path: Path) -> None:
    exam = "{from: practice, size: 200}"
    tasks = make(tmp_path, f"{{source: {SUMS}, sweep: {{terms: [2, 3]}}}}", exam, exam)
    few, many = Cell("chain_sum", 2), Cell("chain_sum", 3)
    dev, test = (Counter(p.cell for p in exam) for exam in (tasks.dev, tasks.test))
    left = tasks.practice[few].left(())
    assert left is not None and dev[few] == test[few] and 2 * dev[few] <= left <= 2 * dev[few] + 4
    assert (dev[many], test[many], tasks.practice[many].left(())) == (100, 100, None)
    assert tasks.notes == [
        f"{exam}: chain_sum 2 has few distinct problems: {dev[few]} of 100" for exam in ("dev", "test")
    ]
    assert len(tasks.draw(few, 1000, 3, ())) == left
    check_apart(tasks)


def test_what_is_demonstrated_leaves_less_for_the_exams(tmp_path: Path) -> None:
    """The exams' share is of the problems that are left: else they would take all of them."""
    plain = make(tmp_path, f"{{source: {TWO_TERMS}}}", "{from: practice, size: 100}", "{from: practice, size: 100}")
    everything = [p.prompt for p in (*plain.dev, *plain.test, *practice_of(plain, 1000))]
    tasks = make(
        tmp_path, f"{{source: {TWO_TERMS}}}", "{from: practice, size: 100}", "{from: practice, size: 100}",
        demonstrations=everything[:-40],
    )  # fmt: skip
    assert (len(tasks.dev), len(tasks.test), len(practice_of(tasks, 1000))) == (10, 10, 20)
    check_apart(tasks, everything[:-40])


def test_nothing_to_sit_or_to_practise_is_refused(tmp_path: Path) -> None:
    exam = "{from: practice, size: 100}"
    plain = make(tmp_path, f"{{source: {TWO_TERMS}}}", exam, exam)
    everything = [p.prompt for p in (*plain.dev, *plain.test, *practice_of(plain, 1000))]
    with pytest.raises(ObjectiveError, match=r"tasks\.dev: practice has too few distinct problems"):
        make(tmp_path, f"{{source: {TWO_TERMS}}}", exam, exam, demonstrations=everything[:-3])
    write(tmp_path / "p.jsonl", rows(range(9)))
    write(tmp_path / "dev.jsonl", rows(range(10, 12)))
    write(tmp_path / "test.jsonl", rows(range(20, 22)))
    taught = [f"What is {n} + {n}?" for n in range(9)]
    files = ("{source: p.jsonl}", "[{source: dev.jsonl}]", "[{source: test.jsonl}]")
    with pytest.raises(ObjectiveError, match=r"tasks\.practice: .*leave nothing to practise on"):
        make(tmp_path, *files, demonstrations=taught)
    assert len(practice_of(make(tmp_path, *files, demonstrations=taught[1:]))) == 1


# Drawing.


def test_practice_is_fresh_until_it_runs_out(tmp_path: Path) -> None:
    write(tmp_path / "p.jsonl", rows(range(60)))
    tasks = make(tmp_path, "{source: p.jsonl}", "{from: practice, size: 10}", "{from: practice, size: 10}")
    (cell,) = tasks.practice
    seen: set[str] = set()
    for left in (40, 25, 10, 0):
        assert tasks.practice[cell].left(seen) == left
        drawn = tasks.draw(cell, 15, len(seen), seen)
        assert len(drawn) == min(15, left) and not prompts(drawn) & seen
        seen |= prompts(drawn)
    assert tasks.draw(Cell("unheard of", 3), 5, 0, ()) == []


def test_draws_depend_on_the_seeds_alone(tmp_path: Path) -> None:
    write(tmp_path / "p.jsonl", rows(range(200)))
    practice = f"{{source: p.jsonl}}, {{source: {SUMS}, sweep: {{terms: [3, 4]}}}}"
    one, same, other = (make(tmp_path, practice, seed=seed) for seed in (1, 1, 2))
    assert (one.dev, one.test) == (same.dev, same.test)
    assert prompts(one.dev) != prompts(other.dev) and prompts(one.test) != prompts(other.test)
    for cell in one.practice:
        drawn = one.draw(cell, 20, 5, ())
        assert drawn == same.draw(cell, 20, 5, ())
        assert prompts(drawn) != prompts(one.draw(cell, 20, 500_005, ()))


def test_a_plan_may_ask_for_any_number(tmp_path: Path) -> None:
    tasks = make(tmp_path, f"{{source: {TWO_TERMS}}}", "{from: practice, size: 5}", "{from: practice, size: 5}")
    (cell,) = tasks.practice
    assert tasks.practice[cell].left(()) is None
    assert 100 < len(prompts(tasks.draw(cell, 500, 10**9, ()))) < 500


# Cells.


def test_files_are_stratified_by_cell_and_weight(tmp_path: Path) -> None:
    sizes = {1: 100, 2: 60, 3: 40}
    by_level = (rows(range(1000 * level, 1000 * level + size), level=level) for level, size in sizes.items())
    content = [row for level in by_level for row in level]
    write(tmp_path / "p.jsonl", content)
    write(tmp_path / "q.jsonl", rows(range(9000, 9200)))
    tasks = make(tmp_path, "{source: p.jsonl, skill: sum}")
    assert Counter(p.level for p in tasks.dev) == {1: 10, 2: 6, 3: 4}
    assert Counter(p.level for p in tasks.test) == {1: 15, 2: 9, 3: 6}
    assert [p.answer for p in tasks.dev] != sorted((p.answer for p in tasks.dev), key=int)
    weighed = make(tmp_path, "{source: p.jsonl, skill: sum}, {source: q.jsonl, weight: 3}")
    assert Counter(p.skill for p in weighed.dev) == {"q": 15, "sum": 5}
    write(tmp_path / "exam.jsonl", [{**row, "prompt": f"Say: {row['prompt']}"} for row in content])
    of_its_own = make(tmp_path, "{source: q.jsonl}", dev="[{source: exam.jsonl, size: 20, skill: sum}]")
    assert Counter(p.level for p in of_its_own.dev) == {1: 10, 2: 6, 3: 4}


def test_two_sources_may_not_give_one_cell(tmp_path: Path) -> None:
    write(tmp_path / "p.jsonl", rows(range(100), skill="chain_sum", level=3))
    generator = f"{{source: {SUMS}, sweep: {{terms: [2, 4]}}}}"
    with pytest.raises(ObjectiveError, match=r"tasks\.practice\.1: chain_sum 2 comes from two sources"):
        make(tmp_path, f"{generator}, {generator}")
    with pytest.raises(ObjectiveError, match=r"tasks\.practice: chain_sum 3 comes from two sources"):
        make(tmp_path, f"{generator}, {{source: p.jsonl}}")
    tasks = make(tmp_path, f"{generator}, {{source: {SUMS}, sweep: {{terms: [2, 4]}}, skill: other}}")
    assert list(tasks.practice) == [Cell(skill, n) for skill in ("chain_sum", "other") for n in (2, 3, 4)]


def test_a_problem_is_found_again_by_the_librarys_scorer(tmp_path: Path) -> None:
    tasks = make(tmp_path, f"{{source: {SUMS}, sweep: {{terms: [2, 3]}}}}")
    for problem in (*tasks.dev[::5], *practice_of(tasks, 3)):
        score = scorer_of(tasks.sources[problem.source], problem)
        assert score is not None
        assert score(problem.answer) == 1.0 and score(str(int(problem.answer) + 1)) < 1.0
    write(tmp_path / "p.jsonl", rows(range(100)))
    of_a_file = make(tmp_path, "{source: p.jsonl}")
    assert scorer_of(of_a_file.sources[of_a_file.dev[0].source], of_a_file.dev[0]) is None
