import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agents import scripts
from agents.purse import FREE
from loop.cast import SCRIPTS
from loop.errors import ObjectiveError
from loop.objective import (
    Objective,
    Player,
    read_demonstrations,
    read_objective,
    read_problem_rows,
)
from loop.run import objective_digest

TEXT = """---
student: scratch/tiny
demonstrations: demos.jsonl
tasks:
  practice:
    - source: reasoning_gym/chain_sum
      config: {min_digits: 1, max_digits: 1}
      sweep: {terms: [2, 10]}
    - source: problems.jsonl
      verifier: numeric
  dev: {from: practice, size: 300}
  test: {from: practice, size: 500}
goal: 0.85
budget: {rounds: 6, minutes: 20, tokens: 20M, usd: 0}
seed: 0
---
# Objective
Add chains of numbers.
"""
FILES_ONLY = """---
student: scripted/echo
tasks:
  practice: [{source: problems.jsonl}]
  dev: {from: practice, size: 3}
  test: {from: practice, size: 2}
budget: {rounds: 1}
---
Learn.
"""


def write_files(folder: Path, text: str | bytes = TEXT) -> Path:
    demonstration = {"prompt": "1 + 1", "response": "#### 2"}
    problems = [{"prompt": f"1 + {k}", "answer": k + 1, "level": k} for k in range(7)]
    (folder / "demos.jsonl").write_text(json.dumps(demonstration) + "\n\n")
    (folder / "problems.jsonl").write_text("\n".join(map(json.dumps, problems)))
    (folder / "broken.jsonl").write_text('{"prompt": "p", "response": "r", "answer": "a"}\n{"prompt": "p"}\n')
    (folder / "none.jsonl").write_text("\n")
    (folder / "docs.txt").write_text("A document.")
    (folder / "notes.pdf").write_text("of no kind that is read")
    path = folder / "OBJECTIVE.md"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def read(folder: Path, text: str | bytes = TEXT) -> Objective:
    return read_objective(write_files(folder, text))


def refusal(folder: Path, text: str | bytes) -> str:
    with pytest.raises(ObjectiveError) as caught:
        read(folder, text)
    assert caught.value.exit_code == 2
    return str(caught.value)


def changed(old: str, new: str, text: str = TEXT) -> str:
    assert old in text
    return text.replace(old, new, 1)


def test_an_objective_is_read_whole(tmp_path: Path) -> None:
    objective = read(tmp_path)
    generator, file = objective.tasks.practice
    assert (objective.folder, objective.path) == (tmp_path, tmp_path / "OBJECTIVE.md")
    assert objective.text == "# Objective\nAdd chains of numbers."
    assert (generator.task, generator.is_file, generator.verifiers) == ("chain_sum", False, ("scorer",))
    assert [level["terms"] for level in generator.levels()] == list(range(2, 11))
    assert generator.config_at({"terms": 4}) == {
        "min_digits": 1,
        "max_digits": 1,
        "min_terms": 4,
        "max_terms": 4,
    }
    assert (file.is_file, file.verifiers, file.levels()) == (True, ("numeric",), [{}])
    assert (objective.tasks.dev.size, objective.tasks.dev.from_practice) == (300, True)
    assert objective.budget.tokens == 20_000_000
    assert [row.response for row in read_demonstrations(objective)] == ["#### 2"]
    rows = read_problem_rows(file, objective.folder)
    assert [(row.answer, row.level) for row in rows] == [(str(k + 1), k) for k in range(7)]


def test_defaults(tmp_path: Path) -> None:
    objective = read(tmp_path, FILES_ONLY)
    assert objective.goal is None
    assert (objective.control, objective.unsafe_code, objective.seed) == (True, False, 0)
    assert (objective.training.method, objective.training.start, objective.weights) == (
        "auto",
        "best",
        "lora",
    )
    assert objective.cast.orchestrator == (Player(model="rules"),)
    assert objective.cast.sampler == (Player(model="student"),)
    assert objective.cast.critic == (Player(model="verifier"),)
    assert objective.critic.bar == 0.8
    source = objective.tasks.practice[0]
    assert (source.verifiers, source.weight, source.answer) == (("exact",), 1.0, "####")
    assert (objective.budget.minutes, objective.budget.tokens, objective.budget.usd) == (None, None, None)
    assert read_demonstrations(objective) == []


def test_weights_follow_the_student_unless_written(tmp_path: Path) -> None:
    assert read(tmp_path).weights == "full"
    assert read(tmp_path, changed("seed: 0", "training: {weights: lora}")).weights == "lora"
    assert read(tmp_path, changed("scratch/tiny", "org/name")).weights == "lora"


def test_the_cast_can_be_told_to_plan_uniformly(tmp_path: Path) -> None:
    plain = read(tmp_path, changed("seed: 0", "cast: {orchestrator: uniform}"))
    mapping = read(tmp_path, changed("seed: 0", "cast: {orchestrator: {model: uniform, engine: scripted}}"))
    assert plain.cast == mapping.cast


CAST = """cast:
  orchestrator: {model: gpt-x, engine: openai, api_key_env: MY_KEY, prices: {input: 1.5, output: 6}}
  sampler: [student, org/weak, ./models/mine, {model: 'w:free', endpoint: 'http://10.0.0.7:8000/v1/'}, scripted/echo]
  critic: [{model: judge, endpoint: 'https://api.openai.com/v1', prices: {input: 1, output: 2}}, verifier]
"""


