"""Rounds whose training diverges or has nothing to learn from: closed as failed, in one line, and not tried again."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fault_server import FaultServer
from scripted import Scripted
from test_agents import at, play, select
from test_strategies import CELLS, Cast, adds, numbers_of

from agents.engines.scripted import work_out
from agents.training import DIVERGED
from loop.train import TRAINING

STRATEGIES = [{"kind": "rejection_sampling", "allotments": CELLS}]


class Hasty:
    """Plans ten times the learning rate, until it is told of a round that diverged."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def __call__(self, prompt: str, body: dict[str, Any], sample: int) -> str:
        said = body["messages"][1]["content"]
        if "# Groups" in said:
            return "no names"
        self.told.append(said)
        training = {"epochs": 2.0} if DIVERGED in said else {"epochs": 2.0, "learning_rate_scale": 10}
        plan = {"hypothesis": "As fast as it goes.", "strategies": STRATEGIES, "training": training}
        return json.dumps({"action": "plan", "plan": plan})


def test_a_round_that_diverges_fails_at_once_and_the_next_plan_sees_it(tmp_path: Path) -> None:
    model = Hasty()
    with FaultServer(say=model) as server:
        run = play(Scripted(problems=200, orchestrator=at(server), budget="rounds: 2, usd: 5").write(tmp_path))
    failed, later = (json.loads((run / f"rounds/{n:03}/round.json").read_text(encoding="utf-8")) for n in (1, 2))
    assert failed["status"] == "failed" and later["status"] in ("kept", "discarded")
    assert failed["reason"].startswith("round 1: training diverged: the loss is nan at step ")
    assert failed["reason"].endswith("; lower the learning rate")
    assert len(model.told) == 2 and "training diverged: the loss is nan" in model.told[1]
    events = [text for kind, text in select(run, "SELECT kind, text FROM event") if kind == "failure"]
    assert len(events) == 1 and events[0].startswith("round 1, attempt 1: training diverged"), "once, not twice"
    spent = dict(select(run, "SELECT room, tokens_trained FROM spent WHERE stage = 'train'"))
    assert spent["001"] > 0, "what it trained on was spent all the same"
    assert not (run / "rounds/001/checkpoint").exists() and (run / "rounds/002/checkpoint" / TRAINING).exists()


def errs(prompt: str, sample: int) -> str:
    return work_out(numbers_of(prompt), slip=True)


class Trains(Cast):
    """Plans what it is told, its training too."""

    def __init__(self, method: str, solves: Callable[[str, int], str]) -> None:
        super().__init__(STRATEGIES, solves)
        self.method = method

    def __call__(self, prompt: str, body: dict[str, Any], sample: int) -> str:
        said = super().__call__(prompt, body, sample)
        if body["messages"][0]["role"] != "system":
            return said
        plan = json.loads(said)
        plan["plan"]["training"] = {"method": self.method}
        return json.dumps(plan)


@pytest.mark.parametrize(
    ("method", "solves", "words"),
    [
        ("sft", errs, "no row: nothing that was sampled passed, and there are no demonstrations; "),
        ("dpo", adds, "no pair: no problem has a right attempt and a wrong one; "),
        ("grpo", adds, "no problem to reinforce: all that was sampled was solved each time, or "),
    ],
)
def test_a_round_with_nothing_to_learn_from_fails_in_one_line(
    method: str, solves: Callable[[str, int], str], words: str, tmp_path: Path
) -> None:
    with FaultServer(say=Trains(method, solves)) as server:
        cast = {"orchestrator": at(server), "sampler": at(server)}
        objective = Scripted(problems=200, budget="rounds: 1, usd: 5", **cast).write(tmp_path)
        text = objective.read_text(encoding="utf-8")
        objective.write_text(text.replace("demonstrations: demos.jsonl\n", ""), encoding="utf-8")
        run = play(objective)
    failed = json.loads((run / "rounds/001/round.json").read_text(encoding="utf-8"))
    assert failed["status"] == "failed" and failed["reason"].startswith(f"round 1: {words}")
    events = [text for kind, text in select(run, "SELECT kind, text FROM event") if kind == "failure"]
    assert len(events) == 1 and "\n" not in failed["reason"], "the same would come of another try"
    assert json.loads((run / "rounds/001/plan.json").read_text(encoding="utf-8"))["training"]["method"] == method
    assert not (run / "rounds/001/checkpoint").exists() and (run / "rounds/001/samples.jsonl").exists()
