"""The report: run folders played by the scripted student, and the page read back as a browser would."""

from __future__ import annotations

import json
import random
import re
import shutil
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from fault_server import FaultServer
from scripted import Scripted

from agents.briefs import PlanBrief
from agents.engines.scripted import work_out
from agents.replies import Diagnosis, Plan
from loop.calibration import Calibration
from loop.decide import optimism
from loop.errors import DamagedRunError, StageError
from loop.figures import in_p, in_time, in_tokens
from loop.ledger import Ledger
from loop.objective import read_objective
from loop.plots import axis
from loop.records import Admission, Critique
from loop.report import write_report
from loop.run import Run, open_run
from loop.runner import go
from loop.screen import PlainScreen
from loop.status import read_standing
from loop.train import TRAINING

HOSTILE = "<script>alert('x')</script><img src=x onerror=alert(2)> & </td>"
SKILL = '"><svg onload=alert(3)>'
OBJECTIVE = """---
student: scripted/learner
demonstrations: demos.jsonl
tasks:
  practice:
    - source: problems.jsonl
      verifier: numeric
  dev: {{from: practice, size: 60}}
  test: {{from: practice, size: 40}}
budget: {{rounds: {rounds}}}
control: {control}
---
# Sums
Add <b>up</b>, in the words of {hostile}.
"""
VOID = {"meta", "link", "br", "img", "hr"}


class Page(HTMLParser):
    """What a browser makes of the page: tags with attributes, and the text of every element with an id."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.source = path.read_text(encoding="utf-8")
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.by_id: dict[str, str] = {}
        self.rows: dict[str, list[str]] = {}
        self._open: list[tuple[str, str]] = []
        self.feed(self.source)
        self.close()
        assert not self._open, f"never closed: {self._open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = {name: value or "" for name, value in attrs}
        self.tags.append((tag, named))
        if tag not in VOID:
            self._open.append((tag, named.get("id", "")))
        if "id" in named:
            assert named["id"] not in self.by_id, f"{named['id']} stands there twice"
            self.by_id[named["id"]] = ""
        if tag == "td":
            for row in self._ids("tr"):
                self.rows.setdefault(row, []).append("")

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th", "li", "div", "p"):
            self.handle_data(" ")
        assert self._open.pop()[0] == tag

    def handle_data(self, data: str) -> None:
        for _, name in self._open:
            if name:
                self.by_id[name] += data
        if any(tag == "td" for tag, _ in self._open):
            for row in self._ids("tr"):
                self.rows[row][-1] += data

    def _ids(self, kind: str) -> list[str]:
        return [name for tag, name in self._open if tag == kind and name]

    def told(self, part: str) -> str:
        """The text of an element, white space folded."""
        return " ".join(self.by_id[part].replace("\u00a0", " ").split())


class Broken:
    """An orchestrator that fails in some rounds."""

    def __init__(self, run: Run, fails: dict[int, BaseException]) -> None:
        self._real, self._fails = run.bench.rules, fails

    def plan(self, brief: PlanBrief) -> Plan:
        if error := self._fails.get(len(brief.history)):
            raise error
        return self._real.plan(brief)

    def diagnose(self, attempts: object) -> Diagnosis:
        return self._real.diagnose(attempts)  # type: ignore[arg-type]


def write_objective(folder: Path, rounds: int, control: bool) -> Path:
    """Sums whose prompts attack the page, and stories of which an exam holds one half and practice the other."""
    luck = random.Random(1)
    folder.mkdir(parents=True, exist_ok=True)

    def chain(terms: int) -> tuple[list[int], str]:
        numbers = [luck.randint(1, 9), *(luck.choice((1, -1)) * luck.randint(1, 9) for _ in range(terms - 1))]
        return numbers, " ".join([str(numbers[0]), *(f"{'-' if n < 0 else '+'} {abs(n)}" for n in numbers[1:])])

    def row(terms: int, said: str) -> dict[str, object]:
        numbers, text = chain(terms)
        skill = SKILL if terms == 5 else "sum"
        return {"prompt": f"{said} what is {text} ?", "answer": str(sum(numbers)), "skill": skill, "level": terms}

    rows = [row(2 + i % 4, HOSTILE[:26] if i % 3 == 0 else "so") for i in range(300)]
    words = [*"ABCDEFGHIJKLMNOP"]
    for _ in range(30):
        luck.shuffle(words)
        rows += [row(2, " ".join(words[:14])) for _ in range(2)]
    demos = [chain(2 + i % 3) for i in range(40)]
    (folder / "problems.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    (folder / "demos.jsonl").write_text(
        "".join(json.dumps({"prompt": f"What is {t} ?", "response": work_out(n)}) + "\n" for n, t in demos)
    )
    text = OBJECTIVE.format(rounds=rounds, control=str(control).lower(), hostile=HOSTILE)
    (folder / "OBJECTIVE.md").write_text(text)
    return folder / "OBJECTIVE.md"


def play(folder: Path, rounds: int = 3, control: bool = True, fails: dict[int, BaseException] | None = None) -> Path:
    """A run folder, played until it ends or an orchestrator that fails ends it."""
    goal = read_objective(write_objective(folder, rounds, control))
    run = open_run(goal, folder / "run", PlainScreen())
    if fails:
        run = replace(run, bench=replace(run.bench, rules=Broken(run, fails)))  # type: ignore[arg-type]
    try:
        go(run)
    except KeyboardInterrupt:
        run.ledger.heartbeat(run.bench.meter.here, ended="interrupted")
    except StageError as error:
        run.ledger.event("stopped", str(error))
        run.ledger.heartbeat(run.bench.meter.here, ended="stopped")
    run.ledger.close()
    return run.folder


@pytest.fixture(scope="module", autouse=True)
def _shelf(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Students of round 0 are cached: not where a person keeps theirs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LOOP_CACHE", str(tmp_path_factory.mktemp("shelf")))
        yield


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of three rounds with its control; the third one failed."""
    folder = tmp_path_factory.mktemp("finished")
    return play(folder, fails={3: RuntimeError(f"{HOSTILE} \u202eback\x1b[31m\x00")})


