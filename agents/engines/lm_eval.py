"""lm-evaluation-harness in a process of its own, which may live in another Python environment."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agents.engines import EngineError
from agents.engines.apart import missing_from
from agents.engines.guard import Guarded

MEND = "pip install 'loop-train[harness]', or name a Python that has lm_eval in LOOP_HARNESS_PYTHON"
OFFLINE = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
BATCH = 64
"""Prompts of one request: the student's server draws them together."""
LOOK_SECONDS = 2.0


class LmEvalError(EngineError):
    """It gave no score."""

    def __init__(self, words: str, at: str = "") -> None:
        super().__init__(words)
        self.at = at
        """name: there is no such task; task: it could not be loaded or scored, mostly for want of its data set;
        server: a request was refused; or ""."""


@dataclass(frozen=True)
class LmEvalJob:
    """What is evaluated on what."""

    address: str
    """Base address of an OpenAI-compatible server."""
    model: str
    """As the server knows it."""
    tasks: tuple[str, ...]
    include: tuple[str, ...] = ()
    """Folders with task files beside lm-eval's own."""
    defaults: bool = True
    """Whether its own tasks are wanted: to list them takes ten seconds."""
    data_files: Mapping[str, str] = field(default_factory=dict)
    """Local JSON-lines files by split, read in place of the data sets that the tasks name."""
    shots: int | None = None
    """Examples in a prompt; None is as many as the task says."""
    limit: int | None = None
    """Problems of each task, the first ones."""
    tokenizer: bool = True
    """Whether the server has /tokenize and its like, as tasks that weigh texts need."""
    positions: int = 2048
    """Tokens that the model takes; what is weighed beyond is cut at its beginning."""


@dataclass(frozen=True)
class LmEvalScores:
    """What came of it."""

    version: str
    measures: tuple[dict[str, Any], ...]
    """Each with task, metric, filter, score, error (one standard error or None) and n."""
    rows: tuple[dict[str, Any], ...]
    """One for each problem and filter: task, filter, problem, target, answers, found, scores."""


def harness_python() -> str:
    """The interpreter that has lm_eval: LOOP_HARNESS_PYTHON, or our own."""
    return os.environ.get("LOOP_HARNESS_PYTHON") or sys.executable


def missing_lm_eval() -> str:
    """Why there is no lm_eval to be had, in one line with the mend; "" where there is."""
    return missing_from(harness_python(), "lm_eval", "lm-eval", MEND)


def run_lm_eval(
    job: LmEvalJob, folder: Path, downloads: bool = False, tick: Callable[[], None] = lambda: None
) -> LmEvalScores:
    """Evaluate, and wait for it; `tick` is called now and then.

    Args: folder: for the files between the two processes; downloads: whether tasks may fetch their data sets.

    Raises: LmEvalError.
    """
    given, told = folder / "job.json", folder / "told.json"
    told.unlink(missing_ok=True)
    given.write_text(json.dumps({**vars(job), "batch": BATCH}, default=dict), encoding="utf-8")
    command = (harness_python(), "-P", str(Path(__file__).with_name("lm_eval_child.py")), str(given), str(told))
    process = Guarded(command, _environment(downloads), echo=False)
    try:
        looked = time.monotonic()
        while process.code() is None:
            time.sleep(0.1)
            if time.monotonic() - looked > LOOK_SECONDS:
                tick()
                looked = time.monotonic()
    finally:
        code = process.stop()
    if not told.is_file():
        raise LmEvalError(f"lm-eval: ended with exit code {code}: {process.last_words()}")
    found = json.loads(told.read_text(encoding="utf-8"))
    given.unlink()
    told.unlink()
    if "wrong" in found:
        raise LmEvalError(found["wrong"], found["at"])
    return LmEvalScores(found["version"], tuple(found["measures"]), tuple(found["rows"]))


def _environment(downloads: bool) -> dict[str, str]:
    """Nothing of it goes by a proxy to our own machine, and to a network only where that is allowed."""
    ours = {name: value for name, value in os.environ.items() if name not in ("PYTHONHOME", "PYTHONWARNINGS")}
    local = ",".join(filter(None, [ours.get("NO_PROXY", ""), "127.0.0.1", "localhost"]))
    fixed = {"NO_PROXY": local, "no_proxy": local, "PYTHONSAFEPATH": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
    return ours | fixed | ({} if downloads else OFFLINE)
