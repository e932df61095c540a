"""Clusters: wrong attempts of planted causes are found again, real ones among them, and shuffled text gives none."""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
from launches import ROOT

from agents.briefs import Evidence
from loop.clusters import Group, GroupJob, group
from loop.crew import Crew
from loop.slips import SETTING, Slip, slip_of
from loop.verifiers import check_answer, extract_answer, first_wrong_step

SOLUTIONS = ROOT.parent / "shared" / "data" / "gsm8k_model_solutions.jsonl"
MODELS = ("6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification")
EACH, SEEDS = 24, (0, 1, 2)
CAUSES = ("carry dropped", "sign lost", "adds", "last step left out", "miscopied")

Attempt = tuple[str, Evidence]
"""Its planted cause, "any" for none, and the attempt."""


def attempt(prompt: str, response: str, answer: str, where: str) -> Evidence:
    """What the diagnosis sees of an answer."""
    wrong = first_wrong_step(response)
    is_right = check_answer("numeric", response, answer, where).verdict == "passed"
    kind = "wrong format" if extract_answer(response, where) is None else "wrong step" if wrong else "wrong answer"
    return Evidence(
        skill="sums", prompt=prompt, answer=answer, response=response, correct=is_right, finish="stop",
        kind="" if is_right else kind, detail=wrong or "",
    )  # fmt: skip


def chain(cause: str, luck: random.Random) -> Evidence:
    """A chain of two-digit numbers, worked out a step a line, that goes wrong once, for this cause."""
    while True:
        terms = [
            luck.randint(11, 89),
            *(luck.choice((1, -1)) * luck.randint(11, 89) for _ in range(luck.randint(3, 6))),
        ]
        prompt = f"Work out: {' '.join(f'{n:+d}' for n in terms)[1:]} ="
        steps = terms[1:-1] if cause == "last step left out" else terms[1:]
        slipped, at, total, lines = cause == "last step left out", luck.randrange(len(steps)), terms[0], []
        for place, step in enumerate(steps):
            if cause == "miscopied" and place == at:
                step, slipped = step + luck.choice((1, -1)) * luck.randint(1, 9), True
            said = total + step
            if not slipped and cause == "carry dropped" and step > 0 < total and total % 10 + step % 10 > 9:
                said, slipped = said - 10, True
            elif not slipped and cause == "sign lost" and step < 0 < total and said < 0:
                said, slipped = -said, True
            elif not slipped and cause == "adds" and step < 0:
                said, slipped = total - step, True
            elif cause == "any" and place == at:
                said, slipped = said + luck.choice((1, -1)) * luck.randint(2, 60), True
            lines.append(f"{total} {'+' if step > 0 else '-'} {abs(step)} = {said}")
            total = said
        if slipped and total != sum(terms):
            return attempt(prompt, "\n".join([*lines, f"#### {total}"]), str(sum(terms)), "####")


def chains(seed: int) -> list[Attempt]:
    luck = random.Random(seed)
    rows = [(cause, chain(cause, luck)) for cause in CAUSES for _ in range(EACH)]
    rows += [("any", chain("any", luck)) for _ in range(20)]
    luck.shuffle(rows)
    return rows


def solutions() -> list[Evidence]:
    rows = [json.loads(line) for line in SOLUTIONS.read_text(encoding="utf-8").splitlines()]
    return [
        attempt(row["question"], row[model]["solution"], extract_answer(row["ground_truth"], "A:") or "", "A:")
        for row in rows for model in MODELS
    ]  # fmt: skip


def spoilt(right: Evidence, cause: str, luck: random.Random) -> Evidence | None:
    """A right solution gone wrong for this cause; None where it has no place for it."""
    lines = right.response.split("\n")
    steps = [place for place, line in enumerate(lines) if re.search(r"=\d+>>\d", line)]
    if len(steps) < 3 or steps[-1] != len(lines) - 2:
        return None
    if cause == "ten times":
        told = re.sub(r"=(\d+)>>(\d+)", r"=\g<1>0>>\g<2>0", lines[-2])
        lines = [*lines[:-2], told, f"{lines[-1]}0"]
    elif cause == "circles":
        lines = lines[:2] * 6
    else:
        lines[-1] = f"A: {luck.randint(2000, 9000)}"
    return attempt(right.prompt, "\n".join(lines), right.answer, "A:")


