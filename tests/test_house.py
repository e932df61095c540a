"""The house itself: which way imports go, what is imported when, what things are called, and how long files are."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import jinja2
import pytest
import yaml
from launches import ROOT
from scripted import Scripted

from loop.new import objective_presets
from loop.presets import preset_names, read_preset

PACKAGES = ("loop", "agents", "templates")
"""In the order in which they may import each other: a package those after it, never back."""
ROOMS = ("tests", "benchmarks", "examples", *PACKAGES)
STAGES = (
    "plan",
    "prepare",
    "scorers",
    "seek",
    "write",
    "sample",
    "critique",
    "curate",
    "pair",
    "drill",
    "train",
    "evaluate",
    "diagnose",
    "close",
)
HEAVY = {"accelerate", "datasets", "peft", "safetensors", "tokenizers", "torch", "transformers", "trl", "vllm"}
CHILDREN = {
    "agents.engines.completions_child",
    "agents.engines.local_child",
    "agents.engines.transformers",
    "agents.engines.vllm_child",
    "loop.training.chain",
    "loop.training.arguments",
    "loop.training.convergence",
    "loop.training.dpo",
    "loop.training.reward",
    "loop.training.grpo",
    "loop.training.distillation",
    "loop.training.held_out",
    "loop.training.on_policy",
    "loop.embedding",
    "loop.exporter",
    "loop.training.looks",
    "loop.training.ranks",
    "loop.training.scratch",
    "loop.training.sft",
    "loop.training.student",
    "loop.training.watch",
}
"""Modules that run in child processes alone, and so may import what is heavy."""
NOT_SAID = {"manager", "handler", "helper", "utils", "processor", "data", "info", "item"}
"""Words not used in names (house-style.md, section 3)."""
LONGEST = 250
LONGER = {
    "agents/rules.py": 300,
    "agents/standings.py": 260,
    "loop/ledger.py": 270,
    "loop/plots.py": 280,
    "loop/report.py": 340,
    "loop/sources.py": 300,
    "loop/status.py": 260,
    "loop/tasks.py": 310,
    "loop/verifiers.py": 270,
    "loop/working.py": 540,
}
"""Files longer than `LONGEST`, and how long they are: these numbers may fall and not rise."""


def modules() -> dict[str, ast.Module]:
    """Every module of the packages by its dotted name."""
    paths = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
    return {name_of(path): ast.parse(path.read_text(encoding="utf-8"), str(path)) for path in paths}


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = modules()


def imported(tree: ast.AST) -> Iterator[str]:
    """Dotted names that a piece of code imports, of modules and of what stands in them."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 and node.module, "imports are absolute"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def at_module_level(tree: ast.Module) -> Iterator[str]:
    """What is imported with the module, not first inside a function or for the type checker."""
    for node in tree.body:
        if not isinstance(node, ast.FunctionDef | ast.ClassDef) and "TYPE_CHECKING" not in ast.dump(node):
            yield from imported(node)
        elif isinstance(node, ast.ClassDef):
            yield from (
                name for part in node.body if not isinstance(part, ast.FunctionDef) for name in imported(part)
            )


# Imports.


def test_imports_go_one_way() -> None:
    wrong = [
        f"{name} imports {other}"
        for name, tree in MODULES.items()
        for other in imported(tree)
        if other.split(".")[0] in ROOMS[: ROOMS.index(name.split(".")[0])]
    ]
    assert wrong == []
    assert not list(imported(MODULES["templates"])), "words, no code"


def test_stages_do_not_import_each_other() -> None:
    stages = {f"loop.{stage}" for stage in STAGES}
    assert stages <= MODULES.keys()
    wrong = {
        f"{stage} imports {other}" for stage in stages for other in {*imported(MODULES[stage])} & (stages - {stage})
    }
    assert wrong == set(), "what two stages share belongs to a module that is none (records, bench, room)"


