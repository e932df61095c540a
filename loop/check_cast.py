"""Check the cast: who plays what, and what of it would be in vain."""

from __future__ import annotations

import re

from loop.cast import Player
from loop.needs import resolve_engine
from loop.objective import Objective
from loop.rubric import default_rubric, read_rubric


def cast_lines(objective: Objective) -> list[str]:
    """What `loop check` says of the cast."""
    return [
        _cast_line(objective),
        *_solver_lines(objective),
        *_critic_lines(objective),
        *_family_notes(objective),
    ]


def _cast_line(objective: Objective) -> str:
    cast = objective.cast
    parts = (
        (cast.orchestrator, "plan{s}"), (cast.sampler, "sample{s}"), (cast.critic, "judge{s}"),
        (cast.teachers, "teach{es}"), (cast.challenger, "write{s}"), (cast.weak, "answer{s} as the weak solver"),
        (cast.strong, "answer{s} as the strong one"), (cast.judge, "mark{s} their answers"),
    )  # fmt: skip
    said = (
        f"{' + '.join(_played(player, objective) for player in players)}"
        f" {verb.format(s='s' * (len(players) == 1), es='es' * (len(players) == 1))}"
        for players, verb in parts
        if players
    )
    return f"cast: {', '.join(said)}"


def _solver_lines(objective: Objective) -> list[str]:
    """A note where some parts of agentic self-instruct are played in vain."""
    cast = objective.cast
    parts = {"challenger": cast.challenger, "weak": cast.weak, "strong": cast.strong, "judge": cast.judge}
    lacking = [f"cast.{part}" for part, players in parts.items() if not players]
    lacking += [] if objective.documents else ["documents"]
    if not lacking or not (cast.weak or cast.strong or cast.judge):
        return []
    return [f"note: without {' and '.join(lacking)} no plan can choose agentic_self_instruct"]


def _played(player: Player, objective: Objective) -> str:
    """A player's name, with its engine where a model is run, and its endpoint."""
    engine = resolve_engine(player, objective)
    if player.model in ("rules", "uniform", "verifier") or engine == "scripted":
        return player.model
    if player.model == "student" and player.engine is None and engine == "transformers":
        return player.model
    return f"{player.model} ({engine}{f' at {player.address}' if player.address else ''})"


def _critic_lines(objective: Objective) -> list[str]:
    name, critics = objective.critic.rubric, objective.cast.critics
    if not critics:
        return [f"note: critic.rubric: no critic of the cast is a model: nobody reads {name}"] if name else []
    criteria = (read_rubric(objective.folder / name) if name else default_rubric()).criteria
    return [
        f"critic: {len(criteria)} criteria of {name or 'the house'}; a critic is believed that agrees with gold"
        f" in {objective.critic.bar:g} of its verdicts or more"
    ]


def _family_notes(objective: Objective) -> list[str]:
    """Critics of the family of who writes: a model likes what is its own (arXiv 2404.13076)."""
    cast = objective.cast
    written = (
        objective.student if p.model == "student" else p.model for p in (*cast.sampler, *(cast.challenger or ()))
    )
    authors = {_family(name): name for name in written}
    return [
        f"note: cast.critic: {critic.model} judges what {authors[_family(critic.model)]} writes, which is of its"
        " family; take one of another where there is one"
        for critic in cast.critics
        if _family(critic.model) in authors
    ]


def _family(model: str) -> str:
    """The letters that a model's name begins with, its owner aside: qwen of Qwen/Qwen3.5-4B."""
    name = model.rstrip("/").rpartition("/")[2].casefold()
    return (re.match(r"[a-z]+", name) or [name])[0]
