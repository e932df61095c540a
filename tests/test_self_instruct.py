"""Whole runs in which a plan names agentic self-instruct: who is asked what, what is kept, what a crash costs."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from fault_server import FaultServer, Manners
from launches import ROOT
from scripted import Scripted
from test_agents import rows, select

from agents.briefs import PlanBrief
from agents.catalogue import AGENTIC_SELF_INSTRUCT
from agents.choices import check_plan
from agents.replies import Proposal
from agents.selfinstruct.bands import LEAST_PILOT, PRESETS, Bands, calibrate
from loop.check import check_objective

MODELS = ("small", "minor", "major")
TEXTS = "\n\n".join(
    f"# Column {n}\n\n"
    + " ".join(f"Column {n} carries into column {n + 1} when digit {k} is more than it holds." for k in range(18))
    for n in range(12)
)
WAYS = (
    "A grocer counts {a} crates and then {b} more: how many are there?",
    "From a shelf of {a} books someone adds {b}; state what it holds afterwards.",
    "Two columns carry {a} and {b}. Which total do they give together?",
    "Give, with reasons, whatever remains owed after debts {a} plus {b}.",
)
PLAN: dict[str, Any] = {"kind": "agentic_self_instruct", "count": 6, "rounds": 4, "bands": "paper_cs"}
BANDS = PRESETS["paper_cs"]


def digest_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


@dataclass
class Cast:
    """Every part of a run. Whatever it says holds the digest of what it was asked, but for the plan.

    A question is easy where the source's first was asked for: the weak solver is right then, and only then.
    """

    strategies: list[dict[str, Any]]
    dies_at: int = 0
    """The number of the request that kills the run and is not answered; 0 for none."""
    run: subprocess.Popen[str] | None = None
    asked: list[tuple[str, str, str]] = field(default_factory=list)
    """Model, part and digest of each request, in the order in which they came."""
    prompts: dict[tuple[str, str], set[str]] = field(default_factory=dict)
    """All bytes of a solver's conversation, by its part and the question."""

    def __call__(self, prompt: str, body: dict[str, Any], sample: int) -> str:
        if body["messages"][0]["role"] == "system":
            plan = {"hypothesis": "As told.", "strategies": self.strategies}
            return json.dumps({"action": "plan", "plan": plan})
        mark, model = digest_of(json.dumps(body, sort_keys=True)), body["model"]
        part, say = self.part_of(prompt, model)
        self.asked.append((model, part, mark))
        if len(self.asked) == self.dies_at and self.run is not None:
            os.kill(self.run.pid, signal.SIGKILL)
            self.run.wait()
        if part in ("weak", "strong"):
            asked = prompt.rpartition("Question: ")[2].strip()
            self.prompts.setdefault((part, asked), set()).add(json.dumps(body["messages"]))
        return say(prompt, mark)

    def part_of(self, prompt: str, model: str) -> tuple[str, Any]:
        if prompt.startswith("# Write one question"):
            return "challenger", challenge
        if prompt.startswith("# Inspect one question"):
            return "verifier", inspect
        if prompt.startswith("Answer the question"):
            part = "weak" if model == "minor" else "strong"
            return part, weak if part == "weak" else solve
        return "judge", mark_answer


def challenge(prompt: str, mark: str) -> str:
    """Round 1 asks something easy (small numbers), later ones something hard; the third source is easy all along."""
    number = prompt.count("- Round ")
    luck = int(mark, 16)
    easy = number == 0 or "Column 3 " in prompt
    a, b = (2 + luck % 7, 3) if easy else (100 + luck % 800, 17 + luck % 9)
    said: dict[str, Any] = {"context": "", "question": WAYS[number].format(a=a, b=b), "reference": str(a + b)}
    if "- criteria:" in prompt:
        said["criteria"] = [{"name": f"point_{i}", "text": f"{mark} makes point {i}.", "weight": 2} for i in range(7)]
    return json.dumps(said | {"context": f"Sums are whole ({mark})."})


def inspect(prompt: str, mark: str) -> str:
    return json.dumps({key: {"reason": mark, "holds": True} for key in ("hidden", "reasoned", "sound")})


