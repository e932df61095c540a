"""The engine and the talker at vllm's server and at that of `transformers serve`; and a run that draws by vllm."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from test_vllm_engine import ROOT, Atelier, greedy
from with_vllm import PYTHON, needs_vllm

from agents.endpoint import EndpointTalker
from agents.engines import Completion, SamplingJob, open_engine
from agents.engines.faults import Endpoint
from agents.engines.guard import Guarded
from agents.engines.server import Served, VllmServer
from agents.orchestrator import plain_schema
from agents.purse import FREE, Purse
from agents.replies import Proposal
from agents.talk import Message, Question

pytestmark = needs_vllm
NAME = "pupil"


@pytest.fixture(scope="module")
def atelier(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Atelier]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LOOP_VLLM_PYTHON", PYTHON)
        yield Atelier(tmp_path_factory.mktemp("atelier"))


@contextmanager
def transformers_serve(student: str) -> Iterator[tuple[str, str]]:
    """Address and model name of `transformers serve`."""
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(Path(PYTHON).parent / "transformers"), "serve", student, "--port", str(port), "--device", "cpu"]
    serving = Guarded(command, os.environ | {"HF_HUB_OFFLINE": "1", "NO_COLOR": "1"}, echo=False)
    try:
        end = time.monotonic() + 120
        while not answers(f"http://127.0.0.1:{port}/health"):
            assert serving.code() is None and time.monotonic() < end, serving.last_words()
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}/v1", student
    finally:
        serving.stop()


@contextmanager
def vllm(student: str, talks: bool = True) -> Iterator[tuple[str, str]]:
    """The same of vllm."""
    with VllmServer(Served(student, name=NAME, talks=talks)) as server:
        yield server.address, NAME


SERVERS = {
    "vllm, chat": vllm,
    "vllm, base": lambda student: vllm(student, talks=False),
    "transformers serve": transformers_serve,
}


def answers(address: str) -> bool:
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(address, timeout=5):
            return True
    except OSError:
        return False


def complete(job: SamplingJob) -> dict[str, Completion]:
    rows = [row for batch in open_engine("openai").complete(job) for row in batch]
    assert len({row.key for row in rows}) == len(rows) == len(job.requests), "each row once"
    return {row.key: row for row in rows}


@pytest.mark.parametrize("server", SERVERS)
def test_rows_come_once_and_say_what_the_default_engine_says(server: str, atelier: Atelier) -> None:
    job = greedy(atelier.student, prompts=12)
    known = {row.id: row for row in atelier.draw("transformers", job)[0]}
    with SERVERS[server](atelier.student) as (address, model):
        rows = complete(replace(job, model=model, endpoint=address))
        for key, row in rows.items():
            assert (row.text, row.finish) == (known[key].response, known[key].finish)
        assert sum(row.prompt_tokens for row in rows.values()) >= sum(row.prompt_tokens for row in known.values())
        assert all(row.completion_tokens > 0 for row in rows.values())
        twice = tuple(replace(r, key=f"{n:08x}{r.key[8:]}") for r in job.requests for n in range(3))
        warm = complete(replace(job, model=model, endpoint=address, requests=twice, temperature=1.5))
        if server != "transformers serve":  # which draws as the model's own generation_config.json says
            assert len({row.text for row in warm.values()}) > len(job.requests), "samples of a problem differ"


def test_a_plan_keeps_to_its_schema(atelier: Atelier) -> None:
    """A student that knows nothing of plans: whatever it writes is the beginning of one, as the server masks."""
    asked = Question((Message("user", "Plan the next round."),), None, max_tokens=60, temperature=0)
    with vllm(atelier.student) as (address, model):
        talker = EndpointTalker(Endpoint(model, address), Purse(None, FREE))
        try:
            freely = talker.ask(asked).text
            by_schema = talker.ask(replace(asked, schema=plain_schema(Proposal))).text
        finally:
            talker.close()
    assert not freely.lstrip().startswith("{")
    first = "|".join(Proposal.model_fields)
    assert re.match(rf'\s*\{{\s*("({first})"\s*:|\Z)', by_schema), by_schema  # white space may go on for ever


def test_the_default_objective_runs_with_vllm_as_its_sampler(tmp_path: Path) -> None:
    front = (ROOT / "OBJECTIVE.md").read_text(encoding="utf-8")
    front = re.sub(r"^budget: .*$", "budget: {rounds: 1}\ncast: {sampler: {engine: vllm}}", front, flags=re.MULTILINE)
    (tmp_path / "OBJECTIVE.md").write_text(front, encoding="utf-8")
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    environment = os.environ | {"LOOP_VLLM_PYTHON": PYTHON, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "loop.cli", "run", "--run", "run"]
    ended = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout[-2000:] + ended.stderr[-2000:]
    status = json.loads(
        subprocess.run(
            [*command[:3], "status", "run", "--json"], cwd=tmp_path, env=environment, capture_output=True, check=True
        ).stdout
    )
    start, first = status["rounds"]
    assert status["status"] == "finished" and first["status"] in ("kept", "discarded")
    assert json.loads((tmp_path / "run" / "settings.json").read_text())["engines"] is not None
    logs = [path.read_text(errors="replace") for path in (tmp_path / "run" / "logs").glob("001-sample*.log")]
    assert any("vllm" in log for log in logs), "vllm drew them"
    assert first["dev"]["score"] > start["dev"]["score"] - 0.1 and first["spent"]["tokens_sampled"] > 10_000
