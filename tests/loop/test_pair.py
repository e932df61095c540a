"""Which attempts become pairs of a right and a wrong one: what is hard comes first, and nothing comes of a tie."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from launches import DIED, Launcher, state
from scripted import Scripted
from test_crash import SMALL, check_deaths, play

from agents.briefs import CellBrief, PlanBrief
from agents.choices import check_plan
from agents.replies import Plan
from agents.rules import Rules
from agents.strategies import Allotment, RejectionSampling
from agents.training import DPO
from agents.uniform import Uniform
from loop.contamination import Exams
from loop.errors import StageError
from loop.jobs import STEPS
from loop.pair import pair_attempts
from loop.preference import Pair
from loop.records import digest
from loop.tried import Tried

RIGHT = "2 + 3 = 5\n5 + 4 = 9\n#### 9"
EARLY = "2 + 3 = 6\n6 + 4 = 10\n#### 10"
LATE = "2 + 3 = 5\n5 + 4 = 8\n#### 8"
WRONG_WORKING = "2 + 3 = 4\n5 + 4 = 9\n#### 9"


def attempts(prompt: str, right: Sequence[str] = (), wrong: Sequence[str] = (), number: int = 1) -> list[Tried]:
    said = [(text, True) for text in right] + [(text, False) for text in wrong]
    return [
        Tried(digest(prompt, number, i), number, prompt, text, text.rpartition("#### ")[2], good)
        for i, (text, good) in enumerate(said)
    ]


def pairs_of(*tried: list[Tried], exams: Sequence[str] = (), most: int = 4) -> list[Pair]:
    return pair_attempts([one for group in tried for one in group], DPO(pairs_per_problem=most), Exams(exams))


def test_check_tied_scores_give_no_pair() -> None:
    """mechanisms §7.2, Self-Rewarding: problems that all attempts solve, or none, and texts that are the same."""
    ties = [
        attempts("all", right=[RIGHT, RIGHT, "2 + 3 + 4 = 9\n#### 9"]),
        attempts("none", wrong=[EARLY, LATE]),
        attempts("one", right=[RIGHT]),
        attempts("same", right=[RIGHT], wrong=[RIGHT]),
    ]
    with pytest.raises(StageError, match="no pair: no problem has a right attempt"):
        pairs_of(*ties)
    assert [pair.prompt for pair in pairs_of(*ties, attempts("both", [RIGHT], [LATE]))] == ["both"]


def test_hard_wrong_ones_come_first() -> None:
    """Hard is what goes wrong late, what many attempts agree on, and wrong working under a right answer."""
    late, early = pairs_of(attempts("p", [RIGHT], [EARLY, LATE]))
    assert (late.rejected, early.rejected) == (LATE, EARLY) and late.hardness > early.hardness > 0
    [hardest] = pairs_of(attempts("p", [RIGHT], [EARLY, LATE]), most=1)
    assert hardest == late
    agreed = pairs_of(attempts("p", [RIGHT], ["4 + 5 = 7\n#### 7", *["5 + 4 = 8\n#### 8"] * 3]))
    assert [pair.rejected[-1] for pair in agreed] == ["8", "7"], "three attempts agree on 8"
    working = pairs_of(attempts("p", [RIGHT, RIGHT], [WRONG_WORKING, EARLY]))
    assert working[0].rejected == WRONG_WORKING
    everywhere = pairs_of(attempts("p", [RIGHT], [EARLY]), attempts("q", [RIGHT], [LATE]))
    assert [pair.prompt for pair in everywhere] == ["q", "p"]


def test_a_wrong_one_stands_against_the_right_one_that_it_leaves_latest() -> None:
    other = "4 + 3 = 7\n7 + 2 = 9\n#### 9"
    chosen = {
        pair.rejected: pair.chosen for pair in pairs_of(attempts("p", [other, RIGHT], [LATE, other[:-1] + "8"]))
    }
    assert chosen == {LATE: RIGHT, other[:-1] + "8": other}


def test_attempts_of_all_rounds_and_demonstrations_are_paired() -> None:
    first, *others = pairs_of(
        attempts("What is  it?", [RIGHT], [EARLY, LATE], number=0), attempts("what is it?", wrong=[LATE], number=3)
    )
    assert (first.round, first.prompt, first.chosen) == (3, "what is it?", RIGHT), "of the same text, the newest"
    assert [pair.round for pair in others] == [0]


def test_nothing_of_an_exam_is_paired() -> None:
    exam = "What is 2 + 3 + 4 ?"
    [pair] = pairs_of(attempts("What is 2 + 3 + 4 ?", [RIGHT], [LATE]), attempts("p", [RIGHT], [LATE]), exams=[exam])
    assert pair.prompt == "p"


# Plans.


CELLS = (CellBrief(skill="sum", level=2, share=0.5), CellBrief(skill="sum", level=3, share=0.5, left=40))


@pytest.mark.parametrize("planner", [Rules(), Uniform()])
def test_a_plan_by_rules_draws_several_samples_of_each_problem(planner: Rules | Uniform) -> None:
    brief = PlanBrief(objective="", cells=CELLS, history=(), samples_per_round=400, methods=("dpo",))
    plan = planner.plan(brief)
    assert plan.training.method == "dpo" and {a.samples for a in plan.allotments} == {4}
    total = sum(a.problems * a.samples for a in plan.allotments)
    supervised = planner.plan(brief.model_copy(update={"methods": ("sft",)}))
    assert total == pytest.approx(sum(a.problems * a.samples for a in supervised.allotments), abs=8)


def test_a_plan_by_a_model_must_draw_several_too() -> None:
    def plan(samples: int) -> Plan:
        drawn = RejectionSampling(allotments=(Allotment(skill="sum", level=2, problems=9, samples=samples),))
        return Plan(hypothesis="h", strategies=(drawn,), training=DPO())

    brief = PlanBrief(objective="", cells=CELLS, history=(), methods=("sft", "dpo"))
    check_plan(plan(2), brief)
    with pytest.raises(ValueError, match="dpo compares attempts at a problem"):
        check_plan(plan(1), brief)


# Whole runs.


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_a_run_by_preference_dies_where_it_pairs_and_trains_and_goes_on(
    swift_path: Path, launchers: list[Launcher]
) -> None:
    run = play(replace(SMALL, problems=60, method="dpo", budget="rounds: 2"), swift_path / "preference", launchers[0])
    room = swift_path / "preference/unbroken/rounds/002"
    paired, samples = rows(room / "pairs.jsonl"), {row["id"]: row for row in rows(room / "samples.jsonl")}
    assert json.loads((room / "round.json").read_text())["pairs"] == len(paired) > 0
    assert {row["round"] for row in paired} == {1, 2}, "earlier rounds' pairs stay"
    assert rows(room / "dataset.jsonl"), "the mix is kept too"
    reasons = {row["id"]: row["reason"] for row in rows(room / "critiques.jsonl")}
    for row in paired:
        if row["round"] == 2:
            assert reasons[row["rejected_id"]] in ("wrong answer", "wrong working")
            assert samples[row["rejected_id"]]["finish"] == "stop"
    points = range(run.reaches("mix saved", 2), run.reaches("train saved", 3) + 1)
    check_deaths(run, launchers, [(k,) for k in points])


def test_a_round_without_a_pair_fails_with_its_reason(swift_path: Path, launchers: list[Launcher]) -> None:
    none = Scripted(method="dpo", budget="rounds: 1", problems=14, demonstrations=4, dev=8, test=4)
    play(none, swift_path / "no pair", launchers[0])
    room = swift_path / "no pair/unbroken/rounds/001"
    closed = json.loads((room / "round.json").read_text())
    assert closed["status"] == "failed" and "no pair: no problem" in closed["reason"]
    assert (room / "admissions.jsonl").exists() and not (room / "pairs.jsonl").exists()


def test_a_reward_model_judges_from_the_second_round_on_and_survives_every_death(
    swift_path: Path, launchers: list[Launcher]
) -> None:
    cast = replace(SMALL, problems=60, critic="[verifier, reward]", budget="rounds: 2")
    run = play(cast, swift_path / "reward", launchers[0])
    first, second = (swift_path / f"reward/unbroken/rounds/00{number}" for number in (1, 2))
    learnt = json.loads((first / "reward.json").read_text())
    assert learnt["pairs"] > 0 and learnt["model"]["path"] == "rounds/001/reward" and (first / "reward").is_dir()
    assert not (first / "judgement.json").exists()
    said = json.loads((second / "judgement.json").read_text())
    assert said["calibration"]["believed"] and said["calibration"]["agreement"]["n"] >= 10
    asked = {row["id"]: row["checks"][-1] for row in rows(second / "critiques.jsonl") if row["score"] is not None}
    assert asked.keys() == said["rewards"].keys() and {check["name"] for check in asked.values()} == {"reward"}
    spent = {
        name: row for name, row in run.state["spent"].items() if name.endswith(("judge by reward", "learn to judge"))
    }
    assert len(spent) == 3 and all(sum(map(float, row[1:3])) > 0 for row in spent.values())
    points = range(run.reaches("learn to judge worked out"), run.reaches("learn to judge saved") + 2)
    judging = range(run.reaches("judge by reward worked out"), run.reaches("critique saved", 2) + 1)
    check_deaths(run, launchers, [(k,) for k in (*points, *judging)])


def test_a_reward_model_whose_training_died_is_counted_and_leaves_no_step(
    swift_path: Path, launchers: list[Launcher]
) -> None:
    """What a dead launch of it left, a log and a kept step, is not taken for that of the student's training."""
    cast = replace(SMALL, problems=60, critic="[verifier, reward]", budget="rounds: 1")
    run = play(cast, swift_path / "reward died", launchers[0])
    folder = run.objective.parent / "died"
    assert launchers[0].launch(run.objective, folder, run.reaches("mix saved") + 1).code == DIED
    begins = {"step": 0, "tokens": 0, "begins": "a"}
    log = folder / "logs/001-learn-to-judge.jsonl"
    log.parent.mkdir(exist_ok=True)
    log.write_text("".join(json.dumps(line) + "\n" for line in (begins, {"tokens": 700}, begins)), encoding="utf-8")
    steps = folder / f"rounds/001/.checkpoint.tmp{STEPS}"
    (steps / "step-9-0").mkdir(parents=True)
    other = shutil.copytree(folder, folder.with_name("other"))
    saved = launchers[0].launch(run.objective, other).failpoints.index("learn to judge saved") + 1
    assert launchers[1].launch(run.objective, folder, saved).code == DIED
    assert not steps.exists()
    assert launchers[0].launch(run.objective, folder).code == 0
    found, wanted = state(folder)["spent"], run.state["spent"]
    judge, train = (f"001/{stage}" for stage in ("learn to judge", "train"))
    assert found[judge][1] == wanted[judge][1] + 700 and found[train] == wanted[train]