def test_there_is_no_cycle() -> None:
    graph = {name: {o for o in at_module_level(tree) if o in MODULES and o != name} for name, tree in MODULES.items()}
    assert graph["loop.runner"] >= {f"loop.{stage}" for stage in STAGES}, "the graph sees imports"
    while free := [name for name, others in graph.items() if not others & graph.keys()]:
        for name in free:
            del graph[name]
    assert not graph, f"modules that import each other, or such: {sorted(graph)}"


def test_only_children_import_what_is_heavy() -> None:
    for name, tree in MODULES.items():
        heavy = {other.split(".")[0] for other in imported(tree)} & HEAVY
        children = {*at_module_level(tree)} & CHILDREN
        assert name in CHILDREN or not heavy | children, f"{name} imports {heavy | children}"


def test_a_whole_run_imports_no_torch(tmp_path: Path) -> None:
    Scripted("rounds: 1").write(tmp_path)
    code = (
        "import sys\nfrom loop import cli\nafter_import = {*sys.modules}\n"
        "sys.argv = ['loop', 'run', '--run', 'run']\n"
        "try:\n    cli.main()\nexcept SystemExit as end:\n    assert not end.code, end.code\n"
        f"heavy = {sorted(HEAVY)!r} + ['reasoning_gym', 'sympy', 'math_verify', 'numpy', 'pandas', 'sklearn']\n"
        "print(*[name for name in heavy if name in sys.modules], file=sys.stderr)\n"
        "print('loop.objective' in after_import, file=sys.stderr)"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT), "LOOP_CACHE": str(tmp_path / "cache")}
    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr.splitlines() == ["", "False"], "heavy modules; and whether `loop --help` waits for pydantic"


# Templates.


def test_every_template_parses() -> None:
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, autoescape=True)
    seen = set()
    for path in sorted(p for p in (ROOT / "templates").rglob("*") if p.is_file() and p.suffix not in (".py", ".pyc")):
        text = path.read_text(encoding="utf-8")
        seen.add(path.suffix)
        if path.suffix == ".j2":
            environment.parse(text)
        elif path.suffix == ".yaml":
            assert isinstance(yaml.safe_load(text), dict)
        elif path.suffix == ".jsonl":
            assert all(isinstance(json.loads(line), dict) for line in text.splitlines())
        else:
            assert path.suffix == ".md", f"{path}: a kind of template that nothing checks"
    assert {".yaml", ".md", ".j2"} <= seen
    assert preset_names() and objective_presets()
    for name in preset_names():
        assert read_preset(name).architecture.head_size >= 32, "vLLM on a CPU takes no less"


# Names, words and sizes.


def test_every_module_says_what_it_is() -> None:
    for name, tree in MODULES.items():
        first = (ast.get_docstring(tree) or "").split("\n")[0]
        assert re.fullmatch(r"\S.*[.:!?]", first), f"{name}: {first!r} is no sentence"


def words_of(name: str) -> set[str]:
    """The words of a snake_case or CamelCase name."""
    return {word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)}


def test_words_that_say_nothing_are_not_said() -> None:
    assert words_of("HTTPItem_info") == {"http", "item", "info"}
    named = [(name, part) for name in MODULES for part in name.split(".")]
    for module, tree in MODULES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                named.append((module, node.name))
    wrong = [f"{module}: {name}" for module, name in named if words_of(name) & NOT_SAID]
    assert wrong == []


def test_one_place_catches_everything() -> None:
    for name, tree in MODULES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ExceptHandler) and name != "loop.steady":
                caught = ast.unparse(node.type) if node.type else "everything"
                assert caught not in ("Exception", "everything"), f"{name}:{node.lineno} catches {caught}"


@pytest.mark.parametrize("package", PACKAGES)
def test_files_grow_no_longer(package: str) -> None:
    for path in sorted((ROOT / package).rglob("*.py")):
        name, lines = str(path.relative_to(ROOT)), len(path.read_text(encoding="utf-8").splitlines())
        assert lines <= LONGER.get(name, LONGEST), f"{name} has {lines} lines: part it"
        assert name not in LONGER or lines > LONGEST, f"{name} is short enough: take it out of LONGER"