def terms(prompt: str) -> list[int]:
    asked = prompt.rpartition("Question: ")[2].partition("\n\nA passage")[0]
    return [int(number) for number in re.findall(r"\d+", asked)]


def solve(prompt: str, mark: str) -> str:
    return worked(prompt, mark, 0)


def worked(prompt: str, mark: str, error: int) -> str:
    a, b = terms(prompt)
    return f"By {mark} it is plain.\n{a} + {b} = {a + b + error}\n#### {a + b + error}"


def weak(prompt: str, mark: str) -> str:
    """Right where it is easy, and at one attempt of four elsewhere."""
    return worked(prompt, mark, error=int(sum(terms(prompt)) >= 100 and int(mark, 16) % 4 > 0))


def mark_answer(prompt: str, mark: str) -> str:
    """All criteria for a right answer, two of seven for a wrong one."""
    problem = json.loads(re.search(r'^## Problem\n(".*")$', prompt, re.MULTILINE)[1])  # type: ignore[index]
    response = json.loads(re.search(r'^## Response\n(".*")$', prompt, re.MULTILINE)[1])  # type: ignore[index]
    asked = [int(number) for number in re.findall(r"\d+", problem.rpartition("\n\n")[2])]
    met = 7 if response.endswith(f"#### {sum(asked)}") else 2
    names = re.findall(r"^- ([a-z][a-z0-9_]*) \(", prompt, re.MULTILINE)
    marks = [{"criterion": name, "reason": mark, "met": i < met} for i, name in enumerate(names)]
    return json.dumps({"marks": marks})


def write(folder: Path, server: FaultServer, rounds: int = 1, limit: str = "usd: 5", **cast: Any) -> Path:
    """The objective, every part of it at the server but where `cast` says otherwise."""
    path = Scripted(problems=400, budget=f"rounds: {rounds}, {limit}").write(folder)
    (folder / "lessons.md").write_text(TEXTS, encoding="utf-8")
    _, front, prose = path.read_text(encoding="utf-8").split("---\n")
    entry = {"endpoint": f"{server.url}/v1", "prices": {"input": 1.0, "output": 1.0}}
    small, minor, major = ({"model": name} | entry for name in MODELS)
    parts = {"orchestrator": small, "challenger": small, "weak": minor, "strong": major, "judge": "verifier"} | cast
    objective = yaml.safe_load(front) | {"cast": parts, "documents": "lessons.md"}
    path.write_text(f"---\n{json.dumps(objective)}\n---\n{prose}", encoding="utf-8")
    return path


def play(path: Path, model: Cast) -> int:
    """`loop run`; its exit code, or minus the signal that ended it."""
    command = [sys.executable, "-m", "loop.cli", "run", str(path), "--run", str(path.parent / "run")]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env=os.environ | {"LOOP_CACHE": str(path.parent / "cache"), "PYTHONPATH": str(ROOT)},
    ) as run:  # fmt: skip
        model.run = run
        said = run.stdout.read() if run.stdout else ""
    assert run.returncode in (0, -signal.SIGKILL) and "Traceback" not in said, said
    return run.returncode


@pytest.fixture(scope="module")
def marked(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Cast, FaultServer]:
    """Two rounds in which a program marks: the folder of the run, all parts but the student, and the server."""
    folder = tmp_path_factory.mktemp("marked")
    model = Cast([PLAN | {"marked_by": "program"}])
    with FaultServer(Manners(models=MODELS), say=model) as server:
        assert play(write(folder, server, rounds=2), model) == 0
    return folder / "run", model, server


def sought(run: Path, number: str = "001") -> list[dict[str, Any]]:
    return rows(run / "rounds" / number / "questions.jsonl")


def admitted(run: Path, number: str = "001") -> list[dict[str, Any]]:
    return [row["example"] for row in rows(run / "rounds" / number / "admissions.jsonl") if row["example"]]


