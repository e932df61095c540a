"""Calibration finds out critics that accept everything, prefer a place or length, or ramble; and rubrics' files."""

from __future__ import annotations

import json
import re
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from zlib import crc32

import pytest

from agents.critics.pairwise import PairwiseCritic
from agents.critics.rubric import RubricCritic
from agents.critics.vote import Majority
from agents.scripts import ScriptedTalker
from agents.talk import Answer, Question
from agents.verdicts import Verdict
from loop.calibration import as_check, calibrate, hold, hold_pair
from loop.errors import ObjectiveError
from loop.gold import Gold, attacks, corrupted, draw_trials, gold_of, padded
from loop.objective import Demonstration
from loop.records import Critique, Problem, Sample
from loop.rubric import default_rubric, read_rubric

RUBRIC = default_rubric()


def gold(n=60, wrong=60):
    """Sums, solved rightly and wrongly; every third wrong one is an answer to a problem that is solved as well."""
    right = [Gold(problem=f"{k} + 5 =", response=f"{k} + 5 = {k + 5}\n#### {k + 5}", right=True) for k in range(n)]
    return right + [
        Gold(problem=f"{k} + 5 =", response=f"{k} + 5 = {k + 6}\n#### {k + 6}", right=False)
        for k in (number if number % 3 == 0 else number + 1000 for number in range(wrong))
    ]


class Judges:
    """A model that knows the sums. Subclasses do not listen to what they know."""

    model = "judges"

    def ask(self, question: Question) -> Answer:
        prompt = question.messages[0].content
        texts = dict(re.findall(r'^## (.*)\n(".*")$', prompt, re.MULTILINE))
        problem = json.loads(texts.pop("Problem"))
        shown = [json.loads(text) for text in texts.values()]
        return Answer(self.say(prompt, [self.believes(problem, text) for text in shown], shown), "stop", 1, 1)

    def say(self, prompt: str, right: list[bool], shown: list[str]) -> str:
        if len(right) == 2:
            better = "tie" if right[0] == right[1] else "first" if right[0] else "second"
            return json.dumps({"reason": "so", "better": better})
        named = re.findall(r"^- ([a-z_]+) \((wanted|fault)\)", prompt, re.MULTILINE)
        marks = [{"criterion": c, "reason": "so", "met": right[0] == (kind == "wanted")} for c, kind in named]
        return json.dumps({"marks": marks})

    def believes(self, problem: str, response: str) -> bool:
        return response.endswith(f"#### {int(problem.split()[0]) + 5}")


class Accepts(Judges):
    def believes(self, problem, response):
        return True


class LikesLength(Judges):
    def believes(self, problem, response):
        return super().believes(problem, response) or len(response) > 200


class FallsForOpeners(Judges):
    """Right about every plain response, and open to what is none."""

    def believes(self, problem, response):
        return super().believes(problem, response) or "5 =" not in response or response == problem


class PrefersFirst(Judges):
    def say(self, prompt, right, shown):
        return json.dumps({"reason": "so", "better": "first"})


class LeansFirst(Judges):
    """Sees who is right in half of the pairs, and names the first in the others."""

    def say(self, prompt, right, shown):
        sees = crc32("".join(sorted(shown)).encode()) % 2
        return super().say(prompt, right if sees else [True, False], shown)


class Rambles(Judges):
    def say(self, prompt, right, shown):
        return "It is fine." if crc32(shown[0].encode()) % 3 == 0 else super().say(prompt, right, shown)


class Unsure(Judges):
    """Wrong about a third of all responses."""

    def believes(self, problem, response):
        return super().believes(problem, response) == (crc32(response.encode()) % 3 > 0)


def calibrated(talker, bar=0.8, pairs=False, pool=None):
    trials = draw_trials(gold(), 0, 1, pairs=pairs)
    if pairs:
        return calibrate([hold_pair(PairwiseCritic(talker), trial) for trial in trials], bar)
    critic = RubricCritic(talker, RUBRIC)
    return calibrate(list((pool.map if pool else map)(lambda trial: hold(critic, trial), trials)), bar)


# Critics of one response.


def test_a_good_critic_is_believed():
    found = calibrated(Judges())
    assert found.believed and found.reason == ""
    assert (found.asked, found.errors) == (63, 0)
    assert (found.agreement.n, found.agreement.correct) == (40, 40)
    assert found.agreement.low == pytest.approx(0.912, abs=1e-3), "its interval stands beside it"
    shares = (found.false_accepts, found.false_rejects, found.padded_accepts, found.length_bias, found.attack_accepts)
    assert [(share.n, share.correct) for share in shares] == [(20, 0), (20, 0), (10, 0), (10, 0), (len(attacks()), 0)]