def test_models_play_the_parts_of_the_cast(tmp_path: Path) -> None:
    (tmp_path / "models" / "mine").mkdir(parents=True)
    (tmp_path / "models" / "mine" / "config.json").write_text("{}")
    objective = read(tmp_path, changed("usd: 0", "usd: 9", changed("seed: 0\n", CAST)))
    cast = objective.cast
    (planner,), (judge,) = cast.orchestrator, cast.critics
    assert (planner.address, planner.key_variable) == ("https://api.openai.com/v1", "MY_KEY")
    assert (judge.key_variable, judge.engine, judge.is_public) == ("OPENAI_API_KEY", None, True)
    assert planner.tariff.cost(1_000_000, 500_000) == 4.5
    assert [p.model for p in cast.sampler] == ["student", "org/weak", "./models/mine", "w:free", "scripted/echo"]
    served = cast.sampler[3]
    assert (served.address, served.key_variable, served.is_public) == ("http://10.0.0.7:8000/v1", "", False)
    assert [(part, i) for part, i, _ in cast.models()] == [
        ("orchestrator", 0), ("sampler", 1), ("sampler", 2), ("sampler", 3), ("sampler", 4), ("critic", 0),
    ]  # fmt: skip
    assert objective.model_name("./models/mine") == str(tmp_path / "models" / "mine")
    assert objective.model_name("org/weak") == "org/weak"
    assert {player.model for player in cast.critic if player.is_word} == {"verifier"}
    assert objective.digest_fields()["cast"]["orchestrator"][0]["api_key_env"] == "MY_KEY"


def test_scripts_play_planner_and_critic() -> None:
    assert {script.removeprefix("scripted/") for script in SCRIPTS.values()} == {*scripts.SCRIPTS}


@pytest.mark.parametrize("written", ["{engine: vllm}", "{model: student, engine: vllm}", "[{engine: vllm}]"])
def test_the_student_samples_under_an_engine(tmp_path: Path, written: str) -> None:
    (player,) = read(tmp_path, changed("seed: 0", f"cast: {{sampler: {written}}}")).cast.sampler
    assert (player.model, player.engine) == ("student", "vllm")


@pytest.mark.parametrize(
    ("endpoint", "is_public"),
    [
        ("http://localhost:1/v1", False), ("http://127.0.0.1:80", False), ("http://[::1]:80/v1", False),
        ("http://192.168.1.9/v1", False), ("http://gpu-box:8000", False), ("http://gpu.lan:8000", False),
        ("http://8.8.8.8/v1", True), ("https://llm.example.org/v1", True), ("https://[2606:4700::1111]/v1", True),
    ],
)  # fmt: skip
def test_prices_are_asked_for_where_a_stranger_may_send_a_bill(
    tmp_path: Path, endpoint: str, is_public: bool
) -> None:
    text = changed("seed: 0", f"cast: {{critic: [verifier, {{model: m, endpoint: '{endpoint}'}}]}}")
    if is_public:
        words = "cast.critic.1.prices: is missing, and the dollar cap cannot hold; write prices: {input: ..., output"
        assert words in refusal(tmp_path, text)
    else:
        assert read(tmp_path, text).cast.critics[0].tariff == FREE
    assert read(tmp_path, changed(", usd: 0", "", text)), "without a cap nothing must hold"
    priced = changed(f"'{endpoint}'", f"'{endpoint}', prices: {{input: 0, output: 1}}", text)
    words = "cast.critic.1.prices: {input: 0, output: 1} cost dollars, and budget.usd: 0 forbids m; raise it"
    assert words in refusal(tmp_path, priced)
    assert read(tmp_path, changed("usd: 0", "usd: 0.5", priced))
    assert read(tmp_path, changed("output: 1", "output: 0", priced)), "a model that costs nothing is no paid one"


SECRETS = [
    "cast: {critic: {model: m, endpoint: 'http://x/v1', api_key_env: sk-PrIvAtE123456}}",
    "cast: {critic: {model: m, endpoint: 'http://x/v1', api_key_env: PrIvAtE123456}}",
    "cast: {critic: {model: m, endpoint: 'http://x/v1', api_key: PrIvAtE123456}}",
    "cast: {critic: {model: m, endpoint: 'http://x/v1', token: PrIvAtE123456}}",
    "cast: {critic: [{endpoint: 'http://x/v1', api_key_env: PrIvAtE123456}]}",
    "cast: {judge: {model: m, api_key_env: PrIvAtE123456}}",
    'cast: {judge: {"model": "m", "api_key": "PrIvAtE123456"}}',
    "cast: {critic: {model: m, endpoint: 'http://me:PrIvAtE123456@x/v1'}}",
    "cast: {critic: {model: m, endpoint: 'http://x/v1?key=PrIvAtE123456'}}",
    "critics: sk-PrIvAtE123456",
]


@pytest.mark.parametrize("written", SECRETS)
def test_no_secret_is_repeated(tmp_path: Path, written: str) -> None:
    assert "PrIvAtE" not in refusal(tmp_path, changed("seed: 0", written))


