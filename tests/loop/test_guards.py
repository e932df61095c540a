"""Guards of a loop that learns from its own answers (mechanisms §7.1 and §9): labels, put-off problems, restarts."""

from __future__ import annotations

import json
import random
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from fault_server import FaultServer
from scripted import Scripted
from test_agents import at, play, rows
from test_strategies import adds

from agents.choices import VOTES
from agents.engines.scripted import MODEL_FILE
from agents.replies import Mixture, Plan
from agents.writers.settings import SelfInstruct
from loop.contamination import Exams
from loop.curate import admit, demonstration_row, mix
from loop.evaluate import evaluate
from loop.judging import Judge
from loop.labels import labelled
from loop.objective import Demonstration, read_objective
from loop.records import Checkpoint, Example, Problem, Sample, digest
from loop.repeats import Known
from loop.tasks import Tasks
from loop.verifiers import extract_answer

# A student that has learnt what its training rows say, no more and no less: it answers as one of them, by chance.

PROBLEMS = {f"What is {n} times {n + 3}?": str(n * (n + 3)) for n in range(100, 220)}
"""Problems that a strategy wrote, and what is true of them, which nothing in the loop is told."""
PLAN = Plan(hypothesis="h", strategies=(SelfInstruct(count=1),))
Student = Mapping[str, Counter[str]]


def sample(prompt: str, answer: str, number: int) -> Sample:
    written = Problem(
        id=digest(prompt), prompt=prompt, answer="", skill="s", source=0, origin=(0, 0), author="self_instruct"
    )
    return Sample(
        id=digest(prompt, number), problem=written, response=f"So #### {answer}", finish="stop", prompt_tokens=1,
        completion_tokens=1,
    )  # fmt: skip


def believed(sample: Sample) -> Sample:
    """The same with its own answer as the label: a loop without a vote."""
    answer = extract_answer(sample.response, "####") or ""
    return sample.model_copy(update={"problem": sample.problem.model_copy(update={"answer": answer})})


def learn(examples: Sequence[Example]) -> Student:
    answers: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for row in examples:
        answers[row.prompt][extract_answer(row.response, "####") or ""] += row.copies
    return answers


def accuracy(student: Student) -> float:
    return sum(student[p][a] / student[p].total() for p, a in PROBLEMS.items()) / len(PROBLEMS)


def self_improve(judge: Judge, vote: bool, injected: int, rounds: int, seed: int) -> list[float]:
    """The accuracy after each round; in the round `injected` 30 % of what the student says is a random number."""
    luck = random.Random(seed)
    shown = [
        Demonstration(prompt=prompt, response=f"So #### {int(answer) + (luck.random() < 0.1)}")
        for prompt, answer in PROBLEMS.items()
        for _ in range(4)
    ]
    student, earlier, found = learn([demonstration_row(row) for row in shown]), list[Example](), list[float]()
    for number in range(1, rounds + 1):

        def say(prompt: str, answers: Student = student, number: int = number) -> str:
            if number == injected and luck.random() < 0.3:
                return str(luck.randrange(10_000, 50_000))
            return luck.choices(list(answers[prompt]), list(answers[prompt].values()))[0]

        drawn = [sample(prompt, say(prompt), n) for prompt in PROBLEMS for n in range(VOTES if vote else 1)]
        drawn = labelled(drawn, judge.places) if vote else [believed(one) for one in drawn]
        critiques = [judge.critique(one) for one in drawn]
        admitted = [a.example for a in admit(number, PLAN, drawn, critiques, Known(Exams(())), seed) if a.example]
        student = learn(mix(shown, earlier, admitted, Mixture()))
        earlier += admitted
        found.append(accuracy(student))
    return found


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Judge:
    """Whose verifiers see the answer and not the working."""
    path = Scripted().write(tmp_path_factory.mktemp("judge"))
    path.write_text(path.read_text(encoding="utf-8").replace("[numeric, equations]", "numeric"), encoding="utf-8")
    return Judge(Tasks(read_objective(path), []), [])


def test_check_random_labels_spoil_a_loop_without_a_vote_and_not_one_with(judge: Judge) -> None:
    """mechanisms §7.1: 30 % random labels at one round; two rounds later."""
    for seed in range(3):
        alone, voting = (self_improve(judge, vote, injected=3, rounds=5, seed=seed) for vote in (False, True))
        assert alone[4] < alone[1] - 0.02, alone
        assert voting[4] >= voting[1], voting
        unspoilt = self_improve(judge, vote=False, injected=0, rounds=5, seed=seed)
        assert abs(unspoilt[4] - unspoilt[1]) < 0.02, "it was the injection"