def solved_wrong(seed: int) -> list[Attempt]:
    """Real right solutions, spoilt for three causes, among real wrong ones."""
    luck, everything = random.Random(seed), solutions()
    right = [one for one in everything if one.correct]
    luck.shuffle(right)
    rows: list[Attempt] = []
    for cause in ("ten times", "circles", "another answer"):
        made = (spoilt(right.pop(), cause, luck) for _ in range(len(right) // 3))
        rows += [(cause, one) for one in made if one and not one.correct][:EACH]
    rows += [("any", one) for one in luck.sample([one for one in everything if not one.correct], 60)]
    luck.shuffle(rows)
    return rows


def job(rows: Sequence[Attempt], where: str) -> GroupJob:
    slips = tuple(slip_of(one, extract_answer(one.response, where)) for _, one in rows)
    return GroupJob(slips, tuple(f"{one.prompt}\n{one.response}" for _, one in rows))


def silent(done: float, total: float, rate: str) -> None: ...


def rand(rows: Sequence[Attempt], groups: Sequence[Group], noise: bool) -> float:
    """The adjusted Rand index (Hubert and Arabie 1985); without `noise` of the planted ones alone."""
    from sklearn.metrics import adjusted_rand_score

    found = {place: number for number, one in enumerate(groups) for place in one.members}
    told = [(cause, found.get(place, -1)) for place, (cause, _) in enumerate(rows) if noise or cause != "any"]
    return float(adjusted_rand_score(*zip(*told, strict=True)))


@pytest.mark.parametrize("seed", SEEDS)
def test_planted_causes_of_wrong_chains_are_found_and_named_by_what_they_are(seed: int) -> None:
    rows = chains(seed)
    groups = group(job(rows, "####"), silent)
    assert rand(rows, groups, noise=False) >= 0.9 and rand(rows, groups, noise=True) >= 0.8
    names = {
        "carry dropped": "off by 10", "sign lost": "sign turned", "adds": "as if it adds",
        "last step left out": "a term left out", "miscopied": "a number from nowhere",
    }  # fmt: skip
    called = {Counter(rows[place][0] for place in one.members).most_common(1)[0][0]: one.words for one in groups[:5]}
    assert all(names[cause] in called[cause] for cause in CAUSES)


@pytest.mark.skipif(not SOLUTIONS.exists(), reason="needs ../shared/data/gsm8k_model_solutions.jsonl")
@pytest.mark.parametrize("seed", SEEDS)
def test_planted_causes_in_real_solutions_are_found_among_real_wrong_ones(seed: int) -> None:
    rows = solved_wrong(seed)
    groups = group(job(rows, "A:"), silent)
    assert Counter(cause for cause, _ in rows)["ten times"] == EACH
    assert rand(rows, groups, noise=False) >= 0.9
    grouped = [rows[place][0] for one in groups for place in one.members]
    assert grouped.count("any") <= 15, "most wrong solutions have no cause that others share"


@pytest.mark.parametrize("seed", SEEDS)
def test_shuffled_text_gives_no_cluster(seed: int) -> None:
    """The same attempts, with the words and numbers of all workings, and all answers, dealt out anew."""
    luck, rows = random.Random(seed), chains(seed)
    pool = [word for _, one in rows for word in one.response.partition("\n####")[0].split()]
    totals = [one.response.rpartition("#### ")[2] for _, one in rows]
    luck.shuffle(pool)
    luck.shuffle(totals)
    dealt = []
    for (cause, one), total in zip(rows, totals, strict=True):
        words = [pool.pop() for _ in one.response.partition("\n####")[0].split()]
        dealt.append((cause, attempt(one.prompt, f"{' '.join(words)}\n#### {total}", one.answer, "####")))
    assert group(job(dealt, "####"), silent) == []


def test_the_setting_alone_makes_no_cluster_and_neither_do_attempts_that_share_all() -> None:
    settings = [("wrong answer", "one step"), ("wrong step", "subtracts", "far off")]
    bare = GroupJob(tuple(Slip((), settings[n % 2]) for n in range(40)), ("",) * 40)
    assert group(bare, silent) == []
    alike = GroupJob((Slip(("off by 10",), settings[0]),) * 40, ("same words here",) * 40)
    assert group(alike, silent) == []


def test_a_child_finds_the_same_clusters(tmp_path: Path) -> None:
    given = job(chains(0), "####")
    here = group(given, silent)
    assert Crew(tmp_path, lambda: None).run("loop.clusters:group", given, silent, "clusters").result == here != []


@pytest.mark.parametrize(
    ("prompt", "response", "answer", "signs", "step"),
    [
        ("27 + 15 =", "27 + 15 = 32\n#### 32", "42", {"off by 10", "carries", "adds"}, "27 + 15 = 32 (is 42)"),
        ("7 - 30 =", "7 - 30 = 23\n#### 23", "-23", {"sign turned", "below zero"}, "7 - 30 = 23 (is -23)"),
        ("7 + 5 - 3 =", "7 + 5 = 12\n#### 12", "9", {"a term left out"}, "never used: -3"),
        ("7 + 5 =", "7 + 6 = 13\n#### 13", "12", {"a number from nowhere"}, "7 + 6: 6 comes from nowhere"),
        ("2 bags of 30 eggs, in all?", "2 * 30 = 60\n#### 30", "60",
         {"the right answer stands in the working", "no result of the working"}, ""),
        ("Spell train backward", "#### niart", "niart", {"wrong answer"}, ""),
        ("Spell train backward", "#### nirt", "niart", {"too short", "one sign left out"}, ""),
        ("Spell train backward", "#### nairt", "niart", {"right signs, other order"}, ""),
        ("How many?", "so\nso\nso\n#### many", "4", {"goes in circles", "the answer is no number"}, ""),
    ],
)  # fmt: skip
def test_signs_of_a_slip(prompt: str, response: str, answer: str, signs: set[str], step: str) -> None:
    wrong = attempt(prompt, response, answer, "####").model_copy(update={"correct": False})
    wrong = wrong.model_copy(update={"kind": "wrong step" if wrong.detail else "wrong answer"})
    slip = slip_of(wrong, extract_answer(response))
    assert signs <= {*slip.signs, *slip.setting} and slip.step == step
    assert not {*slip.signs} & SETTING and {*slip.setting} <= SETTING


@pytest.mark.parametrize("number", ["9" * 900 + ".5", "0.5", "1e99", "-" + "7" * 900, "1/3"])
@pytest.mark.parametrize("working", ["", f"{'8' * 150} * {'9' * 150} = 3", "3 = 4 = 5", "1 / 0 = 7", "50% + 3 = 9"])
def test_no_answer_is_too_odd(number: str, working: str) -> None:
    odd = attempt("What is 5 + 5 ?", f"{working}\n#### {number}", "10", "####")
    for right in ("10", "2.5", "ten"):
        assert slip_of(odd.model_copy(update={"answer": right}), number).setting
