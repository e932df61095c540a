"""The evaluator: all that says how good a harness is, by digests, so that a change of it cannot go unseen."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import agents
import loop
import templates
from agents.selfinstruct.loop import Settings
from loop.errors import DamagedRunError
from loop.files import file_digest
from loop.records import Record, digest

SOURCES = (
    *("agents/critics/__init__.py", "agents/critics/guards.py", "agents/critics/rubric.py", "agents/verdicts.py"),
    *(f"agents/selfinstruct/{name}.py" for name in "angles bands fairness judges loop roles rows solvers".split()),
    *(f"loop/{name}.py" for name in "evaluator evolution evolve labels scoring solving symbolic verifiers".split()),
    *(
        f"templates/prompts/self_instruct_{name}.md.j2"
        for name in "challenger feedback passage solver verifier".split()
    ),
    "templates/prompts/critic_rubric.md.j2",
)
"""Files that decide what is accepted: verifiers, judge, bands, what each is told, and what a child must beat."""
PLACES = {package.__name__: Path(package.__path__[0]) for package in (agents, loop, templates)}


class Evaluator(Record):
    """Digests of the settings and files that score a harness, by name."""

    parts: dict[str, str]

    @property
    def id(self) -> str:
        """One digest over all."""
        return digest("evaluator", self.parts)

    def check_same(self, now: Evaluator) -> None:
        """Raise DamagedRunError where any part of it is another now."""
        names = sorted({*self.parts, *now.parts})
        if changed := [name for name in names if self.parts.get(name) != now.parts.get(name)]:
            raise DamagedRunError(
                f"the evaluator has changed ({', '.join(changed)}): scores from before and after cannot be compared;"
                " put it back, or begin anew in another folder with --run"
            )


def read_evaluator(settings: Settings, players: Mapping[str, str], documents: object) -> Evaluator:
    """The evaluator as it is now, its files read again.

    Args: settings: as they are before any harness; players: who poses, attempts and judges, by part; documents: all
    that is scored on.
    """
    files = {name: file_digest(PLACES[name.partition("/")[0]] / name.partition("/")[2]) for name in SOURCES}
    asked = {"settings": digest(settings.model_dump(mode="json")), "players": digest(dict(players))}
    return Evaluator(parts={**asked, "documents": digest(documents), **files})
