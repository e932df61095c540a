"""Dollars: what the models with a price may cost, at the most, reckoned before anything is sent."""

from __future__ import annotations

from collections.abc import Sequence

from agents.choices import VOTES
from agents.orchestrator import MOST_REQUESTS
from agents.purse import FREE
from loop.cast import Player
from loop.extracts import MOST
from loop.objective import Demonstration, Objective
from loop.presets import Student
from loop.rubric import default_rubric, read_rubric

BYTES_A_TOKEN = 2.0
"""Of a prompt, at the least: English text has about four."""
UNKNOWN_ROW = 1200
"""Bytes of a prompt and its response where no demonstration shows one."""
BRIEF = 30_000
"""Tokens of all that an orchestrator is told before an answer."""
ASKED = 1_500
"""Tokens of what a critic is told, the problem, the response and the criteria apart."""
ANSWER = 4_096
"""Tokens of one answer of an orchestrator or a critic, thoughts included."""
GOLD = 80
"""Verdicts of one critic on responses of known worth, in a round."""
CALLS = 4
"""Of a challenger for a row that it writes, at the most."""
SOLVER = 2_048
"""Tokens of one attempt at a question."""
ATTEMPTS = 3
"""Of each solver at a question."""
SOLVERS = ("weak", "strong")
SELF_INSTRUCT = "agentic_self_instruct"


def dollars_a_round(
    objective: Objective, demonstrations: Sequence[Demonstration], student: Student
) -> dict[str, float]:
    """The most dollars that a round of ordinary size costs, by part; parts that cost nothing are not in it.

    As though every answer were as long as it may be, a critic were asked about every sample, and about as many
    answers more where a planning model may choose to reinforce, the dearest sampler drew them all, every teacher
    too, as much again were written as an ordinary round has samples to vote with, or attempted in agentic
    self-instruct with no question too easy, and the orchestrator took all its looks. No answer is asked for twice
    here, as an unusable one is.
    """
    sizes = [(len(d.prompt.encode()), len(d.response.encode())) for d in demonstrations] or [(UNKNOWN_ROW, 0)]
    prompt = sum(size[0] for size in sizes) / len(sizes) / BYTES_A_TOKEN
    samples = student.settings.samples
    rubric = read_rubric(objective.folder / name) if (name := objective.critic.rubric) else default_rubric()
    told = ASKED + prompt + student.max_new_tokens + len(rubric.model_dump_json()) / BYTES_A_TOKEN
    source = ASKED + MOST / BYTES_A_TOKEN
    judged = samples * (1 + _may_reinforce(objective)) + GOLD
    posed = samples / (2 * ATTEMPTS) if _may_self_instruct(objective) else 0.0

    def costs(part: str) -> list[Player]:
        return [player for of, _, player in objective.cast.models() if of == part and player.tariff != FREE]

    dollars = {
        "orchestrator": sum(
            p.tariff.cost(MOST_REQUESTS * BRIEF, MOST_REQUESTS * ANSWER) for p in costs("orchestrator")
        ),
        "sampler": max(
            (p.tariff.cost(samples * prompt, samples * student.max_new_tokens) for p in costs("sampler")), default=0.0
        ),
        "critic": sum(judged * p.tariff.cost(told, ANSWER) for p in costs("critic")),
        "teachers": sum(p.tariff.cost(samples * prompt, samples * ANSWER) for p in costs("teachers")),
        "challenger": max(
            (max(samples / VOTES * CALLS, 3 * posed) * p.tariff.cost(source, ANSWER) for p in costs("challenger")),
            default=0.0,
        ),
        **{part: sum(posed * ATTEMPTS * p.tariff.cost(ASKED, SOLVER) for p in costs(part)) for part in SOLVERS},
        "judge": sum(2 * posed * ATTEMPTS * p.tariff.cost(ASKED + SOLVER, ANSWER) for p in costs("judge")),
    }
    return {part: cost for part, cost in dollars.items() if cost}


def _may_reinforce(objective: Objective) -> bool:
    """Whether a model may choose it; where the objective fixes it, a round draws the fewer samples before."""
    return objective.training.method == "auto" and not all(player.is_word for player in objective.cast.orchestrator)


def _may_self_instruct(objective: Objective) -> bool:
    """Whether any weak or strong solver can be asked."""
    cast, strategies = objective.cast, objective.strategies
    is_allowed = SELF_INSTRUCT in (strategies.allow or (SELF_INSTRUCT,)) and SELF_INSTRUCT not in strategies.deny
    return is_allowed and bool(objective.documents and cast.challenger and cast.weak and cast.strong and cast.judge)
