"""Solving: who poses questions, who attempts them and who marks them, from the bench, for one stage of one room."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from agents.selfinstruct.judges import Judge, ProgramJudge, RubricJudge
from agents.selfinstruct.loop import Roles
from agents.selfinstruct.rows import Challenge, Source
from agents.selfinstruct.solvers import Consensus, Solver, TalkerSolver
from loop.bench import Bench
from loop.extracts import Extract
from loop.labels import verifier_of
from loop.players import Company, company
from loop.room import Room, Stage
from loop.seats import Seat
from loop.tasks import folded
from loop.verifiers import check_answer, extract_answer, read_number

PARTS = ("weak", "strong", "judge")
"""What the cast must have beside a challenger."""


class Manner(NamedTuple):
    """How questions are attempted and marked."""

    by_program: bool
    """Whether an answer is compared with the reference; else the judge marks it by the question's rubric."""
    strong_samples: int = 1
    """Samples of which the strong solver's attempt is the most frequent answer; for answers that a program reads."""
    temperature: float = 0.7
    max_tokens: int = 4096
    """Of an attempt."""
    writer: str = ""
    """Who poses questions, by name; "" is the first who may."""


class Stand(NamedTuple):
    """The roles of a stage, and the company that plays them: what they have spent stands in its `talks`."""

    roles: Roles
    players: Company


@contextmanager
def solving(manner: Manner, student: Seat, room: Room, stage: Stage[Any], bench: Bench) -> Iterator[Stand]:
    """The roles of agentic self-instruct as the cast plays them. The quality verifier is the challenger, asked apart.

    Every answer is kept in the room's talks and paid once: who asks the same again, after a crash or within the
    stage, is answered from there. Weak and strong are sent what they are told as it is, by the same way of asking.

    Args: student: who is meant where the cast says `student`, such as `bench.student_of(checkpoint)`.

    Raises: see `company`.
    """
    with company(room, stage, bench) as players:
        writer = players.player(bench.writer(manner.writer), "challenger")

        def solver(part: str) -> Solver:
            talker = players.player(bench.parts[part] or student, part)
            return TalkerSolver(talker, manner.temperature, manner.max_tokens)

        strong = solver("strong")
        if manner.strong_samples > 1:
            strong = Consensus(strong, manner.strong_samples, lambda text: said(text, bench.answer))
        roles = Roles(writer, writer, solver("weak"), strong, _judge(manner, players, bench))
        yield Stand(roles, players)


def source_of(extract: Extract) -> Source:
    """An extract as what questions are asked of: its heading goes with it."""
    return Source(id=extract.id, text=f"{extract.title}\n\n{extract.text}" if extract.title else extract.text)


def missing_parts(bench: Bench) -> list[str]:
    """What the cast lacks to play agentic self-instruct."""
    challenger = [] if bench.writers else ["challenger"]
    return [*challenger, *(part for part in PARTS if part not in bench.parts)]


def said(text: str, place: str) -> str | None:
    """The final answer of a text, two that are the same number or words written alike; None where there is none."""
    answer = extract_answer(text, place)
    if answer is None:
        return None
    number = read_number(answer)
    return folded(answer) if number is None else str(number)


def _judge(manner: Manner, players: Company, bench: Bench) -> Judge:
    seat = bench.parts["judge"]
    if manner.by_program or seat is None:
        return ProgramJudge(lambda challenge, response: _is_right(challenge, response, bench.answer))
    return RubricJudge(players.player(seat, "judge"))


def _is_right(challenge: Challenge, response: str, place: str) -> bool:
    verifier = verifier_of(challenge.reference)
    return check_answer(verifier, response, challenge.reference, place).verdict == "passed"