def test_accepted_questions_become_examples_with_their_lineage(marked: tuple[Path, Cast, FaultServer]) -> None:
    run, _, _ = marked
    plan = json.loads((run / "rounds/001/plan.json").read_text(encoding="utf-8"))
    assert plan["handover"] == "" and plan["strategies"][0]["kind"] == "agentic_self_instruct"
    batch = [row for row in sought(run) if not row["pilot"]]
    accepted = {row["accepted"]["question"]: row for row in batch if row["accepted"]}
    assert len(batch) == 6 and len(accepted) >= 4
    pieces = {row["written"]["prompt"]: row for row in rows(run / "rounds/001/written.jsonl") if row["written"]}
    examples = admitted(run)
    assert len(examples) == len({example["prompt"] for example in examples}) == len(accepted)
    samples = {row["id"]: row for row in rows(run / "rounds/001/samples.jsonl")}
    for example in examples:
        piece = pieces[example["prompt"]]
        question = piece["question"]
        row = accepted[question["question"]]
        assert example["prompt"] == f"{question['context']}\n\n{question['question']}", "and no word on how to answer"
        assert example["response"].endswith(f"#### {question['reference']}") and piece["model"] == "major"
        assert example["strategy"] == "agentic_self_instruct" and samples[example["origin"]]["written"]
        assert question["weak_mean"] < row["bands"]["weak_mean_below"] <= question["strong_mean"] == 1.0
        assert question["source"] == piece["written"]["parent"] == row["source"]
        assert list(question["lineage"]) == [past["id"] for past in row["rounds"]]
        assert all(question["prompts"][part] for part in ("challenger", "verifier", "weak", "strong"))
        steps = [step["name"] for step in piece["written"]["lineage"]]
        assert steps[0] == "question 1: too easy" and steps[-2:] == [
            f"question {len(row['rounds'])}: accepted",
            "strong",
        ]
        assert all(re.fullmatch("[0-9a-f]{16}", step["prompt"]) for step in piece["written"]["lineage"])


def test_refused_questions_are_kept_and_counted_by_heading(marked: tuple[Path, Cast, FaultServer]) -> None:
    run, _, _ = marked
    batch = [row for row in sought(run) if not row["pilot"]]
    asked = Counter(past["heading"] or "accepted" for row in batch for past in row["rounds"])
    closed = json.loads((run / "rounds/001/round.json").read_text(encoding="utf-8"))
    page = (run / "report.html").read_text(encoding="utf-8")
    assert f"questions sought in documents: {asked['accepted']} accepted" in page
    assert closed["questions"] == asked and asked["too easy"] >= 6 and asked["accepted"] >= 4
    assert all(past["reason"] and past["challenge"] for row in batch for past in row["rounds"] if past["heading"])


def test_a_question_too_easy_calls_the_strong_solver_zero_times(marked: tuple[Path, Cast, FaultServer]) -> None:
    """mechanisms §1, CHECK (a), as the server saw it."""
    run, model, _ = marked
    batch = [past for number in ("001", "002") for row in sought(run, number) for past in row["rounds"]]
    easy = {past["challenge"]["question"] for past in batch if past["heading"] == "too easy" and not past["strong"]}
    assert easy and not easy & {asked for part, asked in model.prompts if part == "strong"}
    assert easy <= {asked for part, asked in model.prompts if part == "weak"}


def test_weak_and_strong_are_sent_the_same_bytes(marked: tuple[Path, Cast, FaultServer]) -> None:
    """mechanisms §1, CHECK (c), as the server received them."""
    _, model, _ = marked
    strong = {asked: sent for (part, asked), sent in model.prompts.items() if part == "strong"}
    assert len(strong) >= 8
    for asked, sent in strong.items():
        assert len(sent) == 1 and sent == model.prompts["weak", asked]


