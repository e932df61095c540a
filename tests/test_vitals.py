"""What the rounds' samples were worth, counted again by hand; and runs that stop because they feed on themselves."""

from __future__ import annotations

import json
import random
import re
from collections import Counter, defaultdict
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
import yaml
from fault_server import FaultServer
from scripted import Scripted
from test_agents import play as launch
from test_agents import rows, select
from test_strategies import Cast, numbers_of

from agents.engines.scripted import work_out
from loop.objective import read_objective
from loop.report import write_report
from loop.rounds import Round, Stratum
from loop.run import open_run
from loop.runner import go
from loop.screen import PlainScreen
from loop.status import as_table, read_standing
from loop.vitals import compared, signs_of_collapse

MANY = {"skill": "sum", "level": 2, "problems": 24, "samples": 4}


class Changing(Cast):
    """A model whose answers may hang on the round and on how often it was asked that prompt in it."""

    def __init__(self, strategies: list[dict[str, Any]], answers: Callable[[list[int], int, int], str]) -> None:
        super().__init__(strategies, self._solve)
        self.answers, self.round, self.asked = answers, 0, Counter[str]()

    def __call__(self, prompt: str, body: dict[str, Any], sample: int) -> str:
        if "Plan round" in prompt:
            self.round, self.asked = self.round + 1, Counter()
        return super().__call__(prompt, body, sample)

    def _solve(self, prompt: str, sample: int) -> str:
        self.asked[prompt] += 1
        return self.answers(numbers_of(prompt), self.asked[prompt] - 1, self.round)


def objective(folder: Path, server: FaultServer, *parts: str, shared: str = "", **budget: Any) -> Path:
    """Sums planned and drawn by the server's model; it plays the parts named, the `shared` one with the student."""
    path = Scripted(problems=260, budget="rounds: 1").write(folder)
    _, front, prose = path.read_text(encoding="utf-8").split("---\n")
    entry = {"model": "small", "endpoint": f"{server.url}/v1", "prices": {"input": 1.0, "output": 1.0}}
    cast = dict.fromkeys(("orchestrator", "sampler", *parts), entry) | (
        {shared: [entry, "student"]} if shared else {}
    )
    keys = yaml.safe_load(front) | {"cast": cast, "budget": {"usd": 9, **budget}}
    path.write_text(f"---\n{json.dumps(keys)}\n---\n{prose}", encoding="utf-8")
    return path


def play(folder: Path, model: Cast, *parts: str, rounds: int = 4, shared: str = "") -> Path:
    """A run as the model plans it, to its end."""
    with FaultServer(say=model) as server:
        return finish(objective(folder, server, *parts, shared=shared, rounds=rounds))


def finish(path: Path) -> Path:
    run = open_run(read_objective(path), path.parent / "run", PlainScreen())
    go(run)
    run.ledger.close()
    return run.folder


def record(run: Path, number: int) -> dict[str, Any]:
    told: dict[str, Any] = json.loads((run / "rounds" / f"{number:03}" / "round.json").read_text(encoding="utf-8"))
    return told


def ended(run: Path) -> str:
    return str(json.loads(select(run, "SELECT value FROM fact WHERE name = 'ended'")[0][0]))


def played(run: Path) -> int:
    return int(select(run, "SELECT max(round) FROM round")[0][0])


def turned(numbers: list[int]) -> str:
    """Another way to the same sum: its first two numbers turned round."""
    first, second, *rest = numbers
    step = f"{second} + {first} = {first + second}"
    return "\n".join([step, work_out([first + second, *rest])])


# The record.


def in_many_ways(numbers: list[int], nth: int, number: int) -> str:
    """By problem and sample: two paths, one of them in two wordings, a slip, and a right answer out of thin air."""
    right, slip = work_out(numbers), work_out(numbers, slip=True)
    lucky = f"1 + 1 = 2\n#### {sum(numbers)}"
    return [right, f"So {right}", turned(numbers), slip, lucky, ""][(numbers[0] * (nth + 1) + nth) % 6]


