"""Serve: the best student of a run at an OpenAI-compatible address."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from agents.engines import EngineError
from agents.engines.server import Served, VllmServer
from agents.engines.vllm_settings import missing_vllm
from loop.errors import MissingError
from loop.files import verify_manifest
from loop.ledger import Ledger
from loop.rounds import LOST, Round, best_of


def serve(run: Path, host: str, port: int, say: Callable[[str], None]) -> None:
    """Serve it until the process is interrupted. Adapters are served as adapters, on their base.

    Raises: MissingError without vllm or a student that it can serve, or when the server does not start or is given
    up; DamagedRunError when the student is not what the ledger vouches for.
    """
    student, number = best_student(run)
    if wrong := missing_vllm():
        raise MissingError(wrong)
    name = run.resolve().name
    say(f"starting vllm with the student of round {number}: it takes half a minute or more")
    try:
        with VllmServer(Served(str(student), name=name, host=host, port=port)) as server:
            say(f"address: {server.address}\nmodel: {name}")
            say(f"try: curl {server.address}/chat/completions {_example(name)}")
            server.wait()
    except EngineError as error:
        raise MissingError(str(error)) from error


def best_student(run: Path) -> tuple[Path, int]:
    """The folder of the best checkpoint so far, verified, and its round; a run at work is only looked at.

    Raises: DamagedRunError, MissingError when there is no student yet or it is a scripted one.
    """
    ledger = Ledger.read(run / "run.db")
    best = best_of(ledger.rounds(), ledger.fact(LOST) or ())
    ledger.close()
    return student_of(run, best)


def student_of(run: Path, best: Round | None) -> tuple[Path, int]:
    """The same, of a round."""
    if best is None or best.checkpoint is None:
        raise MissingError(f"{run}: no student yet; go on with `loop run` until round 0 is closed")
    folder = (run / best.checkpoint.path).resolve()
    verify_manifest(folder, best.checkpoint.manifest)
    if not (folder / "config.json").is_file() and not (folder / "adapter_config.json").is_file():
        raise MissingError(f"{folder}: holds no model; a scripted student is only for tests")
    return folder, best.round


def _example(name: str) -> str:
    asked = {"model": name, "messages": [{"role": "user", "content": "1 + 1 = ?"}], "temperature": 0}
    return f"-H 'Content-Type: application/json' -d '{json.dumps(asked)}'"