@pytest.fixture(scope="module")
def page(finished: Path) -> Page:
    return Page(write_report(finished))


def test_report_is_written_whole(finished: Path) -> None:
    path = write_report(finished)
    assert path == finished / "report.html"
    assert not list(finished.glob(".report*"))
    assert path.stat().st_size < 300_000


def test_ledger_table_agrees_with_the_ledger(finished: Path, page: Page) -> None:
    ledger = Ledger.read(finished / "run.db")
    rounds = ledger.rounds()
    assert [r.status for r in rounds[:2]] == ["start", "kept"]
    assert rounds[3].status == "failed"
    best = max(r.round for r in rounds if r.status in ("start", "kept"))
    for r in rounds:
        cost = ledger.spent(f"{r.round:03}")
        number, status, dev, interval, test, samples, passed, examples, tokens, clock, better, worse, p = (
            cell.strip() for cell in page.rows[f"round-{r.round}"]
        )
        assert number.split()[-1] == str(r.round)
        assert number.startswith("*") == (r.round == best)
        assert status == r.status
        assert dev == (f"{r.dev.score:.3f}" if r.dev else "")
        assert interval == (f"{r.dev.low:.2f}–{r.dev.high:.2f}" if r.dev else "")
        assert bool(test) == (r.round in (0, best))
        counts = [f"{n:,}" if r.round else "" for n in (r.sampled, r.passed, r.examples)]
        assert [samples, passed, examples] == counts
        assert tokens == in_tokens(cost.tokens_sampled + cost.tokens_trained)
        assert clock == in_time(cost.seconds)
        verdict = [str(r.verdict.better), str(r.verdict.worse), in_p(r.verdict.p)] if r.verdict else ["", "", ""]
        assert [better, worse, p] == verdict
    assert "RuntimeError" in page.told("ledger")


def test_control_row_is_its_best_look(finished: Path, page: Page) -> None:
    looks = [json.loads(p.read_text()) for p in (finished / "control").glob("*/evaluation.json")]
    best = max(look["score"]["score"] for look in looks)
    assert page.rows["control"][2].strip() == f"{best:.3f}"


