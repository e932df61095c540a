"""The orchestrator that is a language model: it reads a brief, may look around, and replies with a plan.

All that it says is a choice among what the brief offers, validated before anybody acts on it. Where it cannot be
had, or what it says cannot be used, the rules plan the round.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, RootModel

from agents.briefs import Evidence, PlanBrief, RoundBrief, Tally
from agents.choices import check_plan, most_epochs, most_samples, tokens_a_sample
from agents.looking import Failures, Library, Look, Seen, look_up, quotation
from agents.prompts import Prompt, render
from agents.replies import Diagnosis, Plan, Proposal, Strategy
from agents.rules import Rules
from agents.strategies import Practice, Reply
from agents.talk import Message, Question, Talker, Unreachable, Unusable, ask_for
from agents.training import METHODS
from agents.uniform import Key, name_failures

MOST_LOOKS = 6
MOST_ATTEMPTS = 3
"""Answers that could not be used, their repair included, before the rules plan the round."""
MOST_REQUESTS = 2 * (MOST_LOOKS + MOST_ATTEMPTS)
"""To the model for one plan, whatever it says: each answer may be repaired once."""
MOST_MODES = 12
MOST_ROUNDS = 12
"""Rounds of the history that are told with their plan; of earlier ones only how they ended."""
MOST_OBJECTIVE = 20_000
"""Characters of the person's objective."""
TEMPERATURE_AGAIN = 0.7
"""Of an attempt after one that could not be used: the same words would come again at 0."""


class PlanTurn(Reply):
    """The answer that ends the conversation."""

    action: Literal["plan"]
    plan: Proposal


class Turn(RootModel[Annotated[Look | PlanTurn, Field(discriminator="action")]]):
    """One answer of the model: a look, or a plan."""


class ModelOrchestrator:
    """Plans with a model; its clusters it names when it is asked (agents/naming.py)."""

    def __init__(self, talker: Talker, library: Library, seed: int = 0, max_tokens: int = 4096) -> None:
        """`max_tokens` is for each answer, a model's thoughts included."""
        self._talker, self._library, self._seed, self._max_tokens = talker, library, seed, max_tokens

    def plan(self, brief: PlanBrief) -> Plan:
        """The model's plan, or the rules' with the reason in `handover`; at most `MOST_REQUESTS` requests.

        Raises: EngineError when the model can never be had, such as for a wrong key.
        """
        model = self._talker.model
        try:
            proposal, prompt = self._converse(brief)
        except Unreachable as error:
            return _rules_plan(brief, f"{model} could not be reached: {error}")
        except Unusable as error:
            return _rules_plan(brief, f"{MOST_ATTEMPTS} answers of {model} could not be used, the last since {error}")
        return Plan(**{name: getattr(proposal, name) for name in Proposal.model_fields}, author=model, prompt=prompt)

    def diagnose(self, attempts: Sequence[Evidence]) -> Diagnosis:
        """The failure modes of a probe, largest first."""
        return name_failures(attempts)

    def _converse(self, brief: PlanBrief) -> tuple[Proposal, str]:
        """The plan that the model settles on, and the digest of what it was asked with.

        Raises: Unusable after `MOST_ATTEMPTS` answers that were none; what the talker raises.
        """
        told: list[tuple[Look, Seen]] = []
        problems: list[str] = []

        def check(turn: Turn | PlanTurn) -> None:
            said = _said(turn)
            if isinstance(said, PlanTurn):
                check_plan(said.plan, brief)

        while True:
            kind: type[Turn | PlanTurn] = Turn if len(told) < MOST_LOOKS else PlanTurn
            question = self._question(brief, told, problems, kind)
            try:
                said = _said(ask_for(self._talker, question, kind, check))
            except Unusable as error:
                problems.append(str(error))
                if len(problems) == MOST_ATTEMPTS:
                    raise
                continue
            if isinstance(said, PlanTurn):
                return said.plan, question.prompt
            told.append((said, self._see(said, brief)))

    def _see(self, look: Look, brief: PlanBrief) -> Seen:
        """What the model gets to see. Failures only of modes that it was told of: one that is blinded stays so."""
        names = brief.diagnosis.names if brief.diagnosis else frozenset()
        if isinstance(look, Failures) and look.mode not in names:
            return Seen((), 0)
        return look_up(look, self._library)

    def _question(
        self, brief: PlanBrief, told: Sequence[tuple[Look, Seen]], problems: Sequence[str], kind: type[BaseModel]
    ) -> Question:
        """The conversation so far. Its beginning stays the same, so that an endpoint can keep it."""
        prompts = [render("plan_role"), brief_prompt(brief)]
        messages = [Message("system", prompts[0].text), Message("user", prompts[1].text)]
        for done, (look, seen) in enumerate(told, 1):
            prompts.append(render("plan_look", rows=seen.rows, left_out=seen.left_out, looks=MOST_LOOKS - done))
            messages += [Message("assistant", quotation(look)), Message("user", prompts[-1].text)]
        if problems:
            prompts.append(render("plan_again", problem=quotation(problems[-1], 600)))
            messages[-1] = Message("user", f"{messages[-1].content}\n{prompts[-1].text}")
        place = f"{self._seed}/{len(brief.history)}/{len(told)}/{len(problems)}"
        return Question(
            messages=tuple(messages),
            schema=plain_schema(kind),
            max_tokens=self._max_tokens,
            temperature=TEMPERATURE_AGAIN if problems else 0.0,
            seed=int(hashlib.sha256(place.encode()).hexdigest(), 16) % 2**31,
            prompt=hashlib.sha256("".join(dict.fromkeys(p.digest for p in prompts)).encode()).hexdigest()[:16],
        )


