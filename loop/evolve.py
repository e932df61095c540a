"""Evolve: `loop evolve`: a population of harnesses, each child scored beside its parent on held-out documents."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

from agents.harness import START, Harness, propose
from agents.selfinstruct.rows import Round as Asked
from agents.talk import Unusable
from loop.budget import BudgetSpent
from loop.documents import read_documents
from loop.errors import ObjectiveError
from loop.evaluator import Evaluator, read_evaluator
from loop.evolution import (
    Generation,
    Proposal,
    Terms,
    Variant,
    best_of,
    choose_parent,
    decide,
    fault_of,
    mutate_anew,
    population_of,
    variant_id,
)
from loop.evolved import BEST, Evolved
from loop.files import RowFile, as_json, read_rows, write_atomic
from loop.guidance import harness_of
from loop.objective import Objective
from loop.players import talking
from loop.records import seed_for
from loop.room import CHECKPOINT, PROPOSAL
from loop.run import Run, run_folder
from loop.scoring import (
    READ,
    Arena,
    check_enough,
    fails_to_run,
    settings_of,
    share_accepted,
    split_documents,
    trajectories,
)
from loop.seating import parts_of
from loop.seats import Seat
from loop.solving import PARTS, Manner
from loop.train import make_student

HISTORY = "history.jsonl"
WORDS = {"weak": "student", "strong": "student", "judge": "verifier"}
"""Who plays a part of the cast that no model of its own plays."""


def evolution_folder(objective: Objective, folder: Path | None) -> Path:
    """Where the objective's evolution lives: as told, or beside its run."""
    beside = run_folder(objective, None)
    return folder or beside.with_name(f"{beside.name}-evolve")


def check_can_evolve(objective: Objective, terms: Terms) -> None:
    """Raise ObjectiveError for an objective that lacks a player or documents."""
    parts = [] if objective.cast.challenger else ["challenger"]
    parts += [part for part in PARTS if part not in parts_of(objective)]
    if parts:
        entries = ", ".join(f"{part}: a-model" for part in parts)
        raise ObjectiveError(f"{objective.path.name}: cast: nobody plays {', '.join(parts)}; write {entries}")
    if objective.documents is None:
        raise ObjectiveError(f"{objective.path.name}: documents: is missing; name files to ask questions from")
    check_enough(len(read_documents(objective)), terms)