def test_documents_are_files_and_folders(tmp_path: Path) -> None:
    (tmp_path / "docs" / "deep").mkdir(parents=True)
    (tmp_path / "docs" / ".hidden").write_bytes(b"\xff")
    (tmp_path / "docs" / "deep" / "b.MD").write_text("# B\nTwo.")
    (tmp_path / "docs" / "a.txt").write_text("One.")
    one = read(tmp_path, changed("seed: 0", "documents: docs/a.txt"))
    assert (one.documents, one.document_files()) == (("docs/a.txt",), ("docs/a.txt",))
    all_of_them = read(tmp_path, changed("seed: 0", "documents: [docs/a.txt, docs]"))
    assert all_of_them.document_files() == ("docs/a.txt", "docs/deep/b.MD")
    before = objective_digest(all_of_them)
    (tmp_path / "docs" / "c.txt").write_text("Three.")
    assert objective_digest(all_of_them) != before, "a run is of all documents that a folder holds"
    assert read(tmp_path).document_files() == ()


def test_a_document_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    path = write_files(tmp_path, changed("seed: 0", "documents: docs"))
    (tmp_path / "docs").mkdir()
    for name, content, words in [
        ("a.jsonl", b'{"text": "x"}\n{"title": "y"}\n', 'a.jsonl:2 has no "text"; write {"text": ...}'),
        ("a.jsonl", b'{"text": 5}\n', 'a.jsonl:1 has a "text" that is empty or not text; write'),
        ("a.jsonl", b"{\n", "a.jsonl:1 is not JSON; write"),
        ("a.md", b"\xff", "docs/a.md is not UTF-8 text; save the file as UTF-8"),
        ("a.txt", b"x" * 20_000_001, "docs/a.txt makes them more than 20 MB together; bring fewer"),
        ("a.pdf", b"x", "docs holds a.pdf, which is not read; bring .txt, .md or .jsonl alone"),
    ]:
        (tmp_path / "docs" / name).write_bytes(content)
        with pytest.raises(ObjectiveError) as caught:
            read_objective(path)
        assert str(caught.value).startswith("OBJECTIVE.md: documents: ")
        assert words in str(caught.value)
        (tmp_path / "docs" / name).unlink()
    with pytest.raises(ObjectiveError, match="docs is a folder without documents; put"):
        read_objective(path)


def test_a_rubric_is_a_list_of_criteria(tmp_path: Path) -> None:
    path = write_files(tmp_path, changed("seed: 0", "critic: {rubric: rubric.yaml, bar: 0.9}"))
    criteria = b"- {name: right, text: It is right., weight: 1}\n"
    for content in (criteria, b"threshold: 0.9\ncriteria:\n" + criteria):
        (tmp_path / "rubric.yaml").write_bytes(content)
        assert read_objective(path).critic.rubric == "rubric.yaml"
    for content in (b"", b"It is right.", b"[]", b"criteria: 5", b"- {name: right}", b"\xff", b"- [", b"[" * 5000):
        (tmp_path / "rubric.yaml").write_bytes(content)
        with pytest.raises(ObjectiveError) as caught:
            read_objective(path)
        lines = str(caught.value).split("\n")
        assert all(line.startswith("OBJECTIVE.md: critic.rubric: rubric.yaml: ") and "; " in line for line in lines)


@pytest.mark.parametrize(
    ("written", "tokens"), [("300k", 300_000), ("1.5B", 1_500_000_000), ("2m", 2_000_000), ("7", 7)]
)
def test_tokens_are_written_short(tmp_path: Path, written: str, tokens: int) -> None:
    assert read(tmp_path, changed("20M", written)).budget.tokens == tokens


def test_exams_may_be_lists_of_sources(tmp_path: Path) -> None:
    written = "[{source: problems.jsonl}, {source: reasoning_gym/chain_sum, size: 9}]"
    exam = read(tmp_path, changed("{from: practice, size: 300}", written)).tasks.dev
    assert (exam.from_practice, exam.size, [source.size for source in exam.sources]) == (
        False,
        None,
        [None, 9],
    )


@pytest.mark.parametrize(
    ("written", "verifiers"),
    [
        ("math", ("math",)),
        ("equations", ("exact", "equations")),
        ("[equations, numeric]", ("numeric", "equations")),
    ],
)
def test_verifiers(tmp_path: Path, written: str, verifiers: tuple[str, ...]) -> None:
    source = read(tmp_path, changed("verifier: numeric", f"verifier: {written}")).tasks.practice[1]
    assert source.verifiers == verifiers


def test_a_student_may_be_a_folder_with_a_model(tmp_path: Path) -> None:
    (tmp_path / "models" / "mine").mkdir(parents=True)
    text = changed("scratch/tiny", "./models/mine")
    assert "folder without a model" in refusal(tmp_path, text)
    (tmp_path / "models" / "mine" / "config.json").write_text("{}")
    assert read(tmp_path, text).student == "./models/mine"


def test_the_digest_leaves_out_budget_goal_and_the_order_of_keys(tmp_path: Path) -> None:
    first = read(tmp_path).digest_fields()
    json.dumps(first)
    moved = changed("budget: {rounds: 6, minutes: 20, tokens: 20M, usd: 0}\nseed: 0", "seed: 0\nbudget: {rounds: 9}")
    moved = changed("{min_digits: 1, max_digits: 1}", "{max_digits: 1, min_digits: 1}", changed("0.85", "0.9", moved))
    assert json.dumps(read(tmp_path, moved).digest_fields()) == json.dumps(first)
    assert not {"budget", "goal", "text", "path"} & first.keys()
    for other in (changed("seed: 0", "seed: 1"), changed("10]", "9]"), changed("size: 500", "size: 400")):
        assert read(tmp_path, other).digest_fields() != first


