"""A run that alternates SFT, DPO and GRPO by plan, killed in the middle of each, ends as the unbroken one."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fault_server import FaultServer
from launches import ROOT
from test_agents import at, plans, rows, select

from loop.decide import bar_of, decide
from loop.rounds import Round
from loop.training_log import lost_tokens

OBJECTIVE = """---
student: scratch/tiny
demonstrations: demos.jsonl
tasks:
  practice: [{source: problems.jsonl, verifier: numeric}]
  dev: {from: practice, size: 200}
  test: {from: practice, size: 20}
budget: {rounds: 3}
control: false
cast: {orchestrator: ORCHESTRATOR}
seed: 4
---
Say the sum of the digits.
"""
DIGITS = [f"{number:04}" for number in random.Random(1).sample(range(10_000), 3000)]
random.Random(7).shuffle(DIGITS)
DEMONSTRATIONS = 160
"""Of a round-0 student that then solves 0.575 of dev; the rounds come to 0.65 and 0.735, which are kept, and 0.73."""
SAMPLED = {1: (600, 1), 2: (150, 4), 3: (150, 2)}
"""Problems, and samples of each, by round."""
TRAINING: dict[int, dict[str, Any]] = {
    1: {"method": "sft", "epochs": 3},
    2: {"method": "dpo", "epochs": 6, "learning_rate_scale": 0.5},
    3: {"method": "grpo", "problems": 96, "group": 4, "problems_per_step": 4, "learning_rate_scale": 0.2},
}
KILLED_AT = {1: 30, 2: 10, 3: 3}
"""The logged step at which the run is killed in each round, of 141, 42 and 21."""


def alternates(prompt: str, body: dict[str, Any], sample: int) -> str:
    """A model whose plans are these, in turn."""
    told = body["messages"][1]["content"]
    if "# Groups" in told:
        return "no names"
    number = int(re.findall(r"Plan round (\d+)", told)[0])
    problems, samples = SAMPLED[number]
    cells = [{"skill": "digits", "problems": problems, "samples": samples}]
    strategies = [{"kind": "rejection_sampling", "allotments": cells}]
    plan = {"hypothesis": "In turn.", "strategies": strategies, "training": TRAINING[number]}
    return json.dumps({"action": "plan", "plan": plan})


def write_objective(folder: Path, server: FaultServer) -> Path:
    asked = [(" ".join(digits), str(sum(map(int, digits)))) for digits in DIGITS]
    demonstrations = [{"prompt": p, "response": f"#### {a}"} for p, a in asked[:DEMONSTRATIONS]]
    problems = [{"prompt": p, "answer": a, "skill": "digits"} for p, a in asked[DEMONSTRATIONS:]]
    for name, lines in (("demos.jsonl", demonstrations), ("problems.jsonl", problems)):
        (folder / name).write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    path = folder / "OBJECTIVE.md"
    path.write_text(OBJECTIVE.replace("ORCHESTRATOR", at(server)), encoding="utf-8")
    return path


def play(objective: Path, run: Path, until: Callable[[], bool] = lambda: False) -> int:
    """`loop run` to its end, or killed by SIGKILL, all of it, as soon as something is so; the exit code.

    On the CPU, where a training on one thread is the same each time.
    """
    environment = os.environ | {"LOOP_CACHE": str(objective.parent / "cache"), "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-m", "loop.cli", "run", str(objective), "--run", str(run)]
    with run.with_suffix(".said").open("ab") as said:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=said, stderr=said, start_new_session=True
        )
    try:
        while process.poll() is None and not until():
            time.sleep(0.03)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    return process.wait()


def play_until(number: int, step: int, objective: Path, run: Path) -> None:
    """Go on until the round's training has logged the step, and be killed there, in its middle."""
    code = play(objective, run, lambda: any(line["step"] >= step for line in log_of(run, number)))
    assert code == -signal.SIGKILL, run.with_suffix(".said").read_text()
    last = log_of(run, number)[-1]
    assert step <= last["step"] < last["of"] and not (run / f"rounds/{number:03}/checkpoint").exists(), "too late"


def log_of(run: Path, number: int) -> list[dict[str, Any]]:
    """The whole lines of a round's training log."""
    log = run / f"logs/{number:03}-train.jsonl"
    text = log.read_text() if log.exists() else ""
    return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]


