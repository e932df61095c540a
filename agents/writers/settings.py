"""Settings of the strategies that write: what a plan may say of each, and within what bounds."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Discriminator, Field

from agents.selfinstruct.bands import PRESETS, Bands
from agents.strategies import Kept

Words = Annotated[
    tuple[Annotated[str, Field(min_length=1, max_length=200, pattern=r"\S")], ...], Field(max_length=2000)
]

Operator = Literal["constrain", "deepen", "concretise", "reason", "broaden"]
Book = Literal["academic", "narrative", "blog", "how_to"]
Form = Literal["argument", "dialogue", "table", "report", "how_to", "case"]
Tone = Literal["concise", "friendly", "formal", "plain"]
Size = Literal["sentence", "paragraph", "bullets"]
Phrasing = Literal["easy", "encyclopaedic", "terse", "questions"]
Published = Literal[
    "blog_early_cs", "blog_early_meta", "blog_later", "paper_cs", "verifiable", "paper_science", "paper_legal"
]
"""Names of `PRESETS`."""


class Writing(Kept):
    """What all strategies say that write."""

    kind: str
    count: Annotated[int, Field(ge=1, le=100_000)]
    """Of rows that are tried for; what comes to nothing counts too."""
    max_tokens: Annotated[int, Field(ge=64, le=16_384)] = 2048
    """Of each answer of the model."""
    instructions: Annotated[str, Field(max_length=2000)] = ""
    """The planner's own words on what to write; "" adds none."""
    writer: Annotated[str, Field(max_length=200)] = ""
    """Who writes, by name; "" is the first who may."""

    @property
    def players(self) -> tuple[str, ...]:
        """Who writes, where the plan names them."""
        return (self.writer,) if self.writer else ()


class Paired(Writing):
    """What all strategies say that draw a topic and an audience; no pair is drawn twice."""

    topics: Words = ()
    """() takes the list that comes with the house."""
    audiences: Words = ()


class SelfInstruct(Writing):
    """New problems from a few demonstrations (Self-Instruct, arXiv 2212.10560)."""

    kind: Literal["self_instruct"] = "self_instruct"
    shown: Annotated[int, Field(ge=1, le=8)] = 4
    """Demonstrations in the prompt."""
    most_overlap: Annotated[float, Field(gt=0, le=1)] = 0.7
    """ROUGE-L with one that was shown, from which a problem is a copy (0.7 in the paper)."""


class EvolInstruct(Writing):
    """Problems made harder or other, step by step (WizardLM, arXiv 2304.12244)."""

    kind: Literal["evol_instruct"] = "evol_instruct"
    operators: Annotated[tuple[Operator, ...], Field(min_length=1, max_length=5)] = (
        "constrain", "deepen", "concretise", "reason", "broaden",
    )  # fmt: skip
    steps: Annotated[int, Field(ge=1, le=4)] = 1
    """Evolutions, one on top of the other."""


class FailureVariants(Writing):
    """Variants of what the student failed at; of seeds alone (LLM2LLM, arXiv 2403.15042)."""

    kind: Literal["failure_variants"] = "failure_variants"


class BackTranslation(Writing):
    """For a text, the request that it answers."""

    kind: Literal["back_translation"] = "back_translation"


class Magpie(Writing):
    """The user's turn as the model itself begins it (SmolTalk; arXiv 2406.08464)."""

    kind: Literal["magpie"] = "magpie"


class Textbook(Paired):
    """Sections of textbooks, by topic and audience (phi-1, arXiv 2306.11644)."""

    kind: Literal["textbook"] = "textbook"


class Exercises(Paired):
    """Problems with solutions, by topic and audience (phi-1)."""

    kind: Literal["exercises"] = "exercises"


class Grounded(Writing):
    """Texts grounded in extracts, by style and audience (Cosmopedia)."""

    kind: Literal["grounded"] = "grounded"
    styles: Annotated[tuple[Book, ...], Field(min_length=1, max_length=4)] = (
        "academic", "narrative", "blog", "how_to",
    )  # fmt: skip
    audiences: Words = ()


class Personas(Writing):
    """Problems as somebody would have them (Persona Hub, arXiv 2406.20094; Tulu 3)."""

    kind: Literal["personas"] = "personas"
    related: bool = False
    """Whether another persona is found first who stands in some relation to it (persona-to-persona)."""


