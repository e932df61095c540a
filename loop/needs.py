"""What a run needs of this machine: the student, memory, disk. `require` refuses what could not work.

Nothing here imports torch or asks the network.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from loop.errors import MissingError
from loop.objective import Demonstration, Exam, Objective, read_demonstrations
from loop.presets import FULL, Architecture, read_preset
from loop.status import in_tokens

BYTES_A_TOKEN = 4.0
"""Of English text in a pretrained tokenizer, roughly; a scratch student writes bytes."""
UNKNOWN_ROW = 1200
"""Bytes of a prompt and its response where no demonstration shows one."""
BYTES_TRAINED = 16
"""A trained parameter in memory, in float32: itself, its gradient, and Adam's two averages."""
BYTES_A_SAMPLE = 1500
"""What one sample adds to the files of a run, its text apart."""
ADAPTER = 0.03
"""Parameters of an adapter (LoRA), of the model's, at the most."""
SAMPLES_EACH = 4
"""Samples of one problem (agents/uniform.py); at most one of them becomes an example."""
ROUNDS = 10
"""Rounds that are reckoned with where the budget does not say."""


@dataclass(frozen=True)
class Weights:
    """What is known of the student's weights."""

    words: str
    parameters: int | None
    """None where the model is not on this machine, or its files do not tell."""


@dataclass(frozen=True)
class Cost:
    """What a run may come to, roughly: tokens, and bytes on the disk."""

    exams: int
    """Tokens of the exams of round 0 and of the test, which no budget takes away."""
    a_round: int
    """Tokens of one round of ordinary size, its share of the control included."""
    disk: int


def require(objective: Objective, folder: Path) -> list[str]:
    """What a run in this folder needs of the machine, a line each.

    Raises: MissingError for the first that is not there.
    """
    weights = find_student(objective)
    lines = [f"student: {objective.student}, {weights.words}"]
    if not objective.student.startswith("scripted/"):
        lines.append(_device_line(objective, weights.parameters))
    return [*lines, _disk_line(folder, estimate(objective, read_demonstrations(objective)).disk)]


def estimate(objective: Objective, demonstrations: Sequence[Demonstration]) -> Cost:
    """A rough reckoning, for rounds of ordinary size."""
    is_scratch = objective.student.startswith("scratch/")
    settings = read_preset(objective.student.removeprefix("scratch/")).training if is_scratch else FULL
    sizes = [len(d.prompt.encode()) + len(d.response.encode()) for d in demonstrations] or [UNKNOWN_ROW]
    a_row = sum(sizes) / len(sizes)
    dev, test = (_size(exam, objective.folder) for exam in (objective.tasks.dev, objective.tasks.test))
    samples = settings.samples
    trained = settings.epochs * (len(demonstrations) + 2 * samples / SAMPLES_EACH)
    again = dev + trained if objective.control else 0
    sittings = 3 if objective.control else 2
    rounds = objective.budget.rounds or ROUNDS
    share = 1.0 if objective.weights == "full" else ADAPTER
    checkpoint = 4 * share * (find_student(objective).parameters or 0)
    rows = rounds * (samples + 2 * dev) + sittings * test
    tokens = a_row / (1.0 if is_scratch else BYTES_A_TOKEN)
    return Cost(
        exams=round((dev + sittings * test) * tokens),
        a_round=round((samples + dev + trained + again) * tokens),
        disk=round((2 + 2 * rounds) * checkpoint + rows * (2 * a_row + BYTES_A_SAMPLE)),
    )


def _size(exam: Exam, folder: Path) -> int:
    """Problems of an exam; of a file without a size, its lines."""
    files = ((folder / s.source).read_bytes().count(b"\n") + 1 for s in exam.sources if s.size is None)
    return (exam.size or 0) + sum(s.size or 0 for s in exam.sources) + sum(files)


# The student.


def find_student(objective: Objective) -> Weights:
    """Where the student's weights are, and how many. A scratch student's are made here.

    Raises: MissingError when they are not on this machine and cannot come to it.
    """
    name = objective.student
    how = "all its weights are trained" if objective.weights == "full" else "an adapter (LoRA) is trained"
    if name.startswith("scripted/"):
        return Weights("a fake that only counts rows, for dry runs: no model is trained", 1)
    if name.startswith("scratch/"):
        count = count_parameters(read_preset(name.removeprefix("scratch/")).architecture)
        return Weights(f"built from the demonstrations: about {in_tokens(count)} parameters, {how}", count)
    folder, place = objective.folder / name, "in its folder"
    if not folder.is_dir():
        folder, place = _cached(name), "in the cache of Hugging Face"
    if not folder.name:
        return Weights(
            f"not on this machine: the run downloads it first (beforehand: hf download {name}); {how}", None
        )
    if not [*folder.glob("*.safetensors"), *folder.glob("*.bin")]:
        raise MissingError(f"student: {name} has a config.json and no weights; put its *.safetensors into {folder}")
    stored = _stored_parameters(folder)
    size = f"{in_tokens(stored)} parameters" if stored else "of a size that its files do not tell"
    return Weights(f"{place}: {size}, {how}", stored)