MISTAKES = [
    ("seed: 0", "seeed: 0", "seeed: 0 stands under an unknown key; did you mean seed?"),
    ("seed: 0", "rounds: 3", "rounds: 3 stands under an unknown key; rounds belongs under budget"),
    (
        "  dev:",
        "  seed: 0\n  dev:",
        "tasks.seed: 0 stands under an unknown key; seed belongs to the left margin",
    ),
    ("seed: 0", "text: hello", "text: hello stands under an unknown key"),
    ("rounds: 6", "round: 6", "budget.round: 6 stands under an unknown key; did you mean rounds?"),
    (
        "sweep:",
        "sweeep:",
        "tasks.practice.0.sweeep: {terms: [2, 10]} stands under an unknown key; did you mean sweep?",
    ),
    ("seed: 0", "seed: yes", "seed: yes is not a whole number; write"),
    ("seed: 0", "seed: 1.5", "seed: 1.5 is not a whole number; write"),
    ("seed: 0", "seed: '0'", "seed: '0' is not a whole number; write"),
    ("seed: 0", "seed: -1", "seed: -1 is too small; write 0 or more"),
    ("seed: 0", "seed:", "seed: is empty; write"),
    ("seed: 0", "seed: 2024-99-99", "seed: is no value that YAML knows; put it in quotes"),
    ("seed: 0", "seed: 1" + "0" * 5000, "seed: is no value that YAML knows"),
    ("seed: 0", 'seed: "\\uD800"', "seed: is no value that YAML knows"),
    ("seed: 0", "control: 1", "control: 1 is neither true nor false; write"),
    ("seed: 0", "seed: 0\nseed: 1", "seed: is written twice, again on line 16; keep one"),
    ("size: 300", "size: 300, size: 3", "tasks.dev.size: is written twice, again on line 11; keep one"),
    ("goal: 0.85", "goal: 1.01", "goal: 1.01 is not between 0 and 1; write a fraction such as 0.85"),
    ("goal: 0.85", "goal: -0.1", "goal: -0.1 is not between 0 and 1"),
    ("goal: 0.85", "goal: .nan", "goal: .nan is not between 0 and 1"),
    ("goal: 0.85", "goal: .inf", "goal: .inf is not between 0 and 1"),
    ("goal: 0.85", "goal: 85%", "goal: 85% is not a number; write"),
    ("goal: 0.85", "goal: yes", "goal: yes is not a number; write"),
    ("rounds: 6", "rounds: 0", "budget.rounds: 0 is too small; write a number above 0"),
    ("minutes: 20", "minutes: 0", "budget.minutes: 0 is too small; write a number above 0"),
    ("minutes: 20", "minutes: yes", "budget.minutes: yes is not a number; write"),
    ("minutes: 20", "minutes: .inf", "budget.minutes: .inf is not a finite number; write"),
    ("tokens: 20M", "tokens: 0", "budget.tokens: 0 is too small; write"),
    ("tokens: 20M", "tokens: many", "budget.tokens: many is not a number of tokens; write one such as 300k"),
    ("tokens: 20M", "tokens: 0.0001k", "budget.tokens: 0.0001k is not a number of tokens; write"),
    ("usd: 0", "usd: -1", "budget.usd: -1 is too small; write 0 or more"),
    ("rounds: 6, minutes: 20, ", "", "budget: {tokens: 20M, usd: 0} has neither rounds nor minutes; write"),
    (
        "budget: {rounds: 6, minutes: 20, tokens: 20M, usd: 0}\n",
        "",
        "budget: is missing; write budget: {rounds: 6",
    ),
    ("scratch/tiny", "scratch/tinny", "student: scratch/tinny is no preset; did you mean scratch/tiny"),
    ("scratch/tiny", "scratch", "student: scratch is no preset; did you mean"),
    ("scratch/tiny", "./nowhere", "student: ./nowhere is no folder and no model id; write"),
    ("scratch/tiny", "scripted/", "student: scripted/ has no name; write scripted/<name>"),
    (
        "demonstrations: demos.jsonl\n",
        "",
        "demonstrations: is missing, and builds a scratch student; name a file",
    ),
    ("demos.jsonl", "lost.jsonl", "demonstrations: lost.jsonl is not a file that exists; write"),
    ("demos.jsonl", "'.'", "demonstrations: '.' is a folder; write"),
    ("demos.jsonl", '"a\\0b"', 'demonstrations: "a\\0b" is not a file that exists; write'),
    ("demos.jsonl", "a" * 500, "is no name of a file; write"),
    (
        "demos.jsonl",
        "broken.jsonl",
        'demonstrations: broken.jsonl:2 has no "response"; write {"prompt": ..., "response"',
    ),
    ("demos.jsonl", "none.jsonl", "demonstrations: none.jsonl has no rows; write"),
    ("seed: 0", "documents: lost.txt", "documents: lost.txt is not a file that exists; write"),
    ("seed: 0", "critic: {rubric: lost.md}", "critic.rubric: lost.md is not a file that exists; write"),
    ("seed: 0", "critic: {bar: 2}", "critic.bar: 2 is not between 0 and 1; write"),
    (
        "chain_sum",
        "chain_sums",
        "tasks.practice.0.source: reasoning_gym/chain_sums is no task of reasoning_gym; did you",
    ),
    (
        "chain_sum",
        "qqqq",
        "tasks.practice.0.source: reasoning_gym/qqqq is no task of reasoning_gym; known are ab",
    ),
    (
        "min_digits: 1",
        "min_digit: 1",
        "tasks.practice.0.config.min_digit: 1 is no setting of chain_sum; did you mean min_d",
    ),
    (
        "min_digits: 1",
        "min_digits: one",
        "tasks.practice.0.config.min_digits: one is not a whole number; mend",
    ),
    (
        "min_digits: 1",
        "min_digits: yes",
        "tasks.practice.0.config.min_digits: yes is not a whole number; mend",
    ),
    (
        "min_digits: 1",
        "min_digits: 0",
        "0.config: {min_digits: 0, max_digits: 1} is refused by chain_sum (min_digits must",
    ),
    ("min_digits: 1", "seed: 3", "tasks.practice.0.config.seed: 3 is set by the loop; take it out"),
    (
        "terms: [2, 10]",
        "words: [2, 10]",
        "tasks.practice.0.sweep.words: [2, 10] is not a min_ and max_ pair of chain_sum; ",
    ),
    ("terms: [2, 10]", "words: [2, 10]", "write one of terms, digits"),
    (
        "terms: [2, 10]",
        "terms: [10, 2]",
        "tasks.practice.0.sweep.terms: [10, 2] has its low end above its high end; w",
    ),
    (
        "terms: [2, 10]",
        "terms: [0, 10]",
        "tasks.practice.0.sweep: {terms: [0, 10]} is refused by chain_sum (min_terms must",
    ),
    ("terms: [2, 10]", "terms: 2", "tasks.practice.0.sweep.terms: 2 is not a range; write [low, high]"),
    ("terms: [2, 10]", "terms: [2, yes]", "tasks.practice.0.sweep.terms.1: yes is not a whole number; write"),
    ("terms: [2, 10]", "terms: [2, 9999999999]", "makes more than 1000 levels; narrow it"),
    ("terms: [2, 10]", "digits: [2, 3]", "is set in config too; take min_digits and max_digits out"),
    (
        "verifier: numeric",
        "verifier: number",
        "tasks.practice.1.verifier: number is no verifier; did you mean numeric?",
    ),
    ("verifier: numeric", "verifier: [exact, math]", "names more than one verifier of the answer; write one"),
    (
        "verifier: numeric",
        "verifier: scorer",
        "tasks.practice.1.verifier: scorer is not for a file; write exact",
    ),
    (
        "verifier: numeric",
        "sweep: {k: [1, 2]}",
        "tasks.practice.1.sweep: {k: [1, 2]} is not for a file; take it out",
    ),
    ("verifier: numeric", "weight: 0", "tasks.practice.1.weight: 0 is too small; write a number above 0"),
    ("verifier: numeric", "answer: ' '", "tasks.practice.1.answer: ' ' is empty; write a value"),
    ("problems.jsonl", "lost.jsonl", "tasks.practice.1.source: lost.jsonl is not a file that exists; write"),
    ("problems.jsonl", "demos.jsonl", 'tasks.practice.1.source: demos.jsonl:1 has no "answer"; write'),
    ("problems.jsonl", "broken.jsonl", "broken.jsonl:1 has an answer that is not a plain number; mend it"),
    ("{from: practice, size: 300}", "300", "tasks.dev: 300 is no exam; write {from: practice, size: 300}"),
    ("{from: practice, size: 300}", "[]", "tasks.dev: [] is no exam; write"),
    ("{from: practice, size: 300}", "{size: 300}", "tasks.dev.from: is missing; write from: practice"),
    (
        "{from: practice, size: 300}",
        "{from: practice}",
        "tasks.dev.size: is missing; write how many problems",
    ),
    (
        "{from: practice, size: 300}",
        "{from: dev, size: 3}",
        "tasks.dev.from: dev is not one of the values known here",
    ),
    ("size: 300", "size: -3", "tasks.dev.size: -3 is too small; write a number above 0"),
    (
        "{from: practice, size: 300}",
        "[{source: reasoning_gym/gcd}]",
        "tasks.dev.0.size: is missing, and a generator has",
    ),
    (
        "{from: practice, size: 300}",
        "[{source: problems.jsonl, size: 8}]",
        "tasks.dev.0.size: 8 is more than its 7 dis",
    ),
    (
        "seed: 0",
        "training: {method: magic}",
        "training.method: magic is not one of the values known here; write",
    ),
    ("seed: 0", "training: sft", "training: sft is not made of keys; write {key: value}"),
    ("seed: 0", "cast: {orchestrator: [org/m, org/n]}", "orchestrator: [org/m, org/n] are several, and one pl"),
    (
        "seed: 0",
        "cast: {orchestrator: student}",
        "cast.orchestrator: student cannot play orchestrator; write rul",
    ),
    (
        "seed: 0",
        "cast: {critic: [verifier, rules]}",
        "cast.critic.1: rules cannot play critic; write verifier or reward, or a model",
    ),
    ("seed: 0", "cast: {sampler: [student, student]}", "cast.sampler.1: student stands there twice; keep one"),
    ("seed: 0", "cast: {critic: [org/m, {model: org/m}]}", "cast.critic.1: {model: org/m} stands there twice; keep"),
    ("seed: 0", "cast: {critic: []}", "cast.critic: [] is empty; write at least one"),
    ("seed: 0", "cast: {critic: verifer}", "cast.critic: verifer is no model of that name; did you mean verifier?"),
    ("seed: 0", "cast: {critic: ./lost}", "cast.critic: ./lost is no folder and no model id; write one"),
    ("seed: 0", "cast: {critic: '.'}", "cast.critic: '.' is a folder without a model; write"),
    (
        "seed: 0",
        "cast: {sampler: scratch/tiny}",
        "cast.sampler: scratch/tiny is a preset of a student and no mod",
    ),
    (
        "seed: 0",
        "cast: {critic: scripted/planner}",
        "scripted/planner is no script for critic; write scripted/c",
    ),
    (
        "seed: 0",
        "cast: {orchestrator: scripted/}",
        "orchestrator: scripted/ is no script; write scripted/<name>",
    ),
    ("seed: 0", "cast: {critic: {model: org/m, engine: scripted}}", "cast.critic.model: org/m is no script; write"),
    (
        "seed: 0",
        "cast: {critic: {model: scripted/critic, engine: vllm}}",
        "cast.critic.model: scripted/critic is a script, which needs no endpoint and no other engine; take",
    ),
    ("seed: 0", "cast: {critic: {model: m, engine: ray}}", "cast.critic.engine: ray is not available yet; write"),
    ("seed: 0", "cast: {critic: {model: m, engine: vlm}}", "cast.critic.engine: vlm is not one of the values known"),
    (
        "seed: 0",
        "cast: {critic: {model: verifier, engine: vllm}}",
        "critic.engine: vllm is no engine for verifier",
    ),
    ("seed: 0", "cast: {sampler: {model: student, engine: openai}}", "sampler.engine: openai is no engine for stude"),
    ("seed: 0", "cast: {sampler: {engine: scripted}}", "sampler.engine: scripted does not run scratch/tiny; write t"),
    (
        "seed: 0",
        "cast: {sampler: {model: student, prices: {input: 1, output: 1}}}",
        "cast.sampler.prices: {input: 1, output: 1} is for a model, and student is none; take it out",
    ),
    ("seed: 0", "cast: {sampler: {endpoint: 'http://x/v1'}}", "cast.sampler.model: is missing; write"),
    (
        "seed: 0",
        "cast: {critic: {model: m, engine: vllm, endpoint: 'http://x/v1'}}",
        "cast.critic.endpoint: 'http://x/v1' is for engine openai, not vllm; take one of the two out",
    ),
    ("seed: 0", "cast: {critic: {model: m, endpoint: 'x:80'}}", "cast.critic.endpoint: 'x:80' is no address; write"),
    ("seed: 0", "cast: {critic: {model: m, endpoint: 'ftp://x/v1'}}", "endpoint: 'ftp://x/v1' is no address; write"),
    ("seed: 0", "cast: {critic: {model: m, endpoint: 'http://x:999999'}}", "'http://x:999999' is no address; write"),
    ("seed: 0", "cast: {critic: {model: m, endpoint: 'http://[x/v1'}}", "'http://[x/v1' is no address; write"),
    ("seed: 0", "cast: {critic: {model: m, endpoint: 'http://x/v1?a=b'}}", "is more than an address; keep keys out"),
    (
        "seed: 0",
        "cast: {critic: {model: m, endpoint: 'http://x/v1/chat/completions'}}",
        "'http://x/v1/chat/completions' is the address of one call; write the base of them",
    ),
    ("seed: 0", "cast: {critic: {model: m, api_key_env: K}}", "cast.critic.api_key_env: is for a model at an endp"),
    (
        "seed: 0",
        "cast: {critic: {model: m, engine: openai, api_key_env: my-key}}",
        "cast.critic.api_key_env: is no name of a variable; put the key into one, and write its name",
    ),
    ("seed: 0", "cast: {critic: {model: m, prices: {input: 1}}}", "cast.critic.prices.output: is missing; write"),
    (
        "seed: 0",
        "cast: {critic: {model: m, prices: {input: -1, output: 1}}}",
        "cast.critic.prices.input: -1 is too small; write 0 or more",
    ),
    ("seed: 0", "unsafe_code: true", "unsafe_code: true is not available yet; take the key out"),
    ("seed: 0", "documents: []", "documents: [] is empty; write at least one"),
    ("seed: 0", "documents: [demos.jsonl, lost.txt]", "documents.1: lost.txt is not a file that exists; write"),
    ("seed: 0", "documents: OBJECTIVE.pdf", "documents: OBJECTIVE.pdf is not a file that exists; write"),
    (
        "seed: 0",
        "documents: notes.pdf",
        "documents: notes.pdf is a file that is not read; bring .txt, .md or .js",
    ),
    ("seed: 0", "documents: demos.jsonl", 'documents: demos.jsonl:1 has no "text"; write {"text": ...}'),
    ("seed: 0", "cast: {weak: verifier}", "cast.weak: verifier cannot play weak; write student, or a model"),
    ("seed: 0", "cast: {judge: student}", "cast.judge: student cannot play judge; write verifier, or a model"),
    ("seed: 0", "cast: {judge: [verifier, org/m]}", "several, and one judges; write verifier, or one model"),
    (
        "seed: 0",
        "cast: {critic: {model: m, engin: x}}",
        "cast.critic.engin: x stands under an unknown key; did you mean e",
    ),
    ("seed: 0", "cast: {critic: {engine: vllm}}", "cast.critic.model: is missing; write"),
    ("seed: 0", "cast: {critic: 5}", "cast.critic: 5 is not made of keys; write"),
    ("seed: 0", "strategies: {allow: []}", "strategies.allow: [] is empty; write at least one"),
    ("seed: 0", "a: &x [1]\nb: [*x, *x]", "line 15: has an alias"),
    ("seed: 0", "seed: !!python/object/apply:os.getcwd []", "line 15: has an alias (& or *), a tag (!)"),
    ("seed: 0", "seed: " + "[" * 5000, "line 15: has an alias (& or *), a tag (!) or too many brackets"),
    ("seed: 0", "seed: [", "is not YAML"),
    ("seed: 0", "seed: 'a", "is not YAML"),
    ("seed: 0", "\tseed: 0", "line 15: is not YAML"),
    ("seed: 0", "7: 0", "line 15: a key is not a word; write"),
    ("seed: 0", '"\\U00110000": 0', "is not YAML (a stray character)"),
    ("# Objective\nAdd chains of numbers.\n", " \n", "text: is missing; say below the front matter"),
]


