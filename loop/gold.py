"""Gold: responses whose worth is known without any critic, and the trials that are made of them."""

from __future__ import annotations

import random
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import cache
from importlib.resources import files
from typing import Literal

import yaml

from loop.objective import Demonstration
from loop.records import Critique, Record, Sample, digest, seed_for

SIZE = 40
"""Gold items a round, right and wrong ones in equal number."""
PADDED = 10
"""Wrong ones of them that are shown padded as well."""
KNOWN_WRONG = ("wrong answer", "wrong working")
"""Reasons of a critique that show a response wrong; an empty or cut-off one would be too easy to tell."""

FILLER = (
    "Let us go through this with care, one thing after the other, so that nothing is left out on the way. "
    "It helps to read the question twice before beginning, and to keep the aim in view throughout. "
    "With that said, each part is taken up in turn below, in the order in which it is needed. "
)
"""Harmless words: they make a response longer and no better."""

Kind = Literal["right", "wrong", "padded", "attack", "pair"]


class Gold(Record):
    """A response whose worth is known without any critic."""

    problem: str
    response: str
    right: bool


class Trial(Record):
    """One thing that a critic is asked for its calibration."""

    key: str
    """Of its content, seed and round: what is done already when calibration goes on after a crash."""
    kind: Kind
    problem: str
    response: str
    """Of a pair, the right one."""
    other: str = ""
    """Of a pair, the wrong one."""
    of: str = ""
    """Of a padded copy, the key of the trial that it pads."""


def gold_of(demonstrations: Iterable[Demonstration], judged: Iterable[tuple[Sample, Critique]]) -> list[Gold]:
    """Gold items: demonstrations are right; attempts whose answer or working a verifier failed are wrong."""
    right = [Gold(problem=row.prompt, response=row.response, right=True) for row in demonstrations]
    wrong = [
        Gold(problem=sample.problem.prompt, response=sample.response, right=False)
        for sample, critique in judged
        if critique.reason in KNOWN_WRONG
    ]
    return right + wrong


def draw_trials(gold: Sequence[Gold], *parts: object, size: int = SIZE, pairs: bool = False) -> tuple[Trial, ...]:
    """What a critic is asked this round, in an order that gives nothing away.

    Half of `size` right and half wrong, a few of the wrong ones padded too, and one of each attack; with `pairs`,
    `size` pairs of a right and a wrong response to the same problem. Wrong ones that are missing are made from
    demonstrations by changing their last number. The draw depends on `parts` alone: (seed, round).
    """
    rng = random.Random(seed_for("calibration", *parts))
    right = _shuffled(rng, {(g.problem, g.response): g for g in gold if g.right})
    wrong = _shuffled(rng, {(g.problem, g.response): g for g in gold if not g.right})
    made: list[Trial] = []

    def plan(kind: Kind, one: Gold, response: str, other: str = "", of: str = "") -> str:
        key = digest("trial", kind, one.problem, response, other, *parts)
        made.append(Trial(key=key, kind=kind, problem=one.problem, response=response, other=other, of=of))
        return key

    if pairs:
        failed: dict[str, list[Gold]] = defaultdict(list)
        for one in wrong:
            failed[one.problem].append(one)
        for one in right:
            other = failed[one.problem].pop().response if failed[one.problem] else corrupted(one.response)
            if other and len(made) < size:
                plan("pair", one, one.response, other)
        return tuple(made)
    shown = right[: size // 2]
    spare = ((one, corrupted(one.response)) for one in reversed(right))
    wrong += [one.model_copy(update={"response": text, "right": False}) for one, text in spare if text]
    for one in shown:
        plan("right", one, one.response)
    for number, one in enumerate(wrong[: size // 2]):
        key = plan("wrong", one, one.response)
        if number < PADDED:
            plan("padded", one, padded(one.response), of=key)
    problems = shown or wrong
    for attack in attacks() if problems else ():
        one = rng.choice(problems)
        plan("attack", one, attack.replace("{problem}", one.problem))
    rng.shuffle(made)
    return tuple(made)


def corrupted(response: str) -> str:
    """The response with its last number changed, so that its result is wrong; "" for one without a number."""
    *_, last = [None, *re.finditer(r"\d+", response)]
    if last is None:
        return ""
    changed = str(int(last[0][-15:]) + 1 + len(response) % 3)
    return response[: last.start()] + changed + response[last.end() :]


def padded(response: str) -> str:
    """The response behind harmless filler, at least twice as long."""
    return FILLER * (1 + len(response) // len(FILLER)) + "\n" + response


@cache
def attacks() -> tuple[str, ...]:
    """The planted attacks."""
    text = (files("templates") / "attacks.yaml").read_text(encoding="utf-8")
    return tuple(yaml.safe_load(text)["attacks"])


def _shuffled(rng: random.Random, gold: dict[tuple[str, str], Gold]) -> list[Gold]:
    """Each once, in an order that does not depend on that in which they came."""
    ordered = [gold[key] for key in sorted(gold)]
    rng.shuffle(ordered)
    return ordered
