"""The command line as a person or a script meets it: real processes, exit codes, one line for what is wrong."""

from __future__ import annotations

import json
import os
import pty
import random
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import typer
from launches import ROOT, State, difference, state
from scripted import Scripted

from loop.cli import app
from loop.errors import DamagedRunError
from loop.status import read_standing

SMALL = Scripted("rounds: 2")
ESCAPE = "\x1b"


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str


def environment(**more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "LOOP_", "COLUMNS"))}
    return kept | {"PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""} | more


def start(folder: Path, *arguments: str, **more: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "loop.cli", *arguments],
        cwd=folder,
        env=environment(LOOP_CACHE=str(folder / "cache"), **more),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def loop(folder: Path, *arguments: str, **more: str) -> Ended:
    process = start(folder, *arguments, **more)
    out, err = process.communicate(timeout=60)
    return Ended(process.returncode, out, err)


def check_refused(ended: Ended, code: int, *words: str, lines: int = 1) -> None:
    """So many lines on stderr, no traceback; on stdout nothing, or the folder that the run would have had."""
    assert ended.code == code and re.fullmatch(r"(\d\d:\d\d:\d\d run: .*\n)?", ended.out), ended
    assert len(ended.err.splitlines()) == lines and ended.err.startswith("loop: "), ended.err
    for word in words:
        assert word in ended.err


@pytest.fixture(scope="session")
def home(swift_path: Path) -> Path:
    """A folder with the scripted objective, and `done`, its finished run."""
    folder = swift_path / "cli"
    SMALL.write(folder)
    ended = loop(folder, "run", "--run", "done")
    assert ended.code == 0, ended.err
    return folder


@pytest.fixture
def place(swift_path: Path, tmp_path: Path) -> Path:
    """A folder of the test's own with the scripted objective."""
    folder = swift_path / tmp_path.name
    SMALL.write(folder)
    return folder


# The command line, frozen: a change here is a change of a public interface (design.md, section 2).

COMMANDS = {
    "run": [("objective", "argument", "OBJECTIVE.md"), ("--run", "option", None)],
    "check": [("objective", "argument", "OBJECTIVE.md")],
    "status": [("run", "argument", ...), ("--json", "flag", False)],
    "report": [("run", "argument", ...)],
    "export": [
        ("run", "argument", ...),
        ("folder", "argument", ...),
        ("--push", "option", None),
        ("--public", "flag", False),
    ],
    "evaluate": [
        ("run", "argument", ...),
        ("--task", "option", ...),
        ("--round", "option", None),
        ("--include", "option", None),
        ("--data", "option", None),
        ("--shots", "option", None),
        ("--limit", "option", None),
        ("--download", "flag", False),
        ("--json", "flag", False),
    ],
    "evolve": [
        ("objective", "argument", "OBJECTIVE.md"),
        ("--run", "option", None),
        ("--generations", "option", 10),
        ("--documents", "option", 8),
        ("--repeats", "option", 4),
        ("--seed", "option", 0),
    ],
    "serve": [("run", "argument", ...), ("--port", "option", 8000), ("--host", "option", "127.0.0.1")],
    "new": [("folder", "argument", ...), ("--preset", "option", "default")],
}
"""Name, kind and default of every parameter, in order; ... where it is required."""


def test_the_command_line_is_frozen() -> None:
    def shown(parameter: Any) -> tuple[str, str, object]:
        is_argument = parameter.param_type_name == "argument"
        kind = "argument" if is_argument else "flag" if parameter.is_flag else "option"
        default = ... if parameter.required else parameter.default
        names = [parameter.name] if is_argument else parameter.opts + parameter.secondary_opts
        assert len(names) == 1
        return names[0], kind, str(default) if isinstance(default, Path) else default

    commands: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    found = {name: [shown(p) for p in command.params if p.name != "help"] for name, command in commands.items()}
    assert found == COMMANDS


def test_help_is_given(home: Path) -> None:
    for arguments in (["--help"], *([name, "--help"] for name in COMMANDS)):
        ended = loop(home, *arguments)
        assert (ended.code, ended.err) == (0, "") and "Usage:" in ended.out


# What is wrong.


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ("run --fast", 2, ["--fast", "loop"]),
        ("--fast", 2, ["--fast"]),
        ("train", 2, ["train"]),
        ("status", 2, ["run"]),
        ("run OBJECTIVE.md more", 2, ["more"]),
        ("run nowhere.md", 2, ["nowhere.md", "loop new"]),
        ("check nowhere.md", 2, ["nowhere.md"]),
        ("run .", 2, ["is a folder"]),
        ("new done", 2, ["done", "name a new one"]),
        ("new fresh --preset chian", 2, ["chian", "default"]),
        ("run --run demos.jsonl/run", 3, ["demos.jsonl", "--run"]),
        ("status cache", 5, ["cache/run.db", "name the folder of a run"]),
        ("report cache", 5, ["cache/run.db"]),
        ("status nowhere", 5, ["nowhere"]),
        ("export done", 2, ["folder"]),
        ("export done done", 2, ["done", "name a new one"]),
        ("export done out", 3, ["holds no model", "scripted"]),
        ("export cache out", 5, ["cache/run.db"]),
    ],
)
def test_what_is_wrong_is_one_line(arguments: str, code: int, words: Sequence[str], home: Path) -> None:
    check_refused(loop(home, *arguments.split()), code, *words)


