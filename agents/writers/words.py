"""Words: the lists of topics, audiences, personas and constraints in templates/writers."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any

import yaml


def words(name: str) -> tuple[str, ...]:
    """The list of that name: topics, audiences, personas, keywords or phrases."""
    return tuple(_read("lists")[name])


def constraint_words() -> dict[str, dict[str, Any]]:
    """What each constraint is called in a request, what its number may be, and what it touches."""
    return dict(_read("constraints"))


@cache
def _read(name: str) -> dict[str, Any]:
    text = (files("templates") / "writers" / f"{name}.yaml").read_text(encoding="utf-8")
    read: dict[str, Any] = yaml.safe_load(text)
    return read