def test_what_one_student_changes_by_itself_and_what_dev_flatters_is_told(finished: Path, page: Page) -> None:
    rounds = Ledger.read(finished / "run.db").rounds()
    noise, best = rounds[0].noise, next(r for r in reversed(rounds) if r.status in ("start", "kept"))
    assert noise and best.verdict and best.dev
    assert f"sat {noise.n} problems of dev a second time" in page.told("noise")
    assert f": {noise.rose + noise.fell} outcomes changed, {noise.rose} for the better" in page.told("noise")
    flattery = 100 * optimism(best.verdict, best.dev.n)
    assert flattery > 0 and f"by about {flattery:.1f} points" in page.told("flattery")
    for closed in (r for r in rounds if r.verdict):
        assert f"where less than {closed.verdict.level:.3f} is asked" in page.told(f"plan-of-{closed.round}")


def test_claim_is_the_paired_gain_over_the_better_rival(finished: Path, page: Page) -> None:
    standing = read_standing(finished)

    def solved(path: Path) -> set[str]:
        return set(json.loads((path / "evaluation.json").read_text())["solved"])

    for exam, n in (("test", 40), ("dev", 60)):
        if exam == "test":
            names = [finished / "test" / f"{standing.best:03}-{who}" for who in ("best", "start", "control")]
            best, *rivals = (solved(path) for path in names)
        else:
            best = solved(finished / "rounds" / f"{standing.best:03}")
            looks = [solved(path) for path in (finished / "control").iterdir()]
            rivals = [solved(finished / "rounds" / "000"), max(looks, key=len)]
        gain = (len(best) - max(map(len, rivals))) / n
        assert f"{100 * gain:.1f} points more than" in page.told("claim")
        assert f"+{100 * gain:.1f}" in page.told("figures")


def test_heat_map_is_every_level_of_every_round(finished: Path, page: Page) -> None:
    rounds = Ledger.read(finished / "run.db").rounds()
    cells = [a["title"] for tag, a in page.tags if tag == "td" and "--v" in a.get("style", "")]
    wanted = sorted(f"{c.correct} of {c.n}" for r in rounds for c in r.dev_cells)
    control = read_standing(finished).exams.control()
    assert control
    assert sorted(cells) == sorted([*wanted, *(f"{c.correct} of {c.n}" for c in control.cells)])
    shares = re.findall(r'title="(\d+) of (\d+)">([\d.]+)<', page.source)
    assert len(shares) == len(cells)
    assert all(f"{int(a) / int(b):.2f}" == shown for a, b, shown in shares)
    best = rounds[read_standing(finished).best].dev_cells
    for number, (old, new) in enumerate(zip(rounds[0].dev_cells, best, strict=True), 1):
        change = 100 * (new.correct / new.n - old.correct / old.n)
        assert page.rows[f"level-{number}"][-1].strip() == f"{change:+.1f}"


def test_plans_tell_what_they_chose_and_gained(finished: Path, page: Page) -> None:
    rounds = {r.round: r for r in Ledger.read(finished / "run.db").rounds()}
    for number in (1, 2):
        plan = Plan.model_validate_json((finished / "rounds" / f"{number:03}" / "plan.json").read_text())
        told, closed = page.told(f"plan-of-{number}"), rounds[number]
        assert " ".join(plan.hypothesis.split()) in told
        assert all(" ".join(name.split()) in told for name in plan.answers)
        assert closed.verdict
        assert f"{closed.verdict.better} better, {closed.verdict.worse} worse" in told
        for strategy in plan.strategies:
            for a in strategy.allotments:
                passed = next((t.passed for t in closed.samples if (t.skill, t.level) == (a.skill, a.level)), 0)
                bar = f"{a.skill} {a.level}: {a.problems * a.samples:,} samples, {passed:,} passed"
                assert bar in page.told(f"plan-{number:03}-desc")


