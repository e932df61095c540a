"""Draft: one row in the making. It asks the model and keeps what it says; where that is none it comes to nothing."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from random import Random
from typing import Any, NamedTuple, TypeVar

from agents.prompts import Prompt, render
from agents.strategies import Reply
from agents.talk import MOST_CHARACTERS, Message, Question, Talker, Unusable, ask_for
from agents.verdicts import one_line
from agents.writers import MOST_OF_STEP, Order, Refused, Source, Step, Written, digest_of
from agents.writers.overlap import pair
from agents.writers.words import words

MOST_WHOLE = 8000
"""Characters of a source that a prompt quotes whole."""
THOUGHTS = re.compile(r"\A\s*<think>.*?</think>", re.DOTALL)
OPENING = re.compile(
    r"\A\W{0,3}(?:sure|certainly|of course|absolutely|okay|here(?:['’]s| is| are))\b[^\n]{0,120}:[*_ \t]*\n"
    r"|\A\W{0,3}(?:as an ai\b|i(?:['’]m| am) sorry,|i (?:cannot|can['’]t|am unable to|am not able to)\b)",
    re.IGNORECASE,
)
"""Words to whoever asked, where the text itself is wanted: a preamble, or a refusal."""

R = TypeVar("R", bound=Reply)


class Nothing(Exception):
    """A draft comes to nothing at a stage, for a reason."""

    def __init__(self, stage: str, reason: str) -> None:
        super().__init__(reason)
        self.stage, self.reason = stage, one_line(reason)


class Problem(NamedTuple):
    """A problem with the solution and the final answer that its writer claims."""

    prompt: str
    solution: str
    answer: str


class Draft:
    """One number of an order. Whatever is drawn by chance hangs on its key, and so does the seed of each question."""

    def __init__(
        self, order: Order, source: Source | None, number: int, talker: Talker, sources: Sequence[Source] = ()
    ) -> None:
        self.order, self.number, self._talker, self._sources = order, number, talker, sources
        self._source = source
        parent = source.id if source else ""
        strategy = order.settings.model_dump(mode="json", exclude={"count"})
        self.key = digest_of("written", order.seed, order.round, strategy, parent, number)
        self.facets: dict[str, str] = {}
        self.lineage: list[Step] = []

    @property
    def source(self) -> Source:
        """What it starts from. Raises: Nothing where there is no such thing."""
        if self._source is None:
            raise Nothing("source", "there is nothing to start from")
        return self._source

    @property
    def has_source(self) -> bool:
        """Whether it starts from something."""
        return self._source is not None

    def whole_text(self) -> str:
        """The source's text. Raises: Nothing when it is too long to be quoted whole."""
        if len(self.source.text) > MOST_WHOLE:
            raise Nothing("source", f"{len(self.source.text)} characters; bring extracts of at most {MOST_WHOLE}")
        return self.source.text

    def beside(self, most: int) -> list[Source]:
        """At most so many other sources of the order, by chance."""
        drawn = Random(self.luck("beside")).sample(self._sources, min(most + 1, len(self._sources)))
        return [source for source in drawn if source.id != self.source.id][:most]

    # Chance.

    def luck(self, *parts: object) -> int:
        """A number below 2**64 that hangs on the key and the parts."""
        return int(digest_of("luck", self.key, *parts), 16)

    def pick(self, facet: str, choices: Sequence[str]) -> str:
        """One of the choices, kept as a facet."""
        self.facets[facet] = choices[self.luck(facet) % len(choices)]
        return self.facets[facet]

    def pair(self, topics: Sequence[str], audiences: Sequence[str]) -> None:
        """The topic and audience of this number, as facets. Raises: Nothing when every pair was drawn.

        Their order hangs on the run alone, not on the round: see `Order.first`.
        """
        topics, audiences = topics or words("topics"), audiences or words("audiences")
        drawn = pair(self.number, topics, audiences, int(digest_of("pairs", self.order.seed), 16))
        if drawn is None:
            raise Nothing("pair", f"all {len(topics) * len(audiences)} pairs of topic and audience have been drawn")
        self.facets["topic"], self.facets["audience"] = drawn

    # Questions.

    def prose(self, stage: str, template: str, **values: Any) -> str:
        """What the model writes, as it stands. Raises: Nothing when it is cut off, empty, or speaks to us."""
        text = self.said(stage, self._prompt(template, values))
        if OPENING.match(text):
            raise Nothing(stage, f"speaks to whoever asked: {text[:80]}")
        return text

    def sections(self, stage: str, prompt: Prompt, names: Sequence[str]) -> list[tuple[str, ...]]:
        """What stands under headings of these names, once or several times over. Raises: Nothing."""
        return read_sections(stage, self.said(stage, prompt), names)

    def problem(self, stage: str, template: str, **values: Any) -> Problem:
        """A problem with its solution, and its answer where the order's problems have one. Raises: Nothing."""
        form = render("writers/form", place=self.order.place)
        asked = self._prompt(template, values | {"form": form.text})
        names = ("Problem", "Solution", "Answer") if self.order.place else ("Problem", "Solution")
        found = self.sections(stage, Prompt(asked.text, digest_of(asked.digest, form.digest)), names)
        if len(found) > 1:
            raise Nothing(stage, f"{len(found)} problems, where one is wanted")
        prompt, solution, *answer = found[0]
        return Problem(prompt, solution, *(answer or ("",)))

    def questions(self, stage: str, template: str, **values: Any) -> list[tuple[str, ...]]:
        """Questions with their answers. Raises: Nothing."""
        return self.sections(stage, self._prompt(template, values), ("Question", "Answer"))

    def reply(self, stage: str, template: str, kind: type[R], **values: Any) -> R:
        """A validated reply; it is no stage of the lineage. Raises: Nothing when there is none."""
        try:
            return ask_for(self._talker, self._question(stage, self._prompt(template, values)), kind)
        except Unusable as error:
            raise Nothing(stage, str(error)) from error

    def said(self, stage: str, prompt: Prompt, whole: bool = False) -> str:
        """The answer to a prompt, kept in the lineage. Raises: Nothing when it is cut off or empty.

        Args: whole: whether the prompt is a bare text to go on with, and no turn of a conversation.
        """
        question = self._question(stage, prompt)
        answer = self._talker.ask(replace(question, messages=(), whole=prompt.text) if whole else question)
        text = THOUGHTS.sub("", answer.text).strip()
        if answer.finish == "length":
            raise Nothing(stage, "cut off before its end")
        if not text:
            raise Nothing(stage, "empty")
        if len(text) > MOST_CHARACTERS:
            raise Nothing(stage, f"longer than {MOST_CHARACTERS} characters")
        self.lineage.append(Step(name=stage, text=text[:MOST_OF_STEP], prompt=prompt.digest))
        return text

    def _prompt(self, template: str, values: dict[str, Any]) -> Prompt:
        common = {"source": self._source, "instructions": self.order.settings.instructions}
        return render(f"writers/{template}", **(common | self.facets | values))

    def _question(self, stage: str, prompt: Prompt) -> Question:
        return Question(
            messages=(Message("user", prompt.text),),
            max_tokens=self.order.settings.max_tokens,
            temperature=self.order.settings.temperature,
            seed=self.luck("question", stage) % 2**31,
            prompt=prompt.digest,
        )

    # What comes of it.

    def written(self, prompt: str, response: str, answer: str = "", place: int = 0) -> Written:
        """The row. `place` tells rows of one draft apart."""
        return Written(
            key=digest_of(self.key, place) if place else self.key,
            prompt=prompt,
            response=response,
            answer=answer,
            parent=self._source.id if self._source else "",
            refined=self._source.refined if self._source else "",
            lineage=tuple(self.lineage),
            facets=tuple(self.facets.items()),
        )

    def posed(self, problem: Problem) -> Written:
        """A problem as a row."""
        return self.written(problem.prompt, problem.solution, problem.answer)

    def refused(self, nothing: Nothing) -> Refused:
        """What it is when it came to nothing."""
        parent = self._source.id if self._source else ""
        return Refused(key=self.key, parent=parent, stage=nothing.stage, reason=nothing.reason)


def read_sections(stage: str, text: str, names: Sequence[str]) -> list[tuple[str, ...]]:
    """What stands under these headings, in their order, once or several times over; what precedes them is left out.

    Raises: Nothing when one is missing, out of its order or empty.
    """
    heading = rf"^[ \t]*#{{1,6}}[ \t]*({'|'.join(names)})[ \t]*:?[ \t]*$"
    parts = re.split(heading, text, flags=re.MULTILINE | re.IGNORECASE)
    found, bodies = [name.capitalize() for name in parts[1::2]], [body.strip() for body in parts[2::2]]
    if not found or found != list(names) * (len(found) // len(names)):
        raise Nothing(stage, f"headings {', '.join(found) or 'none'}, where {', '.join(names)} are wanted")
    if not all(bodies):
        raise Nothing(stage, f"nothing stands under {found[bodies.index('')]}")
    return [tuple(bodies[i : i + len(names)]) for i in range(0, len(bodies), len(names))]
