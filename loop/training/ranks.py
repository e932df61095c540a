"""Ranks: one training on all GPUs of the machine, a process each, joined by accelerate (data parallel).

torch's launcher starts the processes; transformers' Trainer finds itself in one of them, and has accelerate do the
rest. Every optimizer step has as many rows as on one GPU. On a machine with one GPU, or none, nothing is launched.
"""

from __future__ import annotations

import importlib
import json
import os
import pickle
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from loop.crew import Ask, Report
from loop.errors import LoopError
from loop.jobs import RanksJob

TICK = 0.2
"""Seconds between looks at how the ranks do."""


def train(job: RanksJob, report: Report, *asks: Ask) -> Any:
    """Do the work here, on one GPU at the most; or, where it can be shared, by a process for each GPU.

    Args: asks: of work that asks the parent, which cannot be shared.

    Raises: what the work raises.
    """
    gpus = torch.cuda.device_count() if job.processes is None else job.processes
    ranks = most_ranks(job.shared.settings.rows_per_step, gpus) if job.shared else 1
    if ranks > 1:
        return _launch(job, ranks, report)
    if torch.cuda.device_count() > 1:  # or the Trainer would split each batch over all of them by itself
        os.environ["CUDA_VISIBLE_DEVICES"] = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
    return _work(job)(job.job, report, *asks)


def most_ranks(rows_per_step: int, gpus: int) -> int:
    """As many of the GPUs as divide the rows of a step; 1 where there are none."""
    return max(n for n in range(1, max(1, gpus) + 1) if rows_per_step % n == 0)


def _launch(job: RanksJob, ranks: int, report: Report) -> Any:
    with tempfile.TemporaryDirectory(prefix="loop-ranks-") as folder:
        place = Path(folder)
        (place / "job").write_bytes(pickle.dumps(job))
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}"]
        launcher = subprocess.Popen(
            [*command, "-m", "loop.training.ranks", folder],
            stdin=subprocess.PIPE,  # its end tells every rank that this process is gone
            env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
        told = 0
        while launcher.poll() is None:
            time.sleep(TICK)
            told = _pass_on(place / "progress", told, report)
        if failures := sorted(place.glob("failed-*")):
            raise pickle.loads(failures[0].read_bytes())
        if launcher.returncode:
            raise RuntimeError(f"a rank died (exit {launcher.returncode})")
        return pickle.loads((place / "result").read_bytes())


def _pass_on(progress: Path, told: int, report: Report) -> int:
    """Report the lines that are new; how many there are by now."""
    lines = progress.read_text(encoding="utf-8").splitlines(keepends=True) if progress.exists() else []
    whole = [line for line in lines if line.endswith("\n")]
    for line in whole[told:]:
        report(*json.loads(line))
    return len(whole)


def _work(job: RanksJob) -> Callable[..., Any]:
    module, _, function = job.work.partition(":")
    work: Callable[..., Any] = getattr(importlib.import_module(module), function)
    return work


def _rank(place: Path) -> None:
    """What each rank does: the work; the first also tells how it goes and what came of it."""
    threading.Thread(target=_exit_at_end_of_input, daemon=True).start()
    rank = int(os.environ["RANK"])
    job: RanksJob = pickle.loads((place / "job").read_bytes())

    def report(done: float, total: float, rate: str) -> None:
        if rank == 0:
            with (place / "progress").open("a", encoding="utf-8") as file:
                file.write(json.dumps([done, total, rate]) + "\n")

    try:
        result = _work(job)(job.job, report)
    except (LoopError, RuntimeError) as error:  # memory is a RuntimeError; of any other the log has the words
        (place / f"failed-{time.time_ns()}-{rank}").write_bytes(pickle.dumps(error))
        raise
    if rank == 0:
        (place / "result").write_bytes(pickle.dumps(result))
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def _exit_at_end_of_input() -> None:
    os.read(0, 1)
    os._exit(130)


if __name__ == "__main__":
    _rank(Path(sys.argv[1]))
