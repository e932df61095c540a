"""Whole runs in which the plan reinforces: which problems are drilled, what is counted, and what the control gets."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fault_server import FaultServer, No
from launches import DIED, Launcher, difference, state
from scripted import Scripted
from test_agents import at, play, rows, select, speak

from agents.briefs import BudgetLeft, CellBrief, PlanBrief, RoundBrief, Tally
from agents.choices import check_plan
from agents.replies import Plan, Proposal
from agents.rules import Rules
from agents.strategies import Allotment, RejectionSampling
from agents.training import GRPO, SFT
from loop.contamination import Exams
from loop.drill import choose_drills
from loop.records import Critique, Problem, Sample
from loop.report import render_report
from loop.trained import Trained

DRILL = {"method": "grpo", "problems": 150, "group": 4, "problems_per_step": 3, "iterations": 2}


TOLD: list[str] = []
"""What the planner was told for its last plan."""


def reinforces(prompt: str, body: dict[str, Any], sample: int) -> str:
    """A model whose every plan is to reinforce."""
    said: dict[str, Any] = json.loads(speak(prompt, body, sample))
    if said.get("action") == "plan":
        TOLD[:] = [turn["content"] for turn in body["messages"]]
        said["plan"]["training"] = DRILL
    return json.dumps(said)


@pytest.fixture(scope="module")
def reinforced(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reinforced")
    with FaultServer(say=reinforces) as server:
        scripted = Scripted(problems=900, orchestrator=at(server), budget="rounds: 2", dev=80, demonstrations=10)
        return play(scripted.write(folder))


def test_a_plan_reinforces_and_the_round_says_what_came_of_it(reinforced: Path) -> None:
    room = reinforced / "rounds" / "001"
    closed = json.loads((room / "round.json").read_text())
    told = closed["checkpoint"]["reinforced"]
    drills = rows(room / "drills.jsonl")
    assert told["group"] == 4 and told["problems"] == len(drills) == 150
    assert told["groups"] == 150 and told["samples"] == 600
    assert 0 < told["all_right"] + told["all_wrong"] < 150, "some groups agree, some do not"
    assert all(0 <= reward <= 1 for reward in told["rewards"]) and len(told["rewards"]) == 150
    assert f'"reinforced":{{"groups":150,"all_right":{told["all_right"]},' in "".join(TOLD).replace(" ", "")
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
    """design.md §5: the control has the training compute of the loop."""
    cards = {room: json.loads(card) for room, card in select(
        reinforced, "SELECT room, detail FROM card WHERE stage = 'train'"
    )}  # fmt: skip
    control = {room.partition("/")[2]: card for room, card in cards.items() if room.startswith("control/")}
    assert control, "a round was kept, and so there is a control"
    for room, card in control.items():
        loop = cards[room]
        assert loop["matched"] == loop["tokens"] + -(-loop["tokens"] // 6), "trained on twice, sampled once"
        assert card["tokens"] >= loop["matched"] and card["reinforced"] is None
    trained = Trained(1, 1, tokens=600, loss=None, engine_seconds=0.0, sampled_tokens=300, read_flops=602.0)
    assert trained.matched == 801
    spent = dict(select(reinforced, "SELECT room, tokens_sampled FROM spent WHERE stage = 'train'"))
    assert spent["001"] > 0, "what training sampled is in the ledger"


def test_death_while_it_drills_and_trains_loses_nothing(swift_path: Path, launchers: list[Launcher]) -> None:
    objective = Scripted(demonstrations=10, budget="rounds: 1").write(swift_path / "drill")
    text = objective.read_text(encoding="utf-8").replace("\ncast:", "\ntraining: {method: grpo}\ncast:")
    objective.write_text(text, encoding="utf-8")
    unbroken = objective.parent / "unbroken"
    launch = launchers[0].launch(objective, unbroken)
    assert launch.code == 0 and not launch.torch, launch.said
    assert json.loads((unbroken / "rounds/001/plan.json").read_text())["training"]["method"] == "grpo"
    wanted, points = state(unbroken), launch.failpoints
    for name in ("drill worked out", "drill saved", "train worked out"):
        run = objective.parent / name.replace(" ", "-")
        at = [k for k, passed in enumerate(points, 1) if passed == name][-1 if name.startswith("drill") else 1]
        assert launchers[1].launch(objective, run, at).code == DIED
        assert launchers[0].launch(objective, run).code == 0
        assert difference(state(run), wanted) == "", name


# Critics that reward.

JUDGED = Scripted(method="grpo", problems=200, demonstrations=10, budget="rounds: 1")


def nods(prompt: str, body: dict[str, Any], sample: int) -> str:
    """A critic to which all is right."""
    said = speak(prompt, body, sample)
    wanted = re.findall(r"^- (\w+) \((wanted|fault)\): ", prompt, re.MULTILINE)
    marks = [{"criterion": name, "reason": "fine", "met": kind == "wanted"} for name, kind in wanted]
    return json.dumps({"marks": marks}) if marks else said


def told_of(run: Path) -> dict[str, Any]:
    """What a run's only round says of its reinforcement."""
    told: dict[str, Any] = json.loads((run / "rounds/001/round.json").read_text())["checkpoint"]["reinforced"]
    return told