class Transform(Writing):
    """Text to content of another form, to a problem, to a refined one (AgentInstruct, arXiv 2407.03502)."""

    kind: Literal["transform"] = "transform"
    forms: Annotated[tuple[Form, ...], Field(min_length=1, max_length=6)] = (
        "argument", "dialogue", "table", "report", "how_to", "case",
    )  # fmt: skip


class Constraints(Paired):
    """Requests with constraints that programs check (IFEval, arXiv 2311.07911; SmolTalk)."""

    kind: Literal["constraints"] = "constraints"
    most: Annotated[int, Field(ge=1, le=4)] = 3
    """Constraints of one request; there is at least one."""


class Rewrite(Writing):
    """Texts in another tone (SmolTalk)."""

    kind: Literal["rewrite"] = "rewrite"
    styles: Annotated[tuple[Tone, ...], Field(min_length=1, max_length=4)] = (
        "concise",
        "friendly",
        "formal",
        "plain",
    )


class Summarise(Writing):
    """Summaries of texts (SmolTalk)."""

    kind: Literal["summarise"] = "summarise"
    sizes: Annotated[tuple[Size, ...], Field(min_length=1, max_length=3)] = ("sentence", "paragraph", "bullets")


class Rephrase(Writing):
    """Texts in other words, to be trained on one to one with the originals (WRAP, arXiv 2401.16380)."""

    kind: Literal["rephrase"] = "rephrase"
    styles: Annotated[tuple[Phrasing, ...], Field(min_length=1, max_length=4)] = (
        "easy", "encyclopaedic", "terse", "questions",
    )  # fmt: skip


class Nemotron(Writing):
    """Texts by their quality: low is rewritten, high asked about, distilled, extracted, listed (arXiv 2412.02595)."""

    kind: Literal["nemotron"] = "nemotron"
    quality: Literal["low", "high"] = "high"
    """Of all the sources of this strategy."""

    @property
    def forms(self) -> tuple[str, ...]:
        """What is made of each source."""
        return ("encyclopaedic",) if self.quality == "low" else ("questions", "distil", "extract", "list")


class AgenticSelfInstruct(Writing):
    """Questions from documents that a strong solver answers and a weak one does not (Autodata, arXiv 2606.25996).

    `count` is of sources: each gives one question at the most.
    """

    kind: Literal["agentic_self_instruct"] = "agentic_self_instruct"
    marked_by: Literal["", "judge", "program"] = ""
    """judge: a model marks the criteria of the question's rubric. program: the answer is compared with the reference.
    "" is the judge where the cast's judge is a model."""
    bands: Literal[""] | Published | Bands = ""
    """When a question is accepted; "" is `verifiable` where a program marks, else `paper_cs`."""
    rounds: Annotated[int, Field(ge=1, le=64)] = 8
    """Questions that are tried from one source at the most (published: 6.59 on average)."""
    strong_sees_source: bool = False
    """Whether the strong solver is told the source too: then it may be the weak one's own model."""
    strong_samples: Annotated[int, Field(ge=1, le=64)] = 1
    """Samples of which the strong solver's attempt is the most frequent answer; above 1 where a program marks."""
    calibrate: bool = True
    """Whether the bar for the weak mean is moved to the weak solver at hand, by a pilot, once in a run."""
    temperature: Annotated[float, Field(ge=0, le=2)] = 0.7
    """Of challenger and solvers."""
    skip_solved: Literal[False] = False
    """Only right attempts become rows, so that all of them are."""

    def rule(self, by_program: bool) -> Bands:
        """The bands as they are planned, before a pilot moves them."""
        if isinstance(self.bands, Bands):
            return self.bands
        return PRESETS[self.bands or ("verifiable" if by_program else "paper_cs")]

    @property
    def most_attempts(self) -> int:
        """Samples that both solvers draw for one source at the most."""
        bands = self.rule(by_program=True)
        return self.rounds * (bands.weak_samples + bands.strong_samples * self.strong_samples)

    @property
    def guidance(self) -> tuple[str, ...]:
        """The instructions, line by line."""
        return tuple(line.strip()[:300] for line in self.instructions.splitlines() if line.strip())


AnyWriting = Annotated[
    SelfInstruct | EvolInstruct | FailureVariants | BackTranslation | Magpie | Textbook | Exercises | Grounded
    | Personas | Transform | Constraints | Rewrite | Summarise | Rephrase | Nemotron,
    Discriminator("kind"),
]  # fmt: skip
"""Any of them, told apart by `kind`."""
