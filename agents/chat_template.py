"""Chat template: how a model's own template begins a user's turn, read from its folder without loading the model."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn

import jinja2
from jinja2.sandbox import ImmutableSandboxedEnvironment

MARK = "THE WORDS OF THE USER"
TODAY = datetime(2025, 1, 1)
"""What templates that write the date are told: with the day itself, the same question would not come twice."""
SPECIAL = ("bos_token", "eos_token", "pad_token", "unk_token")


def user_opening(folder: Path, begun: bool = False) -> str:
    """The text that stands before a user's words; "" where the folder has no chat template, or one that fails.

    It is all that Magpie gives a model (arXiv 2406.08464). A system turn that the template adds by itself is in it.

    Args: begun: whether who completes the text puts the token before it with which every text begins; then it is
        left out here.
    """
    told = _read(folder / "tokenizer_config.json")
    special = {name: _content(told.get(name)) for name in SPECIAL}
    template = _template(folder, told)
    opening = opening_of(lambda turns: _render(template, turns, special)) if template else ""
    return opening.removeprefix(special["bos_token"]) if begun else opening


def opening_of(apply: Callable[[list[dict[str, str]]], str]) -> str:
    """The text of a chat template up to where a user's words begin; "" where they do not stand in it.

    Args: apply: the template, from turns to the text of a conversation.
    """
    before, mark, _ = apply([{"role": "user", "content": MARK}]).partition(MARK)
    return before if mark else ""


def _template(folder: Path, told: Mapping[str, Any]) -> str:
    """A file of its own goes before the tokenizer's settings, which may hold several by name."""
    path = folder / "chat_template.jinja"
    if path.is_file():
        return path.read_text(encoding="utf-8")
    found = told.get("chat_template") or ""
    if isinstance(found, list):
        found = next((entry["template"] for entry in found if entry["name"] == "default"), "")
    return str(found)


def _render(template: str, turns: list[dict[str, str]], special: Mapping[str, str]) -> str:
    """As transformers renders it, a date aside; "" where it cannot be."""

    def refuse(words: str) -> NoReturn:
        raise jinja2.TemplateError(words)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.filters["tojson"] = lambda value, **how: json.dumps(value, ensure_ascii=False, **how)
    environment.globals |= {"raise_exception": refuse, "strftime_now": TODAY.strftime}
    try:
        text = environment.from_string(template).render(messages=turns, add_generation_prompt=False, **special)
    except (jinja2.TemplateError, TypeError, ValueError, LookupError):
        return ""
    return text


def _read(path: Path) -> dict[str, Any]:
    """A JSON object, or {} where there is none."""
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return told if isinstance(told, dict) else {}


def _content(token: Any) -> str:
    """A special token, which stands there as a text or as an object with one."""
    return str((token.get("content") if isinstance(token, dict) else token) or "")
