"""Leaks and repeats in whole runs: planted by who writes and who samples, refused, and shown; look-alikes pass."""

from __future__ import annotations

import ast
import gzip
import html
import json
import random
import re
import shutil
import sysconfig
import textwrap
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from fault_server import FaultServer
from launches import DIED, Launch, Launcher
from test_strategies import numbers_of

from agents.engines.scripted import work_out
from agents.replies import Plan
from agents.strategies import Allotment, RejectionSampling
from loop.code_match import solution_of
from loop.contamination import RUN, Exams, exams_of
from loop.curate import admit
from loop.documents import Document
from loop.extracts import Extracts
from loop.files import as_line, read_rows
from loop.objective import read_objective
from loop.records import Admission, Critique, Example, Problem, Sample, digest
from loop.repeats import Known
from loop.report import write_report
from loop.tasks import Tasks

DATA = Path(__file__).parents[2] / "shared" / "data"
GARDEN = (
    "Rosa plants tulips along the northern wall of her garden and daffodils along the southern one. In spring she"
    " counts 48 flowers by the northern wall, three times as many as by the southern. A hailstorm on the second of"
    " May breaks a quarter of all the daffodils while the tulips, sheltered by an old yew hedge, stay whole. How many"
    " flowers does Rosa have left?"
)
"""Of dev."""
FERRY = (
    "A ferry crosses the sound nine times on every day but Sunday, when it lies at the quay and is painted. Each"
    " crossing takes at most 60 people and 12 carts drawn by mules. How many people can it carry in one week?"
)
"""Of the test."""
TOTALS = '''def running_totals(amounts, start=0):
    """The sums so far, and the largest of them."""
    totals, total, largest = [], start, None
    for amount in amounts:
        total += amount
        if largest is None or total > largest:
            largest = total
        totals.append(total)
    return totals, largest
'''
"""The solution of a problem of the test."""
ASKED = "Write a function running_totals(amounts, start=0): the sums so far, and the largest of them."
RENAMED = """def prefix(xs, s=0):
    out, acc, top = [], s, None
    for x in xs:
        acc += x
        if top is None or acc > top:
            top = acc
        out.append(acc)
    return out, top"""
TALE = (
    "Long before the railway came, people of the valley told each other in winter of a gardener whose walls were"
    " higher than any tower, and of what grew there. Some said that nobody had ever been inside. Others had an uncle"
    " who knew a man who had, and who came back with pockets full of seeds and would say no more about it. It was"
    " always an uncle, never a father. This is how it went, as far as anybody remembers it."
)
LONG = (
    f"{TALE} One evening, when the snow lay as high as the window sills and nobody thought of going home, the oldest"
    " of them took a sheet of paper and drew the wall with all of its gates. There were seven gates on the side of"
    " the river and four on the side of the hill; each was kept by three men, and of all these men five had left by"
    " the time that the story was told. How many men kept the gates then?"
)
BAKER = "A baker fills 6 trays with 8 rolls each, sells 19 of the rolls and packs what is left in 29 bags. How many?"
PRINTER = (
    "Six machines print eight posters an hour. After one hour nineteen posters are hung up in the town, and the"
    " others are shared out among twenty-nine schools. What does each school get?"
)
STEPS = "6 * 8 = 48\n48 - 19 = 29\n29 / 29 = 1\n#### 1"
CELLS = [{"skill": "sum", "level": 2, "problems": 20}]


def each_twelfth(text: str, start: int = 8) -> str:
    """With every twelfth word replaced, from where it leaves no run of 13 words and marks."""
    return " ".join("otherwise" if n % 12 == start else word for n, word in enumerate(text.split()))


def three_changed(text: str) -> str:
    return " ".join("otherwise" if n in (20, 90, 120) else word for n, word in enumerate(text.split()))


def run_of(text: str, length: int = RUN) -> str:
    """The first run of so many words that no mark parts."""
    return next(" ".join(m[0].split()[:length]) for m in re.finditer(rf"(?:\w+ ){{{length - 1}}}\w+", text))


