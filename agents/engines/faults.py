"""Faults: what an endpoint's refusals and failures mean, and what is to be done about them."""

from __future__ import annotations

import json
import math
import os
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

import openai

from agents.engines import EngineError

PASSING = {408, 409, 425, 429, *range(500, 600)} - {501, 505}
"""Statuses after which the same request may succeed."""
OVERLOADED = {429, 503, 529}
REFUSING = {400, 413, 422}
"""Statuses that may be about how one request is put."""
SPENT = "insufficient_quota"
"""Said with 429 when no waiting helps."""
OPTIONAL = {
    "response_format": r"response_format|json_schema|guided|structured|grammar",
    "max_tokens": r"max_completion_tokens",
    "seed": r"\bseed\b",
    "temperature": r"unsupported.*temperature|temperature.*(not support|only the default)",
}
"""Parts of a request that it can do without, and how a server that has none of them words that."""
NO_CHAT = r"chat[ _]template|not a chat model|v1/completions|support(s|ed)? (the )?chat"
ONE_PROMPT = (
    r"context (length|window|size)|maximum (context|model) len|max_model_len|too long|too many tokens"
    r"|content_filter|content management policy"
)
"""How servers word that a prompt does not fit, or that they will not have what stands in it."""


@dataclass(frozen=True)
class Endpoint:
    """A model at an OpenAI-compatible server."""

    model: str
    address: str
    """Base address, with or without /v1."""
    api_key_env: str = ""
    """Name of the environment variable that holds the key; "" for a server that wants none."""

    def base_url(self) -> str:
        """Raises: EngineError for an address that is none."""
        parts = urlsplit(self.address)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise EngineError(
                f"endpoint {self.address!r}: no web address; write one such as http://127.0.0.1:8000/v1"
            )
        return self.address if parts.path.strip("/") else self.address.rstrip("/") + "/v1"

    def key(self) -> str:
        """Raises: EngineError when the environment does not hold it."""
        if self.api_key_env and not os.environ.get(self.api_key_env):
            raise EngineError(f"{self}: the environment variable {self.api_key_env} is not set; put the key there")
        return os.environ[self.api_key_env] if self.api_key_env else "none"

    def __str__(self) -> str:
        return f"{self.address}, model {self.model}"


class Fault(Exception):
    """A try that failed, and that need not fail again: for a status, or after a time of silence."""

    def __init__(self, said: str, status: int = 0, silent: bool = False, retry_after: float = 0.0) -> None:
        super().__init__(said)
        self.silent, self.retry_after = silent, retry_after
        self.overload = silent or status in OVERLOADED
        self.broken = status == 500


class Refused(Exception):
    """The endpoint does not take the request as it is put (400, 413, 422); put otherwise it may."""

    def __init__(self, said: str, one_prompt: bool = False) -> None:
        """`one_prompt`: for the length of a prompt, or for what stands in it, which is no fault of the others."""
        super().__init__(said)
        self.one_prompt = one_prompt


class NoChat(Exception):
    """The model has no chat template, or the endpoint no such route: a base model."""


def judged(endpoint: Endpoint, error: openai.APIStatusError, chat: bool) -> Exception:
    """What a status means: a Fault, Refused, NoChat (only with `chat`), or an EngineError with the mend."""
    status, words = error.status_code, _words(error)
    if endpoint.api_key_env:
        words = words.replace(endpoint.key(), "…")
    said = f"HTTP {status}, {words or 'without a word'}"
    no_route = status in (404, 405, 501) and not re.search("model", words, re.IGNORECASE)
    if chat and (no_route or re.search(NO_CHAT, words, re.IGNORECASE)):
        return NoChat(said)
    if status in PASSING and SPENT not in words:
        return Fault(said, status, retry_after=retry_after(error.response.headers.get("retry-after")))
    if status in REFUSING:
        return Refused(said, status == 413 or bool(re.search(ONE_PROMPT, words, re.IGNORECASE)))
    return EngineError(f"{endpoint}: {said}; {_mend(status, endpoint.api_key_env)}")


def _mend(status: int, variable: str) -> str:
    if status == 401 and not variable:
        return "it wants a key: write the name of the environment variable that holds it as api_key_env"
    mends = {
        401: f"put a key that it accepts into the environment variable {variable}",
        403: f"the key{' in ' * bool(variable)}{variable} may not use this model; take another key or model",
        404: "no such model or address there; its models are listed at /v1/models",
        429: "its account is spent; fill it up, or take another endpoint",
    }
    return mends.get(status, "mend the endpoint, or take another one")


def retry_after(header: str | None) -> float:
    """Seconds that a Retry-After header asks for, given as seconds or as a date; 0 where it is none (RFC 9110)."""
    try:
        seconds = float(header or 0)
    except ValueError:
        try:
            date = parsedate_to_datetime(header or "")
        except ValueError:
            return 0.0
        seconds = ((date if date.tzinfo else date.replace(tzinfo=UTC)) - datetime.now(UTC)).total_seconds()
    return max(seconds, 0.0) if math.isfinite(seconds) else 0.0


def line(said: object) -> str:
    """A text in one short line."""
    text = " ".join(str(said).split()) or type(said).__name__
    return text if len(text) <= 300 else text[:299] + "…"


def _words(error: openai.APIStatusError) -> str:
    """What the server said, in one line."""
    body = error.body
    if isinstance(body, dict):
        parts = [str(body[name]) for name in ("code", "message", "detail") if body.get(name)]
        return line(": ".join(parts) or json.dumps(body))
    return line(re.sub(r"<[^>]*>", " ", str(body))) if body else ""
