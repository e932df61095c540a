"""Endpoints, before a run: is one there, does it take the key, does it list the model? Nothing is paid for."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from agents.engines import EngineError
from loop.cast import Player
from loop.errors import MissingError

if TYPE_CHECKING:
    import openai

SECONDS = 5.0
"""To connect, to wait for each part of the answer, and then for the whole of it."""
MOST_BYTES = 10_000_000
MOST_NAMED = 5


def reach(players: Sequence[tuple[str, Player]]) -> list[str]:
    """Ask every endpoint once for the list of its models; what it says, a line each, and notes.

    Args: players: each with the key of the objective under which it stands.

    Raises: MissingError for a key that is not there or not taken, and for an address at which nothing answers.
    """
    lines: list[str] = []
    listed: dict[tuple[str, str], list[str] | None] = {}
    for who, player in players:
        at = player.address, player.key_variable
        if at not in listed:
            listed[at], line = _list_models(who, player)
            lines.append(line)
        models = listed[at]
        if models is not None and player.model not in models:
            named = ", ".join(models[:MOST_NAMED]) + (" ..." if len(models) > MOST_NAMED else "")
            lines.append(f"note: {who}: {player.address} does not list {player.model}; it lists {named or 'none'}")
    return lines


def _list_models(who: str, player: Player) -> tuple[list[str] | None, str]:
    """The ids of the models, or None where the server does not tell; and a line about it."""
    import httpx2
    import openai

    from agents.engines.faults import Endpoint

    endpoint = Endpoint(player.model, player.address, player.key_variable)
    try:
        key, address = endpoint.key(), endpoint.base_url()
    except EngineError as error:
        raise MissingError(f"{who}: {error}") from error
    if not key.isascii() or not key.isprintable() or " " in key:
        raise MissingError(
            f"{who}: {player.key_variable} holds a space or a letter that no key has; put the key there"
        )
    try:
        with openai.OpenAI(api_key=key, base_url=address, max_retries=0, timeout=SECONDS) as client:
            models = _read_list(client)
    except openai.APIStatusError as error:
        return None, _refusal(who, player, error.status_code)
    except (openai.APIError, httpx2.HTTPError, TimeoutError) as error:
        is_late = isinstance(error, openai.APITimeoutError | httpx2.TimeoutException | TimeoutError)
        why = " ".join(str(error.__cause__ or error).split())[:100]
        reason = f"does not answer within {SECONDS:g} s" if is_late else f"cannot be reached ({why})"
        raise MissingError(f"{who}: {address} {reason}; start the server there, or mend endpoint") from error
    if models is None:
        return None, f"note: {who}: {address} answers, and its answer is no list of models; is it the right address?"
    return models, f"endpoint: {address} answers and lists {len(models)} model{'s' * (len(models) != 1)}"


def _read_list(client: openai.OpenAI) -> list[str] | None:
    """Raises: what the client raises; TimeoutError for an answer that trickles."""
    began, content = time.monotonic(), b""
    with client.models.with_streaming_response.list() as response:
        for part in response.iter_bytes():
            content += part
            if time.monotonic() - began > SECONDS:
                raise TimeoutError
            if len(content) > MOST_BYTES:
                return None
    try:
        return sorted(str(model["id"]) for model in json.loads(content)["data"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def _refusal(who: str, player: Player, status: int) -> str:
    """A note about a status that says little of the run.

    Raises: MissingError for one by which it would not work. What the server wrote is left out: it may hold the key.
    """
    address, variable = player.address, player.key_variable
    if status in (401, 403) and variable:
        raise MissingError(f"{who}: {address} does not take the key in {variable} ({status}); put a valid one there")
    if status in (401, 403):
        raise MissingError(
            f"{who}: {address} asks for a key ({status}); name the variable that holds it in api_key_env"
        )
    if status >= 500:
        raise MissingError(f"{who}: {address} is not well ({status}); wait until it is, or look at its log")
    return f"note: {who}: {address} does not tell its models ({status}): whether it has {player.model}, the run shows"
