"""Which processes hold GPU memory, as nvidia-smi tells: whether a phase has left the GPU free for the next."""

from __future__ import annotations

import shutil
import subprocess
import time

from agents.engines import EngineError

QUERY = ("--query-compute-apps=pid,used_memory", "--format=csv,noheader,nounits")
BOUND = 60.0
"""Seconds that the driver may take to give back the memory of a process that is gone."""


def gpu_holders() -> dict[int, int]:
    """MiB held by each process on all GPUs; empty without nvidia-smi."""
    if shutil.which("nvidia-smi") is None:
        return {}
    try:
        told = subprocess.run(["nvidia-smi", *QUERY], capture_output=True, text=True, timeout=60, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return {}
    held: dict[int, int] = {}
    for line in told.splitlines():
        pid, _, memory = (part.strip() for part in line.partition(","))
        if pid.isdigit():
            held[int(pid)] = held.get(int(pid), 0) + (int(memory) if memory.isdigit() else 0)
    return held


def wait_until_free(before: dict[int, int], bound: float = BOUND) -> None:
    """Return when no process holds GPU memory that did not at `before`.

    Raises: EngineError naming one that still does after `bound` seconds.
    """
    end = time.monotonic() + bound
    while left := {pid: size for pid, size in gpu_holders().items() if pid not in before}:
        if time.monotonic() >= end:
            pid, size = max(left.items(), key=lambda pair: pair[1])
            raise EngineError(
                f"GPU memory: process {pid} holds {size} MiB that were free before vllm ran; end it (kill {pid})"
            )
        time.sleep(0.5)
