"""Openings: how a user's turn begins for a model of the cast. Magpie has it go on from there, and nothing else."""

from __future__ import annotations

from agents.chat_template import user_opening
from loop.cast import Player
from loop.errors import MissingError
from loop.objective import Objective
from loop.weights import model_folder

SCRIPT = "User: "
"""Of scripts, which have no template."""


def opening_of(player: Player, objective: Objective, engine: str) -> str:
    """As the objective has it, or as the chat template of a model on this machine; "" where neither tells.

    An endpoint tells nobody its template, and takes a text that begins without the token of all beginnings.
    """
    if player.user_turn is not None:
        return player.user_turn
    if engine == "scripted":
        return SCRIPT
    folder = None if player.address else model_folder(player.model, objective.folder)
    return user_opening(folder, begun=engine == "vllm") if folder else ""


def require_opening(name: str, opening: str, objective: Objective) -> None:
    """Refuse a writer that cannot play what the objective asks for by name.

    Raises: MissingError.
    """
    if not opening and "magpie" in (objective.strategies.allow or ()):
        raise MissingError(
            f"cast.challenger: strategies.allow names magpie, and how a user's turn begins for {name} is not known;"
            ' write user_turn, such as "<|im_start|>user\\n", or take a chat model that is on this machine'
        )
