"""Code match: does a row's Python code have the syntax tree of an exam's solution, whatever its names are?

phi-1 (arXiv 2306.11644, section 5) prunes training code by the match rate of syntax trees, since n-grams see nothing
of a solution with its variables renamed. Its rate is an edit distance of the trees; here it is the share of the
solution's subtrees that the row's code holds, which takes no pairwise alignment: one word changed costs the subtrees
that hold it, a handful of some fifty.
"""

from __future__ import annotations

import ast
import re
import textwrap
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from hashlib import blake2b
from typing import NamedTuple

RATE = 0.8
"""Share of a solution's subtrees from which code matches: phi-1 prunes at match rates from 0.95 down to 0.8."""
LEAST_PARTS = 3
"""Nodes of a subtree that counts: every code has the smaller ones, names, constants and calls of one name."""
LONG_ENOUGH = 12
"""Subtrees below which a solution says nothing: short functions are alike. Of HumanEval's 164 solutions 99 are that
long, and one other solution has the tree of one of them (108 of 145: both add up signed digits); from 8 on, five."""
FENCE = re.compile(r"^[ \t]*(```|~~~)[^\n]*\n(.*?)(?:^[ \t]*\1|\Z)", re.DOTALL | re.MULTILINE)
MOST_CHARACTERS = 20_000
"""Of code that is looked at: deeply nested longer texts would take the parser's memory."""


class CodeMatch(NamedTuple):
    """A solution that a row's code has the tree of."""

    exam: str
    """The solution."""
    code: str
    """The row's code."""
    rate: float


class ExamCode:
    """The solutions of exam problems, ready to be looked for in training rows."""

    def __init__(self, solutions: Iterable[str], rate: float = RATE) -> None:
        """Args: solutions: whole as they would run; those that are no Python code, or too short, are passed over."""
        self._rate = rate
        trees = {solution: subtrees(solution) for solution in dict.fromkeys(solutions)}
        self._held = [(solution, tree) for solution, tree in trees.items() if tree.total() >= LONG_ENOUGH]
        self._holders: defaultdict[bytes, list[int]] = defaultdict(list)
        for i, (_, tree) in enumerate(self._held):
            for part in tree:
                self._holders[part].append(i)

    def find(self, prompt: str, response: str) -> CodeMatch | None:
        """The solution that code of the row matches best, from `rate` on, the first of several."""
        best: CodeMatch | None = None
        for code in codes_of(prompt, response) if self._held else ():
            tree, shared = subtrees(code), Counter[int]()
            for part, number in tree.items():
                for i in self._holders.get(part, ()):
                    shared[i] += min(number, self._held[i][1][part])
            for i in sorted(shared):
                solution, parts = self._held[i]
                rate = shared[i] / parts.total()
                if rate >= self._rate and (best is None or rate > best.rate):
                    best = CodeMatch(solution, code, rate)
        return best


def solution_of(prompt: str, written: str) -> str:
    """A problem's reference code, whole as it would run; "" where what is written for it defines no function.

    Code that begins indented is the end of its prompt, as HumanEval's is.
    """
    code = written.strip("\n")
    whole = f"{prompt.rstrip()}\n{code}" if code[:1] in (" ", "\t") else code
    return whole if re.search(r"^[ \t]*(async )?def ", whole, re.MULTILINE) else ""


def codes_of(prompt: str, response: str) -> Iterator[str]:
    """What may be code in a row: fenced blocks; else the response, the two as one, and the prompt."""
    fenced = [textwrap.dedent(m[2]) for text in (prompt, response) for m in FENCE.finditer(text)]
    yield from fenced or (textwrap.dedent(response).strip("\n"), f"{prompt.rstrip()}\n{response}", prompt)


def subtrees(code: str) -> Counter[bytes]:
    """The subtrees of LEAST_PARTS nodes or more of Python code, by digest; none of what is no Python code.

    Names that the code itself binds are folded into one, constants into their type, and docstrings, annotations and
    imports are left out: other names change what the code does.
    """
    tree = _parse(code)
    if tree is None:
        return Counter()
    found: Counter[bytes] = Counter()
    try:
        _digest(tree, _bound(tree), found)
    except RecursionError:
        return Counter()
    return found


def _parse(code: str) -> ast.Module | None:
    if len(code) > MOST_CHARACTERS:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the parser, about what a row's code does
        try:
            return ast.parse(code)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return None


def _bound(tree: ast.Module) -> set[str]:
    """The names that the code binds: assigned, defined, taken as arguments, imported under a name."""
    bound = set()
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()) | ast.arg(arg=name):
                bound.add(name)
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                bound.add(name)
            case ast.ExceptHandler(name=str(name)) | ast.alias(asname=str(name)):
                bound.add(name)
    return bound


def _digest(node: ast.AST, bound: set[str], found: Counter[bytes]) -> tuple[bytes, int]:
    """The digest of a subtree and its number of nodes; `found` counts it and all below it."""
    parts, size = [type(node).__name__.encode()], 1
    for field, value in ast.iter_fields(node):
        if field in ("annotation", "returns", "type_comment", "ctx", "kind"):
            continue
        for each in value if isinstance(value, list) else [value]:
            if isinstance(each, ast.Import | ast.ImportFrom) or _is_docstring(each):
                continue
            if isinstance(each, ast.AST):
                below, number = _digest(each, bound, found)
                parts.append(below)
                size += number
            elif isinstance(node, ast.Constant):
                parts.append(type(each).__name__.encode())
            elif each is not None:
                parts.append(b"" if each in bound else str(each).encode())
        parts.append(b"|")
    mark = blake2b(b"\0".join(parts), digest_size=8).digest()
    if size >= LEAST_PARTS and not isinstance(node, ast.Module):
        found[mark] += 1
    return mark, size


def _is_docstring(node: object) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