def plain_schema(kind: type[BaseModel]) -> dict[str, Any]:
    """The kind's JSON schema in the words that every engine with structured output knows: anyOf for oneOf."""

    def plain(part: Any) -> Any:
        if isinstance(part, list):
            return [plain(one) for one in part]
        if not isinstance(part, dict):
            return part
        return {
            {"oneOf": "anyOf"}.get(key, key): plain(value) for key, value in part.items() if key != "discriminator"
        }

    schema: dict[str, Any] = plain(kind.model_json_schema())
    return schema


def brief_prompt(brief: PlanBrief) -> Prompt:
    """The brief in words: the objective as instruction, all else as JSON. Wall time stands in it only where the
    objective limits it: a prompt that is the same after a restart need not be answered, and paid, again.
    """
    left = brief.budget
    diagnosis = brief.diagnosis
    limits = {"rounds": left.rounds, "tokens": left.tokens, "usd": left.usd and round(left.usd, 4)}
    choices = {
        "samples": brief.samples_per_round, "most_samples": most_samples(brief), "epochs": brief.epochs,
        "most_epochs": most_epochs(brief), "start": brief.start, "samplers": brief.samplers,
    }  # fmt: skip
    others = {"teachers": brief.teachers, "writers": brief.writers, "solvers": brief.solvers}
    others |= {"distil_from": brief.distil_from if "distill" in brief.methods else ()}
    choices |= {part: names for part, names in others.items() if names}
    return render(
        "plan",
        methods=[quotation({"method": name, "is": METHODS[name].told}) for name in brief.methods],
        objective=brief.objective[:MOST_OBJECTIVE],
        budget=quotation(limits | {"minutes": left.seconds and round(left.seconds / 60)}),
        choices=quotation(choices),
        catalogue=[quotation(strategy) for strategy in brief.catalogue],
        cells=_cells(brief),
        history=[
            quotation(_round(past, brief, len(brief.history) - place <= MOST_ROUNDS))
            for place, past in enumerate(brief.history)
        ],
        documents=quotation(brief.documents) if brief.documents else "",
        modes=[quotation(mode) for mode in diagnosis.modes[:MOST_MODES]] if diagnosis else [],
        clusters=[
            quotation(cluster.model_dump(mode="json", exclude={"members", "named_by"}))
            for cluster in (diagnosis.clusters[:MOST_MODES] if diagnosis else ())
        ],
        regressions=[quotation(one) for one in (diagnosis.regressions[: 2 * MOST_MODES] if diagnosis else ())],
        number=len(brief.history),
        looks=MOST_LOOKS,
    )


def _cells(brief: PlanBrief) -> list[str]:
    """A line of JSON a cell."""
    standing = [past for past in brief.history if past.status in ("start", "kept")]
    probed = [past for past in brief.history if past.probe]
    dev = _passed([t for past in standing[-1:] for t in past.dev_cells])
    probe = _passed([t for past in probed[-1:] for t in past.probe])
    sampled = _passed([t for past in brief.history for t in past.samples])
    tokens = tokens_a_sample(brief)
    lines = []
    for cell in brief.cells:
        key = (cell.skill, cell.level)
        known = {"dev": dev.get(key), "probe": probe.get(key), "sampled": sampled.get(key)}
        known["tokens_a_sample"] = round(tokens[key]) if key in tokens else None
        lines.append(quotation(cell.model_dump() | {"share": round(cell.share, 4)} | known))
    return lines


def _passed(tallies: Sequence[Tally]) -> dict[Key, Any]:
    """[passed, tried] by cell."""
    found: dict[Key, Any] = {}
    for tally in tallies:
        passed, tried = found.get((tally.skill, tally.level), (0, 0))
        found[tally.skill, tally.level] = (passed + tally.passed, tried + tally.tried)
    return found


def _round(past: RoundBrief, brief: PlanBrief, whole: bool) -> dict[str, Any]:
    """A round of the history: how it ended, and what was tried and spent when it is to be told whole."""
    told: dict[str, Any] = {"round": past.round, "status": past.status, "reason": past.reason[:300], "dev": past.dev}
    if past.plan is None or not whole:
        return told
    told |= {
        "hypothesis": past.plan.hypothesis, "answers": past.plan.answers[:MOST_MODES],
        "strategies": [
            _strategy(strategy) for strategy in past.plan.strategies[:8]
        ],
        "newest": past.plan.mixture.newest, "training": past.plan.training.model_dump(),
        "examples_kept": past.examples_kept, "tokens_sampled": past.tokens_sampled,
        **({"questions": past.questions} if past.questions else {}),
        **({"reinforced": past.reinforced} if past.reinforced else {}),
        "tokens_trained": past.tokens_trained, "usd": past.usd,
    }  # fmt: skip
    if past.prepared:
        told |= {"documents": past.plan.documents.model_dump() | past.prepared.model_dump()}
    return told if brief.budget.seconds is None else told | {"minutes": round(past.seconds / 60, 1)}


def _strategy(strategy: Strategy) -> dict[str, Any]:
    if not isinstance(strategy, Practice):
        return strategy.model_dump()
    return strategy.model_dump(exclude={"allotments"}) | {
        "samples": sum(a.problems * a.samples for a in strategy.allotments),
        "allotments": [f"{a.skill} {a.level}: {a.problems} x {a.samples}" for a in strategy.allotments[:40]],
    }


def _said(turn: Turn | PlanTurn) -> Look | PlanTurn:
    return turn.root if isinstance(turn, Turn) else turn


def _rules_plan(brief: PlanBrief, reason: str) -> Plan:
    reason = " ".join(reason.split())[:500]
    return Rules().plan(brief).model_copy(update={"author": "rules", "handover": reason})
