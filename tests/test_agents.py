"""Whole runs in which models plan, draw and judge: at an endpoint on loopback, and as scripts."""

from __future__ import annotations

import json
import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import yaml
from fault_server import FaultServer, Manners
from launches import ROOT
from scripted import Scripted

from agents.engines.scripted import work_out
from agents.scripts import critic, planner
from agents.talk import Message, Question

PRICES = (3.0, 15.0)
"""Dollars a million tokens, read and written."""
ENOUGH = 9000
"""Problems, so that no plan is bounded by what is left of a cell."""
KINDS = ("429", "500", "502", "503", "reset", "torn", "short", "invalid")


def speak(prompt: str, body: dict[str, Any], sample: int) -> str:
    """A model that plays every part: it plans and judges as the scripts do, and adds up in writing."""
    messages = tuple(Message(turn["role"], turn["content"]) for turn in body["messages"])
    schema = body.get("response_format", {}).get("json_schema", {}).get("schema")
    question = Question(messages, schema, temperature=body["temperature"], seed=body.get("seed", 0))
    if schema is None:
        numbers = re.findall(r"[+-]?\s*\d+", prompt.rpartition("Problem:")[2])
        return work_out([int(number.replace(" ", "")) for number in numbers], slip=sample % 2 == 1)
    return planner.answer(question) if body["messages"][0]["role"] == "system" else critic.answer(question)


def blind(prompt: str, body: dict[str, Any], sample: int) -> str:
    """The same model, with the diagnosis cut out of whatever it is told."""
    cut = [
        turn | {"content": re.sub(r"(# Diagnosis\n)(.*\n)*?\n", r"\1\n", turn["content"])}
        for turn in body["messages"]
    ]
    return speak(prompt, body | {"messages": cut}, sample)


def at(server: FaultServer) -> str:
    """The server's model as an entry of the cast."""
    prices = {"input": PRICES[0], "output": PRICES[1]}
    entry = {"model": "small", "endpoint": f"{server.url}/v1", "prices": prices}
    return yaml.safe_dump(entry, default_flow_style=True, width=1000).strip()


def play(objective: Path, code: int = 0) -> Path:
    """`loop run`, to its end."""
    run = objective.parent / "run"
    done = subprocess.run(
        [sys.executable, "-m", "loop.cli", "run", str(objective), "--run", str(run)],
        cwd=ROOT, capture_output=True, text=True, timeout=300, env=os.environ | {"LOOP_CACHE": str(run / "../cache")},
    )  # fmt: skip
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    return run


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def select(run: Path, query: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(run / "run.db")) as ledger:
        return ledger.execute(query).fetchall()


def plans(run: Path) -> list[dict[str, Any]]:
    """What each round's plan does: all of it but the words."""
    made = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(run.glob("rounds/*/plan.json"))]
    return [{key: plan[key] for key in ("answers", "strategies", "mixture", "training")} for plan in made]


def test_the_second_plan_is_what_it_is_because_of_the_first_diagnosis(tmp_path: Path) -> None:
    made: dict[Callable[..., str], list[dict[str, Any]]] = {}
    for model in (speak, blind):
        with FaultServer(say=model) as server:
            scripted = Scripted(problems=ENOUGH, orchestrator=at(server), budget="rounds: 2")
            made[model] = plans(play(scripted.write(tmp_path / model.__name__)))
    assert made[blind][1] == made[blind][0]
    assert made[speak][1] != made[blind][1]
    diagnosis = json.loads((tmp_path / "speak/run/rounds/001/diagnosis.json").read_text(encoding="utf-8"))
    named = {mode["name"] for mode in diagnosis["modes"]}
    assert made[speak][1]["answers"] and set(made[speak][1]["answers"]) <= named


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, FaultServer]:
    """A run whose planner, critic and one of two samplers stand behind an endpoint that fails one time in five."""
    folder = tmp_path_factory.mktemp("agents")
    with FaultServer(Manners(faults=0.2, kinds=KINDS, retry_after="0"), say=speak) as server:
        scripted = Scripted(
            problems=200, orchestrator=at(server), sampler=f"[{at(server)}, student]", critic=at(server),
            budget="rounds: 2, usd: 5",
        )  # fmt: skip
        return play(scripted.write(folder)), server


def test_every_row_comes_once_from_an_endpoint_that_fails(faulty: tuple[Path, FaultServer]) -> None:
    run, _ = faulty
    for number in ("001", "002"):
        samples = rows(run / "rounds" / number / "samples.jsonl")
        plan = json.loads((run / "rounds" / number / "plan.json").read_text(encoding="utf-8"))
        wanted = sum(a["problems"] * a["samples"] for s in plan["strategies"] for a in s["allotments"])
        assert len({row["id"] for row in samples}) == len(samples) == wanted
        assert {row["sampler"] for row in samples} == {"small"}
        assert all(re.fullmatch("[0-9a-f]{16}", row["template"]) for row in samples)


def test_all_that_the_endpoint_billed_is_in_the_ledger(faulty: tuple[Path, FaultServer]) -> None:
    run, server = faulty
    billed = sum(read * PRICES[0] + written * PRICES[1] for read, written in server.billed) / 1e6
    spent, tokens = select(run, "SELECT sum(usd), sum(tokens_sampled) FROM spent WHERE usd > 0")[0]
    assert spent == pytest.approx(billed) and tokens == sum(map(sum, server.billed))
    stages = {stage for (stage,) in select(run, "SELECT stage FROM spent WHERE usd > 0")}
    assert stages == {"plan", "sample", "calibrate", "critique", "diagnose"}