class Evolution:
    """An evolution in its folder. It goes on wherever an earlier launch left it; what is done is never done again.

    A generation is a room, with a room each for what the proposer reads and for every scoring. Its row of the history
    is written last, so a launch that dies in a generation plays it again, with the answers that it has got.
    """

    def __init__(self, run: Run, terms: Terms) -> None:
        """Raises: ObjectiveError for other terms than it was begun with, DamagedRunError for another evaluator."""
        self._run, self._terms, self._bench = run, terms, run.bench
        assert run.bench.extracts is not None, "check_can_evolve has seen documents"
        self._split = split_documents(run.bench.extracts.all, terms)
        parts = run.bench.parts
        manner = Manner(by_program=parts["judge"] is None)
        self._players = {part: seat.name if seat else WORDS[part] for part, seat in parts.items()}
        self._settings = settings_of(manner, run.bench.answer)
        self._evaluator = self._sign()
        self._arena = Arena(run.bench, self._student(), manner, self._settings)

    def go(self, generations: int) -> Evolved:
        """Play up to so many generations, those of earlier launches counted, and write the best harness.

        Raises: ObjectiveError when the budget ended before anything was scored.
        """
        rows = RowFile(self._run.folder / HISTORY)
        history = read_rows(rows.path, Generation)
        first, sealed, ended, way = None, None, "", "stopped"
        try:
            first = self._first()
            while len(history) < generations:
                history.append(self._play(len(history) + 1, population_of(first, history), history))
                self._check_evaluator()
                rows.append(history[-1:])
            sealed = self._open_sealed(first, best_of(population_of(first, history)))
            way = "finished"
        except BudgetSpent as limit:
            ended = str(limit)
        finally:
            rows.close()
            self._run.ledger.heartbeat(self._bench.meter.here, ended=way)
        if first is None:
            raise ObjectiveError(f"budget.{ended}: is spent before the first harness was scored; raise it")
        best = best_of(population_of(first, history))
        write_atomic(self._run.folder / BEST, as_json(best.harness))
        return Evolved(first, best, tuple(history), sealed, ended)

    def _first(self) -> Variant:
        """What evolution starts from, with its score: the objective's harness, or that of the house."""
        harness = harness_of(self._run.objective) or START
        scores = self._scores(harness, 0, "start")
        self._check_evaluator()
        return Variant(id=variant_id(harness), parent="", harness=harness, score=fmean(scores))

    def _play(self, number: int, population: Sequence[Variant], history: Sequence[Generation]) -> Generation:
        """One attempt to do better, whatever comes of it."""
        parent = choose_parent(population, seed_for(self._terms.seed, "parent", number))
        tried = {population[0].id, *(g.child for g in history)}
        proposal = self._propose(number, parent, tried)
        child = proposal.harness
        lost = Generation(
            number=number, parent=parent.id, child=variant_id(child) if child else "", harness=child,
            author=proposal.author, parent_score=None, child_score=None, accepted=False, reason=proposal.reason,
            evaluator=self._evaluator.id,
        )  # fmt: skip
        if child is None:
            return lost
        reason = fault_of(child, tried, self._players.values()) or fails_to_run(self._pose(child, number, "child", 1))
        if reason:
            return lost.model_copy(update={"reason": reason})
        child_scores, parent_scores = (
            self._scores(harness, number, name) for harness, name in ((child, "child"), (parent.harness, "parent"))
        )
        accepted, reason = decide(parent_scores, child_scores)
        found = {"parent_score": fmean(parent_scores), "child_score": fmean(child_scores)}
        return lost.model_copy(update={**found, "accepted": accepted, "reason": reason})

    def _propose(self, number: int, parent: Variant, tried: set[str]) -> Proposal:
        """A child: of the orchestrator's model after it has read trajectories, else by mutation."""
        seed, name = seed_for(self._terms.seed, "propose", number), f"generation/{number:03}"
        room, seat = self._run.room(name), self._bench.planner
        if seat is None or seat.engine == "scripted":  # the scripted planner plans, and writes no guidance
            return room.once(PROPOSAL, lambda: mutate_anew(parent.harness, seed, tried))
        texts = random.Random(seed).sample(self._split.train, READ)
        read = self._run.room(f"{name}/read")
        rows = self._arena.pose(parent.harness, texts, seed, read)

        def ask() -> Proposal:
            with talking(seat, "orchestrator", room, PROPOSAL, self._bench) as talker:
                try:
                    child = propose(talker, parent.harness, trajectories(rows, texts), seed)
                except Unusable as error:
                    return Proposal(harness=None, author=seat.name, reason=f"no harness could be read: {error}")
            return Proposal(harness=child, author=seat.name)

        return room.once(PROPOSAL, ask)

    def _scores(self, harness: Harness, number: int, name: str) -> list[float]:
        """Shares of the held-out documents with an accepted question, once for each repeat."""
        repeats = range(1, self._terms.repeats + 1)
        return [share_accepted(self._pose(harness, number, name, i), self._terms.documents) for i in repeats]

    def _pose(self, harness: Harness, number: int, name: str, repeat: int) -> list[Asked]:
        """What a harness asks of the held-out documents: parent and child by one luck, each repeat by another."""
        room = self._run.room(f"generation/{number:03}/{name}-{repeat}")
        return self._arena.pose(harness, self._split.held_out, seed_for(self._terms.seed, number, repeat), room)

    def _open_sealed(self, first: Variant, best: Variant) -> tuple[float, float] | None:
        """Scores of the first and the best on documents that chose neither."""
        if first.id == best.id:
            return None
        scores = {variant.id: list[float]() for variant in (first, best)}
        for variant in (first, best):
            for i in range(1, self._terms.repeats + 1):
                room, seed = self._run.room(f"sealed/{variant.id}-{i}"), seed_for(self._terms.seed, "sealed", i)
                rows = self._arena.pose(variant.harness, self._split.sealed, seed, room)
                scores[variant.id].append(share_accepted(rows, self._terms.documents))
        self._check_evaluator()
        return fmean(scores[first.id]), fmean(scores[best.id])

    def _student(self) -> Seat:
        """Who is meant where the cast says `student`: the student before any round, made where it is needed."""
        weak, strong = self._bench.parts["weak"], self._bench.parts["strong"]
        if weak and strong:
            return weak  # nobody is meant: any seat will do
        room = self._run.room("000")
        return self._bench.student_of(room.once(CHECKPOINT, lambda: make_student(room, self._bench)))

    def _read_evaluator(self) -> Evaluator:
        players = self._players | {"challenger": self._bench.writer("").name}
        texts = {name: [text.id for text in texts] for name, texts in self._split._asdict().items()}
        return read_evaluator(self._settings, players, texts)

    def _check_evaluator(self) -> None:
        """Raise DamagedRunError when anything that scores has changed since the evolution was begun."""
        self._evaluator.check_same(self._read_evaluator())

    def _sign(self) -> Evaluator:
        """Write down what the evolution is begun with, or check that it is still so."""
        ledger, now = self._run.ledger, self._read_evaluator()
        known = ledger.fact("evolution")
        if known is None and ledger.rounds():
            raise ObjectiveError(f"{self._run.folder}: is the folder of a run; name another with --run")
        if known is None:
            texts = {name: [text.document for text in texts] for name, texts in self._split._asdict().items()}
            kept = {"terms": self._terms.model_dump(), "evaluator": now.model_dump()}
            write_atomic(self._run.folder / "evolution.json", as_json({**kept, "digest": now.id, "documents": texts}))
            ledger.set_facts(evolution=kept)
            return now
        terms = Terms.model_validate(known["terms"])
        if terms != self._terms:
            begun = f"--documents {terms.documents} --repeats {terms.repeats} --seed {terms.seed}"
            raise ObjectiveError(
                f"{self._run.folder}: was begun with {begun}; say so again, or name another with --run"
            )
        begun_by = Evaluator.model_validate(known["evaluator"])
        begun_by.check_same(now)
        return begun_by