Runs = tuple[Path, Path]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """The unbroken run, and one that is killed in each round's training; what the server was asked is the same."""
    folder = tmp_path_factory.mktemp("alternating")
    unbroken, killed = folder / "unbroken", folder / "killed"
    with FaultServer(say=alternates) as server:
        objective = write_objective(folder, server)
        assert play(objective, unbroken) == 0, unbroken.with_suffix(".said").read_text()
        asked = len(server.seen)
        for number, step in KILLED_AT.items():
            play_until(number, step, objective, killed)
        assert play(objective, killed) == 0, killed.with_suffix(".said").read_text()
        assert len(server.seen) == 2 * asked, "no plan is asked for twice"
    return unbroken, killed


def closed(run: Path) -> list[Round]:
    return [Round.model_validate_json(p.read_text()) for p in sorted(run.glob("rounds/*/round.json"))]


def test_the_plans_are_played_in_turn_and_again(runs: Runs) -> None:
    unbroken, killed = runs
    assert plans(killed) == plans(unbroken)
    for number, training in TRAINING.items():
        plan = json.loads((killed / f"rounds/{number:03}/plan.json").read_text())
        assert plan["author"] == "small" and plan["training"].items() >= training.items()
    assert [r.status for r in closed(killed)] == [r.status for r in closed(unbroken)]
    assert "failed" not in {r.status for r in closed(killed)}


def test_every_row_is_there_once(runs: Runs) -> None:
    """The same rows in the same files, to the last byte: also what the students that were killed then wrote."""
    found, wanted = (
        {p.relative_to(run): p.read_bytes() for p in sorted(run.glob("rounds/*/*.jsonl")) if p.name != "talks.jsonl"}
        for run in reversed(runs)
    )
    assert found == wanted
    kinds = {path.name for path in found}
    assert {"samples.jsonl", "dataset.jsonl", "pairs.jsonl", "drills.jsonl", "attempts.jsonl"} <= kinds
    for path, text in found.items():
        keys = [row["id"] for row in map(json.loads, text.splitlines()) if "id" in row]
        assert len(set(keys)) == len(keys), path


def test_it_ends_the_same_in_scores_within_the_noise_floor(runs: Runs) -> None:
    """On one thread they are the same to the last bit, weights and all."""
    unbroken, killed = map(closed, runs)
    for number, (one, other) in enumerate(zip(unbroken, killed, strict=True)):
        sat = [rows(run / f"rounds/{number:03}/attempts.jsonl") for run in runs]
        n = len(sat[0])
        floor = decide([], [], n, bar_of(unbroken)).floor
        assert one.dev is not None and other.dev is not None
        assert abs(one.dev.score - other.dev.score) * n <= floor < n / 10
        assert one.dev == other.dev
        weights = [(run / f"rounds/{number:03}/checkpoint/model.safetensors").read_bytes() for run in runs]
        assert weights[0] == weights[1], f"round {number}"
    scores = [one.dev.score for one in unbroken if one.dev]
    assert len(set(scores)) == 4, "each training has told"


def test_what_was_lost_is_in_the_log_and_in_the_ledger(runs: Runs) -> None:
    query = "SELECT room, tokens_trained, tokens_sampled FROM spent WHERE stage = 'train'"
    wanted, found = ({room: spent for room, *spent in select(run, query)} for run in runs)
    killed = runs[1]
    for number in TRAINING:
        begun = [line for line in log_of(killed, number) if "begins" in line]
        assert len(begun) == 2 and begun[0] == begun[1] and begun[0]["tokens"] == 0, "it began anew, and says so"
        lost = lost_tokens(killed / f"logs/{number:03}-train.jsonl")
        assert lost[0] > 0 and (lost[1] > 0) == (TRAINING[number]["method"] == "grpo")
        room = f"{number:03}"
        assert found[room] == [spent + more for spent, more in zip(wanted[room], lost, strict=True)]


def test_nothing_is_left_for_the_system_to_put_away(runs: Runs) -> None:
    """A child leaves no semaphore, which would outlive a run that is killed."""
    assert "leaked" not in runs[0].with_suffix(".said").read_text()
