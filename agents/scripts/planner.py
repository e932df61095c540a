"""The script `planner`: plays an orchestrator that practises every cell alike, and those of the diagnosis twice.

Of the prompt it reads the choices, the cells and the diagnosis, and of a conversation whether it has looked. So two
briefs that differ in history and scores alone get the same plan, and whatever differs is because of the diagnosis.
"""

from __future__ import annotations

import json
from typing import Any

from agents.talk import Question


def answer(question: Question) -> str:
    """A look at the failures of the largest mode first, where there is one; then a plan. Groups get names.

    See ScriptedTalker.
    """
    sections = _sections(next(m.content for m in question.messages if m.role == "user"))
    if "Groups" in sections:
        return json.dumps({"clusters": [_naming(group) for group in sections["Groups"]]})
    modes = sections["Diagnosis"]
    if modes and not any(message.role == "assistant" for message in question.messages):
        return json.dumps({"action": "look", "tool": "failures", "mode": modes[0]["name"], "count": 3})
    return json.dumps({"action": "plan", "plan": _plan(sections["Choices"][0], sections["Cells"], modes)})


def _plan(choices: dict[str, Any], cells: list[dict[str, Any]], modes: list[dict[str, Any]]) -> dict[str, Any]:
    """Half of an ordinary round spread evenly, and as much again for each cell that a failure mode names."""
    even = max(1, choices["samples"] // (2 * max(1, len(cells))))
    named = {(mode["skill"], mode["level"]) for mode in modes}
    wanted = {
        (cell["skill"], cell["level"]): min(
            even * (2 if (cell["skill"], cell["level"]) in named else 1),
            even * 2 if cell["left"] is None else cell["left"],
        )
        for cell in cells
    }
    allotments = [
        {"skill": skill, "level": level, "problems": problems, "samples": 1}
        for (skill, level), problems in wanted.items()
        if problems
    ]
    answers = [mode["name"] for mode in modes if wanted.get((mode["skill"], mode["level"]))]
    return {
        "hypothesis": f"Every cell alike, and twice as much for: {', '.join(answers) or 'none'}.",
        "answers": answers,
        "strategies": [{"kind": "rejection_sampling", "allotments": allotments}] if allotments else [],
        "training": {
            "start": "base" if choices["start"] == "base" else "best",
            "epochs": min(100.0, max(0.01, choices["epochs"])),
        },
    }


def _naming(group: dict[str, Any]) -> dict[str, Any]:
    """A name for a group of wrong attempts: its first word turned into a sentence."""
    word = group["words"][0]
    return {
        "cluster": group["cluster"],
        "name": f"often {word}, group {group['cluster']}",
        "advice": f"Undo: {word}.",
    }


def _sections(prompt: str) -> dict[str, list[Any]]:
    """The JSON lines of a prompt, by the heading they stand under."""
    sections: dict[str, list[Any]] = {}
    heading = ""
    for line in prompt.splitlines():
        if line.startswith("# "):
            heading = line[2:]
            sections[heading] = []
        elif line.startswith("{"):
            sections[heading].append(json.loads(line))
    return sections