def test_samples_are_all_accounted_for(finished: Path, page: Page) -> None:
    for r in Ledger.read(finished / "run.db").rounds():
        if r.sampled:
            assert r.examples + sum(r.dropped.values()) == r.sampled
            told = page.told("samples")
            assert f"Round {r.round} {r.sampled:,} drawn, {r.passed:,} passed" in told
            assert f"{r.examples:,} examples" in told
            assert all(f"{n:,} {reason}" in told for reason, n in r.dropped.items())


def test_what_samples_were_worth_is_told_by_round_and_sampler(finished: Path, page: Page) -> None:
    found = [(r.round, q) for r in Ledger.read(finished / "run.db").rounds() for q in r.quality]
    assert {number for number, _ in found} == {1, 2}
    for place, (number, q) in enumerate(found, 1):
        row = [cell.strip() for cell in page.rows[f"worth-{place}"]]
        assert row[:5] == [str(number), q.sampler, f"{q.problems:,}", f"{q.samples:,}", f"{q.passed:,}"]
        first, last, rate = q.at[0], q.at[-1], q.false_positive_rate
        assert row[5:9] == [f"{first.coverage:.3f}", str(last.k), f"{last.coverage:.3f}", f"{last.diversity:.2f}"]
        judged = (
            [f"{100 * rate.score:.1f} %", f"{100 * rate.low:.1f}–{100 * rate.high:.1f}"] if q.judged else ["–"] * 2
        )
        assert row[9:] == [*judged, f"{q.cut_off:,}"]
    assert page.told("set-up") == "The set-up is self-improvement."


def test_contamination_is_shown_with_its_text(finished: Path, page: Page) -> None:
    lines = [line for p in finished.glob("rounds/*/admissions.jsonl") for line in p.read_text().splitlines()]
    matches = [row for line in lines if (row := Admission.model_validate_json(line)).reason == "stands in an exam"]
    assert matches
    assert f"{len(matches)} sample" in page.told("samples")
    assert " ".join(matches[0].matched.split()) in page.told("samples")


def test_costs_sum_to_the_ledger(finished: Path, page: Page) -> None:
    ledger = Ledger.read(finished / "run.db")
    total, control = ledger.spent(), [p.name for p in (finished / "control").iterdir()]
    rooms = {"round-0": ["000"], "round-2": ["002"], "the-control": [f"control/{name}" for name in control]}
    for title, names in rooms.items():
        spent = [ledger.spent(name) for name in names]
        sums = [sum(s.tokens_sampled for s in spent), sum(s.tokens_trained for s in spent)]
        assert [cell.strip() for cell in page.rows[f"cost-of-{title}"][2:4]] == [f"{n:,}" for n in sums]
    assert len(control) > 1
    assert f"{total.tokens_sampled:,} {total.tokens_trained:,}" in page.told("costs")
    assert in_tokens(total.tokens_sampled + total.tokens_trained) in page.told("figures")


def test_last_diagnosis_objective_and_versions_are_shown(finished: Path, page: Page) -> None:
    diagnosis = Diagnosis.model_validate_json((finished / "rounds/002/diagnosis.json").read_text())
    told = page.told("diagnosis")
    assert all(mode.name.split()[0] in told for mode in diagnosis.modes)
    assert f"{diagnosis.wrong} of {diagnosis.attempts}" in told
    assert all(mode.advice in told for mode in diagnosis.modes[:3])
    assert " ".join((finished / "OBJECTIVE.md").read_text().split()) in page.told("objective")
    assert "transformers" in page.told("objective")


def test_hostile_text_is_text(page: Page) -> None:
    assert {tag for tag, _ in page.tags}.isdisjoint({"script", "img", "iframe", "object", "embed", "form"})
    assert not [name for _, named in page.tags for name in named if name.startswith("on")]
    assert "<script" not in page.source.lower()
    assert "alert('x')" in page.told("objective")
    assert "<script>alert('x')" in page.told("diagnosis")
    assert SKILL in page.told("levels")
    assert HOSTILE in page.told("ledger")
    assert "\ufffdback\ufffd[31m" in page.told("ledger")
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", page.source)


