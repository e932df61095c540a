"""What `loop check` says, what it refuses, and what it leaves alone."""

from __future__ import annotations

import json
import os
import random
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from scripted import Scripted

from loop.check import check_objective
from loop.errors import MissingError, ObjectiveError
from loop.ledger import Ledger
from loop.needs import find_gpu, require, resolve_engine
from loop.objective import read_objective
from loop.presets import read_preset
from loop.run import run_folder
from loop.weights import count_parameters

ROOT = Path(__file__).resolve().parents[2]
MEMORY = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No GPU, and runs/ is in a folder of the test's own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")


def changed(path: Path, *pairs: tuple[str, str]) -> Path:
    text = path.read_text()
    for old, new in pairs:
        assert old in text
        text = text.replace(old, new)
    path.write_text(text)
    return path


def as_student(name: str, more: str = "") -> tuple[str, str]:
    return "student: scripted/learner\n", f"student: {name}\n{more}"


def line(lines: list[str], start: str) -> str:
    (found,) = [text for text in lines if text.startswith(start)]
    return found


def write_model(folder: Path, parameters: int) -> Path:
    """A model folder whose one tensor is announced and not there."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    header = json.dumps({"__metadata__": {}, "w": {"dtype": "F32", "shape": [2, parameters // 2]}}).encode()
    (folder / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    return folder


# What is said.


def test_everything_is_said_before_a_run(tmp_path: Path) -> None:
    lines = check_objective(changed(Scripted().write(tmp_path), as_student("scratch/tiny")))
    assert all("\n" not in text for text in lines)
    assert "347k parameters, all its weights are trained" in line(lines, "student: scratch/tiny")
    assert "the CPU" in line(lines, "device:") and "GiB left" in line(lines, "disk:")
    assert line(lines, "demonstrations:").startswith(
        "demonstrations: 24 rows, 24 with an answer; their working is checked"
    )
    assert line(lines, "tasks:") == "tasks: 2 cells to practise on, 16 problems in dev, 6 in test"
    assert [text.strip() for text in lines if text.startswith("  ")] == [
        "sum 2: practice 17 problems, dev 12, test 4",
        "sum 3: practice 5 problems, dev 4, test 2",
    ]
    assert line(lines, "cast:") == "cast: rules plans, student samples, verifier judges"
    assert line(lines, "run:") == f"run: {run_folder(read_objective(tmp_path / 'OBJECTIVE.md'), None)}, which starts"
    assert line(lines, "budget:") == "budget: 3 rounds, whichever ends first"
    assert "no dollars" in line(lines, "cost:")
    assert not [text for text in lines if text.startswith("note:")]
    assert not (tmp_path / "runs").exists(), "nothing is written"


def test_the_number_of_parameters_is_that_of_the_built_student() -> None:
    """As `build_student` counts them, with the tokenizer of examples/chain_sum: 264 tokens."""
    assert count_parameters(read_preset("tiny").architecture, 264) == 345_696
    assert count_parameters(read_preset("small").architecture, 264) == 3_065_280


def test_working_that_cannot_be_checked_is_said(tmp_path: Path) -> None:
    path = Scripted().write(tmp_path)
    (tmp_path / "demos.jsonl").write_text('{"prompt": "What is 1 + 1 ?", "response": "two #### 2"}\n')
    assert "working cannot be checked" in line(check_objective(path), "demonstrations:")
    bare = changed(path, ("demonstrations: demos.jsonl\n", ""))
    assert line(check_objective(bare), "demonstrations:").startswith("demonstrations: none")


def test_levels_with_few_problems_and_endless_ones(tmp_path: Path) -> None:
    gym = "{source: reasoning_gym/chain_sum, config: {min_digits: 1, max_digits: 1}, sweep: {terms: [2, 3]}}"
    path = Scripted(dev=200, test=200).write(tmp_path)
    lines = check_objective(
        changed(path, ("- source: problems.jsonl\n      verifier: [numeric, equations]", f"- {gym}"))
    )
    assert "  chain_sum 3: practice endless, dev 100, test 100" in lines
    notes = [text for text in lines if text.startswith("note: ")]
    few = "chain_sum 2 has few distinct problems: "
    assert [text.split(few)[0] for text in notes] == ["note: dev: ", "note: test: "]
    assert all(text.endswith(" of 100") for text in notes)


def test_what_a_scratch_student_is_too_short_for(tmp_path: Path) -> None:
    path = changed(Scripted().write(tmp_path), as_student("scratch/tiny"))
    with (tmp_path / "demos.jsonl").open("a") as file:
        file.write(json.dumps({"prompt": "Count.", "response": "1 " * 600 + "\n1 + 1 = 2\n#### 2"}) + "\n")
    notes = [text for text in check_objective(path) if text.startswith("note:")]
    assert [("longer than 1024 bytes" in text, "reads 1024" in text) for text in notes] == [
        (True, False),
        (False, True),
    ]


def test_demonstrations_that_share_text_with_an_exam(tmp_path: Path) -> None:
    luck = random.Random(0)
    words = [luck.choice(["amber", "birch", "cedar", "dove", "elm", "fern"]) for _ in range(30)]
    (tmp_path / "exam.jsonl").write_text(json.dumps({"prompt": " ".join(words), "answer": "1"}) + "\n")
    path = changed(Scripted().write(tmp_path), ("test: {from: practice, size: 6}", "test: [{source: exam.jsonl}]"))
    with (tmp_path / "demos.jsonl").open("a") as file:
        file.write(json.dumps({"prompt": "It is: " + " ".join(words), "response": "1 + 1 = 2\n#### 2"}) + "\n")
    assert line(check_objective(path), "note:").startswith(
        "note: 1 demonstrations share text with dev or test, such as"
    )


def test_a_budget_too_small_for_a_round(tmp_path: Path) -> None:
    lines = check_objective(Scripted("rounds: 3, tokens: 300").write(tmp_path))
    assert "no round would be played" in line(lines, "note:")
    assert line(lines, "budget:") == "budget: 3 rounds, 300 tokens, whichever ends first"


def test_what_becomes_of_the_runs_folder(tmp_path: Path) -> None:
    path = Scripted().write(tmp_path)
    folder = run_folder(read_objective(path), None)
    folder.mkdir(parents=True)
    ledger = Ledger.create_or_open(folder / "run.db")
    assert line(check_objective(path), "run:").endswith("which goes on in round 0")
    ledger.set_facts(status="finished", ended="rounds")
    ledger.close()
    assert "is finished (rounds reached); a raised budget prolongs it" in line(check_objective(path), "run:")
    for leaving in folder.glob("run.db*"):
        leaving.unlink()
    (folder / "run.db").write_bytes(random.Random(0).randbytes(9000))
    assert "which is refused: " in line(check_objective(path), "run:")


# What is refused.


def test_demonstrations_without_an_answer(tmp_path: Path) -> None:
    path = changed(Scripted().write(tmp_path), as_student("scratch/tiny"))
    (tmp_path / "demos.jsonl").write_text('{"prompt": "What is 1 + 1 ?", "response": "two"}\n')
    with pytest.raises(
        ObjectiveError, match=r"^OBJECTIVE\.md: demonstrations: demos\.jsonl has no answer after ####;"
    ):
        check_objective(path)


def test_a_model_in_a_folder(tmp_path: Path) -> None:
    path = Scripted().write(tmp_path)
    folder = write_model(tmp_path / "model", 1_500_000)
    lines = check_objective(changed(path, as_student("model")))
    assert line(lines, "student:") == "student: model, in its folder: 1.50M parameters, an adapter (LoRA) is trained"
    (folder / "model.safetensors").write_bytes(b"\xff" * 20)
    with pytest.raises(MissingError, match=r"^student: .*cannot be read as safetensors"):
        check_objective(path)
    (folder / "model.safetensors").unlink()
    with pytest.raises(MissingError, match=r"^student: model has a config\.json and no weights"):
        check_objective(path)
    (folder / "pytorch_model.bin").write_bytes(b"0")
    assert "of a size that its files do not tell" in line(check_objective(path), "student:")


def test_a_model_that_does_not_fit(tmp_path: Path) -> None:
    path = Scripted("rounds: 999").write(tmp_path)
    write_model(tmp_path / "large", MEMORY // 8)
    write_model(tmp_path / "larger", MEMORY // 3)
    full = "training: {weights: full}\n"
    with pytest.raises(MissingError, match=r"^student: large takes .* to train at the least, .*take weights: lora"):
        check_objective(changed(path, as_student("large", full)))
    with pytest.raises(MissingError, match=r"^disk: the run takes about .* GiB, and .* GiB left; free some"):
        check_objective(changed(path, (f"student: large\n{full}", "student: large\n")))
    with pytest.raises(MissingError, match=r"^student: larger takes .*take a smaller student"):
        check_objective(changed(path, ("student: large\n", "student: larger\n")))


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    objective = read_objective(Scripted().write(tmp_path))
    with pytest.raises(MissingError, match=r"demos\.jsonl cannot be written; name another folder with --run"):
        require(objective, tmp_path / "demos.jsonl" / "run")
    assert line(require(objective, tmp_path / "new" / "run"), "disk:").split(";")[1].startswith(f" {tmp_path} has")


# The cast.


class Models(BaseHTTPRequestHandler):
    """Endpoints that differ by path: /v1 lists one model for the key "right", others answer a status or nonsense."""

    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        place = self.path.removesuffix("/models").strip("/")
        status, body = 200, json.dumps({"data": [{"id": "mind"}, {"id": "other"}]})
        if place == "v1" and self.headers["Authorization"] != "Bearer right":
            status, body = 401, json.dumps({"error": {"message": f"wrong key: {self.headers['Authorization']}"}})
        elif place.isdecimal():
            status, body = int(place), "{}"
        elif place == "nonsense":
            body = "<html>"
        elif place == "silent":
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        self.send_response(status)
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[str]:
    Models.asked = []
    served = ThreadingHTTPServer(("127.0.0.1", 0), Models)
    thread = threading.Thread(target=served.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{served.server_port}"
    served.shutdown()
    served.server_close()
    thread.join()


def with_cast(folder: Path, cast: str, more: str = "", budget: str = "rounds: 3") -> Path:
    path = Scripted(budget).write(folder)
    plain = "cast: {orchestrator: rules, sampler: student, critic: verifier}\n"
    return changed(path, (plain, f"cast: {{{cast}}}\n{more}"))


def test_an_endpoint_that_answers(tmp_path: Path, server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIND_KEY", "right")
    mind = f"model: mind, endpoint: '{server}/v1/', api_key_env: MIND_KEY"
    absent = f"model: absent, engine: openai, endpoint: {server}/v1, api_key_env: MIND_KEY"
    lines = check_objective(with_cast(tmp_path, f"orchestrator: {{{mind}}}, critic: [{{{mind}}}, {{{absent}}}]"))
    assert line(lines, "cast:") == (
        f"cast: mind (openai at {server}/v1) plans, student samples,"
        f" mind (openai at {server}/v1) + absent (openai at {server}/v1) judge"
    )
    assert line(lines, "endpoint:") == f"endpoint: {server}/v1 answers and lists 2 models"
    assert line(lines, "note:") == (f"note: cast.critic.1: {server}/v1 does not list absent; it lists mind, other"), (
        "no mistake: some servers list a part"
    )
    assert Models.asked == ["/v1/models"], "once for all, and nothing that costs money"
    assert "right" not in "".join(lines)
    assert "dollars" not in "".join(lines)


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("404", "does not tell its models (404): whether it has mind, the run shows"),
        ("429", "does not tell its models (429)"),
        ("nonsense", "answers, and its answer is no list of models; is it the right address?"),
    ],
)
def test_an_endpoint_that_says_little_is_noted(tmp_path: Path, server: str, place: str, words: str) -> None:
    path = with_cast(tmp_path, f"critic: [verifier, {{model: mind, endpoint: {server}/{place}}}]")
    noted = line(check_objective(path), "note:")
    assert noted.startswith(f"note: cast.critic.1: {server}/{place} ") and words in noted


def test_an_endpoint_that_does_not_do(tmp_path: Path, server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        closed = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
    keyed = f"{{model: mind, endpoint: {server}/v1, api_key_env: MIND_KEY}}"
    monkeypatch.delenv("MIND_KEY", raising=False)
    for key, player, words in [
        (None, keyed, "model mind: the environment variable MIND_KEY is not set; put the key there"),
        ("wrong-secret", keyed, f"{server}/v1 does not take the key in MIND_KEY (401); put a valid one there"),
        ("right\n", keyed, "MIND_KEY holds a space or a letter that no key has"),
        (
            None,
            f"{{model: mind, endpoint: {server}}}",
            "asks for a key (401); name the variable that holds it in api",
        ),
        (None, f"{{model: mind, endpoint: {server}/503}}", f"{server}/503 is not well (503); wait until it is"),
        (None, f"{{model: mind, endpoint: {server}/silent}}", "/silent cannot be reached ("),
        (None, f"{{model: mind, endpoint: {closed}}}", f"{closed} cannot be reached ("),
        (
            None,
            "{model: mind, engine: openai}",
            "the environment variable OPENAI_API_KEY is not set; put the key there",
        ),
    ]:
        monkeypatch.delenv("OPENAI_API_KEY", raising=False)
        if key:
            monkeypatch.setenv("MIND_KEY", key)
        path = with_cast(tmp_path, f"critic: {player}")
        with pytest.raises(MissingError) as caught:
            require(read_objective(path), tmp_path / "run")
        assert str(caught.value).startswith("cast.critic: ") and words in str(caught.value)
        assert "wrong-secret" not in str(caught.value) and "\n" not in str(caught.value)


def test_local_models_of_the_cast(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_model(tmp_path / "weak", 2_000_000)
    write_model(tmp_path / "mine", 2_000_000)
    write_model(tmp_path / "large", MEMORY // 3)
    path = with_cast(tmp_path, "sampler: [student, weak], critic: scripted/critic, orchestrator: scripted/planner")
    lines = check_objective(path)
    assert (
        line(lines, "cast.sampler.1:") == "cast.sampler.1: weak, in its folder: 2.00M parameters, under transformers"
    )
    assert line(lines, "cast:") == (
        "cast: scripted/planner plans, student + weak (transformers) sample, scripted/critic judges"
    )
    (tmp_path / "weak" / "model.safetensors").unlink()
    with pytest.raises(MissingError, match=r"^cast\.sampler\.1: weak has a config\.json and no weights"):
        check_objective(path)
    with pytest.raises(
        MissingError, match=r"^cast\.critic: large takes .* at the least, and the CPU .*; take a smaller"
    ):
        check_objective(with_cast(tmp_path, "critic: large"))
    monkeypatch.setenv("LOOP_VLLM_PYTHON", "/nowhere/python")
    with pytest.raises(
        MissingError, match=r"^vllm: /nowhere/python cannot be run .*pip install 'loop-train\[vllm\]'"
    ):
        check_objective(changed(with_cast(tmp_path, "sampler: {engine: vllm}"), as_student("mine")))


def test_the_engine_that_nobody_wrote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """vllm where a GPU and vllm are: shell scripts play both here."""
    write_model(tmp_path / "weak", 2_000)
    written = "[student, weak, {model: m, endpoint: 'http://x'}, {model: weak, engine: vllm}, scripted/echo]"
    path = with_cast(tmp_path, f"orchestrator: rules, sampler: {written}")
    scripted, model = read_objective(path), read_objective(changed(path, as_student("weak")))

    def engines() -> list[str]:
        return [resolve_engine(player, model) for player in model.cast.sampler]

    assert engines() == ["transformers", "transformers", "openai", "vllm", "scripted"]
    for name, words in (("nvidia-smi", "echo '0, GPU-a1, NVIDIA A, 1000'"), ("python-with-vllm", "exit 0")):
        (tmp_path / name).write_text(f"#!/bin/sh\n{words}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.setenv("LOOP_VLLM_PYTHON", "/nowhere/python")
    assert engines()[:2] == ["transformers", "transformers"], "a GPU without vllm"
    monkeypatch.setenv("LOOP_VLLM_PYTHON", str(tmp_path / "python-with-vllm"))
    assert engines() == ["vllm", "vllm", "openai", "vllm", "scripted"]
    assert resolve_engine(scripted.cast.sampler[0], scripted) == "scripted"
    small = read_objective(changed(path, ("student: weak\n", "student: scratch/tiny\n")))
    assert resolve_engine(small.cast.sampler[0], small) == "transformers", "starting vllm costs more than it gains"
    assert [resolve_engine(player, model) for player in (*model.cast.orchestrator, *model.cast.critic)] == ["", ""]


def test_dollars_stand_next_to_their_cap(tmp_path: Path, server: str) -> None:
    priced = f"{{model: mind, endpoint: {server}/404, prices: {{input: 1, output: 10}}}}"
    cast = f"critic: [verifier, {priced}]"
    (said,) = (text for text in check_objective(with_cast(tmp_path, cast)) if text.startswith("dollars:"))
    capped = check_objective(with_cast(tmp_path, cast, budget="rounds: 3, usd: 0.5"))
    assert said.endswith(" in 3 rounds; there is no cap, which budget.usd sets")
    assert line(capped, "dollars:").endswith(" in 3 rounds; the cap is $0.50")
    assert "no dollars" not in line(capped, "cost:")
    a_round, whole = (float(text.split("$")[1].split()[0]) for text in said.split(";")[:2])
    assert whole == pytest.approx(3 * a_round, abs=0.02)
    twice = check_objective(with_cast(tmp_path, f"orchestrator: {priced}, {cast}"))
    assert "orchestrator $" in line(twice, "dollars:") and "critic $" in line(twice, "dollars:")


# Documents and the rubric.


def test_documents_are_counted(tmp_path: Path) -> None:
    path = with_cast(tmp_path, "orchestrator: rules", "documents: docs\n")
    (tmp_path / "docs").mkdir()
    rows = [
        {"text": "Sums are made from left to right."},
        {"text": " "},
        {"text": "Sums are made from left to right."},
    ]
    (tmp_path / "docs" / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    problems = [json.loads(row)["prompt"] for row in (tmp_path / "problems.jsonl").read_text().splitlines()]
    (tmp_path / "docs" / "leak.md").write_text("# Answers\n\n" + "\n\n".join(f"{p} It is easy." for p in problems))
    lines = check_objective(path)
    assert line(lines, "documents:").startswith("documents: 2 files, 2 documents, 1 empty, 1 there twice; ")
    held = line(lines, "note:")
    assert "extracts hold a problem of dev or test, such as 'what is 1" in held and held.endswith(": left out")


def test_who_reads_the_rubric(tmp_path: Path) -> None:
    (tmp_path / "rubric.yaml").write_text("- {name: right, text: It is right., weight: 1}\n")
    rubric = "critic: {rubric: rubric.yaml, bar: 0.7}\n"
    nobody = check_objective(with_cast(tmp_path, "orchestrator: rules", rubric))
    assert line(nobody, "note:") == "note: critic.rubric: no critic of the cast is a model: nobody reads rubric.yaml"
    read = check_objective(with_cast(tmp_path, "critic: [verifier, scripted/critic]", rubric))
    assert line(read, "critic:").startswith("critic: 1 criteria of rubric.yaml; a critic is believed that agrees")
    assert "criteria of the house" in line(check_objective(with_cast(tmp_path, "critic: scripted/critic")), "critic:")


def test_guard_who_judges_is_of_another_family_where_there_is_one(tmp_path: Path, server: str) -> None:
    """mechanisms §9.9: said before the run; the scores that count come from programs, whoever judges."""

    def noted(cast: str) -> list[str]:
        names = re.sub(r"([\w.-]+-\d+b)", rf"{{model: \1, endpoint: {server}/404}}", cast)
        return [line for line in check_objective(with_cast(tmp_path, names)) if "family" in line]

    (note,) = noted("sampler: qwen3-1b, critic: qwen2.5-7b")
    assert note.startswith("note: cast.critic: qwen2.5-7b judges what qwen3-1b writes")
    assert len(noted("challenger: llama3-70b, sampler: qwen3-1b, critic: [verifier, llama-8b, gemma-9b]")) == 1
    assert noted("sampler: qwen3-1b, critic: llama-8b") == noted("sampler: student, critic: qwen3-1b") == []


# The GPU.


@pytest.mark.parametrize(
    ("visible", "found"),
    [(None, "A"), ("", None), ("-1", None), ("1", "B"), ("1,0", "B"), ("GPU-b2", "B"), ("7", "A")],
)
def test_the_gpu_that_a_process_may_use(
    visible: str | None, found: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = tmp_path / "nvidia-smi"
    asked.write_text("#!/bin/sh\necho '0, GPU-a1, NVIDIA A, 1000'\necho '1, GPU-b2, NVIDIA B, 8000'\n")
    asked.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    if visible is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    known = {"A": ("NVIDIA A", 1000 * 2**20), "B": ("NVIDIA B", 8000 * 2**20), None: None}
    assert find_gpu() == known[found]
    asked.write_text("#!/bin/sh\necho 'NVIDIA-SMI has failed'\nexit 9\n")
    assert find_gpu() is None


def test_a_gpus_memory_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = tmp_path / "nvidia-smi"
    asked.write_text("#!/bin/sh\necho '0, GPU-a1, NVIDIA A, 1000'\n")
    asked.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    path = Scripted().write(tmp_path)
    write_model(tmp_path / "model", 600 * 2**20)
    with pytest.raises(MissingError, match=r"takes 1\.2 GiB to train at the least, and NVIDIA A has 1\.0 GiB"):
        check_objective(changed(path, as_student("model")))


# The hub, and what is imported.


def check_in_a_process(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    code = (
        "import sys; from pathlib import Path; from loop.check import check_objective\n"
        "print(*check_objective(Path('OBJECTIVE.md')), sep='\\n')\n"
        "heavy = {'torch', 'transformers', 'trl', 'datasets', 'reasoning_gym', 'sympy'} & {*sys.modules}\n"
        "print('imported:', *sorted(heavy))"
    )
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_files_alone_import_nothing_heavy(tmp_path: Path) -> None:
    Scripted().write(tmp_path)
    checked = check_in_a_process(tmp_path)
    assert checked.stdout.splitlines()[-1] == "imported:", checked.stderr


def test_a_model_of_the_hub(tmp_path: Path) -> None:
    changed(Scripted().write(tmp_path), as_student("org/model"))
    cache = tmp_path / "hub"
    offline = check_in_a_process(tmp_path, HF_HUB_CACHE=str(cache), HF_HUB_OFFLINE="1")
    assert f"MissingError: student: org/model is not in {cache}, and HF_HUB_OFFLINE" in offline.stderr
    absent = check_in_a_process(tmp_path, HF_HUB_CACHE=str(cache), HF_HUB_OFFLINE="0")
    assert "not on this machine: the run downloads it first (beforehand: hf download org/model)" in absent.stdout
    assert absent.stdout.splitlines()[-1] == "imported:", "the cache is looked at without torch or transformers"
    snapshot = write_model(cache / "models--org--model" / "snapshots" / "abc", 2_000_000)
    refs = cache / "models--org--model" / "refs"
    refs.mkdir()
    (refs / "main").write_text("abc")
    found = check_in_a_process(tmp_path, HF_HUB_CACHE=str(cache), HF_HUB_OFFLINE="1")
    assert "in the cache of Hugging Face: 2.00M parameters" in found.stdout, found.stderr
    (snapshot / "model.safetensors").unlink()
    half = check_in_a_process(tmp_path, HF_HUB_CACHE=str(cache), HF_HUB_OFFLINE="1")
    assert "is not in" in half.stderr, "a download that stopped half-way is none"
