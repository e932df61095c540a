"""Cards: the README.md of an exported model and of its data set, written from the ledger and from nothing else."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, NamedTuple

from jinja2 import Environment, FunctionLoader, StrictUndefined

from loop.figures import in_time, in_tokens, in_usd
from loop.ingredients import Ingredient
from loop.jobs import Exported
from loop.lineage import DEMONSTRATION, Taught
from loop.records import Score, Spent
from loop.report import UNSAFE
from loop.status import Standing, claim

SIZES = ((10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M"), (10**7, "1M<n<10M"))
"""Upper bounds, and how the hub calls what is below them."""


@dataclass(frozen=True)
class Story:
    """What the cards tell of a run: its ledger's numbers, the objective's words, and what went in."""

    name: str
    standing: Standing
    prose: str
    ingredients: Sequence[Ingredient]
    base: str
    """The hub id of the model that the student was, or ""."""
    line: tuple[int, ...]
    """The rounds that led to the best."""
    taught: Sequence[Taught]
    demonstrated: bool
    """Whether the objective names demonstrations."""
    seed: int
    versions: dict[str, str]
    max_new_tokens: int
    repository: str = ""
    """Where model and data set go on the hub, or ""."""

    @property
    def trained(self) -> list[int]:
        """The rounds in which the exported rows were learnt."""
        return sorted({number for row in self.taught for number in row.trained})

    @property
    def what(self) -> str:
        """What is exported, in a sentence or two."""
        best, later = self.standing.best, len(self.standing.rounds) - 1
        if best:
            return f"The student of round {best} of a run of Loop, the best of its rounds 0 to {later}."
        none = "no round was played yet" if not later else "no later round was shown to be better"
        return f"The student of round 0 of a run of Loop, as it was before the loop: {none}."


class _Result(NamedTuple):
    exam: str
    n: int
    best: Score
    start: Score | None
    control: Score | None


class _Cost(NamedTuple):
    name: str
    status: str
    dev: Score | None
    strategies: Sequence[str]
    spent: Spent


def model_card(story: Story, model: Exported) -> str:
    """The card of the model."""
    from huggingface_hub import EvalResult, ModelCardData

    results = _results(story.standing)
    metadata = ModelCardData(
        library_name="transformers",
        pipeline_tag="text-generation",
        base_model=story.base or None,
        datasets=story.repository if story.repository and story.taught else None,
        tags=["loop", "synthetic-data"],
        model_name=story.name,
        eval_results=[
            EvalResult(
                task_type="text-generation",
                dataset_type="loop-objective",
                dataset_name=f"{story.name}, {row.exam}",
                dataset_split=row.exam.split()[-1],  # or both would be told as results of one exam
                metric_type="accuracy",
                metric_value=round(row.best.score, 4),
                metric_name=f"greedy accuracy, 95 %: {row.best.low:.3f} to {row.best.high:.3f}, n = {row.n}",
            )
            for row in results
        ]
        or None,
    )
    return _render(
        "model", story, metadata=metadata.to_yaml(), model=model, claim=claim(story.standing), results=results,
        control=story.standing.exams.control(), costs=_costs(story), demonstrated=story.demonstrated,
        max_new_tokens=story.max_new_tokens,
    )  # fmt: skip


def dataset_card(story: Story, file: str) -> str:
    """The card of the data set.

    Args: file: the name of its file of rows.
    """
    from huggingface_hub import DatasetCardData

    rows = story.taught
    by_hand = sum(row.origin == DEMONSTRATION for row in rows)
    metadata = DatasetCardData(
        pretty_name=f"{story.name}: what the student was trained on",
        task_categories=["text-generation"],
        size_categories=[next((words for bound, words in SIZES if len(rows) < bound), "10M<n<100M")],
        annotations_creators=["machine-generated"] if by_hand < len(rows) else None,
        tags=["loop", *(["synthetic"] if by_hand < len(rows) else [])],
        configs=[{"config_name": "default", "data_files": [{"split": "train", "path": file}]}],
    )
    written = Counter((row.round, row.strategy or row.origin) for row in rows)
    parts = [{"strategy": what, "round": number, "rows": n} for (number, what), n in sorted(written.items())]
    return _render("dataset", story, metadata=metadata.to_yaml(), demonstrations=by_hand, parts=parts)


def _render(name: str, story: Story, **values: Any) -> str:
    environment = Environment(
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True, autoescape=False,
        loader=FunctionLoader(lambda name: (files("templates") / "cards" / f"{name}.md.j2").read_text("utf-8")),
    )  # fmt: skip
    environment.filters |= {
        "plain": plain, "fenced": fenced, "score": _shown, "tokens": in_tokens, "usd": in_usd, "clock": in_time,
    }  # fmt: skip
    return environment.get_template(name).render(
        name=story.name, what=story.what, standing=story.standing, trained=story.trained, rows=len(story.taught),
        prose=story.prose, ingredients=story.ingredients, seed=story.seed, versions=story.versions, **values,
    )  # fmt: skip


def plain(text: str) -> str:
    """Somebody's words in one line of Markdown, as words alone: nothing in them is a mark, a tag or a link."""
    line = " ".join(text.translate(UNSAFE).split())
    return re.sub(r"([\\`*\[\]<>#|~&!])", r"\\\1", line)


def fenced(text: str) -> str:
    """Somebody's text as it is, between fences longer than any in it: no heading, tag or fence of it counts."""
    kept = "\n".join(text.translate(UNSAFE).splitlines())
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", kept)), default=0))
    return f"{fence}text\n{kept}\n{fence}"


def _shown(score: Score | None) -> str:
    return f"{score.score:.3f} ({score.low:.3f} to {score.high:.3f})" if score else ""


def _results(standing: Standing) -> list[_Result]:
    """The sealed test first, where it was opened for this best."""
    found = []
    for name, exam in (("sealed test", "test"), ("dev", "dev")):
        sat = standing.exams.of(exam, standing.best).values()
        start, first, control = (sitting.score if sitting else None for sitting in sat)
        if first is not None:
            found.append(_Result(name, first.n, first, start, control))
    return found


def _costs(story: Story) -> list[_Cost]:
    """A line a round, then the control, the test and the sum of all."""
    standing, rows = story.standing, []
    for closed in standing.rounds:
        name = f"{closed.round}{' *' if closed.round in story.line else ''}"
        spent = standing.spent.get(f"{closed.round:03}", Spent())
        rows.append(_Cost(name, closed.status, closed.dev, closed.strategies, spent))
    for part in ("control", "test"):
        spent = sum((cost for room, cost in standing.spent.items() if room.startswith(f"{part}/")), Spent())
        rows += [_Cost(part, "", None, (), spent)] if spent != Spent() else []
    return [*rows, _Cost("all", "", None, (), sum(standing.spent.values(), Spent()))]