def _cached(name: str) -> Path:
    """The folder of a model in the local cache, or Path() where it is not and may be downloaded.

    Raises: MissingError when it may not.
    """
    from huggingface_hub import constants, try_to_load_from_cache

    config = try_to_load_from_cache(name, "config.json")
    folder = Path(config).parent if isinstance(config, str) else Path()
    if folder.name and [*folder.glob("*.safetensors"), *folder.glob("*.bin")]:
        return folder
    if constants.HF_HUB_OFFLINE:
        raise MissingError(
            f"student: {name} is not in {constants.HF_HUB_CACHE}, and HF_HUB_OFFLINE forbids to fetch it; unset that"
            f" and run: hf download {name}"
        )
    return Path()


def count_parameters(shape: Architecture, tokens: int = 280) -> int:
    """Parameters of a Llama with tied embeddings; a scratch tokenizer has 256 bytes, an end, and a few phrases."""
    attention = shape.hidden * shape.head_size * (2 * shape.heads + 2 * shape.kv_heads)
    layer = attention + 3 * shape.hidden * shape.mlp + 2 * shape.hidden
    return tokens * shape.hidden + shape.layers * layer + shape.hidden


def _stored_parameters(folder: Path) -> int | None:
    """Parameters by the headers of the safetensors files: eight bytes of length, then shapes as JSON."""
    total = 0
    try:
        for path in folder.glob("*.safetensors"):
            with path.open("rb") as file:
                header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
            total += sum(math.prod(entry["shape"]) for name, entry in header.items() if name != "__metadata__")
    except (OSError, ValueError, KeyError, TypeError, OverflowError, MemoryError) as error:
        raise MissingError(f"student: {path} cannot be read as safetensors; fetch it again") from error
    return total or None


# The machine.


def _device_line(objective: Objective, parameters: int | None) -> str:
    """Where the student runs.

    Raises: MissingError when its weights, with what training adds to them, cannot fit: the least it takes.
    """
    gpu = find_gpu()
    name, memory = gpu or (f"the CPU with {os.cpu_count()} cores (nvidia-smi finds no GPU)", _main_memory())
    frozen = 2 if gpu else 4
    least = (parameters or 0) * (BYTES_TRAINED if objective.weights == "full" else frozen)
    if least > memory:
        mend = "weights: lora, or a smaller student" if objective.weights == "full" else "a smaller student"
        raise MissingError(
            f"student: {objective.student} takes {_gib(least)} to train at the least, and {name} has"
            f" {_gib(memory)}; take {mend}"
        )
    takes = f", of which the student takes {_gib(least)} or more" if parameters else ""
    return f"device: {name}: {_gib(memory)} of memory{takes}"


def find_gpu() -> tuple[str, int] | None:
    """Name and bytes of memory of the first GPU that a process may use, or None. nvidia-smi is asked, not torch."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0].strip()
    if chosen in ("", "-1", "NoDevFiles"):
        return None
    try:
        said = subprocess.run(
            ["nvidia-smi", "--query-gpu=index,uuid,name,memory.total", "--format=csv,noheader,nounits"],
            capture_output=True, text=True, timeout=20, check=True,
        )  # fmt: skip
        rows = [[field.strip() for field in line.split(",")] for line in said.stdout.splitlines() if line.strip()]
        row = next((r for r in rows if chosen == r[0] or r[1].startswith(chosen)), rows[0])
        return row[2], int(row[3]) * 2**20
    except (OSError, subprocess.SubprocessError, IndexError, ValueError):
        return None


def _main_memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _disk_line(folder: Path, needed: int) -> str:
    """Raises: MissingError when the folder cannot be written, or the run would fill the disk."""
    place = next(p for p in [folder.absolute(), *folder.absolute().parents] if p.exists())
    if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
        raise MissingError(f"run: {place} cannot be written; name another folder with --run")
    free = shutil.disk_usage(place).free
    if needed > free:
        raise MissingError(
            f"disk: the run takes about {_gib(needed)}, and {place} has {_gib(free)} left; free some, or name a"
            " folder on another disk with --run"
        )
    return f"disk: about {_gib(needed)} are needed; {place} has {_gib(free)} left"


def _gib(size: int) -> str:
    return f"{size / 2**30:.1f} GiB" if size >= 2**29 else f"{size / 2**20:.0f} MiB"
