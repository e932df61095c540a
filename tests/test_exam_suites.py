"""Whole runs whose dev is two suites with weights, every problem answered four times more."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from launches import DIED, Launch, Launcher, difference, state
from scripted import Scripted
from test_agents import rows, select

from agents.engines.scripted import BATCH
from loop.check import check_objective
from loop.needs import estimate
from loop.objective import read_objective
from loop.report import render_report
from loop.status import as_json, read_standing

SAMPLES = {"dev": 4, "test": 2}
LISTED = """  dev:
    sources:
      - {source: short.jsonl, verifier: numeric, weight: 3}
      - {source: long.jsonl, verifier: numeric}
    samples: 4
  test: {from: practice, size: 6, samples: 2}
"""
SMALL = Scripted(problems=60, demonstrations=14, orchestrator="uniform", budget="rounds: 2")


def write_suites(scripted: Scripted, folder: Path) -> Path:
    """The objective with its dev in two files: 12 sums of two numbers, 24 of three."""
    path = scripted.write(folder)
    for name, size, more in (("short", 12, ""), ("long", 24, " - 3")):
        chains = [(f"What is {n} + 5{more} ?", n + 5 - 3 * bool(more)) for n in range(2000, 2000 + size)]
        lines = (json.dumps({"prompt": prompt, "answer": str(answer)}) + "\n" for prompt, answer in chains)
        (folder / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")
    text = path.read_text(encoding="utf-8")
    start, end = text.index("  dev:"), text.index("budget:")
    path.write_text(text[:start] + LISTED + text[end:], encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def launch(swift_path: Path, launchers: list[Launcher]) -> Launch:
    launch = launchers[0].launch(write_suites(SMALL, swift_path / "suites"), swift_path / "suites" / "run")
    assert launch.code == 0, launch.said
    return launch


@pytest.fixture(scope="module")
def played(swift_path: Path, launch: Launch) -> Path:
    return swift_path / "suites" / "run"


def sittings(run: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    for path in sorted([*run.glob("rounds/*/evaluation.json"), *run.glob("*/*/evaluation.json")]):
        if path.parts[-3] in ("rounds", "control", "test"):
            yield path.parent, json.loads(path.read_text(encoding="utf-8"))


def is_right(row: dict[str, Any]) -> bool:
    return bool(row["response"].endswith(f"#### {row['problem']['answer']}"))


def test_the_scores_are_what_a_recount_of_the_rows_comes_to(played: Path) -> None:
    exams = set()
    for room, found in sittings(played):
        exams.add(found["exam"])
        greedy, sampled = rows(room / "attempts.jsonl"), rows(room / "attempts_sampled.jsonl")
        samples = SAMPLES[found["exam"]]
        right: dict[str, list[bool]] = {row["problem"]["id"]: [] for row in greedy}
        for row in sampled:
            right[row["problem"]["id"]].append(is_right(row))
        assert {len(tries) for tries in right.values()} == {samples}
        parts = {1: (0.75, 12), 2: (0.25, 24)} if found["exam"] == "dev" else {0: (1.0, 6)}
        score, at_all, at_2 = 0.0, 0.0, 0.0
        for source, (weight, n) in parts.items():
            of_suite = [row for row in greedy if row["problem"]["source"] == source]
            assert len(of_suite) == n
            tries = [right[row["problem"]["id"]] for row in of_suite]
            pairs = [any(pair) for flags in tries for pair in combinations(flags, 2)]
            score += weight * sum(map(is_right, of_suite)) / n
            at_all += weight * sum(map(any, tries)) / n
            at_2 += weight * sum(pairs) / len(pairs)
        assert found["score"]["score"] == pytest.approx(score)
        told = {at["k"]: at["share"] for at in found["sampled"]["pass_at"]}
        assert told[samples] == pytest.approx(at_all) and told[2] == pytest.approx(at_2)
        assert [suite["name"] for suite in found["suites"]] == ["short", "long"] * (found["exam"] == "dev")
    assert exams == {"dev", "test"}
    (start,) = select(played, "SELECT record FROM round WHERE round = 0")
    assert json.loads(start[0])["dev"] == json.loads((played / "rounds/000/evaluation.json").read_text())["score"]


def test_the_sampled_answers_are_paid_for_and_decide_nothing(played: Path) -> None:
    costs = dict(select(played, "SELECT room, tokens_sampled FROM spent WHERE stage = 'sit the exam sampled'"))
    assert costs.keys() == {"/".join(room.parts[-2:]).removeprefix("rounds/") for room, _ in sittings(played)}
    for room, _ in sittings(played):
        drawn = rows(room / "attempts_sampled.jsonl")
        tokens = sum(row["prompt_tokens"] + row["completion_tokens"] for row in drawn)
        assert costs["/".join(room.parts[-2:]).removeprefix("rounds/")] == tokens > 0
    for _, found in sittings(played):
        if (verdict := found["verdict"]) is not None:
            assert verdict["gain"] is not None and verdict["keep"] == (
                verdict["p"] < verdict["level"] and verdict["gain"] > verdict["floor"]
            )


def test_death_among_the_sampled_answers_loses_and_repeats_nothing(
    played: Path, launch: Launch, launchers: list[Launcher]
) -> None:
    objective, points = played.parent / "OBJECTIVE.md", launch.failpoints
    done = [at for at, name in enumerate(points) if name == "sit the exam sampled worked out"]
    inside = [at + 1 for at in (done[0] - 5, done[1], done[-1] - 1)]
    assert {"rows appended", "sit the exam sampled worked out"} <= {points[at - 1] for at in inside}
    for at in inside:
        run = played.parent / f"dies at {at}"
        first = launchers[1].launch(objective, run, at)
        last = launchers[0].launch(objective, run)
        assert (first.code, last.code) == (DIED, 0)
        assert difference(state(run), state(played)) == ""
        assert len(set(first.answered) & set(last.answered)) <= BATCH


def test_report_and_json_show_the_suites_and_several_tries(played: Path) -> None:
    standing, page = read_standing(played), render_report(played)
    found = {room.name: told for room, told in sittings(played) if room.parent.name == "rounds"}
    told = as_json(standing)
    for row in told["rounds"]:
        exam = found[f"{row['round']:03}"]
        assert [suite["name"] for suite in row["dev"]["suites"]] == ["short", "long"]
        assert row["dev"]["suites"][0] == {"name": "short", "weight": 0.75} | {
            key: exam["suites"][0]["score"][key] for key in ("n", "score", "low", "high")
        }
        assert row["dev"]["pass_at"]["pass_at"] == {at["k"]: at["share"] for at in exam["sampled"]["pass_at"]}
    assert told["rounds"][0]["test"].keys() - {"score", "low", "high", "n"} == {"pass_at"}
    cells = [re.sub("<[^>]+>", " ", row).split() for row in re.findall(r'<tr id="suite-\d">(.*?)</tr>', page, re.S)]
    assert [row[:4] for row in cells] == [["dev", "short", "0.75", "12"], ["dev", "long", "0.25", "24"]]
    assert [row[4] for row in cells] == [f"{suite['score']['score']:.3f}" for suite in found["000"]["suites"]]
    assert len(re.findall(r'<tr id="sampled-\d">', page)) == (4 if standing.best else 2), "of round 0 and the best"
    assert f"4: {found['000']['sampled']['pass_at'][-1]['share']:.3f}" in page
    assert "Dev has suites with weights" in page


def test_round_0_says_what_the_verifier_makes_of_gold(played: Path) -> None:
    start, *others = read_standing(played).rounds
    assert start.gold and [(one.what, one.share.correct, one.share.n) for one in start.gold.shares] == [
        ("demonstrations accepted", 14, 14),
        ("demonstrations with another result refused", 14, 14),
        ("demonstrations with a wrong line refused", 14, 14),
        ("answers of practice problems accepted", 10, 10),
        ("changed answers of practice problems refused", 10, 10),
    ]
    assert not start.gold.refused and not any(other.gold for other in others)
    told = re.search('id="gold">(.*?)</p>', render_report(played), re.S)
    assert told and "14 of 14 demonstrations accepted (0.78–1.00)" in told[1]


def test_check_says_what_the_exams_are_and_take(swift_path: Path) -> None:
    lines = check_objective(write_suites(SMALL, swift_path / "checked"))
    assert "dev: short 12 (weight 0.75), long 24 (weight 0.25); scored by weight" in lines
    more = "at temperature 0.8 beside the greedy answer"
    assert f"dev: each problem is answered 4 times {more}: 144 answers more a sitting" in lines
    assert f"test: each problem is answered 2 times {more}: 12 answers more a sitting" in lines
    plain = replace(SMALL, dev=36).write(swift_path / "plain")
    costs = [estimate(read_objective(path), ()).exams for path in (swift_path / "checked/OBJECTIVE.md", plain)]
    assert costs[0] / costs[1] == pytest.approx((36 * 5 + 3 * 6 * 3) / (36 + 3 * 6), rel=0.1)


@pytest.mark.parametrize("budget", [9_000, 45_000])
def test_what_sampling_an_exam_takes_is_held_back(budget: int, swift_path: Path, launchers: list[Launcher]) -> None:
    folder = swift_path / f"tokens {budget}"
    objective = write_suites(
        replace(SMALL, problems=400, orchestrator="rules", budget=f"rounds: 9, tokens: {budget}"), folder
    )
    assert launchers[0].launch(objective, folder / "run").code == 0
    spent = dict(select(folder / "run", "SELECT room, sum(tokens_sampled + tokens_trained) FROM spent GROUP BY room"))
    floor = sum(tokens for room, tokens in spent.items() if room == "000" or room.startswith("test/000"))
    drawn = [row for path in (folder / "run").rglob("samples.jsonl") for row in rows(path)]
    batch = BATCH * max((row["prompt_tokens"] + row["completion_tokens"] for row in drawn), default=0)
    assert sum(spent.values()) <= max(budget, floor) + batch, spent
    (ended,) = select(folder / "run", "SELECT value FROM fact WHERE name = 'ended'")
    assert json.loads(ended[0]) == "tokens"
    if budget == 45_000:
        assert "control/002" in spent, "there is enough for two rounds, and what was held back is used"
