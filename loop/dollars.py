"""Dollars: what the models with a price may cost, at the most, reckoned before anything is sent."""

from __future__ import annotations

from collections.abc import Sequence

from agents.orchestrator import MOST_REQUESTS
from agents.purse import FREE
from loop.bench import Student
from loop.cast import Player
from loop.objective import Demonstration, Objective
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


def dollars_a_round(
    objective: Objective, demonstrations: Sequence[Demonstration], student: Student
) -> dict[str, float]:
    """The most dollars that a round of ordinary size costs, by part; parts that cost nothing are not in it.

    As though every answer were as long as it may be, a critic were asked about every sample, the dearest sampler
    drew them all, and the orchestrator took all its looks. No answer is asked for twice here, as an unusable one is.
    """
    sizes = [(len(d.prompt.encode()), len(d.response.encode())) for d in demonstrations] or [(UNKNOWN_ROW, 0)]
    prompt = sum(size[0] for size in sizes) / len(sizes) / BYTES_A_TOKEN
    samples = student.settings.samples
    rubric = read_rubric(objective.folder / name) if (name := objective.critic.rubric) else default_rubric()
    told = ASKED + prompt + student.max_new_tokens + len(rubric.model_dump_json()) / BYTES_A_TOKEN

    def costs(part: str) -> list[Player]:
        return [player for of, _, player in objective.cast.models() if of == part and player.tariff != FREE]

    dollars = {
        "orchestrator": sum(
            p.tariff.cost(MOST_REQUESTS * BRIEF, MOST_REQUESTS * ANSWER) for p in costs("orchestrator")
        ),
        "sampler": max(
            (p.tariff.cost(samples * prompt, samples * student.max_new_tokens) for p in costs("sampler")), default=0.0
        ),
        "critic": sum((samples + GOLD) * p.tariff.cost(told, ANSWER) for p in costs("critic")),
    }
    return {part: cost for part, cost in dollars.items() if cost}
