"""Critics: models that judge. What programs can see is decided before any of them is asked."""

from __future__ import annotations

import hashlib
import json
from typing import Protocol

from agents.critics.guards import refusal
from agents.verdicts import CriticBrief, PairBrief, PairVerdict, Verdict, one_line


class Critic(Protocol):
    """Judges one response. Safe to be asked from several threads at once."""

    name: str

    def judge(self, brief: CriticBrief, *, guarded: bool = True) -> Verdict:
        """The verdict. `guarded` false lets known attacks through to the model: to calibrate it, never to admit.

        Raises: what `Talker.ask` raises. An answer that cannot be used is the verdict "error".
        """
        ...


class PairCritic(Protocol):
    """Says which of two responses is better. Safe to be asked from several threads at once."""

    name: str

    def prefer(self, brief: PairBrief, *, guarded: bool = True) -> PairVerdict:
        """See Critic.judge."""
        ...


def decided_before(brief: CriticBrief, guarded: bool = True) -> Verdict | None:
    """The verdict that needs no model: a program has shown the response wrong, or a guard refuses it.

    None where a critic is to be asked. Verifier first: a critic can refuse what a verifier passed, never save
    what a verifier failed.
    """
    failed = next((finding for finding in brief.findings if finding.verdict == "failed"), None)
    if failed:
        return Verdict(status="failed", by="verifier", detail=one_line(f"{failed.name}: {failed.detail}"))
    reason = refusal(brief.problem, brief.response, brief.typical) if guarded else ""
    return Verdict(status="failed", by="guard", detail=one_line(reason)) if reason else None


def seed_of(*parts: object) -> int:
    """A seed below 2**31 that depends on every part."""
    text = json.dumps(parts, default=str)
    return int(hashlib.sha256(text.encode()).hexdigest()[:8], 16) % 2**31