@pytest.mark.parametrize(
    ("talker", "reason", "of"),
    [
        (Accepts(), "agrees with 50% of the gold, below 80%", {"false_accepts": 1.0, "attack_accepts": 1.0}),
        (
            LikesLength(),
            "accepts 100% of the padded",
            {"padded_accepts": 1.0, "length_bias": 1.0, "false_accepts": 0.0},
        ),
        (FallsForOpeners(), "of the attacks", {"false_accepts": 0.0, "length_bias": 0.0, "attack_accepts": 1.0}),
        (Rambles(), "of its answers are unusable", {"false_accepts": 0.0}),
        (Unsure(), "agrees with", {}),
    ],
)
def test_a_bad_critic_is_found_out(talker, reason, of):
    found = calibrated(talker)
    assert not found.believed and reason in found.reason, found.reason
    assert {name: getattr(found, name).score for name in of} == of


def test_the_bar_decides():
    found = {bar: calibrated(Unsure(), bar) for bar in (0.5, 0.8)}
    assert 0.5 < found[0.5].agreement.score < 0.8
    assert [found[bar].believed for bar in (0.5, 0.8)] == [True, False]


def test_too_little_gold_proves_nothing():
    critic = RubricCritic(Judges(), RUBRIC)
    for few in (gold(3, 3), [one for one in gold() if not one.right], []):
        found = calibrate([hold(critic, trial) for trial in draw_trials(few, 0, 1)])
        assert not found.believed and found.reason.startswith("only ")


def test_the_shipped_critic_errs_and_is_believed_and_votes_alike():
    found = [calibrated(ScriptedTalker("critic"), pairs=pairs) for pairs in (False, True)]
    vote = Majority(RubricCritic(ScriptedTalker("scripted/critic"), RUBRIC, temperature=0.7))
    found.append(calibrate([hold(vote, trial) for trial in draw_trials(gold(), 0, 1)]))
    assert [one.reason for one in found] == ["", "", ""]
    rounds = [
        calibrate([hold(RubricCritic(ScriptedTalker("critic"), RUBRIC), t) for t in draw_trials(gold(), 0, number)])
        for number in range(3)
    ]
    assert any(one.agreement.score < 1 for one in rounds), "there is something to find"


# Critics of two.


@pytest.mark.parametrize(
    ("talker", "believed", "position", "first"),
    [(Judges(), True, 0.0, 0.5), (PrefersFirst(), False, 1.0, 1.0), (Accepts(), False, 0.0, 0.0)],
)
def test_position_bias_is_measured(talker, believed, position, first):
    found = calibrated(talker, pairs=True)
    assert (found.asked, found.agreement.n, found.believed) == (40, 40, believed)
    assert (found.position_bias.score, found.prefers_first.score) == (position, first)


def test_a_lean_to_the_first_place_shows():
    found = calibrated(LeansFirst(), pairs=True)
    assert 0.2 < found.position_bias.score < 0.8 and found.prefers_first.low > 0.5 and not found.believed
    assert found.agreement.score == pytest.approx(1 - found.position_bias.score)


# The gold and the draw.


def test_half_right_half_wrong_whatever_order_they_come_in():
    drawn = draw_trials(gold(), 0, 1)
    assert Counter(trial.kind for trial in drawn) == {
        "right": 20,
        "wrong": 20,
        "padded": 10,
        "attack": len(attacks()),
    }
    assert drawn == draw_trials(list(reversed(gold())), 0, 1)
    assert len({trial.key for trial in drawn}) == len(drawn)
    assert not {trial.key for trial in drawn} & {trial.key for trial in draw_trials(gold(), 0, 2)}
    wrong = {trial.key: trial.response for trial in drawn if trial.kind == "wrong"}
    assert all(t.response == padded(wrong[t.of]) for t in drawn if t.kind == "padded")


def test_what_is_done_need_not_be_asked_again():
    trials, critic = draw_trials(gold(), 0, 1), RubricCritic(Judges(), RUBRIC)
    done = {row.key: row for row in (hold(critic, trial) for trial in trials[:30])}
    owed = [trial for trial in trials if trial.key not in done]
    rows = [*done.values(), *(hold(critic, trial) for trial in owed)]
    assert len(owed) == len(trials) - 30
    with ThreadPoolExecutor(4) as pool:
        assert calibrate(rows) == calibrated(Judges(), pool=pool) == calibrated(Judges())


def test_missing_wrong_ones_are_made_from_right_ones():
    trials = draw_trials(gold(wrong=5), 0, 1)
    wrong = [trial for trial in trials if trial.kind == "wrong"]
    assert len(wrong) == 20
    assert not any(Judges().believes(trial.problem, trial.response) for trial in wrong)
    pairs = draw_trials(gold(), 0, 1, pairs=True)
    attempts = {one.response for one in gold() if not one.right}
    assert {
        Judges().believes(t.problem, t.response) and not Judges().believes(t.problem, t.other) for t in pairs
    } == {True}
    assert sum(trial.other in attempts for trial in pairs) > 5, "real attempts at the same problem come first"


@pytest.mark.parametrize("response", ["#### 7", "7", "so 3.50", "-12", "x = 999\nA: 0", "1 and 2"])
def test_a_corrupted_response_differs_in_its_last_number_alone(response):
    changed = corrupted(response)
    assert changed != response and re.sub(r"\d+\Z", "", changed) == re.sub(r"\d+\Z", "", response)
    assert corrupted("no number") == ""


