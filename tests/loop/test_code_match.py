"""Whose syntax tree a row's code has."""

from __future__ import annotations

import ast
import gzip
import json
from pathlib import Path

import pytest

from loop.code_match import LONG_ENOUGH, RATE, ExamCode, subtrees
from loop.contamination import Exams

HUMANEVAL = Path(__file__).parents[3] / "shared" / "data" / "humaneval.jsonl.gz"
SOLUTION = '''
def running_totals(amounts, start=0):
    """The sums so far, and the largest of them."""
    totals, total, largest = [], start, None
    for amount in amounts:
        total += amount
        if largest is None or total > largest:
            largest = total
        totals.append(total)
    return totals, largest
'''
RENAMED = '''
def prefix(xs: list[int], s: int = 1) -> tuple[list[int], int]:
    """
    Something else is said here.
    """
    out, acc, top = [], s, None
    for x in xs:
        acc += x
        if top is None or acc > top:
            top = acc
        out.append(acc)
    return out, top
'''
OTHER = """
def longest_run(flags):
    best = current = 0
    for flag in flags:
        current = current + 1 if flag else 0
        best = max(best, current)
    return best
"""


def humaneval() -> list[str]:
    problems = map(json.loads, gzip.decompress(HUMANEVAL.read_bytes()).splitlines())
    return [problem["prompt"] + problem["canonical_solution"] for problem in problems]


class Renaming(ast.NodeTransformer):
    """All names that a solution binds, replaced; its docstrings dropped."""

    def __init__(self, bound: set[str]) -> None:
        self._names = {name: f"v{n}" for n, name in enumerate(sorted(bound))}

    def visit_Name(self, node: ast.Name) -> ast.AST:
        return ast.copy_location(ast.Name(self._names.get(node.id, node.id), node.ctx), node)

    def visit_arg(self, node: ast.arg) -> ast.AST:
        return ast.copy_location(ast.arg(self._names[node.arg], None), node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        self.generic_visit(node)
        node.name, node.returns = self._names[node.name], None
        if ast.get_docstring(node) is not None:
            del node.body[0]
        return node


def renamed(code: str) -> str:
    tree = ast.parse(code)
    bound = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    bound |= {n.arg for n in ast.walk(tree) if isinstance(n, ast.arg)}
    bound |= {n.name for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)}
    return ast.unparse(Renaming(bound).visit(tree))


def test_renaming_changes_no_subtree() -> None:
    assert subtrees(SOLUTION) == subtrees(RENAMED) == subtrees(renamed(SOLUTION))
    assert subtrees(SOLUTION).total() >= LONG_ENOUGH
    swapped = SOLUTION.replace("totals.append(total)", "totals.remove(total)")
    assert subtrees(swapped) != subtrees(SOLUTION), "names that the code does not bind mean something"


def test_the_rate_is_a_share_of_the_solutions_subtrees() -> None:
    exam = ExamCode([SOLUTION])
    whole, changed = exam.find("", RENAMED), exam.find("", RENAMED.replace("acc += x", "acc -= x"))
    longer = exam.find("", f"{OTHER}\n\n{RENAMED}")
    assert whole and changed and longer
    assert whole.rate == longer.rate == 1.0 and whole.exam == SOLUTION
    parts, kept = subtrees(SOLUTION), subtrees(RENAMED.replace("acc += x", "acc -= x"))
    assert changed.rate == (parts & kept).total() / parts.total()
    assert RATE <= changed.rate < 1.0
    assert ExamCode([SOLUTION], rate=1.0).find("", changed.code) is None
    assert exam.find("", OTHER) is None
    assert exam.find("", "\n".join(RENAMED.splitlines()[:7]) + "\n        pass") is None, "half of it"


def test_code_is_found_where_rows_have_it() -> None:
    exam = ExamCode([SOLUTION])
    head, body = RENAMED.strip().split('    """\n    out', 1)
    rows = (
        ("Write it.", f"Here it is:\n```python\n{RENAMED}```\nThat is all."),
        ("Write it.", f"Cut off:\n~~~\n{RENAMED}"),
        ("Write it.", "  - as a part of a list:\n    ```py\n" + RENAMED.replace("\n", "\n    ") + "\n    ```\n"),
        (f'{head}    """', f"    out{body}"),
        (RENAMED, "What does it do?"),
    )
    for prompt, response in rows:
        found = exam.find(prompt, response)
        assert found and found.rate == 1.0, (prompt, response)
        assert "top = acc" in found.code


def test_what_is_no_code_is_passed_over() -> None:
    """Also what makes the parser complain; solutions that are prose, or too short, are no solutions."""
    exam = ExamCode([SOLUTION, "So 12 tulips are left.", "42", "def f(x):\n    return x + 1\n", "\0", "(" * 500])
    for text in ("So 12.", "3 + 4", "\0", "(" * 500, "x = '\\d' if 1 is 1 else 2", "-" * 15_000 + "1", RENAMED * 200):
        assert exam.find("Go on.", text) is None
    assert ExamCode(["def f(x):\n    return x + 1\n"]).find("", "def g(y):\n    return y + 1\n") is None


@pytest.mark.skipif(not HUMANEVAL.exists(), reason="HumanEval is not beside the checkout")
def test_renamed_variables_in_a_test_solution() -> None:
    """mechanisms §3: n-gram passes it, AST match flags it. All of HumanEval that is long enough to say something."""
    solutions = humaneval()
    long = [s for s in solutions if subtrees(s).total() >= LONG_ENOUGH]
    assert len(long) >= 0.6 * len(solutions)
    by_words, by_tree = Exams(solutions), Exams((), long)
    planted = [renamed(solution) for solution in long]
    # The others keep a run of marks and constants that no renaming breaks.
    passed = sum(by_words.find("Write a function.", f"```python\n{code}\n```") is None for code in planted)
    assert passed >= 0.85 * len(planted)
    for solution, code in zip(long, planted, strict=True):
        found = by_tree.find("Write a function.", f"```python\n{code}\n```")
        assert found and found.kind == "code" and found.span.strip() == code, solution
        assert subtrees(found.exam) == subtrees(solution)


@pytest.mark.skipif(not HUMANEVAL.exists(), reason="HumanEval is not beside the checkout")
def test_functions_of_the_same_making_are_no_match() -> None:
    """Each half of HumanEval against the other: the most alike clean code that there is."""
    solutions = humaneval()
    flagged = 0
    for exam, other in ((solutions[::2], solutions[1::2]), (solutions[1::2], solutions[::2])):
        held = ExamCode(exam)
        flagged += sum(held.find("", solution) is not None for solution in other)
    assert flagged <= 0.02 * len(solutions)
