"""The diagnosis of a round: what was right before stands apart, dev is never quoted, and the rules plan as before."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from scripted import Scripted

from agents.briefs import CellBrief, PlanBrief, RoundBrief, Tally
from agents.choices import check_plan
from agents.looking import Failures
from agents.orchestrator import brief_prompt
from agents.replies import Diagnosis, Proposal, Regression
from agents.rules import Rules
from loop.crew import Crew, Report, Work
from loop.diagnose import diagnose
from loop.errors import StageError
from loop.looking import RunLibrary
from loop.objective import read_objective
from loop.records import Problem, Sample
from loop.report import render_report
from loop.room import DIAGNOSIS, EVALUATION, PROBE
from loop.run import Run, open_run
from loop.runner import go
from loop.screen import PlainScreen

ROUNDS = 4


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """A run on a pool so small that its probes meet problems again."""
    home = tmp_path_factory.mktemp("diagnose")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LOOP_CACHE", str(home / "cache"))
        objective = Scripted(budget=f"rounds: {ROUNDS}", problems=70).write(home)
        opened = open_run(read_objective(objective), home / "run", PlainScreen())
        go(opened)
    yield opened
    opened.ledger.close()


def counted(found: Diagnosis, exam: str) -> dict[Any, tuple[int, int, int]]:
    return {r.level: (r.count, r.before, r.gained) for r in found.regressions if r.exam == exam}


def test_regressions_on_dev_are_counted_by_cell_and_never_quoted(run: Run) -> None:
    best, lost_at_all = run.room("000").fetch(EVALUATION), 0
    assert not counted(run.room("000").fetch(DIAGNOSIS), "dev")
    for closed in run.ledger.rounds()[1:]:
        room = run.room(f"{closed.round:03}")
        now, found = room.fetch(EVALUATION), room.fetch(DIAGNOSIS)
        wanted = {}
        for level in (2, 3):
            ids = {problem.id for problem in run.bench.tasks.dev if problem.level == level}
            before, after = ids & {*best.solved}, ids & {*now.solved}
            if before - after:
                wanted[level] = (len(before - after), len(before), len(after - before))
        assert counted(found, "dev") == wanted
        lost_at_all += len(wanted)
        best = now if closed.status == "kept" else best
        told = found.model_dump_json()
        assert not [problem.prompt for problem in run.bench.tasks.dev if problem.prompt in told]
    assert lost_at_all, "the test is about something"
    with pytest.raises(ValidationError, match="never quoted"):
        Regression(exam="dev", skill="sum", count=1, before=1, gained=0, examples=("Problem: 1 + 1",))


def test_regressions_on_the_probe_are_against_the_last_time_a_problem_was_asked(run: Run) -> None:
    last: dict[str, bool] = {}
    lost_at_all = 0
    for closed in run.ledger.rounds():
        room = run.room(f"{closed.round:03}")
        probe, found = room.fetch(PROBE), room.fetch(DIAGNOSIS)
        now = {sample.problem.id: run.bench.judge.attempt(sample).correct for sample in probe}
        level = {sample.problem.id: sample.problem.level for sample in probe}
        lost = Counter(level[p] for p in now if last.get(p) and not now[p])
        assert {at: count for at, (count, _, _) in counted(found, "probe").items()} == dict(lost)
        assert all(len(r.examples) == min(3, r.count) for r in found.regressions if r.exam == "probe")
        lost_at_all += lost.total()
        last |= now
    assert lost_at_all, "the test is about something"


def test_clusters_are_told_looked_at_and_answered(run: Run) -> None:
    found = run.room("000").fetch(DIAGNOSIS)
    cluster = found.clusters[0]
    assert cluster.count == len(cluster.members) == sum(cell.count for cell in cluster.cells)
    assert cluster.name.startswith(f"{cluster.kind}: {cluster.words[0]}") and cluster.named_by == ""
    probe = {sample.id: sample for sample in run.room("000").fetch(PROBE)}
    assert not any(run.bench.judge.attempt(probe[member]).correct for member in cluster.members)
    told = PlanBrief(objective="o", cells=(CellBrief(skill="sum", level=2, share=1.0),), history=(), diagnosis=found)
    prompt = brief_prompt(told).text
    assert cluster.name in prompt.partition("# Clusters")[2] and cluster.members[0] not in prompt
    plan = Proposal.model_validate(
        {"hypothesis": "h", "answers": [cluster.name],
         "strategies": [{"allotments": [{"skill": "sum", "level": 2, "problems": 1}]}]}
    )  # fmt: skip
    check_plan(plan, told)
    with pytest.raises(ValueError, match="no failure mode or cluster"):
        check_plan(plan, told.model_copy(update={"diagnosis": None}))


def test_a_look_at_a_cluster_shows_its_members(run: Run) -> None:
    bench = run.bench
    library = RunLibrary(run.folder, run.ledger, PlainScreen(),
                         bench.judge, bench.exams, bench.demonstrations)  # fmt: skip
    last = run.ledger.rounds()[-1]
    room = run.room(f"{last.round:03}")
    found = room.fetch(DIAGNOSIS)
    assert found.clusters
    for cluster in found.clusters:
        rows = library.failures(Failures(action="look", tool="failures", mode=cluster.name, count=20))
        members = [sample for sample in room.fetch(PROBE) if sample.id in cluster.members][:20]
        assert [row.response for row in rows] == [sample.response for sample in members]


def test_the_report_shows_clusters_and_what_was_right_before(run: Run) -> None:
    page = render_report(run.folder)
    last = run.room(f"{run.ledger.rounds()[-1].round:03}").fetch(DIAGNOSIS)
    assert ('id="clusters"' in page) == bool(last.clusters) and page.count('id="cluster-') == len(last.clusters)
    assert page.count('id="regression-') == len(last.regressions)
    assert last.clusters or last.regressions, "the test is about something"


def test_rules_plan_the_same_with_and_without_clusters(run: Run) -> None:
    found = run.room("000").fetch(DIAGNOSIS)
    bare = Diagnosis(attempts=found.attempts, wrong=found.wrong, modes=found.modes)
    assert bare != found
    probe = tuple(Tally(skill="sum", level=level, tried=20, passed=6) for level in (2, 3))
    told = PlanBrief(
        objective="o", cells=tuple(CellBrief(skill="sum", level=level, share=0.5) for level in (2, 3)),
        history=(RoundBrief(round=0, status="start", dev=0.3, dev_cells=probe, probe=probe),), diagnosis=found,
    )  # fmt: skip
    assert Rules().plan(told) == Rules().plan(told.model_copy(update={"diagnosis": bare}))


def test_a_diagnosis_of_an_old_run_is_read(run: Run) -> None:
    old = json.loads(run.room("000").fetch(DIAGNOSIS).model_dump_json(exclude={"clusters", "regressions"}))
    assert Diagnosis.model_validate(old).clusters == Diagnosis.model_validate(old).regressions == ()


class Dead(Crew):
    """Children that die."""

    def run_here(self, work: str, job: Any, report: Report) -> Work:
        raise StageError("the process died")


def test_a_child_that_dies_leaves_a_diagnosis_without_clusters(run: Run, tmp_path: Path) -> None:
    room = run.room("000")
    found = diagnose(room.fetch(PROBE), room, replace(run.bench, crew=Dead(tmp_path, lambda: None)))
    whole = room.fetch(DIAGNOSIS)
    assert found == whole.model_copy(update={"clusters": ()}) != whole
    assert any(kind == "clusters" and "the process died" in text for _, kind, text in run.ledger.events())


def test_an_attempt_that_recites_an_exam_is_in_no_cluster_and_no_quotation(run: Run) -> None:
    room, stolen = run.room("000"), run.bench.tasks.dev[0]
    probe = room.fetch(PROBE)
    found = diagnose([recited(sample, stolen) for sample in probe], room, run.bench)
    assert found.attempts == found.wrong == 0 and found.clusters == ()


def recited(sample: Sample, stolen: Problem) -> Sample:
    return sample.model_copy(update={"problem": sample.problem.model_copy(update={"prompt": stolen.prompt})})