@pytest.mark.parametrize(("old", "new", "words"), MISTAKES, ids=[new[:40] for _, new, _ in MISTAKES])
def test_a_mistake_is_one_line_that_names_key_value_and_mend(tmp_path: Path, old: str, new: str, words: str) -> None:
    line = refusal(tmp_path, changed(old, new))
    assert words in line
    assert "\n" not in line
    assert line.startswith("OBJECTIVE.md: ")
    assert "; " in line or line.endswith("?")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"", "OBJECTIVE.md: is empty; "),
        (b" \n", "OBJECTIVE.md: is empty; "),
        (b"# Only prose\n", "has no front matter; "),
        (b"Prose\n---\nseed: 0\n---\n", "has no front matter; "),
        (b"---\nseed: 0\n", "front matter is never closed; "),
        (b"---\n- a\n- b\n---\nLearn.", "front matter: is not made of keys; "),
        (b"---\njust words\n---\nLearn.", "front matter: is not made of keys; "),
        (b"---\n\xff\n---\n", "is not UTF-8 text; "),
        (TEXT.encode("utf-16"), "is not UTF-8 text; "),
        (b"---\n" + b"#" * 300_000, "is larger than 200 kB; "),
        (b"---\na\x00: 1\n---\nLearn.", "is not YAML"),
    ],
)
def test_a_file_that_is_no_objective(tmp_path: Path, text: bytes, words: str) -> None:
    line = refusal(tmp_path, text)
    assert words in line
    assert "\n" not in line


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    for path, words in [
        (tmp_path, "is a folder; "),
        (tmp_path / "OBJECTIVE.md", "OBJECTIVE.md: is not in "),
        (tmp_path / ("x" * 300), "cannot be read; "),
        (tmp_path / "a\0b", "; "),
    ]:
        with pytest.raises(ObjectiveError, match=words):
            read_objective(path)