WRITES = {("near", 1): each_twelfth(GARDEN), ("near", 2): LONG, ("known", 1): LONG, ("known", 2): three_changed(LONG),
          ("path", 1): BAKER, ("path", 2): PRINTER}  # fmt: skip
"""What the challenger writes, by the plan's instructions and the round."""


def say(prompt: str, body: dict[str, Any], sample: int) -> str:
    """A model that plans, writes what it is told to, and plants leaks in two of its five kinds of answers."""
    if body["messages"][0]["role"] == "system":
        if "# Groups" in body["messages"][1]["content"]:
            return "no names"
        number = re.findall(r"Plan round (\d+)", body["messages"][-1]["content"])[-1]
        writes = [{"kind": "self_instruct", "count": 1, "instructions": f"{name} {number}"} for name, _ in WRITES]
        drawn = {"kind": "rejection_sampling", "allotments": CELLS}
        unique = [told for n, told in enumerate(writes) if told not in writes[:n]]
        return json.dumps({"action": "plan", "plan": {"hypothesis": "As told.", "strategies": [drawn, *unique]}})
    if told := re.search(r"What is wanted besides: (\w+) (\d)", prompt):
        posed = WRITES[told[1], int(told[2])]
        return f"## Problem\n{posed}\n## Solution\n{solve(posed)}\n## Answer\n{solve(posed).split()[-1]}"
    problem = prompt.rpartition("Problem:")[2].partition("Answer:")[0].strip()
    return solve(problem)


def solve(problem: str) -> str:
    if "baker" in problem or "posters" in problem:
        return STEPS
    if "Rosa" in problem or "flowers" in problem:
        return "48 / 3 = 16\n16 / 4 = 4\n48 + 16 - 4 = 60\n#### 60"
    if "gates" in problem:
        return "7 + 4 = 11\n11 * 3 - 5 = 28\n#### 28"
    numbers = numbers_of(f"Problem:{problem}")
    working = work_out(numbers)
    if numbers[0] % 5 == 0:
        return f"{TALE} In it {run_of(FERRY)} or so. {TALE}\n{working}"
    return f"```python\n{RENAMED}\n```\n{working}" if numbers[0] % 5 == 1 else working


def write_objective(folder: Path, server: FaultServer) -> Path:
    """Sums to practise on, and exams of their own that hold what is planted."""
    entry = {"model": "small", "endpoint": f"{server.url}/v1", "prices": {"input": 1.0, "output": 1.0}}

    def row(first: int, second: int) -> dict[str, Any]:
        return {"prompt": f"What is {first} + {second} ?", "answer": str(first + second), "skill": "sum", "level": 2}

    code = {"prompt": ASKED, "answer": "29", "solution": TOTALS, "skill": "code"}
    files = {
        "problems": [row(100 + n, 1 + n % 9) for n in range(80)],
        "dev": [{"prompt": GARDEN, "answer": "60", "skill": "word"}, *(row(3000 + n, 7) for n in range(10))],
        "test": [{"prompt": FERRY, "answer": "3240"}, code, *(row(4000 + n, 7) for n in range(4))],
        "demos": [{"prompt": f"What is {n} + 8 ?", "response": work_out([n, 8])} for n in range(700, 724)],
    }
    folder.mkdir(parents=True)
    for name, rows in files.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")

    def source(name: str) -> dict[str, Any]:
        return {"source": f"{name}.jsonl", "verifier": ["numeric", "equations"]}

    objective = {
        "student": "scripted/learner", "demonstrations": "demos.jsonl", "budget": {"rounds": 2, "usd": 5}, "seed": 3,
        "tasks": {"practice": [source("problems")], "dev": [source("dev")], "test": [source("test")]},
        "cast": dict.fromkeys(("orchestrator", "sampler", "challenger"), entry), "control": False,
    }  # fmt: skip
    path = folder / "OBJECTIVE.md"
    path.write_text(f"---\n{json.dumps(objective)}\n---\n# Sums\nAdd up.\n", encoding="utf-8")
    return path


