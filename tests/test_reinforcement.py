"""Whole runs in which the plan reinforces: which problems are drilled, what is counted, and what the control gets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from fault_server import FaultServer
from scripted import Scripted
from test_agents import at, play, rows, select, speak

from loop.jobs import Trained
from loop.report import render_report

DRILL = {"method": "grpo", "problems": 12, "group": 4, "problems_per_step": 3, "iterations": 2}


def reinforces(prompt: str, body: dict[str, Any], sample: int) -> str:
    """A model whose every plan is to reinforce."""
    said: dict[str, Any] = json.loads(speak(prompt, body, sample))
    if said["action"] == "plan":
        said["plan"]["training"] = DRILL
    return json.dumps(said)


@pytest.fixture(scope="module")
def reinforced(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reinforced")
    with FaultServer(say=reinforces) as server:
        scripted = Scripted(problems=300, orchestrator=at(server), budget="rounds: 2", demonstrations=10)
        return play(scripted.write(folder))


def test_a_plan_reinforces_and_the_round_says_what_came_of_it(reinforced: Path) -> None:
    room = reinforced / "rounds" / "001"
    closed = json.loads((room / "round.json").read_text())
    told = closed["checkpoint"]["reinforced"]
    drills = rows(room / "drills.jsonl")
    assert told["group"] == 4 and told["problems"] == len(drills) == 12
    assert told["groups"] == 12 and told["samples"] == 48
    assert 0 < told["all_right"] + told["all_wrong"] < 12, "some groups agree, some do not"
    assert all(0 <= reward <= 1 for reward in told["rewards"]) and len(told["rewards"]) == 12
    page = render_report(reinforced)
    assert 'id="reinforced-1"' in page and f"{told['all_right']}" in page


def test_only_practice_problems_of_the_round_are_drilled(reinforced: Path) -> None:
    room = reinforced / "rounds" / "001"
    sampled: dict[str, list[bool]] = {}
    passed = {row["id"]: row["passed"] for row in rows(room / "critiques.jsonl")}
    for row in rows(room / "samples.jsonl"):
        sampled.setdefault(row["problem"]["id"], []).append(passed[row["id"]])
    exams = {row["problem"]["id"] for path in ("000/attempts", "001/attempts") for row in rows(
        reinforced / "rounds" / f"{path}.jsonl"
    )}  # fmt: skip
    for drill in rows(room / "drills.jsonl"):
        assert drill["id"] not in exams
        assert (drill["tried"], drill["passed"]) == (len(sampled[drill["id"]]), sum(sampled[drill["id"]]))


def test_the_control_is_trained_for_what_sampling_cost_too(reinforced: Path) -> None:
    spent = {room: json.loads(row) if isinstance(row, str) else row for room, row in select(
        reinforced, "SELECT room, detail FROM card WHERE stage = 'train'"
    )}  # fmt: skip
    for room, detail in spent.items():
        if room.startswith("control/"):
            loop = spent[room.partition("/")[2]]
            assert loop["matched"] > loop["tokens"], "two passes trained, one sampled: a sixth more"
            assert detail["tokens"] >= loop["matched"] and detail["reinforced"] is None
    assert (
        Trained(1, 1, tokens=600, loss=None, engine_seconds=0.0, sampled_tokens=300, read_tokens=301).matched == 801
    )
