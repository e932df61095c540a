"""Prompts: the words of every agent stand in templates/prompts, and each text knows the digest of its template."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple

import jinja2

from agents.talk import quoted


class Prompt(NamedTuple):
    """A rendered prompt. `digest` is of the template alone: the version that stands in every row it made."""

    text: str
    digest: str


def render(name: str, **values: Any) -> Prompt:
    """The template templates/prompts/<name>.md.j2, filled in; a value that is missing is an error.

    What comes from outside (documents, samples, problems) goes through the filter `quoted`: data, never orders.
    """
    template, digest = _template(name)
    return Prompt(template.render(**values).strip() + "\n", digest)


@cache
def _template(name: str) -> tuple[jinja2.Template, str]:
    source = (files("templates") / "prompts" / f"{name}.md.j2").read_text(encoding="utf-8")
    return _environment().from_string(source), hashlib.sha256(source.encode()).hexdigest()[:16]


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,
        loader=jinja2.FunctionLoader(
            lambda name: (files("templates") / "prompts" / f"{name}.md.j2").read_text(encoding="utf-8")
        ),
    )
    environment.filters["quoted"] = quoted
    return environment
