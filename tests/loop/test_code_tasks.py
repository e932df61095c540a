"""No task runs what a model wrote: those of reasoning_gym that would are refused, in practice and in exams."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest
from test_tasks import make, rows, write

from loop.code_tasks import RUNS_ANSWERS
from loop.errors import ObjectiveError

RUNS = {"eval", "exec", "compile", "parse_expr", "sympify", "system", "run", "Popen"}
OWN = {"number_sorting": "entry['answer']"}
"""A scorer that runs its own answer, by what it runs."""


def calls(scorer: object) -> Iterator[ast.Call]:
    for node in ast.walk(ast.parse(textwrap.dedent(inspect.getsource(scorer)))):  # type: ignore[arg-type]
        if isinstance(node, ast.Call):
            yield node


def test_the_list_is_what_the_librarys_scorers_do() -> None:
    found = set()
    for name, (task, _) in import_module("reasoning_gym.factory").DATASETS.items():
        for call in calls(task.score_answer):
            called = ast.unparse(call.func).rpartition(".")[2]
            if called in RUNS and ast.unparse(call.args[0]) != OWN.get(name):
                found.add(name)
    assert found == RUNS_ANSWERS, "the library has changed: see what its scorers do now"


def test_the_librarys_scorer_does_run_what_it_is_given(tmp_path: Path) -> None:
    """Why they are refused: no sandbox stands between."""
    task = import_module("reasoning_gym").create_dataset("spiral_matrix", seed=1, size=1)
    task.score_answer(f"[open({str(tmp_path / 'written')!r}, 'w').close()]", task[0])
    assert (tmp_path / "written").exists()


@pytest.mark.parametrize("task", sorted(RUNS_ANSWERS))
def test_a_suite_whose_scorer_runs_answers_is_refused(task: str, tmp_path: Path) -> None:
    write(tmp_path / "practice.jsonl", rows(range(100)))
    source = f"source: reasoning_gym/{task}"
    exam = f"[{{source: practice.jsonl, size: 9}}, {{{source}, size: 5, weight: 2}}]"
    places = {
        "tasks.practice.1": ("{source: practice.jsonl}, {" + source + "}", "{from: practice, size: 9}"),
        "tasks.dev.1": ("{source: practice.jsonl}", exam),
        "tasks.dev.sources.1": ("{source: practice.jsonl}", f"{{sources: {exam}, samples: 2}}"),
    }
    for place, (practice, dev) in places.items():
        with pytest.raises(ObjectiveError) as refused:
            make(tmp_path, practice, dev)
        words = f"{place}.source: reasoning_gym/{task} runs the student's answer as code, and there is no sandbox"
        assert words in str(refused.value)


def test_compared_as_text_such_a_task_is_played_and_other_code_is_no_verifier(tmp_path: Path) -> None:
    write(tmp_path / "practice.jsonl", rows(range(100)))
    own = "[{source: reasoning_gym/spiral_matrix, size: 5, verifier: exact}]"
    assert len(make(tmp_path, "{source: practice.jsonl}", own).dev) == 5
    with pytest.raises(ObjectiveError, match=r"tasks\.dev\.0\.verifier: python is no verifier"):
        make(tmp_path, "{source: practice.jsonl}", "[{source: practice.jsonl, verifier: python}]")
