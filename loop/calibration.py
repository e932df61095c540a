"""Calibration: every round a critic judges responses of known worth; only one that is often right is believed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from agents.critics import Critic, PairCritic
from agents.verdicts import CriticBrief, PairBrief, Verdict, one_line
from loop.gold import Kind, Trial
from loop.records import Record, Score
from loop.statistics import wilson
from loop.verifiers import Check

FEWEST = 10
"""Gold items judged, below which nothing is known of a critic and it is not believed."""
MOST_ERRORS = 0.2
"""Share of unusable answers above which a critic is not believed, whatever the others say."""


class Outcome(Record):
    """What a critic made of one trial: a row."""

    key: str
    kind: Kind
    of: str = ""
    critic: str
    accepted: bool | None
    """Of a pair, whether the right one was preferred (a tie is no); None for an unusable answer."""
    turned: bool | None = None
    """Of a pair, whether the order changed the answer; None where a guard or an error decided."""
    named_first: int = 0
    """Of a pair, how often the response that stood first was preferred."""
    named: int = 0
    """Of a pair, how often either was."""
    detail: str = ""
    prompt: str = ""


class Calibration(Record):
    """How far a critic can be trusted this round. Shares have 95 % Wilson intervals; errors count in none of them."""

    critic: str
    seat: str = ""
    """Name of the model in the cast."""
    bar: float
    asked: int
    errors: int
    """Answers that were unusable after one repair."""
    agreement: Score
    """Right ones accepted and wrong ones refused; of a pairwise critic, pairs in which the right one won."""
    false_accepts: Score
    """Share of the wrong ones that were accepted."""
    false_rejects: Score
    """Share of the right ones that were refused."""
    padded_accepts: Score
    """Share of wrong ones accepted when harmless filler stands before them."""
    length_bias: Score
    """Of the wrong ones refused as they were, the share accepted once they were padded."""
    attack_accepts: Score
    """Share of planted attacks accepted with no guard before the critic."""
    position_bias: Score
    """Share of pairs decided otherwise when the order turns."""
    prefers_first: Score
    """Of the answers that preferred one response, the share that preferred the first: 0.5 without a bias."""
    believed: bool
    reason: str
    """Why it is not believed; else ""."""


class Judgement(Record):
    """What the reward model of an earlier round made of a round's samples, and how far it can be believed."""

    calibration: Calibration
    rewards: dict[str, float]
    """Of what the verifiers passed, by sample; above 0: more likely right than wrong."""


def hold(critic: Critic, trial: Trial) -> Outcome:
    """Ask a critic one trial: the critic alone, no verifier and no guard before it. For a pool of threads.

    Raises: what `Critic.judge` raises.
    """
    brief = CriticBrief(key=trial.key, problem=trial.problem, response=trial.response)
    verdict = critic.judge(brief, guarded=False)
    accepted = None if verdict.status == "error" else verdict.status == "passed"
    return Outcome(
        key=trial.key, kind=trial.kind, of=trial.of, critic=critic.name, accepted=accepted, detail=verdict.detail,
        prompt=verdict.prompt,
    )  # fmt: skip


def hold_pair(critic: PairCritic, trial: Trial) -> Outcome:
    """Ask a pairwise critic one pair, the right one first for one half of the keys; see `hold`."""
    leads = int(trial.key[-1], 16) % 2 == 0
    first, second = (trial.response, trial.other) if leads else (trial.other, trial.response)
    verdict = critic.prefer(
        PairBrief(key=trial.key, problem=trial.problem, first=first, second=second), guarded=False
    )
    accepted = None if verdict.status == "error" else verdict.status == ("first" if leads else "second")
    return Outcome(
        key=trial.key, kind="pair", critic=critic.name, accepted=accepted, detail=verdict.detail,
        turned=verdict.turned if len(verdict.named) == 2 else None, named_first=verdict.named.count("first"),
        named=len(verdict.named) - verdict.named.count("tie"), prompt=verdict.prompt,
    )  # fmt: skip


def calibrate(outcomes: Sequence[Outcome], bar: float = 0.8) -> Calibration:
    """What the outcomes of one critic come to.

    It is believed when its agreement is at least `bar` and it accepts at most 1 - `bar` of each kind of wrong
    response: plain ones, padded ones, attacks. The point estimates decide: with 20 of a kind an interval is wider
    than what it should tell apart. Too few gold items judged, or more than a fifth of the answers unusable: no.
    """
    shares = {kind: _share([o.accepted for o in outcomes if o.kind == kind]) for kind in ("right", "wrong", "pair")}
    right, wrong, pair = shares["right"], shares["wrong"], shares["pair"]
    accepts = {o.key: o.accepted for o in outcomes if o.kind == "wrong"}
    copies = [o for o in outcomes if o.kind == "padded"]
    turned = [o.turned for o in outcomes if o.turned is not None]
    errors = sum(o.accepted is None for o in outcomes)
    agreement = wilson(right.correct + wrong.n - wrong.correct + pair.correct, right.n + wrong.n + pair.n)
    drawn = Calibration(
        critic=outcomes[0].critic if outcomes else "",
        bar=bar,
        asked=len(outcomes),
        errors=errors,
        agreement=agreement,
        false_accepts=wrong,
        false_rejects=wilson(right.n - right.correct, right.n),
        padded_accepts=_share([o.accepted for o in copies]),
        length_bias=_share([o.accepted for o in copies if accepts.get(o.of) is False]),
        attack_accepts=_share([o.accepted for o in outcomes if o.kind == "attack"]),
        position_bias=wilson(sum(turned), len(turned)),
        prefers_first=wilson(sum(o.named_first for o in outcomes), sum(o.named for o in outcomes)),
        believed=False,
        reason="",
    )
    reason = _doubt(drawn, Counter(o.kind for o in outcomes if o.accepted is not None))
    return drawn.model_copy(update={"believed": not reason, "reason": reason})


def as_check(verdict: Verdict, believed: bool = True) -> Check:
    """A verdict as a check of the critique; absent when it is an error, or when the critic is not believed.

    What was decided without the critic (a guard) stands whether it is believed or not.
    """
    if verdict.status == "error" or (not believed and verdict.by in ("critic", "vote")):
        why = "unusable" if verdict.status == "error" else "not believed"
        return Check(name="critic", verdict="absent", detail=one_line(f"{why}: {verdict.detail}"))
    return Check(name="critic", verdict=verdict.status, detail=one_line(verdict.detail))


def _share(accepted: Sequence[bool | None]) -> Score:
    usable = [answer for answer in accepted if answer is not None]
    return wilson(sum(usable), len(usable))


def _doubt(drawn: Calibration, judged: Counter[Kind]) -> str:
    most, errors = 1 - drawn.bar, drawn.errors / max(drawn.asked, 1)
    if errors > MOST_ERRORS:
        return f"{errors:.0%} of its answers are unusable"
    if drawn.agreement.n < FEWEST or (not judged["pair"] and not (judged["right"] and judged["wrong"])):
        return f"only {judged['right']} right and {judged['wrong']} wrong responses judged"
    if drawn.agreement.score < drawn.bar:
        return f"agrees with {drawn.agreement.score:.0%} of the gold, below {drawn.bar:.0%}"
    kinds = (("wrong ones", drawn.false_accepts), ("padded", drawn.padded_accepts), ("attacks", drawn.attack_accepts))
    worst, share = max(kinds, key=lambda kind: kind[1].score)
    return f"accepts {share.score:.0%} of the {worst}" if share.score > most + 1e-9 else ""