@dataclass(frozen=True)
class Played:
    objective: Path
    launch: Launch

    @property
    def run(self) -> Path:
        return self.objective.parent / "run"

    def rows(self, number: int, file: str) -> list[dict[str, Any]]:
        path = self.run / "rounds" / f"{number:03}" / file
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]

    def decided(self, number: int) -> list[tuple[dict[str, Any], dict[str, Any]]]:
        """A round's admissions, each with its sample."""
        samples = {row["id"]: row for row in self.rows(number, "samples.jsonl")}
        return [(row, samples[row["id"]]) for row in self.rows(number, "admissions.jsonl")]

    def trained_on(self) -> list[dict[str, Any]]:
        return [row for number in (1, 2) for row in self.rows(number, "dataset.jsonl")]


@pytest.fixture(scope="module")
def server() -> Iterator[FaultServer]:
    with FaultServer(say=say) as faultless:
        yield faultless


@pytest.fixture(scope="module")
def played(swift_path: Path, launchers: list[Launcher], server: FaultServer) -> Played:
    objective = write_objective(swift_path / "leaks", server)
    launch = launchers[0].launch(objective, objective.parent / "run")
    assert launch.code == 0, launch.said
    return Played(objective, launch)


# Leaks, planted in a whole run.


def test_a_planted_leak_of_each_kind_is_refused(played: Played) -> None:
    """By n-gram, by near-duplicate, by syntax tree (mechanisms §9.7: decontaminate three ways)."""
    leaks = [(row, sample) for n in (1, 2) for row, sample in played.decided(n) if row["matched_by"]]
    assert {row["reason"] for row, _ in leaks} == {"stands in an exam"}
    by_kind = {kind: [pair for pair in leaks if pair[0]["matched_by"] == kind] for kind, _ in map(kind_of, leaks)}
    assert by_kind.keys() == {"run", "near-duplicate", "code"}
    for row, sample in by_kind["run"]:
        assert row["matched"] == run_of(FERRY).casefold() and row["exam"] == FERRY
        assert run_of(FERRY) in sample["response"]
    for row, sample in by_kind["near-duplicate"]:
        assert row["matched"] == sample["problem"]["prompt"] == each_twelfth(GARDEN) and row["exam"] == GARDEN
    for row, sample in by_kind["code"]:
        assert row["matched"].strip() == RENAMED and row["exam"] == TOTALS.strip("\n")
        assert RENAMED in sample["response"]
    planted = [
        sample["id"]
        for n in (1, 2)
        for sample in played.rows(n, "samples.jsonl")
        if run_of(FERRY) in sample["response"]
        or RENAMED in sample["response"]
        or "Rosa" in sample["problem"]["prompt"]
    ]
    first_votes = [row["id"] for n in (1, 2) for row, _ in played.decided(n) if row["reason"] != "duplicate"]
    assert {row["id"] for row, _ in leaks} == {*planted} & {*first_votes}, "and nothing else"
    assert len(planted) >= 8


def kind_of(pair: tuple[dict[str, Any], dict[str, Any]]) -> tuple[str, str]:
    return pair[0]["matched_by"], pair[0]["id"]


def test_no_leak_is_ever_trained_on(played: Played) -> None:
    taught = [f"{row['prompt']} {row['response']}" for row in played.trained_on()]
    assert len(taught) > 40
    assert not [text for text in taught if run_of(FERRY) in text or "def prefix" in text or "Rosa" in text]


def test_renaming_passes_the_n_gram_and_is_flagged_by_the_tree(played: Played) -> None:
    """mechanisms §3, phi-1: renaming variables in a test solution and planting it in training."""
    sample = next(sample for row, sample in played.decided(1) if row["matched_by"] == "code")
    asked = (sample["problem"]["prompt"], sample["response"])
    assert Exams([GARDEN, FERRY, ASKED, TOTALS]).find(*asked) is None
    assert Exams([], [TOTALS]).find(*asked) is not None