def test_the_record_holds_what_a_count_of_the_rows_gives(tmp_path: Path) -> None:
    """mechanisms §2: coverage after filtering, diversity by solution, false positives not by the answer check."""
    plan = [
        {"kind": "rejection_sampling", "sampler": "small", "allotments": [MANY | {"samples": 5}]},
        {"kind": "rejection_sampling", "sampler": "student", "allotments": [MANY | {"level": 3, "samples": 3}]},
    ]
    room = play(tmp_path, Changing(plan, in_many_ways), rounds=1, shared="sampler") / "rounds" / "001"
    told = record(tmp_path / "run", 1)
    assert told["set_up"] == "mixed", "the student's own samples, and those of another model"
    groups: dict[str, defaultdict[str, list[tuple[str, dict[str, Any]]]]] = {}
    for sample, critique in zip(rows(room / "samples.jsonl"), rows(room / "critiques.jsonl"), strict=True):
        by_problem = groups.setdefault(sample["sampler"], defaultdict(list))
        by_problem[sample["problem"]["id"]].append((sample["response"], critique))
    assert [quality["sampler"] for quality in told["quality"]] == sorted(groups) == ["small", "student"]
    for quality in told["quality"]:
        problems = list(groups[quality["sampler"]].values())
        every = [critique for group in problems for _, critique in group]
        passed = [critique for critique in every if critique["passed"]]
        judged = [critique["false_positive"] for critique in passed if critique["false_positive"] is not None]
        assert (quality["problems"], quality["samples"]) == (len(problems), len(every))
        assert (quality["passed"], quality["judged"], quality["false_positives"]) == (
            len(passed), len(judged), sum(judged),
        )  # fmt: skip
        assert quality["cut_off"] == sum(critique["reason"] == "cut off" for critique in every)
        assert quality["empty"] == sum(critique["reason"] == "empty" for critique in every)
        ways = [[way_of(text) if critique["passed"] else None for text, critique in group] for group in problems]
        assert quality["distinct"] == sum(len({*group} - {None}) for group in ways)
        assert [at["k"] for at in quality["at"]] == {"small": [1, 2, 4, 5], "student": [1, 2, 3]}[quality["sampler"]]
        for at in quality["at"]:
            subsets = [[{*some} - {None} for some in combinations(group, at["k"])] for group in ways]
            assert at["coverage"] == pytest.approx(fmean(fmean(map(bool, found)) for found in subsets))
            assert at["diversity"] == pytest.approx(fmean(fmean(map(len, found)) for found in subsets))
        (stratum,) = [found for found in told["strata"] if found["sampler"] == quality["sampler"]]
        right = [[way for way in group if way] for group in ways]
        several = [group for group in right if len(group) > 1]
        assert (stratum["problems"], stratum["k"]) == (len(ways), quality["at"][-1]["k"])
        assert stratum["pass_1"] == pytest.approx(sum(len(group) for group in right) / stratum["k"])
        assert (stratum["pass_k"], stratum["several"]) == (sum(map(bool, right)), len(several))
        unlike = [fmean(one != other for one, other in combinations(group, 2)) for group in several]
        assert stratum["unlike"] == pytest.approx(sum(unlike)) and stratum["labelled"] == 0
    small = told["quality"][0]
    assert small["false_positives"] and small["empty"] and small["at"][-1]["diversity"] > small["at"][0]["diversity"]
    assert small["distinct"] < small["passed"], "two wordings of one path are there"


def test_problems_that_come_again_are_not_compared(tmp_path: Path) -> None:
    """There are fewer than a round wants, so in round 2 those come again that were not solved."""
    plan = [{"kind": "rejection_sampling", "allotments": [MANY | {"level": 3, "problems": 40}]}]
    run = play(tmp_path, Changing(plan, in_many_ways), rounds=2)
    drawn = [{row["problem"]["id"] for row in rows(run / f"rounds/00{n}/samples.jsonl")} for n in (1, 2)]
    assert drawn[0] & drawn[1]
    fresh = [sum(found["problems"] for found in record(run, n)["strata"]) for n in (1, 2)]
    assert fresh == [len(drawn[0]), len(drawn[1] - drawn[0])]


def way_of(text: str) -> tuple[str, ...]:
    """What a response computes, as these responses write it."""
    return tuple(re.findall(r"\d+ [+-] -?\d+", text))


