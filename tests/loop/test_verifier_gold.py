"""The verifier on gold: right ones refused and wrong ones accepted are counted; a refused demonstration is named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from scripted import Scripted

from loop.check import check_objective
from loop.judging import Judge
from loop.objective import read_demonstrations, read_objective
from loop.tasks import Tasks
from loop.verifier_gold import gauge_verifier, with_a_wrong_line


def gauged(path: Path) -> tuple[dict[str, tuple[int, int]], tuple[str, ...]]:
    objective = read_objective(path)
    demonstrations = read_demonstrations(objective)
    tasks = Tasks(objective, [row.prompt for row in demonstrations])
    gold = gauge_verifier(objective, tasks, Judge(tasks, demonstrations), demonstrations)
    return {one.what: (one.share.correct, one.share.n) for one in gold.shares}, gold.refused


def changed(path: Path, name: str, old: str, new: str) -> Path:
    file = path.parent / name
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new), encoding="utf-8")
    return path


def test_a_demonstration_that_its_file_knows_otherwise_is_refused_and_noted(tmp_path: Path) -> None:
    path = Scripted().write(tmp_path)
    rows = [json.loads(line) for line in (tmp_path / "demos.jsonl").read_text().splitlines()]
    with (tmp_path / "problems.jsonl").open("a") as file:
        for row, wrong in zip(rows, (1, 0, 0), strict=False):
            answer = str(int(row["response"].rpartition("#### ")[2]) + wrong)
            file.write(json.dumps({"prompt": row["prompt"], "answer": answer}) + "\n")
    shares, refused = gauged(path)
    assert shares["demonstrations accepted"] == (23, 24) and refused == (rows[0]["prompt"],)
    lines = check_objective(path)
    assert any(line.startswith("verifier on gold: 23 of 24 demonstrations accepted (95 %: ") for line in lines)
    assert any(
        line.startswith(f"note: the verifier refuses demonstrations, such as {refused[0]!r}") for line in lines
    )


def test_what_a_weaker_verifier_lets_through_is_seen(tmp_path: Path) -> None:
    """Working of one demonstration in five does not hold: then none is checked, and no wrong line is refused."""
    path = Scripted().write(tmp_path / "right")
    assert gauged(path)[0]["demonstrations with a wrong line refused"] == (24, 24)
    plain = Scripted().write(tmp_path / "plain")
    changed(plain, "OBJECTIVE.md", "verifier: [numeric, equations]", "verifier: numeric")
    lines = (plain.parent / "demos.jsonl").read_text().splitlines()
    broken = [line.replace(" = ", " gives ") if n % 5 == 0 else line for n, line in enumerate(lines)]
    (plain.parent / "demos.jsonl").write_text("\n".join(broken) + "\n")
    shares, _ = gauged(plain)
    assert "demonstrations with a wrong line refused" not in shares, "not known to the verifier at all"
    assert shares["demonstrations with another result refused"] == (24, 24)


@pytest.mark.parametrize(
    ("source", "response", "accepted"),
    [
        ("{source: problems.jsonl, verifier: numeric, answer: boxed}", "So \\boxed{7}.", (1, 1)),
        ("{source: problems.jsonl, answer: tags}", "<answer>7 apples</answer>", (1, 1)),
        ("{source: problems.jsonl, verifier: numeric}", "#### seven", (0, 1)),
        ("{source: reasoning_gym/chain_sum}", "1 + 6 = 7\n#### 7", (1, 1)),
        ("{source: problems.jsonl}", "it is 7", None),
    ],
)
def test_each_place_and_verifier_is_asked_as_it_is(
    source: str, response: str, accepted: tuple[int, int] | None, tmp_path: Path
) -> None:
    (tmp_path / "demos.jsonl").write_text(json.dumps({"prompt": "What is 1 + 6?", "response": response}) + "\n")
    rows = ({"prompt": f"What is {n} + {n}?", "answer": str(2 * n)} for n in range(60))
    (tmp_path / "problems.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    path = tmp_path / "OBJECTIVE.md"
    path.write_text(
        f"---\nstudent: scripted/learner\ndemonstrations: demos.jsonl\ntasks:\n  practice: [{source}]\n"
        "  dev: {from: practice, size: 9}\n  test: {from: practice, size: 9}\nbudget: {rounds: 1}\n---\nLearn.\n"
    )
    shares, _ = gauged(path)
    assert shares.get("demonstrations accepted") == accepted
    assert shares["answers of practice problems accepted"] == shares["changed answers of practice problems refused"]
    assert shares["answers of practice problems accepted"] == (5, 5)


def test_a_wrong_line_changes_one_result_and_not_the_answer() -> None:
    right = "4 + 5 = 9\n9 - 2 = 7\n#### 7"
    wrong = with_a_wrong_line(right)
    assert sum(a != b for a, b in zip(right.split("\n"), wrong.split("\n"), strict=True)) == 1
    assert wrong.endswith("\n#### 7") and with_a_wrong_line("#### 7") == ""