def test_the_report_shows_every_leak_with_its_kind_text_and_exam(played: Played) -> None:
    page = write_report(played.run).read_text(encoding="utf-8")
    shown = [
        " ".join(html.unescape(re.sub("<[^>]*>", " ", cells)).split())
        for cells in re.findall(r'<tr id="leak-\d+">(.*?)</tr>', page, re.DOTALL)
    ]
    told = {"run": "13 words in a row", "near-duplicate": "near-duplicate", "code": "syntax tree"}
    leaks = [(n, row) for n in (1, 2) for row, _ in played.decided(n) if row["matched_by"]]
    for number, row in leaks:
        (line,) = [line for line in shown if " ".join(row["matched"].split()) in line]
        assert line.startswith(told[row["matched_by"]]) and " ".join(row["exam"].split()) in line
        assert f"round {number}:" in line
    assert all(any(row["id"] in line for _, row in leaks) for line in shown) and len(shown) == 3
    assert f"{len(leaks)} samples would have given an exam problem away" in page


def test_extracts_and_written_texts_are_searched_alike(played: Played) -> None:
    tasks = Tasks(read_objective(played.objective), [])
    exams = exams_of([*tasks.dev, *tasks.test])
    texts = [f"Read this.\n\n```python\n{RENAMED}\n```", f"{TALE} {each_twelfth(GARDEN)} {TALE}", TALE]
    extracts = Extracts((Document(id=text[:9], name="d", title="", text=text) for text in texts), exams)
    assert extracts.left_out == 2 and [extract.text for extract in extracts.all] == [TALE]
    samples = [sample_of("", text, written=True) for text in (*texts, each_twelfth(GARDEN))]
    kinds = [(row.reason, row.matched_by) for row in decide(samples, Known(exams))]
    assert kinds == [("stands in an exam", kind) for kind in ("code", "pieces")] + [("", "")] + [
        ("stands in an exam", "near-duplicate")
    ]


# What only looks like a leak.


def sample_of(prompt: str, response: str, written: bool = False, author: str = "") -> Sample:
    known = Problem(
        id=digest("problem", prompt), prompt=prompt, answer="", skill="s", source=0, origin=(0, 1), author=author
    )
    return Sample(
        id=digest(prompt, response), problem=known, response=response, finish="stop", prompt_tokens=1,
        completion_tokens=1, written=written,
    )  # fmt: skip


def decide(samples: Sequence[Sample], known: Known) -> list[Admission]:
    plan = Plan(
        hypothesis="h",
        strategies=(RejectionSampling(allotments=(Allotment(skill="s", problems=1),), keep_per_problem=9),),
    )
    passed = [Critique(id=sample.id, passed=True, reason="", checks=()) for sample in samples]
    return admit(2, plan, samples, passed, known)


def problem(prompt: str, solution: str = "") -> Problem:
    return Problem(id=prompt, prompt=prompt, answer="1", skill="s", source=0, origin=(0, 1), solution=solution)


def read(name: str) -> list[dict[str, Any]]:
    content = (DATA / name).read_bytes()
    text = gzip.decompress(content) if name.endswith(".gz") else content
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.skipif(not (DATA / "gsm8k_test.jsonl").exists(), reason="GSM8K is not beside the checkout")
def test_two_hundred_clean_problems_with_solutions(capsys: pytest.CaptureFixture[str]) -> None:
    """GSM8K's training rows, as they are, against all of its test."""
    known = Known(exams_of([problem(row["question"]) for row in read("gsm8k_test.jsonl")]))
    drawn = random.Random(8).sample(read("gsm8k_train.jsonl"), 200)
    decided = decide([sample_of(row["question"], row["answer"]) for row in drawn], known)
    show(capsys, "GSM8K training rows against its test", decided)


