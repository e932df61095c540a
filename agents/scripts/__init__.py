"""Scripts: the shipped fakes that play agents in tests and dry runs; each answers from the question alone."""

from __future__ import annotations

import hashlib
import importlib

from agents.engines import EngineError
from agents.engines.scripted import log
from agents.talk import Answer, Question

SCRIPTS = ("planner", "critic", "challenger")
"""Each is a module of this package with `answer(question: Question) -> str`."""


class ScriptedTalker:
    """A model that is a function of the question. `model` is the name of a script."""

    def __init__(self, model: str) -> None:
        name = model.removeprefix("scripted/")
        if name not in SCRIPTS:
            raise EngineError(f"{model}: no script of that name; write scripted/{' or scripted/'.join(SCRIPTS)}")
        self.model = model
        self._answer = importlib.import_module(f"agents.scripts.{name}").answer

    def ask(self, question: Question) -> Answer:
        """See Talker."""
        text = str(self._answer(question))
        log([f"talk {hashlib.sha256(repr(question).encode()).hexdigest()[:16]}"])
        words = sum(len(text.split()) for text in (question.whole or "", *(m.content for m in question.messages)))
        return Answer(text, "stop" if text else "length", words, len(text.split()) + 1)