def spent_on_training(run: Path) -> tuple[int, float]:
    """Tokens sampled and dollars."""
    ((tokens, usd),) = select(run, "SELECT tokens_sampled, usd FROM spent WHERE room = '001' AND stage = 'train'")
    return tokens, usd


def talks_of_training(run: Path) -> list[dict[str, Any]]:
    return [talk for talk in rows(run / "rounds/001/talks.jsonl") if talk["stage"] == "train"]


def tokens_of(talks: Sequence[dict[str, Any]]) -> int:
    return sum(talk["prompt_tokens"] + talk["completion_tokens"] for talk in talks)


def test_a_believed_critic_rewards_and_what_it_says_is_paid_by_the_training(tmp_path: Path) -> None:
    """And where its endpoint refuses for good, the run ends in one line, and goes on to the very same."""
    left = [10**6]

    def speaks_until(prompt: str, body: dict[str, Any], sample: int) -> str:
        left[0] -= 1
        if left[0] < 0:
            raise No(403, "there is no credit left")
        return speak(prompt, body, sample)

    with FaultServer(say=speaks_until) as server:
        judged = replace(JUDGED, critic=at(server))
        run = play(judged.write(tmp_path / "whole"))
        told, talks, billed = told_of(run), talks_of_training(run), len(server.billed)
        left[0] = billed - len(talks) // 2
        objective = judged.write(tmp_path / "cut")
        cut = play(objective, code=3)
        begun = talks_of_training(cut)
        assert 0 < len(begun) < len(talks) and not (cut / "rounds/001/checkpoint").exists()
        assert spent_on_training(cut) == (tokens_of(begun), pytest.approx(sum(talk["usd"] for talk in begun)))
        left[0] = 10**6
        assert told_of(play(objective)) == told
        assert len(server.billed) == 2 * billed, "nothing was paid for twice"
    assert told["critics"] == ["small"] and told["unheard"] == [] and told["refused"] > 0
    assert told["talk"] == tokens_of(talks) > 0 and len({talk["id"] for talk in talks}) == len(talks)
    ((card,),) = select(run, "SELECT detail FROM card WHERE room = '001' AND stage = 'train'")
    trained = json.loads(card)["tokens"]
    assert spent_on_training(run) == (trained + told["talk"], pytest.approx(sum(talk["usd"] for talk in talks)))
    assert json.loads(card)["matched"] == trained + -(-trained // 3), "the control owes what training sampled alone"
    assert f"small refused {told['refused']:,} answers a reward" in render_report(run)


def test_a_critic_that_is_not_believed_rewards_nothing(tmp_path: Path) -> None:
    with FaultServer(say=nods) as server:
        run = play(replace(JUDGED, critic=at(server)).write(tmp_path / "nods"))
    alone = told_of(play(JUDGED.write(tmp_path / "alone")))
    assert told_of(run) == alone | {"unheard": ["small is not believed"]}, "the verifiers alone reward"
    assert talks_of_training(run) == [] and spent_on_training(run)[1] == 0
    assert "No critic's reward: small is not believed" in render_report(run)


def sample(problem: str, number: int, level: int, **more: Any) -> Sample:
    asked = Problem(
        id=problem, prompt=f"What is {problem}?", answer="1", skill="s", level=level, source=0, origin=(0, 1), **more
    )  # fmt: skip
    return Sample(
        id=f"{problem}/{number}",
        problem=asked,
        response="#### 1",
        finish="stop",
        prompt_tokens=1,
        completion_tokens=1,
    )


def chosen(found: Sequence[tuple[Sample, bool]], problems: int, exams: Sequence[str] = ()) -> list[str]:
    """Ids of what is drilled."""
    plan = Plan(hypothesis="h", strategies=(), training=GRPO(problems=problems))
    critiques = [Critique(id=row.id, passed=passed, reason="", checks=()) for row, passed in found]
    bench: Any = SimpleNamespace(exams=Exams(exams), seed=3)
    room: Any = SimpleNamespace(name="001")
    return [drill.id for drill in choose_drills(plan.training, [row for row, _ in found], critiques, room, bench)]


def test_what_is_solved_sometimes_is_drilled_first() -> None:
    """mechanisms §9, rule 3: what all solve is dropped, what none solves is deferred; §7.3: p near one half first."""
    rows = [(sample(f"half {i}", k, 1), k % 2 == 0) for i in range(20) for k in range(4)]
    rows += [(sample(f"never {i}", k, 2), False) for i in range(20) for k in range(4)]
    rows += [(sample(f"always {i}", k, 3), True) for i in range(20) for k in range(4)]
    assert {name.split()[0] for name in chosen(rows, 20)} == {"half"}
    every = [name.split()[0] for name in chosen(rows, 60)]
    assert every[:20] == ["half"] * 20 and every[20:] == ["never"] * 20, "and those that none solved last"
    assert chosen(rows, 60) == chosen(list(reversed(rows)), 60), "it hangs on the rows alone"
    once = [(sample(f"odd {i}", 0, 4), i % 2 == 0) for i in range(40)]
    once += [(sample(f"rare {i}", 0, 5), i == 0) for i in range(40)]
    drawn = Counter(name.split()[0] for name in chosen(once, 30))
    assert drawn["odd"] > drawn["rare"] > 0, "one sample each: then their cell tells"


def test_no_problem_of_an_exam_and_none_that_was_written_is_drilled() -> None:
    """The tasks keep practice and exams apart; where a prompt slipped through, the drill does as the curator does."""
    rows = [(sample("in dev", k, 1), k == 0) for k in range(2)]
    rows += [(sample("free", k, 1), k == 0) for k in range(2)]
    rows += [(sample("by vote", k, 1, author="self_instruct"), k == 0) for k in range(2)]
    rows += [(row.model_copy(update={"hinted": True}), True) for row in (sample("hinted", 0, 1),)]
    assert chosen(rows, 9, exams=["What is in dev?"]) == ["free"]


BRIEF = PlanBrief(
    objective="",
    cells=(CellBrief(skill="s", level=1, share=1.0),),
    history=(
        RoundBrief(round=0, status="start"),
        RoundBrief(round=1, status="kept", samples=(Tally(skill="s", level=1, tried=100, passed=50, tokens=2000),)),
    ),
    samples_per_round=1000,
    methods=("sft", "grpo"),
)


def test_a_plan_reinforces_within_bounds_and_the_rules_do() -> None:
    cell = RejectionSampling(allotments=(Allotment(skill="s", level=1, problems=10),))
    for choice, words in (
        (GRPO(problems=100, group=8), ""),
        (GRPO(problems=300, group=8), "2400 answers .* a plan may draw 2000"),
        (GRPO(problems=100, group=8, iterations=4), "about 80000 tokens to sample and train on, 50000 are left"),
    ):
        proposal = Proposal(hypothesis="h", strategies=(cell,), training=choice)
        brief = BRIEF.model_copy(update={"budget": BudgetLeft(tokens=50_000)})
        if words:
            with pytest.raises(ValueError, match=words):
                check_plan(proposal, brief)
        else:
            check_plan(proposal, brief)
    with pytest.raises(ValueError, match="grpo is not allowed"):
        check_plan(
            Proposal(hypothesis="h", strategies=(cell,), training=GRPO()),
            BRIEF.model_copy(update={"methods": ("sft",)}),
        )
    assert isinstance(Rules().plan(BRIEF).training, SFT), "the usual method is supervised"
    fixed = Rules().plan(BRIEF.model_copy(update={"methods": ("grpo",)}))
    assert fixed.training == GRPO(problems=250) and fixed.strategies
    poor = BRIEF.model_copy(update={"methods": ("grpo",), "budget": BudgetLeft(tokens=8000)})
    assert Rules().plan(poor).training == GRPO(problems=12), "answers and training take half of the tokens left"