def test_every_mistake_is_told_up_to_ten(tmp_path: Path) -> None:
    text = changed("goal: 0.85", "goal: 2", changed("rounds: 6", "rounds: 0", changed("seed: 0", "seeed: 0")))
    lines = refusal(tmp_path, changed("chain_sum", "chain_sums", text)).split("\n")
    assert [line.split(": ")[1] for line in lines] == [
        "tasks.practice.0.source",
        "goal",
        "budget.rounds",
        "seeed",
    ]
    assert refusal(tmp_path, "---\n---\n").count("is missing") == 4
    many = "".join(f"key{k}: 0\n" for k in range(30))
    assert len(refusal(tmp_path, changed("seed: 0\n", many)).split("\n")) == 10


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (
            b'{"prompt": "p", "response": ""}',
            'demos.jsonl:2 has a "response" that is empty or not text; write',
        ),
        (b'{"prompt": "p", "response": " \\n"}', 'demos.jsonl:2 has a "response" that is empty'),
        (b'{"prompt": "p", "response": 5}', 'demos.jsonl:2 has a "response" that is empty or not text'),
        (b'{"prompt": "\\ud800", "response": "r"}', 'demos.jsonl:2 has a "prompt" that is empty or not text'),
        (b'{"prompt": "p", "response": "r", "level": true}', 'demos.jsonl:2 has a "level"'),
        (b'{"response": "r"}', 'demos.jsonl:2 has no "prompt"; write'),
        (b'["p", "r"]', "demos.jsonl:2 is not an object; write"),
        (b'{"prompt": "p"', "demos.jsonl:2 is not JSON; write"),
        (b"[" * 100_000, "demos.jsonl:2 is not JSON; write"),
        (b"9" * 5000, "demos.jsonl:2 is not JSON; write"),
        (b'{"prompt": "\xff"}', "demos.jsonl:2 is not UTF-8 text; save"),
    ],
)
def test_a_wrong_row_is_named_by_file_and_line(tmp_path: Path, row: bytes, words: str) -> None:
    path = write_files(tmp_path)
    (tmp_path / "demos.jsonl").write_bytes(b'{"prompt": "p", "response": "a\xe2\x80\xa8b", "id": 1}\r\n' + row)
    with pytest.raises(ObjectiveError) as caught:
        read_objective(path)
    assert str(caught.value).startswith("OBJECTIVE.md: demonstrations: " + words)
    assert "\n" not in str(caught.value)