def test_the_planning_model_names_the_clusters_and_may_answer_them(faulty: tuple[Path, FaultServer]) -> None:
    run, server = faulty
    found = json.loads((run / "rounds/000/diagnosis.json").read_text(encoding="utf-8"))
    assert found["clusters"] and {cluster["named_by"] for cluster in found["clusters"]} == {"small"}
    assert all(cluster["name"].startswith(f"often {cluster['words'][0]}") for cluster in found["clusters"])
    asked = [seen.body["messages"][1]["content"] for seen in server.seen if len(seen.body.get("messages", ())) > 1]
    planned = next(text for text in asked if "Plan round 1." in text)
    assert found["clusters"][0]["name"] in planned.partition("# Clusters")[2]
    talks = [talk for talk in rows(run / "rounds/000/talks.jsonl") if talk["stage"] == "diagnose"]
    assert [(talk["part"], talk["model"]) for talk in talks] == [("orchestrator", "small")]


def test_a_model_that_names_nothing_usable_leaves_the_clusters_their_words(tmp_path: Path) -> None:
    def mumble(prompt: str, body: dict[str, Any], sample: int) -> str:
        return "a name" if "# Groups" in body["messages"][1]["content"] else speak(prompt, body, sample)

    with FaultServer(say=mumble) as server:
        run = play(Scripted(problems=200, orchestrator=at(server), budget="rounds: 1").write(tmp_path))
    found = json.loads((run / "rounds/000/diagnosis.json").read_text(encoding="utf-8"))
    assert found["clusters"] and {cluster["named_by"] for cluster in found["clusters"]} == {""}
    told = select(run, "SELECT text FROM event WHERE kind = 'clusters'")
    assert told and all("named by their words" in text for (text,) in told)


def test_a_critic_is_gauged_each_round_and_judges_what_the_verifiers_passed(faulty: tuple[Path, FaultServer]) -> None:
    run, _ = faulty
    for number in ("001", "002"):
        gauged = rows(run / "rounds" / number / "calibrations.jsonl")
        assert gauged[-1]["believed"] and gauged[-1]["seat"] == "small"
        assert gauged[-1]["agreement"]["score"] >= 0.8 and gauged[-1]["position_bias"]["n"] > 0
        judged = [row for row in rows(run / "rounds" / number / "critiques.jsonl") if row["template"]]
        assert judged and all(row["checks"][0]["verdict"] == "passed" for row in judged)
        assert all(row["checks"][-1]["name"] == "critic" for row in judged)
        assert all(row["passed"] == (row["checks"][-1]["verdict"] != "failed") for row in judged)


def test_no_answer_is_asked_for_twice_when_a_run_goes_on(faulty: tuple[Path, FaultServer]) -> None:
    run, server = faulty
    before = len(server.seen)
    play(run.parent / "OBJECTIVE.md")
    assert len(server.seen) == before


@pytest.mark.parametrize("dollars", [0.002, 0.02])
def test_the_dollar_cap_holds_but_for_one_request(dollars: float, tmp_path: Path) -> None:
    with FaultServer(say=speak) as server:
        cast = {"orchestrator": at(server), "sampler": at(server), "critic": at(server)}
        scripted = Scripted(problems=200, budget=f"rounds: 9, usd: {dollars}", **cast)
        run = play(scripted.write(tmp_path))
    costs = [(read * PRICES[0] + written * PRICES[1]) / 1e6 for read, written in server.billed]
    assert sum(costs) - max(costs) <= dollars
    assert json.loads(select(run, "SELECT value FROM fact WHERE name = 'ended'")[0][0]) == "usd"


def test_rules_plan_when_the_model_says_nothing_usable(tmp_path: Path) -> None:
    with FaultServer(say=lambda *_: '{"action": "plan", "plan": {"hypothesis": "rm -rf /"}}') as server:
        run = play(Scripted(orchestrator=at(server), budget="rounds: 1").write(tmp_path))
    plan = json.loads((run / "rounds/001/plan.json").read_text(encoding="utf-8"))
    assert plan["author"] == "rules" and "could not be used" in plan["handover"]
    assert [kind for (kind,) in select(run, "SELECT kind FROM event")].count("handover") == 1
    assert len(server.seen) <= 18


def test_a_wrong_key_ends_the_run_in_one_line_that_names_the_variable(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("LOOP_TEST_KEY", "no-such-secret")
    with FaultServer(Manners(key="right"), say=speak) as server:
        cast = yaml.safe_load(at(server)) | {"api_key_env": "LOOP_TEST_KEY"}
        entry = yaml.safe_dump(cast, default_flow_style=True, width=1000).strip()
        objective = Scripted(orchestrator=entry, budget="rounds: 1").write(tmp_path)
        done = subprocess.run(
            [sys.executable, "-m", "loop.cli", "run", str(objective), "--run", str(tmp_path / "run")],
            cwd=ROOT, capture_output=True, text=True, timeout=120,
        )  # fmt: skip
    assert done.returncode == 3 and "LOOP_TEST_KEY" in done.stderr + done.stdout
    assert "no-such-secret" not in done.stderr + done.stdout
