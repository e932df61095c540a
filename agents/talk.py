"""Talk: how an agent asks a language model, and how what it says becomes a validated reply."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol, TypeVar

from pydantic import BaseModel, ValidationError

from agents.engines import EngineError

MOST_CHARACTERS = 200_000
"""Of an answer that is looked at at all: a reply that the loop offers is a few thousand."""


class Unreachable(EngineError):
    """The model cannot be had now: its endpoint is down or silent, and waiting did not help."""


class Unusable(Exception):
    """The model answered, and the answer cannot be used, one repair included. It is an error, never a low score."""


@dataclass(frozen=True)
class Message:
    """One turn of a conversation."""

    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True)
class Question:
    """What a model is asked. The same question gets the same answer from a scripted model."""

    messages: tuple[Message, ...]
    schema: dict[str, Any] | None = None
    """JSON schema of the answer, for engines with structured output; None asks for plain text."""
    max_tokens: int = 2048
    temperature: float = 0.0
    seed: int = 0
    prompt: str = ""
    """Digest of the template that wrote the messages: it stands in every row that came of it."""
    whole: str | None = None
    """A bare text to go on with, in place of the messages: no chat template is put around it."""


@dataclass(frozen=True)
class Answer:
    """What the model said, and what that cost."""

    text: str
    finish: Literal["stop", "length"]
    """length: cut off at `max_tokens`, or all tokens went into thinking: truncated, not wrong."""
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0
    """Of the prompt's tokens, those that the endpoint had in its cache."""


class Talker(Protocol):
    """A model that answers questions. Safe to be asked from several threads at once."""

    model: str

    def ask(self, question: Question) -> Answer:
        """The answer; waits and tries again where that may help.

        Raises: Unreachable when the model cannot be had now, EngineError when it never will be (a wrong key, an
        unknown model, a request that the endpoint refuses).
        """
        ...


R = TypeVar("R", bound=BaseModel)


def ask_for(talker: Talker, question: Question, kind: type[R], check: Callable[[R], None] = lambda _: None) -> R:
    """The answer as a validated reply; an answer that is none is sent back once, with what is wrong with it.

    Args: check: raises ValueError for a reply that has the form and cannot be meant: it counts as unusable too.

    Raises: Unusable when the repaired answer is none either; what `Talker.ask` raises.
    """
    question = replace(question, schema=question.schema or kind.model_json_schema())
    answer = talker.ask(question)
    try:
        return read_reply(answer, kind, check)
    except Unusable as error:
        problem = str(error)
    repair = (
        Message("assistant", answer.text[:4000]),
        Message("user", f"That cannot be used: {problem}. Answer again, with the corrected JSON object alone."),
    )
    said = talker.ask(replace(question, messages=(*question.messages, *repair)))
    return read_reply(said, kind, check)


def read_reply(answer: Answer, kind: type[R], check: Callable[[R], None] = lambda _: None) -> R:
    """The reply that an answer is: one JSON object, validated strictly ("false" is no boolean).

    Thoughts before it and a fence around it are taken away; of anything else nothing is guessed.

    Raises: Unusable, in one line.
    """
    if answer.finish == "length":
        raise Unusable("it was cut off before its end")
    if not answer.text.strip():
        raise Unusable("it is empty")
    if len(answer.text) > MOST_CHARACTERS:
        raise Unusable(f"it is longer than {MOST_CHARACTERS} characters")
    text = re.sub(r"\A\s*<think>.*?</think>", "", answer.text, flags=re.DOTALL).strip()
    text = re.sub(r"\A```(?:json)?\s*\n(.*)\n```\Z", r"\1", text, flags=re.DOTALL)
    try:
        json.loads(text, object_pairs_hook=_no_key_twice)
        reply = kind.model_validate_json(text, strict=True)
        check(reply)
    except ValidationError as error:
        raise Unusable("; ".join(_said(wrong) for wrong in error.errors()[:5])) from error
    except (ValueError, RecursionError) as error:
        raise Unusable(" ".join(str(error).split())[:500] or "it is no JSON object") from error
    return reply


def quoted(text: str, most: int = 4000) -> str:
    """A text from outside as data in a prompt: a JSON string, so that nothing in it can end the quotation.

    Angle brackets and backquotes are escaped too: no text can open or close a section of the prompt around it.
    """
    text = text if len(text) <= most else text[: most // 2] + " … " + text[-(most // 2) :]
    safe = json.dumps(text, ensure_ascii=False)
    for char in "<>`\u2028\u2029":
        safe = safe.replace(char, f"\\u{ord(char):04x}")
    return safe


def transcript(messages: Sequence[Message]) -> str:
    """The turns as one text, for models without a chat template."""
    return "\n\n".join(message.content for message in messages) + "\n"


def _no_key_twice(pairs: list[tuple[str, Any]]) -> None:
    """Refuse {"better": "second", "better": "first"}: parsers differ in which of them they believe."""
    keys = [key for key, _ in pairs]
    if twice := next((key for key in keys if keys.count(key) > 1), None):
        raise ValueError(f"{twice!r:.80} stands twice in one object")


def _said(wrong: Any) -> str:
    where = ".".join(str(part) for part in wrong["loc"]) or "the answer"
    return " ".join(f"{where}: {wrong['msg']}".split())[:200]