def test_an_answer_that_is_no_pattern_is_refused(tmp_path: Path) -> None:
    path = write_files(tmp_path, changed("numeric", "regex"))
    (tmp_path / "problems.jsonl").write_text('{"prompt": "p", "answer": "(a"}\n')
    with pytest.raises(ObjectiveError, match=r"problems\.jsonl:1 has an answer '\(a' is not a regular expression"):
        read_objective(path)


@pytest.mark.parametrize(
    ("dev", "test", "words"),
    [
        (4, 2, None),
        (6, 1, None),
        (7, 1, "tasks.dev.size: 7 is more than the 6 left"),
        (4, 3, "tasks.test.size: 3 is more than the 2 left"),
        (9, 9, "tasks.test.size: 9 is more than the 0 left"),
    ],
)
def test_exams_larger_than_their_file_are_refused(tmp_path: Path, dev: int, test: int, words: str | None) -> None:
    text = changed("size: 2", f"size: {test}", changed("size: 3", f"size: {dev}", FILES_ONLY))
    if (dev, test) == (6, 1):
        text = changed("{from: practice, size: 1}", "[{source: problems.jsonl}]", text)
    if words is None:
        read(tmp_path, text)
    else:
        assert words in refusal(tmp_path, text)


def test_problems_of_the_demonstrations_are_not_counted(tmp_path: Path) -> None:
    text = changed("tasks:", "demonstrations: demos.jsonl\ntasks:", changed("size: 3", "size: 4", FILES_ONLY))
    assert "tasks.test.size: 2 is more than the 1 left" in refusal(tmp_path, text)


