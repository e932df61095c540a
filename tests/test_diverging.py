"""A round whose training diverges: closed as failed, counted, not tried again, and the next plan sees it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from fault_server import FaultServer
from scripted import Scripted
from test_agents import at, play, select
from test_strategies import CELLS

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
