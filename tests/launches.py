"""Launches of scripted runs: real processes that die where they are told to. All is imported once, then forked."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
EVERY = sys.maxsize
"""Armed at a failpoint that is never reached: rows are split as in a crash test, and failpoints are noted."""
DIED = 137

State = dict[str, dict[str, object]]


@dataclass(frozen=True)
class Launch:
    """What came of one launch."""

    code: int
    """Exit code; minus the signal's number when one ended or stopped it."""
    pid: int
    stages: list[tuple[str, str]]
    """(room, stage) of every stage that was worked on, in order."""
    answered: list[tuple[str, str]]
    """(seed of the job, key) of every completion that the engine made, in order."""
    failpoints: list[str]
    """Names of those passed, when it lived to tell."""
    said: str
    """All that it wrote to its terminal."""
    torch: bool
    """Whether torch was imported."""


class Launcher:
    """A process that has everything imported, and forks a child for each launch."""

    def __init__(self, hash_seed: int) -> None:
        environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONHASHSEED": str(hash_seed)}
        self._process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        self._lock = threading.Lock()

    def __enter__(self) -> Launcher:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.communicate()

    def launch(
        self,
        objective: Path,
        run: Path,
        die_at: int | None = EVERY,
        by: int | None = None,
        command: bool = False,
        name: str = "run",
        options: Sequence[str] = (),
    ) -> Launch:
        """Start the objective's run, or go on with it, in a process of its own.

        Args: die_at: the number of a failpoint, EVERY or None for a launch that is not armed; by: a signal that it
        sends to itself there instead of ending at once; command: go through the whole `loop run`, or the command of
        that name with these options.
        """
        words = [name, str(objective), "--run", str(run), *options] if command else []
        job = {"objective": str(objective), "run": str(run), "die_at": die_at, "by": by, "command": words}
        with self._lock:
            assert self._process.stdin is not None and self._process.stdout is not None
            self._process.stdin.write(json.dumps(job) + "\n")
            self._process.stdin.flush()
            told = json.loads(self._process.stdout.readline())
        keys = ("stages", "answered")
        return Launch(**told | {key: [tuple(pair) for pair in told[key]] for key in keys})


def state(run: Path) -> State:
    """All that a run vouches for, times apart: the rows of its ledger in their order, and its files' digests."""
    kept: State = {"files": {}}
    for path in sorted(run.rglob("*")):
        name = str(path.relative_to(run))
        if path.is_file() and not name.startswith(("logs/", ".lock", "run.db", "report.html")):
            content = path.read_bytes()
            if path.name == "talks.jsonl":  # several threads ask: only the order of these rows is free
                content = b"".join(sorted(content.splitlines()))
            kept["files"][name] = hashlib.sha256(content).hexdigest()
    queries = {
        "fact": "SELECT name, value FROM fact ORDER BY name",
        "card": "SELECT room || '/' || stage, file, digest, rows, detail FROM card ORDER BY rowid",
        "spent": "SELECT room || '/' || stage, tokens_sampled, tokens_trained, flops, usd FROM spent ORDER BY rowid",
        "round": "SELECT round, status, record FROM round ORDER BY round",
        "event": "SELECT id, kind, text FROM event ORDER BY id",
    }
    with closing(sqlite3.connect(f"{(run / 'run.db').as_uri()}?mode=ro", uri=True)) as ledger:
        for table, query in queries.items():
            rows = ledger.execute(query).fetchall()
            kept[table] = {str(row[0]): row[1:] for row in rows}
            kept[f"{table} order"] = dict(enumerate(row[0] for row in rows))
    return kept


def difference(found: State, wanted: State) -> str:
    """The first thing that is not as wanted, or ""."""
    for part in wanted:
        for key in [*wanted[part], *found[part]]:
            if found[part].get(key) != wanted[part].get(key):
                return f"{part} {key}: {found[part].get(key)} instead of {wanted[part].get(key)}"
    return ""


# What follows runs in the launcher's own process.


@dataclass
class Trace:
    """A screen that writes down what begins, so that it survives the launch."""

    path: Path

    def stage(self, room: str, stage: str) -> None:
        self._note({"stage": [room, stage]})

    def progress(self, done: float, total: float, rate: str) -> None:
        """Nothing: the engine's own log says more."""

    def note(self, text: str) -> None:
        self._note({"note": text})

    def _note(self, content: dict[str, object]) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(content) + "\n")


def _serve() -> None:
    import loop.cli
    import loop.evolve
    import loop.report
    import loop.runner
    import loop.scripted
    import loop.status
    import loop.timing  # noqa: F401 - all that a launch imports, once for all of them

    for line in sys.stdin:
        print(json.dumps(_fork(**json.loads(line))), flush=True)


def _fork(objective: str, run: str, die_at: int | None, by: int | None, command: list[str]) -> dict[str, Any]:
    home = Path(run).parent
    said, trace, answered, left = (home / f"{Path(run).name}.{n}" for n in ("said", "trace", "answered", "left"))
    for path in (said, trace, answered, left):
        path.unlink(missing_ok=True)
    child = os.fork()
    if child == 0:
        code = 70
        try:
            os.environ.update(LOOP_CACHE=str(home / "cache"), LOOP_SCRIPTED_LOG=str(answered))
            output = os.open(said, os.O_WRONLY | os.O_CREAT)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os.dup2(output, 1)
            os.dup2(output, 2)
            code = _play(objective, Path(run), Trace(trace), die_at, by, command)
            left.write_text(json.dumps(_left()), encoding="utf-8")
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    _, status = os.waitpid(child, os.WUNTRACED)
    code = -os.WSTOPSIG(status) if os.WIFSTOPPED(status) else os.waitstatus_to_exitcode(status)
    rows = [json.loads(line) for line in _lines(trace)]
    told = json.loads(left.read_text(encoding="utf-8")) if left.exists() else {"failpoints": [], "torch": False}
    return {
        "code": code,
        "pid": child,
        "stages": [row["stage"] for row in rows if "stage" in row],
        "answered": [line.split(" ") for line in _lines(answered)],
        "said": said.read_text(encoding="utf-8") + "".join(r["note"] + "\n" for r in rows if "note" in r),
        **told,
    }


def _play(objective: str, run: Path, trace: Trace, die_at: int | None, by: int | None, command: list[str]) -> int:
    """One launch, as `loop run` makes it, or a whole command; the exit code."""
    from loop import cli, failpoints
    from loop.errors import LoopError
    from loop.objective import read_objective
    from loop.run import open_run
    from loop.runner import go

    failpoints.arm(die_at, by)
    if command:
        sys.argv = ["loop", *command]
        try:
            cli.main()
        except SystemExit as end:
            return int(end.code or 0)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        go(open_run(read_objective(Path(objective)), run, trace))
    except LoopError as error:
        print(f"loop: {error}")
        return error.exit_code
    except KeyboardInterrupt:
        return cli.INTERRUPTED
    return 0


def _left() -> dict[str, object]:
    from loop import failpoints

    return {"failpoints": failpoints.passed(), "torch": "torch" in sys.modules}


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


if __name__ == "__main__":
    _serve()
