"""vllm as it is: the offline engine beside the default one, adapters, deaths in the middle, and the server."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from with_vllm import PYTHON, needs_vllm

from agents.engines import EngineError, Request, SamplingJob
from agents.engines.server import Served, VllmServer
from agents.engines.vllm import VllmEngine
from examples.chain_sum.make_demonstrations import demonstrations
from loop.crew import Crew
from loop.jobs import ConvergeJob, DrawJob, Drawn, ExportJob, TrainJob
from loop.presets import Architecture, TrainSettings
from loop.records import Problem, Sample

SHAPE = Architecture(hidden=64, layers=2, heads=2, kv_heads=1, head_size=32, mlp=128, positions=256)
SETTINGS = TrainSettings(learning_rate=3e-3, rows_per_step=16, warmup=0.1, lora_rank=8)
ROWS = tuple((str(d["prompt"]), str(d["response"])) for d in demonstrations({2: 90, 3: 30}, seed=3))
ROOT = Path(__file__).parents[2]


def test_without_vllm_the_error_names_the_mend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOOP_VLLM_PYTHON", "/no/such/python")
    with pytest.raises(EngineError, match=r"/no/such/python cannot be run.*pip install 'loop-train\[vllm\]'"):
        list(VllmEngine().complete(SamplingJob("x", (Request("0a", "1"),), 0, 4, 0)))


def test_a_job_that_is_done_starts_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOOP_VLLM_PYTHON", "/no/such/python")
    done = SamplingJob("x", (Request("0a", "1"),), 0, 4, 0, done=frozenset(["0a"]))
    assert list(VllmEngine().complete(done)) == []


class Atelier:
    """A student trained for a few steps, two adapters of rounds that differ, and a crew to draw with."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.crew = folder, Crew(folder / "logs", lambda: None)
        self.crew.warm()
        self.student = self._new("student")
        first = TrainJob("", self.student, tuple((p, r, 1) for p, r in ROWS[20:]), SETTINGS, "full", seed=0)
        converge = ConvergeJob(first, SHAPE, ROWS[:20], "####", 40, cycle=60, max_cycles=2)
        self._run("loop.training.convergence:converge", converge)
        self.adapters = [self._adapt(number, answer) for number, answer in enumerate(("#### 7", "a b c"))]

    def draw(self, engine: str, job: SamplingJob) -> tuple[list[Sample], Drawn]:
        rows = self.folder / f"{engine}-{time.monotonic()}.jsonl"
        problems = {r.key: Problem(id=r.key, prompt=r.prompt, answer="", skill="", source=0, origin=(0, 0))
                    for r in job.requests}  # fmt: skip
        drawn: Drawn = self._run("loop.drawing:draw", DrawJob(engine, job, str(rows), problems))
        samples = [Sample.model_validate_json(line) for line in rows.read_text().splitlines()]
        return sorted(samples, key=lambda sample: sample.id), drawn

    def export(self, model: str, out: Path) -> None:
        self._run("loop.exporter:export_model", ExportJob(model, str(out), max_new_tokens=16))

    def _adapt(self, number: int, answer: str) -> str:
        out = self._new(f"adapter-{number}")
        rows = tuple((p, answer, 1) for p, _ in ROWS)
        self._run("loop.training.sft:sft", TrainJob(self.student, out, rows, SETTINGS, "lora", seed=number, epochs=3))
        return out

    def _new(self, name: str) -> str:
        (self.folder / name).mkdir()
        return str(self.folder / name)

    def _run(self, work: str, job: Any) -> Any:
        return self.crew.run(work, job, lambda *_: None, "work").result


@pytest.fixture(scope="module")
def atelier(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Atelier]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LOOP_VLLM_PYTHON", PYTHON)
        yield Atelier(tmp_path_factory.mktemp("atelier"))


def greedy(model: str, prompts: int = 30) -> SamplingJob:
    requests = tuple(Request(f"{number:016x}", prompt) for number, (prompt, _) in enumerate(ROWS[:prompts]))
    return SamplingJob(model, requests, temperature=0, max_new_tokens=16, seed=0)


def many(model: str) -> SamplingJob:
    """Eight samples of each problem, long ones."""
    requests = tuple(Request(f"{n:08x}{i:08x}", ROWS[n][0]) for n in range(60) for i in range(8))
    return SamplingJob(model, requests, temperature=1.5, max_new_tokens=200, seed=0)


