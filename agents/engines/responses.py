"""Responses: what OpenAI-compatible servers answer, as far as it is read; and what requests come to in tokens."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, ValidationError, ValidatorFunctionWrapHandler, WrapValidator

TURN_TOKENS = 64
"""Most that a chat template adds to a turn."""
BYTES_A_TOKEN = 2
"""For a response without usage. English has four bytes a token, sums have about two: rather too many than too few."""


def _or_none(value: Any, validated: ValidatorFunctionWrapHandler) -> Any:
    """A count that makes no sense is none."""
    try:
        return validated(value)
    except ValidationError:
        return None


class Message(BaseModel):
    """A turn of the model."""

    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None


class Choice(BaseModel):
    """One answer."""

    index: Annotated[int, Field(ge=0)] | None = None
    finish_reason: str | None = None
    text: str | None = None
    message: Message | None = None

    @property
    def said(self) -> str:
        """The answer's text, thoughts in tags included."""
        return self.text or "" if self.message is None else self.message.content or ""

    @property
    def thoughts(self) -> str:
        """What the server took out of the text as thinking."""
        return (self.message and (self.message.reasoning_content or self.message.reasoning)) or ""

    @property
    def finish(self) -> Literal["stop", "length", "error"]:
        """How it ended. Thoughts with no answer after them are truncated, and so is a turn without a word."""
        if self.finish_reason == "content_filter":
            return "error"
        answer = re.sub(r"\A\s*<think>.*?(</think>|\Z)", "", self.said, flags=re.DOTALL)
        wordless = not answer.strip() and bool(self.message or self.said.strip())
        return "length" if self.finish_reason == "length" or wordless else "stop"


class PromptDetails(BaseModel):
    """More about the prompt's tokens."""

    cached_tokens: Annotated[int, Field(ge=0)] | None = None


class Usage(BaseModel):
    """Tokens of the whole request."""

    prompt_tokens: Annotated[int, Field(ge=0)]
    completion_tokens: Annotated[int, Field(ge=0)] = 0
    prompt_tokens_details: Annotated[PromptDetails | None, WrapValidator(_or_none)] = None

    @property
    def cached_tokens(self) -> int:
        """Of the prompt's."""
        return (self.prompt_tokens_details and self.prompt_tokens_details.cached_tokens) or 0


class Response(BaseModel):
    """An answer to /completions or /chat/completions."""

    choices: Annotated[list[Choice], Field(min_length=1)]
    usage: Annotated[Usage | None, WrapValidator(_or_none)] = None

    def used(self, body: dict[str, Any]) -> Usage:
        """Its usage; estimated where the server keeps it to itself."""
        if self.usage:
            return self.usage
        written = [len((choice.said + choice.thoughts).encode()) for choice in self.choices]
        return Usage(
            prompt_tokens=-(-prompt_bytes(body) // BYTES_A_TOKEN),
            completion_tokens=sum(min(-(-size // BYTES_A_TOKEN) + 1, most_written(body)) for size in written),
        )


def prompt_bytes(body: dict[str, Any]) -> int:
    """Of all prompts of a request, and of the schema that a server may put before them."""
    asked = [body.get(name) for name in ("messages", "prompt", "response_format")]
    return len(json.dumps([part for part in asked if part], ensure_ascii=False).encode())


def most_written(body: dict[str, Any]) -> int:
    """Tokens that one answer may have."""
    return int(body.get("max_completion_tokens") or body["max_tokens"])


def most_tokens(body: dict[str, Any]) -> tuple[int, int]:
    """Tokens that a request may come to at most, prompt and completion: no token is shorter than a byte."""
    prompts = len(body["prompt"]) if isinstance(body.get("prompt"), list) else 1
    turns = len(body.get("messages", ())) or prompts
    return prompt_bytes(body) + TURN_TOKENS * turns, prompts * body.get("n", 1) * most_written(body)


def shared(total: int, weights: Sequence[int]) -> list[int]:
    """A count shared out by weight, in whole numbers whose sum is exact."""
    whole = sum(weights)
    return [high - low for low, high in pairwise(total * part // whole for part in (0, *accumulate(weights)))]