def test_page_loads_nothing(page: Page) -> None:
    for _, named in page.tags:
        for name in ("src", "href", "srcset", "action", "data", "xlink:href"):
            assert named.get(name, "data:").startswith(("data:", "#"))
        assert "url(" not in named.get("style", "")
    style = page.source.partition("<style>")[2].partition("</style>")[0]
    assert style
    assert "url(" not in style
    assert "@import" not in style
    policy = [named["content"] for tag, named in page.tags if tag == "meta" and "http-equiv" in named]
    assert policy
    assert policy[0].startswith("default-src 'none'")


def test_drawings_are_told_to_those_who_cannot_see_them(page: Page) -> None:
    plots = [named for tag, named in page.tags if tag == "svg" and named.get("class") == "plot"]
    assert len(plots) >= 4
    for named in plots:
        assert named["role"] == "img"
        assert all(page.by_id[name].strip() for name in named["aria-labelledby"].split())


def test_without_control_nothing_is_claimed(tmp_path: Path) -> None:
    page = Page(write_report(play(tmp_path, rounds=1, control=False)))
    assert page.told("claim").startswith("Nothing is claimed, since there is no control")
    assert "points" not in page.told("figures")
    assert "control" not in page.rows


def test_when_no_round_was_kept_it_says_so(tmp_path: Path) -> None:
    run = play(tmp_path, rounds=1, fails={1: RuntimeError("no plan today")})
    page = Page(write_report(run))
    assert page.told("claim") == "The one round played is not shown to be better than round 0: nothing is gained."
    assert "no plan today" in page.told("ledger")
    assert "0 kept, 0 discarded, 1 failed" in page.told("lede")


def test_interrupted_run(tmp_path: Path) -> None:
    page = Page(write_report(play(tmp_path, rounds=3, fails={2: KeyboardInterrupt()})))
    assert "interrupted" in page.told("state")
    assert page.told("claim").startswith("So far round 1 solves")
    assert "nothing is claimed" in page.told("claim")
    assert "the same command goes on from here" in page.told("lede")
    assert "points" not in page.told("figures")


def test_run_that_stopped(tmp_path: Path) -> None:
    fails: dict[int, BaseException] = {n: RuntimeError("out of luck") for n in (1, 2, 3)}
    page = Page(write_report(play(tmp_path, rounds=5, fails=fails)))
    assert "stopped" in page.told("state")
    assert "3 rounds in a row failed" in page.told("lede")
    assert page.told("ledger").count("out of luck") >= 3


def _forget(run: Path, *statements: str) -> None:
    """Take the ledger back to an earlier moment."""
    with sqlite3.connect(run / "run.db") as db:
        for statement in statements:
            db.execute(statement)
    db.close()


EARLIER: dict[str, tuple[str, ...]] = {
    "a plan is made": (
        "DELETE FROM round WHERE round >= 2",
        "DELETE FROM card WHERE room > '002' OR (room = '002' AND stage <> 'plan')",
        "DELETE FROM spent WHERE room > '002' OR (room = '002' AND stage <> 'plan')",
    ),
    "round 0 is closed": ("DELETE FROM round WHERE round > 0", "DELETE FROM card WHERE room <> '000'"),
    "round 0 is trained": (
        "DELETE FROM round",
        "DELETE FROM card WHERE room <> '000' OR stage <> 'train'",
        "DELETE FROM spent WHERE room <> '000'",
    ),
    "nothing is done": ("DELETE FROM round", "DELETE FROM card", "DELETE FROM spent"),
}


@pytest.mark.parametrize("moment", EARLIER)
def test_while_it_runs(tmp_path: Path, finished: Path, moment: str) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    running = ("UPDATE launch SET ended = NULL", "DELETE FROM event", """UPDATE fact SET value = '"running"' WHERE
               name = 'status'""", "DELETE FROM fact WHERE name IN ('ended', 'budget')")  # fmt: skip
    _forget(run, *EARLIER[moment], *running)
    page = Page(write_report(run))
    assert "running" in page.told("state")
    assert "points" not in page.told("figures")
    if moment == "a plan is made":
        assert "Round 2: under way" in page.told("plans")


