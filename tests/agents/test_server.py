"""The server that we start, watch and stop: with a tiny program in vllm's place, and with vllm where it is."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from agents.engines import EngineError
from agents.engines.gpu import wait_until_free
from agents.engines.server import CHAT_TEMPLATE, Patience, Served, VllmServer

TINY = Path(__file__).with_name("tiny_server.py")
ROOT = TINY.parents[2]
SWIFT = Patience(start_seconds=20, silent_seconds=0.4, look_seconds=0.05, restarts=2, grace_seconds=1)


def tiny(notes: Path, *modes: str) -> VllmServer:
    command = (sys.executable, str(TINY), str(notes), *modes, "--")
    return VllmServer(Served("model", name="pupil", command=command), SWIFT)


def ask(server: VllmServer) -> str:
    asked = json.dumps({"model": "pupil", "prompt": "1 + 1", "max_tokens": 1}).encode()
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"{server.address}/completions", asked, timeout=20) as answer:
        return str(json.load(answer)["choices"][0]["text"])


def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def started(notes: Path) -> list[int]:
    """Process ids of all that was started: servers and their children."""
    return [int(pid) for path in notes.glob("*.pids") for pid in path.read_text().split()]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_it_answers_inside_and_is_gone_outside(tmp_path: Path) -> None:
    with tiny(tmp_path, "well") as server:
        assert server.address.startswith("http://127.0.0.1:") and server.address.endswith("/v1")
        assert ask(server).startswith("pupil: ")
        server.wait(0.3)
        assert [alive(pid) for pid in started(tmp_path)] == [True, True] and server.restarts == 0
    assert [alive(pid) for pid in started(tmp_path)] == [False, False]


def test_a_start_that_fails_says_why_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(
        EngineError, match=r"did not start \(exit code 3\): ValueError: no room for the model"
    ) as told:
        tiny(tmp_path, "refuse").__enter__()
    assert "\n" not in str(told.value)
    assert not any(alive(pid) for pid in started(tmp_path))
    with pytest.raises(EngineError, match="no/such/program: No such file"):
        VllmServer(Served("model", command=("no/such/program",)), SWIFT).__enter__()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(EngineError, match=f"port {port}: something listens"):
            VllmServer(Served("model", port=port, command=("no/such/program",)), SWIFT).__enter__()


@pytest.mark.parametrize("fault", ["die", "mute"])
def test_a_dead_or_silent_server_is_started_again_at_the_same_address(tmp_path: Path, fault: str) -> None:
    with tiny(tmp_path, fault, "well") as server:
        until(lambda: server.restarts == 1)
        until(lambda: len(started(tmp_path)) == 4)
        until(lambda: answers(server))
        server.wait(0.3)
        assert server.restarts == 1
    assert not any(alive(pid) for pid in started(tmp_path))


def answers(server: VllmServer) -> bool:
    try:
        return bool(ask(server))
    except OSError:
        return False


def test_a_long_queue_is_no_silence(tmp_path: Path) -> None:
    with tiny(tmp_path, "busy") as server:
        server.wait(1.5)
        assert server.restarts == 0


def test_it_is_given_up_after_so_many_restarts(tmp_path: Path) -> None:
    with tiny(tmp_path, "mute", "refuse") as server, pytest.raises(EngineError, match=r"after 2 restarts.*no room"):
        server.wait(30)
    assert len(started(tmp_path)) == 6 and not any(alive(pid) for pid in started(tmp_path))


def test_nothing_is_left_when_we_are_killed(tmp_path: Path) -> None:
    code = f"""
        import sys
        from agents.engines.server import Patience, Served, VllmServer
        command = (sys.executable, {str(TINY)!r}, {str(tmp_path)!r}, "well", "--")
        with VllmServer(Served("model", command=command), Patience(grace_seconds=0.2)) as server:
            print(server.address, flush=True)
            server.wait()
    """
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)], env=environment, stdout=subprocess.PIPE
    ) as parent:
        assert parent.stdout is not None and parent.stdout.readline().startswith(b"http")
        pids = started(tmp_path)
        assert len(pids) == 2 and all(alive(pid) for pid in pids)
        parent.send_signal(signal.SIGKILL)
    until(lambda: not any(alive(pid) for pid in pids))


def test_gpu_memory_that_is_not_given_back_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = tmp_path / "nvidia-smi"
    fake.write_text("#!/bin/sh\ncat " + str(tmp_path / "held") + "\n", encoding="utf-8")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    (tmp_path / "held").write_text("11, 300\n12, 5000\n13, [N/A]\n", encoding="utf-8")
    wait_until_free({11: 300, 12: 5000, 13: 0}, bound=0)
    with pytest.raises(EngineError, match="process 12 holds 5000 MiB"):
        wait_until_free({11: 300}, bound=0)


def test_the_chat_template_puts_a_problem_as_the_student_knows_it() -> None:
    import jinja2

    from agents.student import student_prompt
    from agents.talk import Message, transcript

    template = jinja2.Environment(trim_blocks=True, lstrip_blocks=True).from_string(CHAT_TEMPLATE)
    turns = [{"role": "system", "content": "Add."}, {"role": "user", "content": "1 + 1"}]
    assert template.render(messages=turns[1:]) == student_prompt(object(), "1 + 1")
    assert template.render(messages=turns) == transcript([Message(**turn) for turn in turns])