@pytest.mark.skipif(not (DATA / "humaneval.jsonl.gz").exists(), reason="HumanEval is not beside the checkout")
def test_two_hundred_clean_rows_of_code(capsys: pytest.CaptureFixture[str]) -> None:
    """Functions of the standard library against HumanEval, and each half of HumanEval's own against the other half:
    of these the code alone, since the docstrings of some of its problems share 13 words.
    """
    rows = read("humaneval.jsonl.gz")
    exam = [problem(row["prompt"], row["canonical_solution"]) for row in rows]
    assert sum(not solution_of(p.prompt, p.solution) for p in exam) == 0
    library = [sample_of("Write a function.", f"```python\n{code}\n```") for code in functions()]
    decided = decide(random.Random(8).sample(library, 100), Known(exams_of(exam)))
    for half in (0, 1):
        other = random.Random(8).sample(rows[1 - half :: 2], 50)
        code = [bare(row["prompt"] + row["canonical_solution"]) for row in other]
        samples = [sample_of(f"Write {row['entry_point']}.", text) for row, text in zip(other, code, strict=True)]
        decided += decide(samples, Known(exams_of(exam[half::2])))
    show(capsys, "functions against HumanEval", decided)


def functions() -> Iterator[str]:
    """Functions of the standard library of five lines to thirty, with their docstrings."""
    for path in sorted(Path(sysconfig.get_paths()["stdlib"]).glob("[a-d]*.py")):
        text = path.read_text(encoding="utf-8", errors="replace")
        for node in ast.parse(text).body:
            if isinstance(node, ast.FunctionDef) and 5 <= (node.end_lineno or 0) - node.lineno <= 30:
                yield textwrap.dedent(ast.get_source_segment(text, node) or "")


def bare(code: str) -> str:
    """The code without its docstrings."""
    tree = ast.parse(code)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return ast.unparse(tree)


def show(capsys: pytest.CaptureFixture[str], title: str, decided: Sequence[Admission]) -> None:
    flagged = [row for row in decided if row.matched_by]
    with capsys.disabled():
        kinds = dict(Counter(row.matched_by for row in flagged))
        print(f"\n{title}: {len(flagged)} of {len(decided)} flagged {kinds or ''}")
    assert len(decided) == 200
    assert len(flagged) <= 0.02 * len(decided), [row.matched for row in flagged]
    assert not [row.reason for row in decided if row.reason.startswith("near")], "nor does one repeat another"


# Novelty over rounds.


def test_a_row_of_an_earlier_round_with_three_words_changed_is_refused(played: Played) -> None:
    """mechanisms §9.4: over all that was trained on before, not the batch; the admission names what it repeats."""
    (first,) = [row for row, s in played.decided(1) if s["problem"]["prompt"] == LONG and not row["reason"]]
    again = [row for row, s in played.decided(2) if s["problem"]["prompt"] == three_changed(LONG)]
    assert Counter(row["reason"] for row in again) == {"duplicate": 4, "near-duplicate of an earlier row": 1}
    (near,) = [row for row in again if row["reason"] != "duplicate"]
    assert near["repeats"] == first["example"]["id"] and 0.8 <= near["similarity"] < 1
    same = [row for row, s in played.decided(2) if s["problem"]["prompt"] == LONG]
    assert {row["reason"] for row in same} == {"duplicate"}
    assert {(row["repeats"], row["similarity"]) for row in same} == {(first["example"]["id"], 1.0)}
    assert [row["prompt"] for row in played.trained_on() if "seven gates" in row["prompt"]] == [LONG] * 2


