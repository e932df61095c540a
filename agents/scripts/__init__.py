"""Scripts: the shipped fakes that play agents in tests and dry runs; each answers from the question alone."""

from __future__ import annotations

import hashlib
import importlib
from functools import partial
from pathlib import Path

from agents.engines import EngineError, Request, SamplingJob
from agents.engines.scripted import MODEL_FILE, ScriptedEngine, log
from agents.talk import Answer, Question, transcript

SCRIPTS = ("planner", "critic", "challenger", "weak", "strong")
"""Each is a module of this package with `answer(question: Question) -> str`."""


class ScriptedTalker:
    """A model that is a function of the question. `model` is the name of a script, or a scripted student's folder."""

    def __init__(self, model: str) -> None:
        name = model.removeprefix("scripted/")
        self.model = model
        if (Path(model) / MODEL_FILE).is_file():
            self._answer = partial(_student, model)
        elif name in SCRIPTS:
            self._answer = importlib.import_module(f"agents.scripts.{name}").answer
        else:
            raise EngineError(f"{model}: no script of that name; write scripted/{' or scripted/'.join(SCRIPTS)}")

    def ask(self, question: Question) -> Answer:
        """See Talker."""
        text = str(self._answer(question))
        log([f"talk {hashlib.sha256(repr(question).encode()).hexdigest()[:16]}"])
        words = sum(len(text.split()) for text in (question.whole or "", *(m.content for m in question.messages)))
        return Answer(text, "stop" if text else "length", words, len(text.split()) + 1)


def _student(model: str, question: Question) -> str:
    """What the scripted student says; "" where it was cut off."""
    request = Request("talk", transcript(question.messages))
    job = SamplingJob(model, (request,), question.temperature, question.max_tokens, question.seed)
    (said,) = next(ScriptedEngine().complete(job))
    return said.text if said.finish == "stop" else ""
