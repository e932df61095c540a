"""The list of checks in docs/checks.md names tests that exist."""

from __future__ import annotations

import ast
import re

from launches import ROOT


def test_every_test_that_the_list_names_exists() -> None:
    text = (ROOT / "docs" / "checks.md").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line.startswith("| §")]
    named = {tuple(node.split("::")) for line in lines for node in re.findall(r"`(tests/[^`]+\.py::\w+)`", line)}
    assert len(lines) > 60 and len(named) > 50
    tests = {
        (path, node.name)
        for path, _ in named
        if (ROOT / path).exists()
        for node in ast.parse((ROOT / path).read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef)
    }
    assert named - tests == set()
    for line in lines:
        assert re.search(r"`|^ later: |^ not ours: ", line.split("|")[-2]), line