def test_the_pilot_is_asked_once_in_a_run_and_paid_from_its_ledger(marked: tuple[Path, Cast, FaultServer]) -> None:
    run, model, server = marked
    pilot = [row for row in sought(run) if row["pilot"]]
    scores = [[tried["score"] for tried in row["rounds"][-1]["weak"]] for row in pilot if row["accepted"]]
    assert len(scores) == LEAST_PILOT and not [row for row in sought(run, "002") if row["pilot"]]
    found = calibrate(BANDS, scores)
    for number in ("001", "002"):
        batch = [row for row in sought(run, number) if not row["pilot"]]
        assert batch and {Bands.model_validate(row["bands"]) for row in batch} == {found}
        assert {Bands.model_validate(row["wanted"]) for row in batch} == {BANDS}
    first = {row["rounds"][0]["id"] for row in pilot}
    assert sum(row["rounds"][0]["id"] in first for row in sought(run) if not row["pilot"]) == 6, "the batch's own"
    assert len({mark for _, _, mark in model.asked}) == len(model.asked), "and so its answers are not asked for again"
    spent = dict(select(run, "SELECT stage, sum(usd) FROM spent GROUP BY stage"))
    assert sum(spent.values()) == pytest.approx(sum(map(sum, server.billed)) / 1e6) and spent["seek"] > 0
    talks = [row for number in ("001", "002") for row in rows(run / "rounds" / number / "talks.jsonl")]
    assert {row["part"] for row in talks} == {"orchestrator", "challenger", "weak", "strong"}


def test_later_rounds_take_other_sources(marked: tuple[Path, Cast, FaultServer]) -> None:
    run, _, _ = marked
    taken = [[row["source"] for row in sought(run, n) if not row["pilot"]] for n in ("001", "002")]
    assert len({*taken[0], *taken[1]}) == min(12, len({row["source"] for row in sought(run)} | {*taken[1]}))
    assert not {*taken[0]} & {*taken[1]}


def test_where_a_judge_marks_the_best_strong_answer_is_learnt_with_its_mark(tmp_path: Path) -> None:
    model = Cast([PLAN | {"count": 3, "calibrate": False, "strong_sees_source": True}])
    with FaultServer(Manners(models=MODELS), say=model) as server:
        small = {"model": "small", "endpoint": f"{server.url}/v1", "prices": {"input": 1.0, "output": 1.0}}
        assert play(write(tmp_path, server, weak="student", judge=small), model) == 0
    run = tmp_path / "run"
    batch = sought(run)
    assert len(batch) == 3 and not [row for row in batch if row["pilot"]]
    assert {row["models"]["weak"] for row in batch} == {"student"} and not [a for a in model.asked if a[1] == "weak"]
    assert [a for a in model.asked if a[1] == "judge"]
    solved = [past for row in batch for past in row["rounds"] if past["strong"]]
    assert solved and all(
        "A passage" in past["passage"] and past["weak_bytes"] != past["strong_bytes"] for past in solved
    )
    critiques = {row["id"]: row for row in rows(run / "rounds/001/critiques.jsonl")}
    assert admitted(run)
    for example in admitted(run):
        (check,) = critiques[example["origin"]]["checks"]
        assert (check["name"], check["verdict"]) == ("judge", "passed") and check["detail"].startswith("1.00: ")


@pytest.mark.parametrize("dies_at", [17, 70])
def test_a_run_that_is_killed_goes_on_and_nobody_is_asked_again(
    dies_at: int, marked: tuple[Path, Cast, FaultServer], tmp_path: Path
) -> None:
    whole, _, _ = marked
    model = Cast([PLAN | {"marked_by": "program"}], dies_at=dies_at)
    with FaultServer(Manners(models=MODELS), say=model) as server:
        path = write(tmp_path, server, rounds=2)
        assert play(path, model) == -signal.SIGKILL
        room = tmp_path / "run/rounds/001"
        assert not (room / "questions.jsonl").exists()
        kept = {mark for row in rows_whole(room / "talks.jsonl") for mark in re.findall(r"\b[0-9a-f]{12}\b", row)}
        before = len(model.asked)
        assert kept & {mark for _, _, mark in model.asked}
        assert play(path, model) == 0
    assert not kept & {mark for _, _, mark in model.asked[before:]}, "what was answered and kept"
    for name in ("questions", "written", "samples", "admissions", "dataset"):
        for number in ("001", "002"):
            there, here = (run / "rounds" / number / f"{name}.jsonl" for run in (whole, tmp_path / "run"))
            assert here.read_text(encoding="utf-8") == there.read_text(encoding="utf-8"), (name, number)