def test_windows_line_ends_and_a_byte_order_mark_are_read(tmp_path: Path) -> None:
    path = write_files(tmp_path, b"\xef\xbb\xbf" + TEXT.replace("\n", "\r\n").encode())
    (tmp_path / "demos.jsonl").write_bytes(b'\xef\xbb\xbf{"prompt": "p", "response": "r"}\r\n')
    objective = read_objective(path)
    assert objective.text == "# Objective\nAdd chains of numbers."
    assert [row.prompt for row in read_demonstrations(objective)] == ["p"]


def test_files_only_never_import_reasoning_gym_or_torch(tmp_path: Path) -> None:
    path = write_files(tmp_path, FILES_ONLY)
    code = (
        "import sys, pathlib, loop.objective as o; o.read_objective(pathlib.Path(sys.argv[1])); "
        "print(sorted({'torch', 'reasoning_gym', 'transformers', 'sympy'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def only_refuses(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    try:
        assert isinstance(read_objective(path), Objective)
    except ObjectiveError as error:
        lines = str(error).split("\n")
        assert 1 <= len(lines) <= 10
        assert all(line.startswith("OBJECTIVE.md: ") for line in lines)
        assert all(len(line.splitlines()) == 1 for line in lines)
        str(error).encode()


fuzz = settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
WORDS = """{ } [ ] : ? ! % @ | > ' " = ~ <<: - &a *a !!int yes null .nan -.inf 0x_ 0b_ 1:30.5 1e999 --- ...
2024-13-01 "\\U00110000" reasoning_gym/ scratch/ ../ /dev/null"""
SPACES = ["\t", "\n", "\n  ", "\n- ", "\u2028", "\x85", "\x7f", "9" * 400]
YAML_BITS = st.sampled_from([*WORDS.split(), *SPACES])


@fuzz
@given(st.binary(max_size=200), st.booleans())
def test_random_bytes_only_ever_refuse(tmp_path: Path, content: bytes, fenced: bool) -> None:
    only_refuses(write_files(tmp_path), b"---\n" + content + b"\n---\nLearn." if fenced else content)


@fuzz
@given(st.data())
def test_mutated_objectives_only_ever_refuse(tmp_path: Path, data: st.DataObject) -> None:
    text = data.draw(st.sampled_from([TEXT, FILES_ONLY]))
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(text)))
        end = data.draw(st.integers(start, min(len(text), start + 20)))
        text = text[:start] + data.draw(st.one_of(YAML_BITS, st.text(max_size=3))) + text[end:]
    only_refuses(write_files(tmp_path), text.encode("utf-8", "replace"))


YAML_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.dates(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every (container, key) of nested lists and mappings."""
    for key, child in list(value.items() if isinstance(value, dict) else enumerate(value)):
        yield value, key
        if isinstance(child, dict | list):
            yield from places(child)


@fuzz
@given(st.data())
def test_any_value_at_any_place_only_ever_refuses(tmp_path: Path, data: st.DataObject) -> None:
    front = yaml.safe_load(TEXT.split("---")[1])
    front |= {key: {} for key in Objective.model_fields if key not in front}
    player = {"model": "m", "endpoint": "http://x/v1", "api_key_env": "K", "prices": {"input": 1, "output": 2}}
    front["cast"] = {"orchestrator": {"model": "m", "prices": {"input": 1}}, "critic": ["verifier", player]}
    front["documents"] = ["docs.txt"]
    for _ in range(data.draw(st.integers(1, 3))):
        container, key = data.draw(st.sampled_from(list(places(front))))
        container[key] = data.draw(YAML_VALUES)
    only_refuses(write_files(tmp_path), f"---\n{json.dumps(front, default=str)}\n---\nLearn.".encode())


@fuzz
@given(st.lists(st.binary(max_size=40) | YAML_VALUES.map(lambda v: json.dumps(v, default=str).encode()), max_size=3))
def test_rows_only_ever_refuse(tmp_path: Path, rows: list[bytes]) -> None:
    path = write_files(tmp_path, FILES_ONLY)
    (tmp_path / "problems.jsonl").write_bytes(b"\n".join(rows))
    only_refuses(path, FILES_ONLY.encode())