def test_the_set_up_is_named_by_who_drew(tmp_path: Path) -> None:
    plan = [{"kind": "rejection_sampling", "allotments": [MANY]}]
    assert record(play(tmp_path / "other", Changing(plan, in_many_ways), rounds=1), 1)["set_up"] == "distillation"
    run = finish(Scripted(budget="rounds: 1").write(tmp_path / "own"))
    assert record(run, 1)["set_up"] == "self-improvement" and record(run, 0)["set_up"] is None


def test_who_decides_between_teachers_is_told(tmp_path: Path) -> None:
    plan = [{"kind": "arbitration", "teachers": ["small", "student"], "routing": "learned", "allotments": [MANY]}]
    run = play(tmp_path, Changing(plan, in_many_ways), rounds=2, shared="teachers")
    told = [text for kind, text in select(run, "SELECT kind, text FROM event") if kind == "router"]
    assert told[0] == "round 001: small has 0 scored answers, fewer than 40: teachers go by cell"
    assert len(told) == 2 and "scored answers, fewer than 40" in told[1]
    page = write_report(run).read_text(encoding="utf-8")
    assert all(f"Routing in {text}." in page for text in told)


# Runs that stop, and runs that do not.


def two_ways(numbers: list[int], nth: int, number: int) -> str:
    return turned(numbers) if nth % 2 else work_out(numbers)


def ever_fewer_ways(numbers: list[int], nth: int, number: int) -> str:
    return two_ways(numbers, nth if number < 3 else 0, number)


def test_guard_right_solutions_that_become_all_alike_stop_the_loop(tmp_path: Path) -> None:
    plan = [{"kind": "rejection_sampling", "allotments": [MANY], "keep_per_problem": 4}]
    told = "diversity of the right solutions fell from 67% in round 1 to 0% in round "
    with FaultServer(say=Changing(plan, ever_fewer_ways)) as server:
        run = launch(objective(tmp_path, server, rounds=4))
        assert (played(run), ended(run)) == (3, f"collapse: {told}3")
        assert len(list(run.glob("test/*-best/evaluation.json"))) == 1, "the test is opened all the same"
        assert list(run.glob("control/*/evaluation.json")), "and the control trained"
        assert f"It ended because it showed a sign of collapse: {told}3." in write_report(run).read_text(
            encoding="utf-8"
        )
        assert f"finished (collapse: {told}3)" in " ".join(as_table(read_standing(run)).title.plain.split())
        # Told to warn, the same run goes on to the end of its budget, and says what it sees.
        launch(objective(tmp_path, server, rounds=4, collapse="warn"))
    assert (played(run), ended(run)) == (4, "rounds")
    signs = [text for kind, text in select(run, "SELECT kind, text FROM event") if kind == "collapse"]
    assert signs == [f"{told}3", f"{told}4"]
    page = write_report(run).read_text(encoding="utf-8")
    assert all(f"A sign of collapse: {sign}." in page for sign in signs)


def test_a_run_that_goes_on_well_is_not_stopped(tmp_path: Path) -> None:
    plan = [{"kind": "rejection_sampling", "allotments": [MANY], "keep_per_problem": 4}]
    run = play(tmp_path, Changing(plan, two_ways))
    assert (played(run), ended(run)) == (4, "rounds")


def sharpening(numbers: list[int], nth: int, number: int) -> str:
    """At first one sample of four is right, of every problem; then all samples, of two problems in five."""
    right = nth % 4 == 0 if number == 1 else numbers[0] % 5 < 2
    return work_out(numbers, slip=not right)


def test_guard_pass_at_large_k_falling_while_pass_at_1_rises_stops_the_loop(tmp_path: Path) -> None:
    plan = [{"kind": "rejection_sampling", "allotments": [MANY]}]
    run = play(tmp_path, Changing(plan, sharpening))
    assert played(run) == 2
    stated = r"collapse: pass@4 fell from 100% in round 1 to (\d+)% in round 2, while pass@1 rises from 25% to \1%"
    assert re.fullmatch(stated, ended(run))


def misled(numbers: list[int], nth: int, number: int) -> str:
    """From round 2 on all samples agree on a wrong answer to every other problem."""
    return work_out(numbers, slip=number > 1 and numbers[0] % 2 == 0)