def test_looks_of_round_zero(tmp_path: Path, finished: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    assert "convergence" not in Page(write_report(run)).by_id
    path = run / "rounds/000/checkpoint" / TRAINING
    told = json.loads(path.read_text())
    steps = ((100, 0.2, 1.5), (200, 0.41, 0.9), (300, 0.53, 1.1), (400, 0.5, float("inf")))
    looks = [{"step": s, "accuracy": a, "loss": loss, "tokens": s} for s, a, loss in steps]
    path.write_text(json.dumps(told | {"looks": looks}))
    page = Page(write_report(run))
    assert "The best accuracy, 0.530, came at step 300" in page.told("convergence")
    assert "the lowest held-out loss, 0.900, at step 200" in page.told("convergence")
    assert "The loss turned first" in page.told("convergence")


def test_test_opened_again_is_marked(tmp_path: Path, finished: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    best = read_standing(run).best
    for who in ("best", "start", "control"):
        shutil.copytree(run / "test" / f"{best:03}-{who}", run / "test" / f"000-{who}")
    _forget(
        run,
        "INSERT INTO card SELECT replace(room, '/%03d', '/000'), stage, file, digest, rows, detail FROM card"
        " WHERE room LIKE 'test/%%'".replace("%03d", f"{best:03}").replace("%%", "%"),
    )
    page = Page(write_report(run))
    assert "opened 2 times" in page.told("claim")
    assert "opened 2 times, for rounds 0," in page.told("lede")


@pytest.mark.parametrize("name", ["rounds/001/evaluation.json", "rounds/001/plan.json", "rounds/002/diagnosis.json"])
def test_changed_file_is_not_reported(tmp_path: Path, finished: Path, name: str) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    (run / name).write_text((run / name).read_text().replace("0.", "1.", 1) + " ")
    with pytest.raises(DamagedRunError, match=Path(name).name):
        write_report(run)
    with pytest.raises(DamagedRunError, match="no ledger"):
        write_report(tmp_path)


class Telling:
    """An orchestrator whose plans name a sampler and tell it something, as a model's may."""

    def __init__(self, run: Run) -> None:
        self._real = run.bench.rules

    def plan(self, brief: PlanBrief) -> Plan:
        plan = self._real.plan(brief)
        told = [s.model_copy(update={"sampler": "student", "instructions": HOSTILE}) for s in plan.strategies]
        return plan.model_copy(update={"strategies": tuple(told)})

    def diagnose(self, attempts: object) -> Diagnosis:
        return self._real.diagnose(attempts)  # type: ignore[arg-type]


def play_cast(folder: Path, **cast: str | int) -> Path:
    """A run of sums with this cast, to its end."""
    run = open_run(read_objective(Scripted(**cast).write(folder)), folder / "run", PlainScreen())  # type: ignore[arg-type]
    if "orchestrator" not in cast:
        run = replace(run, bench=replace(run.bench, rules=Telling(run)))  # type: ignore[arg-type]
    go(run)
    run.ledger.close()
    return run.folder


@pytest.fixture(scope="module")
def with_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one round: nobody can use what the planner and one critic at an endpoint say; the other critic is
    a script with a price.
    """
    with FaultServer() as server:
        small = f'{{model: small, endpoint: "{server.url}/v1", prices: {{input: 3, output: 15}}}}'
        critic = f"[{{model: scripted/critic, prices: {{input: 1, output: 2}}}}, {small}]"
        budget = "rounds: 1, usd: 50"
        return play_cast(
            tmp_path_factory.mktemp("cast"), orchestrator=small, critic=critic, budget=budget, problems=150
        )


def test_a_plan_tells_who_made_it_and_why_the_rules_did(with_models: Path) -> None:
    page = Page(write_report(with_models))
    plan = Plan.model_validate_json((with_models / "rounds/001/plan.json").read_text())
    assert plan.author == "rules" and plan.handover
    told = f"Planned by rules in place of small, since {' '.join(plan.handover.split())}."
    assert told in page.told("plan-of-1")
    assert "The rules planned round 1 in place of small." in page.told("cast")


def test_a_critic_is_shown_as_far_as_it_can_be_believed(with_models: Path) -> None:
    page = Page(write_report(with_models))
    folder = with_models / "rounds/001"
    calibrations = [
        Calibration.model_validate_json(line) for line in (folder / "calibrations.jsonl").read_text().splitlines()
    ]
    assert {c.seat: c.believed for c in calibrations} == {"scripted/critic": True, "small": False}
    for place, c in enumerate(calibrations, 1):
        shares = (c.false_accepts, c.false_rejects, c.padded_accepts, c.attack_accepts, c.length_bias)
        row = [cell.strip() for cell in page.rows[f"critic-1-{place}"]]
        assert row[1] == c.critic
        assert row[2] == (f"{c.agreement.score:.2f}" if c.agreement.n else "–")
        assert row[3] == (f"{c.agreement.low:.2f}–{c.agreement.high:.2f}" if c.agreement.n else "–")
        assert row[4:] == [
            *(f"{s.correct} of {s.n}" if s.n else "–" for s in (*shares, c.position_bias)),
            "yes" if c.believed else "no",
        ]
        assert c.believed or f"not believed: {c.reason}" in page.told("critics")
    critiques = [Critique.model_validate_json(line) for line in (folder / "critiques.jsonl").read_text().splitlines()]
    judged = sum(any(check.name == "critic" for check in row.checks) for row in critiques)
    refused = sum(row.reason == "refused by a critic" for row in critiques)
    told = page.told("refused-1")
    assert judged > refused > 0
    assert f"Of {judged} samples that the verifiers passed, {refused} w" in told


def test_tokens_and_dollars_are_told_by_part_and_model(with_models: Path) -> None:
    page, ledger = Page(write_report(with_models)), Ledger.read(with_models / "run.db")
    rows = [[cell.strip() for cell in page.rows[f"cast-{number}"]] for number in (1, 2, 3, 4)]
    parts = [("orchestrator", "small"), ("sampler", "student"), ("critic", "scripted/critic"), ("critic", "small")]
    assert [tuple(row[:2]) for row in rows] == parts
    samples = [p.read_text().splitlines() for p in with_models.glob("rounds/*/samples.jsonl")]
    assert rows[1][3] == str(sum(map(len, samples)))
    for row, (read, written) in zip((rows[0], *rows[2:]), ((3, 15), (1, 2), (3, 15)), strict=True):
        cost = (int(row[4].replace(",", "")) * read + int(row[5].replace(",", "")) * written) / 1e6
        assert row[6] == f"${read} / ${written}"
        assert row[7] == f"${cost:.2f}"
    assert ledger.spent().usd > 0.01
    assert page.rows["cast-total"][-1].strip() == f"${ledger.spent().usd:.2f}"
    assert "The cap is $50.00." in page.told("cast")
    # A row that is torn by a crash is not there yet.
    with (with_models / "rounds/001/talks.jsonl").open("a") as file:
        file.write('{"id": "torn')
    assert Page(write_report(with_models)).rows["cast-total"] == page.rows["cast-total"]


def test_without_a_model_in_the_cast_the_page_has_no_part_for_it(tmp_path: Path) -> None:
    page = Page(write_report(play_cast(tmp_path, budget="rounds: 1")))
    assert {"cast", "critics"}.isdisjoint(page.by_id)
    told = page.told("plan-of-1")
    assert "Planned by rules." in told and "rejection sampling by student at temperature" in told
    assert "What student was told" in told and HOSTILE in told


@pytest.mark.parametrize("values", [[0.1, 0.62], [0.5], [], [0.0], [1.0], [0.0, 1.0], [0.97, 0.99], [0.3, 0.30001]])
def test_axis_holds_all_values(values: list[float]) -> None:
    low, high, ticks = axis(values, 0.0, 1.0)
    assert 0 <= low < high <= 1
    assert all(low <= value <= high for value in values)
    assert all(low - 1e-9 <= tick <= high + 1e-9 for tick in ticks)
    assert 2 <= len(ticks) <= 12