@pytest.mark.parametrize("limit", ["usd: 0.03", "tokens: 25000"])
def test_the_budget_ends_the_search_and_all_players_spend_the_same_dollars(limit: str, tmp_path: Path) -> None:
    model = Cast([PLAN | {"marked_by": "program", "count": 400}])
    with FaultServer(Manners(models=MODELS), say=model) as server:
        assert play(write(tmp_path, server, limit=limit), model) == 0
    name, _, most = limit.partition(": ")
    run = tmp_path / "run"
    assert json.loads(select(run, "SELECT value FROM fact WHERE name = 'ended'")[0][0]) == name
    assert len({part for _, part, _ in model.asked}) == 4, "it was at work"
    assert not (run / "rounds/001/questions.jsonl").exists()
    costs = [sum(tokens) / (1e6 if name == "usd" else 1) for tokens in server.billed]
    over = max(costs) if name == "usd" else 16 * max(costs)
    assert 0.5 * float(most) < sum(costs) <= float(most) + over, "one request over, or one for each source at work"


def rows_whole(path: Path) -> list[str]:
    """The texts of the talks that are whole, the plan's apart."""
    lines = path.read_text(encoding="utf-8").rpartition("\n")[0].splitlines()
    return [row["text"] for row in map(json.loads, lines) if row["part"] != "orchestrator"]


# What cannot be.


def test_a_cast_that_cannot_play_it_is_offered_it_neither_by_plan_nor_by_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    model = Cast([PLAN])
    with FaultServer(Manners(models=MODELS), say=model) as server:
        path = write(tmp_path, server, strong=None)
        assert "note: without cast.strong no plan can choose agentic_self_instruct" in check_objective(path)
        assert play(path, model) == 0
    plan = json.loads((tmp_path / "run/rounds/001/plan.json").read_text(encoding="utf-8"))
    assert "agentic_self_instruct is not allowed here" in plan["handover"]


@pytest.mark.parametrize(
    ("changes", "solvers", "words"),
    [
        (
            {},
            ("student", "student", "program"),
            "so no better; let strong_sees_source be true, or give strong_samples",
        ),
        ({"strong_samples": 5}, ("student", "student", "m"), "only answers that a program marks can be counted"),
        ({"marked_by": "judge"}, ("student", "m", "program"), "no model judges here; write program"),
        (
            {"instructions": "Aim at\nthe weak solver."},
            ("student", "m", "m"),
            "speaks of who solves it: 'weak solver'",
        ),
        ({"count": 1001}, ("student", "m", "m"), "24024 samples are too many; a plan may draw 12000"),
    ],
)
def test_a_plan_says_only_what_can_be_meant(changes: dict[str, Any], solvers: tuple[str, ...], words: str) -> None:
    names = dict(zip(("weak", "strong", "judge"), solvers, strict=True))
    brief = PlanBrief(objective="", cells=(), history=(), catalogue=(AGENTIC_SELF_INSTRUCT,), solvers=names)
    plan = {"hypothesis": "As told.", "strategies": [PLAN | changes]}
    with pytest.raises(ValueError, match=re.escape(words)):
        check_plan(Proposal.model_validate(plan), brief)
    better = {"strong_sees_source": True, "count": 6, "instructions": "", "marked_by": "", "strong_samples": 1}
    check_plan(Proposal.model_validate(plan | {"strategies": [PLAN | changes | better]}), brief)


def test_check_asks_every_endpoint_and_reckons_every_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with FaultServer(Manners(models=("small", "minor"))) as server:
        lines = check_objective(write(tmp_path, server, teachers={"model": "major", "endpoint": f"{server.url}/v1"}))
        (said,) = (line for line in lines if line.startswith("dollars:"))
        assert all(f"{part} $" in said for part in ("orchestrator", "challenger", "weak", "strong"))
        assert "judge $" not in said, "a program costs nothing"
        noted = {line.split(":")[1].strip() for line in lines if line.startswith("note: cast")}
        assert {"cast.strong", "cast.teachers"} <= noted, "the server does not list major"
        (cast,) = (line for line in lines if line.startswith("cast:"))
        assert "answers as the weak solver" in cast and "verifier marks their answers" in cast
        denied = write(tmp_path, server)
        denied.write_text(
            denied.read_text().replace('"seed"', '"strategies": {"deny": ["agentic_self_instruct"]}, "seed"')
        )
        (said,) = (line for line in check_objective(denied) if line.startswith("dollars:"))
        assert "weak $" not in said and "challenger $" in said