class TestVllm:
    pytestmark = needs_vllm

    def test_greedily_it_says_what_the_default_engine_says(self, atelier: Atelier) -> None:
        job = replace(greedy(atelier.student), done=frozenset([f"{3:016x}"]))
        ours, drawn = atelier.draw("vllm", job)
        theirs, known = atelier.draw("transformers", job)
        assert len(ours) == 29 and {row.finish for row in ours} == {"stop", "length"}
        assert ours == theirs
        assert drawn.parameters == known.parameters and drawn.engine_seconds > 0

    def test_adapters_of_two_rounds_answer_each_in_its_own_way(self, atelier: Atelier) -> None:
        said = []
        for model in atelier.adapters:
            job = greedy(model, prompts=8)
            said.append(atelier.draw("vllm", job)[0])
            assert said[-1] == atelier.draw("transformers", job)[0]
        assert all(one.response != other.response for one, other in zip(*said, strict=True))

    def test_an_export_says_what_its_adapter_says_told_by_a_template(self, atelier: Atelier, tmp_path: Path) -> None:
        atelier.export(atelier.adapters[0], tmp_path / "out")
        job = greedy(atelier.adapters[0], prompts=8)
        exported, _ = atelier.draw("vllm", replace(job, model=str(tmp_path / "out")))
        assert exported == atelier.draw("transformers", job)[0]

    def test_an_engine_that_is_killed_is_started_again_with_what_is_owed(self, atelier: Atelier) -> None:
        job = many(atelier.student)
        engine, texts, killed = VllmEngine(), dict[str, str](), False
        for rows in engine.complete(job):
            assert not texts.keys() & {row.key for row in rows}, "twice"
            texts |= {row.key: row.text for row in rows}
            if not killed and len(texts) < len(job.requests):
                os.kill(engine_of(os.getpid()), signal.SIGKILL)
                killed = True
        assert killed and texts.keys() == {request.key for request in job.requests}
        assert len({texts[f"{0:08x}{i:08x}"] for i in range(8)}) > 1, "samples of one problem differ"
        assert not family(os.getpid(), "vllm")

    def test_nothing_is_left_when_we_are_killed(self, atelier: Atelier) -> None:
        code = """
            import sys
            from tests.agents.test_vllm_engine import VllmEngine, many
            for _ in VllmEngine().complete(many(sys.argv[1])):
                print("at work", flush=True)
        """
        environment = os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests' / 'agents'}"}
        command = [sys.executable, "-c", textwrap.dedent(code), atelier.student]
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as parent:
            assert parent.stdout is not None and parent.stdout.readline() == b"at work\n"
            left = family(parent.pid)
            assert len(left) >= 2
            parent.kill()
        end = time.monotonic() + 30
        while any(pid in processes() for pid in left):
            assert time.monotonic() < end, "a process outlives us"
            time.sleep(0.05)

    def test_a_model_that_is_none_is_refused_in_one_line(self, tmp_path: Path, atelier: Atelier) -> None:
        (tmp_path / "config.json").write_text("{}")
        with pytest.raises(EngineError, match=r"did not start.*Error") as told:
            list(VllmEngine().complete(greedy(str(tmp_path))))
        assert "\n" not in str(told.value)

    def test_the_server_answers_as_the_engine_does(self, atelier: Atelier) -> None:
        job = greedy(atelier.adapters[0], prompts=3)
        known = [row.response for row in atelier.draw("transformers", job)[0]]
        asked = {"temperature": 0, "max_tokens": 16}
        with VllmServer(
            Served(atelier.adapters[0], name="pupil", adapters={"second": atelier.adapters[1]})
        ) as server:
            put = [{"model": "pupil", "prompt": r.prompt + "\n"} | asked for r in job.requests]
            assert [ask(server, "completions", **one)["text"] for one in put] == known
            turns = [{"role": "user", "content": job.requests[0].prompt}]
            chat = ask(server, "chat/completions", model="pupil", messages=turns, **asked)
            assert chat["message"]["content"] == known[0]
            others = [ask(server, "completions", **put[0] | {"model": m})["text"] for m in ("second", "pupil-base")]
            assert len({known[0], *others}) == 3


def ask(server: VllmServer, path: str, **asked: object) -> Any:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    request = urllib.request.Request(f"{server.address}/{path}", json.dumps(asked).encode())
    request.add_header("Content-Type", "application/json")
    with opener.open(request, timeout=120) as answer:
        return json.load(answer)["choices"][0]


def processes() -> dict[int, tuple[int, str]]:
    """Parent and command line of every process that runs."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state, parent = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
            if state != "Z":
                found[int(folder.name)] = (int(parent), (folder / "cmdline").read_text())
        except OSError:
            continue
    return found


def family(pid: int, word: str = "") -> set[int]:
    """All that the process has started, and what they have, whose command line holds the word."""
    running, found = processes(), {pid}
    while more := {child for child, (parent, _) in running.items() if parent in found} - found:
        found |= more
    return {child for child in found - {pid} if word in running[child][1]}


def engine_of(pid: int) -> int:
    """The process that has vllm in it: the guard has its name in its command line too."""
    return max(family(pid, "vllm_child"))