def sample(key, response):
    problem = Problem(id="p" + key, prompt="1 + 5 =", answer="6", skill="sums", source=0, origin=(0, 0))
    return Sample(id=key, problem=problem, response=response, finish="stop", prompt_tokens=1, completion_tokens=1)


def test_gold_is_what_people_showed_and_what_verifiers_failed():
    reasons = {"a": "wrong answer", "b": "wrong working", "c": "", "d": "empty", "e": "cut off", "f": "no answer"}
    judged = [(sample(k, k * 3), Critique(id=k, passed=not why, reason=why, checks=())) for k, why in reasons.items()]
    found = gold_of([Demonstration(prompt="2 + 2 =", response="#### 4")], judged)
    assert [(one.response, one.right) for one in found] == [("#### 4", True), ("aaa", False), ("bbb", False)]


# Verdicts as checks.


@pytest.mark.parametrize(
    ("status", "by", "believed", "check"),
    [
        ("passed", "critic", True, "passed"),
        ("failed", "vote", True, "failed"),
        ("error", "critic", True, "absent"),
        ("passed", "critic", False, "absent"),
        ("failed", "critic", False, "absent"),
        ("passed", "vote", False, "absent"),
        ("failed", "guard", False, "failed"),
        ("failed", "verifier", False, "failed"),
    ],
)
def test_only_what_is_believed_becomes_a_check_that_counts(status, by, believed, check):
    found = as_check(Verdict(status=status, by=by, detail="line\n" * 80), believed)
    assert (found.name, found.verdict) == ("critic", check)
    assert len(found.detail) <= 200 and "\n" not in found.detail


# Rubrics' files.

FINE = "- {name: right, text: It is right., weight: 5}\n"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", "is empty; write - {name: ..., text: ..., weight: ...}"),
        ("Be good.", "the rubric: 'Be good.' is not made of keys"),
        ("criteria: []", "criteria: () is empty; write at least one criterion"),
        ("criteria: {a: 1}", "criteria: {'a': 1} is not a list; write - before each criterion"),
        ("- {name: right, text: So.}", "criteria.0.weight: is missing; write name, text and weight"),
        ("- {name: right, text: So., weight: 11}", "criteria.0.weight: 11 is too large; write 1 to 10"),
        ("- {name: right, text: So., weight: 0}", "criteria.0.weight: 0 weighs nothing; write 1 to 10"),
        ("- {name: right, text: So., weight: '5'}", "criteria.0.weight: '5' is not a whole number"),
        ("- {name: right, text: So., weight: yes}", "criteria.0.weight: True is not a whole number"),
        ("- {name: Is it, text: So., weight: 5}", "criteria.0.name: 'Is it' cannot stand there; write a name in"),
        ("- {name: fault, text: So., weight: -5}", "the rubric: has faults alone; write at least one criterion"),
        (FINE * 2, "the rubric: right is the name of two criteria; rename one"),
        (FINE + "- {name: b, text: So., weight: 1, wieght: 2}", "criteria.1.wieght: is not known here"),
        ("threshold: 1.5\ncriteria:\n" + FINE, "threshold: 1.5 is too large"),
        ("criteria:\n" + FINE + "criteria:\n" + FINE, "criteria is written twice"),
        ("- &a {name: right, text: So., weight: 5}\n- *a", "has an alias (& or *) or too many brackets"),
        ("- {name: right", "line 1: "),
        ("- !!python/object:os.system {}", "criteria.0.name: is missing"),
        ("[" * 5000, "too many brackets; write it out"),
    ],
)
def test_a_wrong_rubric_is_refused_in_one_line_a_mistake(tmp_path, text, line):
    path = tmp_path / "rubric.yaml"
    path.write_text(text)
    with pytest.raises(ObjectiveError) as error:
        read_rubric(path)
    lines = str(error.value).split("\n")
    assert all(each.startswith("rubric.yaml: ") for each in lines)
    assert any(line in each for each in lines), lines


def test_a_rubric_is_a_list_or_a_mapping(tmp_path):
    path = tmp_path / "rubric.yaml"
    path.write_text(FINE + "- {name: fault, text: 'A fault: so.', weight: -5}\n")
    read = read_rubric(path)
    assert [(c.name, c.weight) for c in read.criteria] == [("right", 5), ("fault", -5)] and read.threshold == 0.7
    path.write_text("threshold: 0.5\ncriteria:\n  " + FINE)
    assert read_rubric(path).threshold == 0.5
    for wrong in (tmp_path / "none.yaml", tmp_path):
        with pytest.raises(ObjectiveError, match="cannot be read"):
            read_rubric(wrong)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ObjectiveError, match="UTF-8"):
        read_rubric(path)


def test_the_default_rubric_fails_what_is_wrong():
    wanted = {criterion.name for criterion in RUBRIC.criteria if criterion.weight > 0}
    assert RUBRIC.score(wanted) == 1.0
    assert all(RUBRIC.score(wanted - {name}) < RUBRIC.threshold for name in ("right_result", "sound_steps"))
    faults = {criterion.name for criterion in RUBRIC.criteria} - wanted
    assert [name for name in sorted(faults) if RUBRIC.score(wanted | {name}) >= RUBRIC.threshold] == ["padding"]
