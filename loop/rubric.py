"""Rubrics: files of weighted criteria, read strictly."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from agents.verdicts import Rubric
from loop.errors import ObjectiveError

MOST_BYTES = 200_000
MOST_DEPTH = 8
MENDS = {
    "missing": "is missing; write name, text and weight for each criterion",
    "extra_forbidden": "is not known here; a rubric has criteria and threshold, a criterion name, text and weight",
    "int_type": "is not a whole number; write 1 to 10, or -10 to -1 for a fault",
    "greater_than_equal": "is too small; write 1 to 10, or -10 to -1 for a fault",
    "less_than_equal": "is too large; write 1 to 10, or -10 to -1 for a fault, and a threshold of 1 at most",
    "greater_than": "is too small; write a number above 0",
    "float_type": "is not a number; write one such as 0.7",
    "string_type": "is not text; put it in quotes",
    "string_pattern_mismatch": "cannot stand there; write a name in a-z, 0-9 and _, and a text with words",
    "tuple_type": "is not a list; write - before each criterion",
    "too_short": "is empty; write at least one criterion",
    "too_long": "are too many; write 30 at most",
    "model_type": "is not made of keys; write {name: ..., text: ..., weight: ...}",
}


def read_rubric(path: Path) -> Rubric:
    """A rubric's file: YAML with `criteria`, a list of {name, text, weight}, and perhaps `threshold`; or the list.

    Raises: ObjectiveError with one line a mistake: file, key, what is wrong, the mend.
    """
    try:
        if path.stat().st_size > MOST_BYTES:
            raise ObjectiveError(f"{path.name}: is larger than {MOST_BYTES} bytes; a rubric is a page of text")
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ObjectiveError(
            f"{path.name}: cannot be read as UTF-8 text; check its name and who may read it"
        ) from error
    return _rubric(text, path.name)


def default_rubric() -> Rubric:
    """The rubric of a critic for which the objective names none."""
    return _rubric((files("templates") / "rubrics" / "default.yaml").read_text(encoding="utf-8"), "default.yaml")


def _rubric(text: str, name: str) -> Rubric:
    try:
        value = _load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        place = getattr(error, "problem_mark", None)
        line = f"line {place.line + 1}: " if place else ""
        words = getattr(error, "problem", None) or str(error) or "is nested too deeply"
        mend = "" if ";" in words else "; check its indentation, brackets and quotes"
        raise ObjectiveError(f"{name}: {line}{words}{mend}") from error
    try:
        return Rubric.model_validate({"criteria": value} if isinstance(value, tuple) else value, strict=True)
    except ValidationError as error:
        raise ObjectiveError("\n".join(_line(name, wrong) for wrong in error.errors()[:5])) from error


def _load(text: str) -> Any:
    depth = 0
    for event in yaml.parse(text, yaml.SafeLoader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if getattr(event, "anchor", None) or depth > MOST_DEPTH:
            raise ValueError("has an alias (& or *) or too many brackets; write it out, or in quotes")
    if not text.strip():
        raise ValueError("is empty; write - {name: ..., text: ..., weight: ...} for each criterion")
    return _plain(yaml.compose(text, yaml.SafeLoader))


def _plain(node: yaml.Node | None) -> Any:
    """A node's plain value; PyYAML would let the last of two equal keys win, and take aliases and tags."""
    if isinstance(node, yaml.SequenceNode):
        return tuple(_plain(child) for child in node.value) if node.value else ()
    if isinstance(node, yaml.MappingNode):
        keys = [_plain(key) for key, _ in node.value]
        twice = next((key for key in keys if keys.count(key) > 1), None)
        if twice is not None:
            raise ValueError(f"{twice} is written twice, again on line {node.start_mark.line + 1}; keep one")
        return {key: _plain(child) for key, (_, child) in zip(keys, node.value, strict=True)}
    return None if node is None else yaml.safe_load(yaml.serialize(node))


def _line(name: str, wrong: Any) -> str:
    key = ".".join(str(part) for part in wrong["loc"]) or "the rubric"
    if wrong["type"] == "value_error":
        return f"{name}: {key}: {' '.join(str(wrong['ctx']['error']).split())}"
    written = "" if wrong["type"] in ("missing", "extra_forbidden") else f"{wrong['input']!r:.40} "
    return f"{name}: {key}: {written}{MENDS.get(wrong['type'], wrong['msg'])}"