def test_several_mistakes_are_several_lines_and_no_work_is_begun(place: Path) -> None:
    path = place / "OBJECTIVE.md"
    good = path.read_text()
    path.write_text(
        good.replace("rounds: 2", "rounds: 0").replace("size: 16", "size: many").replace("numeric", "numerick")
    )
    for command in ("run", "check"):
        ended = loop(place, command)
        check_refused(ended, 2, "budget.rounds", "tasks.dev.size", "numerick", lines=3)
    again = "- {source: reasoning_gym/gcd, skill: sum, sweep: {numbers: [2, 3]}}\n    - source: problems.jsonl"
    path.write_text(good.replace("- source: problems.jsonl", again))
    for command in ("run", "check"):
        check_refused(loop(place, command), 2, "sum 2 comes from two sources")
    assert not (place / "runs").exists(), "a refused objective leaves nothing to clean up"


def test_a_student_that_is_not_here(place: Path) -> None:
    path = place / "OBJECTIVE.md"
    path.write_text(path.read_text().replace("scripted/learner", "org/model"))
    for command in ("run", "check"):
        ended = loop(place, command, HF_HUB_OFFLINE="1", HF_HUB_CACHE=str(place / "hub"))
        check_refused(ended, 3, "student: org/model", "hf download org/model")
    assert not (place / "runs").exists()