def test_check_labels_come_from_the_model_and_a_planted_wrong_one_survives(judge: Judge) -> None:
    """mechanisms §7.1: no truth of a generator decides what a written problem is labelled with."""
    (prompt, right), *_ = PROBLEMS.items()
    planted = str(int(right) + 7)
    drawn = labelled([sample(prompt, planted, n) for n in range(VOTES)], judge.places)
    decided = admit(1, PLAN, drawn, [judge.critique(one) for one in drawn], Known(Exams(())))
    kept = [admission.example for admission in decided if admission.example]
    assert [row.response for row in mix([], [], kept, Mixture())] == [f"So #### {planted}"]
    split = labelled([sample(prompt, (right, planted)[n % 2], n) for n in range(VOTES)], judge.places)
    assert {judge.critique(one).reason for one in split} == {"no agreement"}, (
        "nor is the right one known when it stands there"
    )


# Whole runs.


def test_guard_what_no_attempt_solves_is_put_off_and_comes_again(tmp_path: Path) -> None:
    """mechanisms §9.3: p = 0 defers a problem. Solved ones come again only where nothing else is left."""
    run = play(Scripted(budget="rounds: 6").write(tmp_path))
    tried, solved, again = Counter[str](), set[str](), set[str]()
    for room in sorted(run.glob("rounds/*")):
        if not (room / "samples.jsonl").exists():
            continue
        drawn = {row["problem"]["id"] for row in rows(room / "samples.jsonl")}
        again |= {problem for problem in drawn if tried[problem] and problem not in solved}
        tried.update(drawn)
        admissions = {row["id"] for row in rows(room / "admissions.jsonl") if row["example"]}
        solved |= {row["problem"]["id"] for row in rows(room / "samples.jsonl") if row["id"] in admissions}
    unsolved = tried.keys() - solved
    assert again, "unsolved ones have come again"
    assert all(tried[problem] > 1 for problem in unsolved), "and none was given up"


@pytest.mark.parametrize("start", ["base", "best"])
def test_guard_a_round_restarts_from_base_or_goes_on_with_replay(tmp_path: Path, start: str) -> None:
    """mechanisms §9.6. The first round is kept; the second leaves its rows of level 2 out of the mix.

    A restart then knows nothing of them, a student that goes on still does; both have the rest replayed.
    """
    cells = [{"skill": "sum", "level": level, "problems": 20, "samples": 2} for level in (2, 3)]

    def says(prompt: str, body: dict[str, Any], sample: int) -> str:
        if body["messages"][0]["role"] != "system":
            return adds(prompt, sample)
        plan = {
            "hypothesis": "As told.", "strategies": [{"kind": "rejection_sampling", "allotments": cells}],
            "mixture": {"rehearse": [{"skill": "sum", "level": 2, "share": 0}] * ("Plan round 2." in prompt)},
            "training": {"start": start},
        }  # fmt: skip
        return json.dumps({"action": "plan", "plan": plan})

    with FaultServer(say=says) as server:
        scripted = Scripted(problems=300, orchestrator=at(server), sampler=at(server), budget="rounds: 2, usd: 5")
        path = scripted.write(tmp_path)
        text = path.read_text(encoding="utf-8")
        path.write_text(text.replace("seed:", f"training: {{start: {start}}}\nseed:", 1), encoding="utf-8")
        first, second = (play(path) / "rounds" / number for number in ("001", "002"))
    assert json.loads((first / "round.json").read_text(encoding="utf-8"))["status"] == "kept"
    taught = {row["prompt"]: row["level"] for row in rows(first / "dataset.jsonl") if row["round"] == 1}
    left_out = {prompt for prompt, level in taught.items() if level == 2}
    replayed = {row["prompt"] for row in rows(second / "dataset.jsonl")} & taught.keys()
    assert left_out and replayed == taught.keys() - left_out
    seen = {line.split()[1] for line in json.loads((second / "checkpoint" / MODEL_FILE).read_text())["seen"]}
    known = {prompt for prompt in taught if digest(prompt) in seen}
    assert known == (replayed if start == "base" else taught.keys())


def test_guard_cut_off_and_empty_answers_are_counted_beside_the_score(judge: Judge) -> None:
    """mechanisms §9.10: beside the score, and in no row to train on."""
    drawn = [sample(prompt, answer, 0) for prompt, answer in PROBLEMS.items()]
    asked = [one.model_copy(update={"problem": believed(one).problem}) for one in drawn]
    cut = [one.model_copy(update={"finish": "length"}) for one in asked[:30]]
    empty = [one.model_copy(update={"response": " \n"}) for one in asked[30:50]]
    sat = [*cut, *empty, *asked[50:]]
    student = Checkpoint(path="x", manifest="m", parameters=1)
    found = evaluate("dev", sat, student, judge)
    assert (found.cut_off, found.unanswered, found.score.n, found.score.correct) == (30, 20, 120, 100)
    critiques = [judge.critique(one) for one in sat]
    assert Counter(critique.reason for critique in critiques) == {"": 70, "cut off": 30, "empty": 20}
    assert len([a for a in admit(1, PLAN, sat, critiques, Known(Exams(()))) if a.example]) == 70
