"""Naming: clusters of wrong attempts get a name and advice, from their own words, or from the model that plans."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from agents.briefs import Evidence
from agents.looking import quotation
from agents.prompts import render
from agents.replies import CellCount, Cluster
from agents.strategies import Reply
from agents.talk import Message, Question, Talker, ask_for
from agents.uniform import ADVICE, kind_of, name_of, quote, unlike

MOST_NAMED = 12
"""Clusters that a model is asked about, the largest first: the smaller ones keep their words."""
CELLS = 3
"""Cells that an advice names."""


@dataclass(frozen=True)
class Bundle:
    """A cluster as it was found: its attempts, the most typical first, and what tells them from the others."""

    members: tuple[Evidence, ...]
    words: tuple[str, ...]


class Naming(Reply):
    """What a model makes of one cluster."""

    cluster: Annotated[int, Field(ge=1, le=MOST_NAMED)]
    name: Annotated[str, Field(min_length=3, max_length=80)]
    advice: Annotated[str, Field(min_length=3, max_length=300)]


class Namings(Reply):
    """The answer of a model that was asked to name clusters."""

    clusters: tuple[Naming, ...] = ()


def name_by_words(found: Sequence[Bundle], wrong: int) -> tuple[Cluster, ...]:
    """Clusters of a probe with `wrong` wrong attempts, named by their kind and what tells them apart."""
    clusters: list[Cluster] = []
    for bundle in found:
        kinds = Counter(map(kind_of, bundle.members))
        kind = max(kinds, key=lambda kind: (kinds[kind], kind))
        cells = Counter((attempt.skill, attempt.level) for attempt in bundle.members).most_common()
        name = f"{kind}: {', '.join(word for word in bundle.words if word != kind)}"
        again = sum(cluster.name.startswith(name) for cluster in clusters)
        clusters.append(
            Cluster(
                name=f"{name} ({again + 1})" if again else name,
                words=bundle.words,
                kind=kind,
                count=len(bundle.members),
                share=len(bundle.members) / wrong,
                cells=tuple(CellCount(skill=skill, level=level, count=count) for (skill, level), count in cells),
                first_wrong=next((attempt.detail for attempt in bundle.members if attempt.detail), "")[:300],
                examples=tuple(quote(attempt) for attempt in unlike(bundle.members)),
                advice=ADVICE[kind].format(cell=", ".join(name_of(key) for key, _ in cells[:CELLS])),
                members=tuple(attempt.id for attempt in bundle.members),
            )
        )
    return tuple(clusters)


def name_by_model(
    talker: Talker, clusters: Sequence[Cluster], taken: Sequence[str], seed: int, max_tokens: int = 4096
) -> tuple[Cluster, ...]:
    """The clusters with the model's names and advice; one that it does not name keeps its own.

    Args: taken: names of failure modes, which a cluster may not have.

    Raises: Unusable when neither its answer nor the repaired one can be used; what `Talker.ask` raises.
    """
    asked = clusters[:MOST_NAMED]
    told = [{"cluster": number} | _told(cluster) for number, cluster in enumerate(asked, 1)]
    prompts = [render("name_role"), render("name_clusters", clusters=[quotation(one) for one in told])]

    def check(said: Namings) -> None:
        numbers = [naming.cluster for naming in said.clusters]
        if len(set(numbers)) < len(numbers) or max(numbers, default=0) > len(asked):
            raise ValueError(f"clusters: name each of 1 to {len(asked)} at most once, and no other")
        kept = [cluster.name for number, cluster in enumerate(clusters, 1) if number not in numbers]
        names = [" ".join(naming.name.split()) for naming in said.clusters]
        if len({*names, *kept, *taken}) < len(names) + len({*kept, *taken}):
            raise ValueError("clusters: two have one name, or that of a failure mode; write names that differ")
        if min(map(len, names), default=3) < 3 or not all(
            text.isprintable() for naming in said.clusters for text in (naming.name, naming.advice)
        ):
            raise ValueError("clusters: a name is empty, or a name or an advice is more than one line of plain text")

    question = Question(
        messages=(Message("system", prompts[0].text), Message("user", prompts[1].text)),
        max_tokens=max_tokens,
        seed=int(hashlib.sha256(f"name/{seed}".encode()).hexdigest(), 16) % 2**31,
        prompt=hashlib.sha256("".join(prompt.digest for prompt in prompts).encode()).hexdigest()[:16],
    )
    said = {naming.cluster: naming for naming in ask_for(talker, question, Namings, check).clusters}
    return tuple(
        cluster.model_copy(update={"name": " ".join(said[number].name.split()), "advice": said[number].advice,
                                   "named_by": talker.model}) if number in said else cluster
        for number, cluster in enumerate(clusters, 1)
    )  # fmt: skip


def _told(cluster: Cluster) -> dict[str, object]:
    """What a model is shown of a cluster."""
    cells = [f"{name_of((cell.skill, cell.level))}: {cell.count}" for cell in cluster.cells[:8]]
    return {
        "kind": cluster.kind, "wrong_attempts": cluster.count, "share": round(cluster.share, 3), "cells": cells,
        "words": cluster.words, "first_wrong_step": cluster.first_wrong, "examples": cluster.examples,
    }  # fmt: skip