def test_a_damaged_run(home: Path, place: Path) -> None:
    luck = random.Random(0)
    run = place / "done"

    def damage(name: str, content: bytes) -> None:
        shutil.rmtree(run, ignore_errors=True)
        shutil.copytree(home / "done", run)
        for leaving in run.glob("run.db-*"):
            leaving.unlink()
        (run / name).write_bytes(content)

    ledger = (home / "done" / "run.db").read_bytes()
    journal = home / "done" / "run.db-wal"  # who only looks leaves an empty one
    assert not journal.exists() or not journal.stat().st_size, "a finished run has put its journal away"
    noise = b"".join(luck.randbytes(4096) for _ in range(len(ledger) // 4096))
    for content in (noise, ledger[:4096] + noise[4096:], ledger[: len(ledger) // 2], b""):
        damage("run.db", content)
        for command in (["status", "done"], ["report", "done"], ["run", "--run", "done"]):
            if content == b"" and command[0] == "run":
                continue  # an empty ledger is one that has just been made
            ended = loop(place, *command)
            assert (ended.code, len(ended.err.splitlines())) == (5, 1), (command, len(content), ended)
            assert "run.db" in ended.err
    damage("rounds/001/evaluation.json", b"{}")
    for command in (["status", "done"], ["report", "done"]):
        check_refused(loop(place, *command), 5, "rounds/001/evaluation.json")


def test_a_damaged_page_of_the_ledger(home: Path, place: Path) -> None:
    """Whichever page is noise: what is told is whole, or the run is refused; never another exception."""
    luck, ledger = random.Random(0), (home / "done" / "run.db").read_bytes()
    run = place / "done"
    shutil.copytree(home / "done", run)
    refused = 0
    for page in range(4096, len(ledger), 4096):
        for leaving in run.glob("run.db-*"):
            leaving.unlink()
        (run / "run.db").write_bytes(ledger[:page] + luck.randbytes(4096) + ledger[page + 4096 :])
        try:
            assert read_standing(run).status == "finished"
        except DamagedRunError as error:
            assert "run.db" in str(error)
            refused += 1
    assert refused >= 3


# What a script reads.

SCORE = {"score", "low", "high", "n"}
SPENT = {"tokens_sampled", "tokens_trained", "flops", "seconds", "usd"}
ROUND = {"round", "status", "dev", "kept", "strategies", "spent"}


def test_the_json_has_the_public_keys_and_no_others(home: Path) -> None:
    ended = loop(home, "status", "done", "--json")
    assert (ended.code, ended.err, len(ended.out.splitlines())) == (0, "", 1)
    told = json.loads(ended.out)
    assert told.keys() == {"run", "status", "best_round", "rounds", "control"}
    assert (told["run"], told["status"]) == ("done", "finished")
    assert told["control"].keys() == {"dev"} and told["control"]["dev"].keys() == SCORE
    assert [row["round"] for row in told["rounds"]] == [0, 1, 2]
    for row in told["rounds"]:
        assert row.keys() - {"test"} == ROUND
        assert row["dev"].keys() == SCORE and row["spent"].keys() == SPENT
        assert row.get("test", dict.fromkeys(SCORE)).keys() == SCORE
    assert "test" in told["rounds"][told["best_round"]]
    assert told["rounds"][0]["kept"] is True


def test_a_finished_run_says_so(home: Path) -> None:
    before = state(home / "done")
    ended = loop(home, "run", "--run", "done")
    assert ended.code == 0 and "this run is finished" in ended.out
    assert not difference(state(home / "done"), before)


def test_a_raised_budget_prolongs_a_finished_run(home: Path, place: Path) -> None:
    shutil.copytree(home / "done", place / "done")
    path = place / "OBJECTIVE.md"
    path.write_text(path.read_text().replace("rounds: 2", "rounds: 3"))
    assert loop(place, "run", "--run", "done").code == 0
    assert len(json.loads(loop(place, "status", "done", "--json").out)["rounds"]) == 4
    path.write_text(path.read_text().replace("seed: 11", "seed: 12"))
    check_refused_run = loop(place, "run", "--run", "done")
    assert check_refused_run.code == 2 and "OBJECTIVE.md changed" in check_refused_run.err


# Pipes, terminals and signals.


def test_lines_for_a_pipe_are_plain(place: Path) -> None:
    ended = loop(place, "run", "--run", "run")
    assert ended.code == 0 and ESCAPE not in ended.out + ended.err
    stages = [line for line in ended.out.splitlines() if re.match(r"\d\d:\d\d:\d\d ", line)]
    assert any(line.endswith(" round 1: sample") for line in stages) and len(stages) > 20
    assert all(len(line) <= 100 and line == line.rstrip() for line in stages)


def test_a_terminal_without_colour(home: Path) -> None:
    """NO_COLOR (no-color.org) leaves the bar its cursor movements, and takes every colour away."""
    for variables, is_plain in (({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, True)):
        shown = in_a_terminal(home, "status", "done", **variables)
        assert "finished" in shown
        assert not re.search(r"\x1b\[[0-9;]*3[0-9]m", shown), shown
        assert not (is_plain and ESCAPE in shown), shown


def in_a_terminal(folder: Path, *arguments: str, **more: str) -> str:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "loop.cli", *arguments],
        cwd=folder, env=environment(TERM="xterm-256color", **more) if "TERM" not in more else environment(**more),
        stdin=theirs, stdout=theirs, stderr=theirs,
    )  # fmt: skip
    os.close(theirs)
    shown = b""
    while True:
        try:
            piece = os.read(ours, 4096)
        except OSError:  # the other end is closed
            break
        if not piece:
            break
        shown += piece
    os.close(ours)
    assert process.wait(timeout=60) == 0, shown
    return shown.decode()


@pytest.mark.parametrize("reader", ["head -1", "true"])
def test_a_reader_that_leaves_does_not_stop_the_run(reader: str, place: Path) -> None:
    line = f"{sys.executable} -m loop.cli run --run run | {reader}; echo ${{PIPESTATUS[0]}} >&2"
    ended = subprocess.run(
        ["bash", "-c", line],
        cwd=place,
        env=environment(LOOP_CACHE=str(place / "cache")),
        capture_output=True,
        text=True,
    )
    assert ended.stderr == "0\n" and len(ended.stdout.splitlines()) == (1 if reader == "head -1" else 0)
    assert json.loads(loop(place, "status", "run", "--json").out)["status"] == "finished"


@pytest.fixture(scope="session")
def unbroken(home: Path) -> State:
    return state(home / "done")


@pytest.mark.parametrize(
    ("number", "line"),
    [
        (signal.SIGINT, "round 0: sit the exam"),
        (signal.SIGTERM, "round 1: sample"),
        (signal.SIGINT, "round 1: evaluate"),
    ],
)
def test_an_interrupted_run_goes_on(number: int, line: str, place: Path, unbroken: State) -> None:
    process = start(place, "run", "--run", "run")
    assert process.stdout is not None
    for said in process.stdout:
        if said.rstrip().endswith(line):
            process.send_signal(number)
            break
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (130, "loop: interrupted; the same command goes on from here\n")
    assert json.loads(loop(place, "status", "run", "--json").out)["status"] == "interrupted"
    assert loop(place, "run", "--run", "run").code == 0
    assert not difference(state(place / "run"), unbroken)


def test_a_run_has_one_writer(place: Path) -> None:
    process = start(place, "run", "--run", "run")
    assert process.stdout is not None
    next(line for line in process.stdout if "round 0: train" in line)
    process.send_signal(signal.SIGSTOP)
    try:
        second = loop(place, "run", "--run", "run")
        assert (second.code, second.err.count("\n")) == (3, 1) and "another process works on this run" in second.err
        assert loop(place, "status", "run").code == 0, "anyone may look"
    finally:
        process.send_signal(signal.SIGCONT)
    process.communicate(timeout=60)
    assert process.returncode == 0