def test_guard_label_accuracy_falling_on_gold_stops_the_loop(tmp_path: Path) -> None:
    """Only where problems are labelled by vote: without the written ones the same answers stop nothing."""
    practice = {"kind": "rejection_sampling", "allotments": [MANY | {"samples": 5}]}
    written = {"kind": "self_instruct", "count": 4, "most_overlap": 1.0}
    run = play(tmp_path / "voted", Changing([practice, written], misled), "challenger", rounds=2)
    assert re.match(
        r"collapse: label accuracy on gold items fell from 100% in round 1 to \d+% in round 2", ended(run)
    )
    assert [quality["samples"] for quality in record(run, 1)["quality"]] == [24 * 5], "written problems are not among"
    assert ended(play(tmp_path / "checked", Changing([practice], misled), rounds=2)) == "rounds"


# What is compared.


def stratum(
    level: int = 2, k: int = 4, n: int = 300, right: float = 0.5, unlike: float = 0.5, **more: Any
) -> Stratum:
    return Stratum(
        skill="sum", level=level, sampler="student", temperature=0.8, k=k, problems=n, pass_1=n * right,
        pass_k=round(n * min(1, 1.5 * right)), several=n // 2, unlike=n // 2 * unlike, **more,
    )  # fmt: skip


def closed(number: int, *strata: Stratum) -> Round:
    return Round(round=number, status="discarded", strata=strata)


def test_a_plan_that_moves_to_harder_cells_is_no_collapse() -> None:
    easy, hard = stratum(2, right=0.9, unlike=0.8), stratum(8, right=0.2, unlike=0.1)
    mostly_easy = closed(1, easy, stratum(8, n=20, right=0.2, unlike=0.1))
    mostly_hard = closed(2, stratum(2, n=20, right=0.9, unlike=0.8), hard)
    assert signs_of_collapse([mostly_easy, mostly_hard]) == "", "the same cells, shared out anew"
    then, now = compared(mostly_easy, mostly_hard) or (None, None)
    assert then and now and then.diversity == now.diversity and then.pass_k == now.pass_k
    assert then.pass_k and then.pass_k.n == 20 + 20, "a cell counts as many problems as the round with fewer has"
    assert signs_of_collapse([closed(1, easy), closed(2, hard)]) == ""
    assert signs_of_collapse([closed(1, easy), closed(2, stratum(2, unlike=0.1))])


def test_only_what_is_alike_is_compared() -> None:
    many, few = stratum(k=8, unlike=0.8), stratum(k=4, unlike=0.1)
    assert compared(closed(1, many), closed(2, few)) is None, "another number of samples a problem"
    hotter = few.model_copy(update={"k": 8, "temperature": 1.2})
    assert compared(closed(1, many), closed(2, hotter)) is None
    assert signs_of_collapse([closed(1, many), closed(2), closed(3)]) == "", "rounds that drew nothing"
    one = stratum(k=1).model_copy(update={"several": 0, "unlike": 0.0})
    assert (both := compared(closed(1, one), closed(2, one)))
    assert all(v.diversity is v.pass_1 is v.pass_k is v.labels is None for v in both)


def test_thirty_healthy_rounds_are_hardly_ever_stopped_by_chance() -> None:
    """Three cells, 300 problems a round, four samples each; all that is measured keeps its true value."""
    stopped = sum(any(signs_of_collapse(healthy(seed)[: n + 1]) for n in range(30)) for seed in range(6))
    assert stopped <= 1


def healthy(seed: int) -> list[Round]:
    luck = random.Random(seed)

    def share(n: int, p: float) -> int:
        return sum(luck.random() < p for _ in range(n))

    def one(level: int) -> Stratum:
        n = luck.randint(40, 160)
        each = Counter(share(4, luck.betavariate(0.5, level)) for _ in range(n))
        several = sum(times for right, times in each.items() if right > 1)
        return Stratum(
            skill="sum", level=level, sampler="student", temperature=0.8, k=4, problems=n,
            pass_1=sum(right * times for right, times in each.items()) / 4, pass_k=n - each[0],
            several=several, unlike=share(several, 0.5), labelled=n, rightly=share(n, 0.75),
        )  # fmt: skip

    return [closed(number, *map(one, (1, 2, 3))) for number in range(1, 31)]