def test_a_written_problem_that_is_solved_as_a_known_one_is_no_new_one(played: Played) -> None:
    """mechanisms §9.4: the archive is of solutions, not of wording."""
    (first,) = [row for row, s in played.decided(1) if s["problem"]["prompt"] == BAKER and not row["reason"]]
    again = [row for row, s in played.decided(2) if s["problem"]["prompt"] == PRINTER]
    assert Counter(row["reason"] for row in again) == {"duplicate": 4, "known path": 1}
    assert {row["repeats"] for row in again if row["reason"] == "known path"} == {first["example"]["id"]}


def example(prompt: str, response: str) -> Example:
    return Example(id=digest(prompt), prompt=prompt, response=response, origin="o", round=1)


def test_what_makes_a_repeat_and_what_does_not() -> None:
    """Two answers to one long question differ, and two questions about one passage; practice may meet old paths."""
    passage = f"{LONG} Tell me"
    held = Known(Exams([]), [example(f"{passage} who drew.", "The oldest of them did, on a sheet of paper.")])

    def reasons(*rows: tuple[str, str], author: str = "") -> list[str]:
        return [row.reason for row in decide([sample_of(*row, author=author) for row in rows], held)]

    assert reasons((f"{passage} what lay there.", "Snow, as high as the window sills were.")) == [""]
    assert reasons((f"{passage} who drew.", "Whoever was the eldest in that company took it up.")) == [""]
    assert reasons((f"{passage} who drew it.", "The oldest of them did, on a sheet of paper.")) == [
        "near-duplicate of an earlier row"
    ]
    held = Known(Exams([]), [example("One.", STEPS), example("Two.", "3 + 4 = 7\n#### 7")])
    assert reasons(("Other.", STEPS), ("Three.", "3 + 4 = 7\n#### 7")) == ["", ""], "practice has its own problems"
    assert reasons(("Other.", STEPS), ("Three.", "3 + 4 = 7\n#### 7"), author="personas") == ["known path", ""]
    worded = STEPS.replace("6 * 8", "The trays hold 6 * 8")
    assert reasons(("One.", worded), ("one.", STEPS), author="") == ["known path", "duplicate"]


# After a crash.


@pytest.mark.parametrize("place", ["curate worked out", "curate saved"])
def test_admissions_are_the_same_after_a_kill(place: str, played: Played, launchers: list[Launcher]) -> None:
    """Worked out anew, by processes that order sets otherwise, they are the same to the byte."""
    die_at = [k for k, name in enumerate(played.launch.failpoints, 1) if name == place][1]
    killed = Played(
        played.objective, launchers[0].launch(played.objective, run := played.run.with_name(place), die_at)
    )
    assert killed.launch.code == DIED and (run / "rounds/002/critiques.jsonl").exists()
    file = "rounds/002/admissions.jsonl"
    decided = {(run / file).read_bytes()} if (run / file).exists() else set()
    assert bool(decided) == (place == "curate saved")
    for launcher, again in zip(launchers, ("first", "second"), strict=True):
        copied = run.with_name(f"{place}, the {again} time")
        shutil.copytree(run, copied)
        last = launcher.launch(played.objective, copied, None)
        assert last.code == 0, last.said
        assert ("002", "curate") in last.stages and ("002", "critique") not in last.stages
        decided.add((copied / file).read_bytes())
    assert len(decided) == 1


def test_admissions_follow_from_the_rows_alone(played: Played) -> None:
    path = played.run / "rounds/002"
    objective = read_objective(played.objective)
    tasks = Tasks(objective, [])
    before = [row for row in read_rows(path / "dataset.jsonl", Example) if row.round < 2]
    known = Known(exams_of([*tasks.dev, *tasks.test]), [row.model_copy(update={"copies": 1}) for row in before])
    plan = Plan.model_validate_json((path / "plan.json").read_bytes())
    samples, critiques = read_rows(path / "samples.jsonl", Sample), read_rows(path / "critiques.jsonl", Critique)
    decided = admit(2, plan, samples, critiques, known, objective.seed)
    assert [as_line(row) for row in decided] == (path / "admissions.jsonl").read_text(encoding="utf-8").splitlines()
