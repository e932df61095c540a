"""Seating: the players of the cast as seats, each with where it runs on this machine and what is known of it."""

from __future__ import annotations

from collections.abc import Sequence

from loop.cast import Player
from loop.needs import resolve_engine
from loop.objective import Objective
from loop.openings import opening_of
from loop.seats import Seat
from loop.weights import find_weights


def seat_of(player: Player, objective: Objective) -> Seat:
    """A model of the cast and where it runs on this machine."""
    folder, engine = objective.folder / player.model, resolve_engine(player, objective)
    return Seat(
        name=player.model,
        engine=engine,
        model=str(folder.resolve()) if not player.address and folder.is_dir() else player.model,
        endpoint=player.address,
        api_key_env=player.key_variable,
        prices=player.tariff,
        parameters=_parameters(player, objective),
        opening=opening_of(player, objective, engine),
    )


def seats_of(players: Sequence[Player], objective: Objective) -> dict[str, Seat | None]:
    """Who may draw, by name; None is the student as it is."""
    return {p.model: None if p.model == "student" else seat_of(p, objective) for p in players}


def parts_of(objective: Objective) -> dict[str, Seat | None]:
    """Who plays weak, strong and judge, by part; None is a word: the student as it is, or for judge the verifiers."""
    cast = objective.cast
    entries = {"weak": cast.weak, "strong": cast.strong, "judge": cast.judge}
    return {
        part: None if players[0].is_word else seat_of(players[0], objective)
        for part, players in entries.items()
        if players
    }


def _parameters(player: Player, objective: Objective) -> int:
    """How many a model of this machine has; 0 where that is not known."""
    if player.address:
        return 0
    if player.model.startswith("scripted/"):
        return 1
    return find_weights("cast", player.model, objective.folder).parameters or 0
