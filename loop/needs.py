"""What a run needs: the student, the cast, memory, disk. `require` refuses what could not work.

Nothing here imports torch; of the network only the endpoints of the cast are asked, and nothing that costs money.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from agents.engines.vllm_settings import apart_from_vllm, missing_vllm
from agents.training import Distillation
from agents.uniform import FROM_NOTHING
from loop.cast import Player
from loop.endpoints import reach
from loop.errors import MissingError
from loop.objective import Demonstration, Exam, Objective, read_demonstrations
from loop.openings import opening_of, require_opening
from loop.presets import FULL, read_preset
from loop.weights import find_student, find_weights

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
    if objective.training.method == "grpo" and (
        words := apart_from_vllm(resolve_engine(student_player(objective), objective))
    ):
        raise MissingError(words)
    lines += [*_cast_lines(objective), *_embedding_lines(objective)]
    return [*lines, _disk_line(folder, estimate(objective, read_demonstrations(objective)).disk)]


def estimate(objective: Objective, demonstrations: Sequence[Demonstration]) -> Cost:
    """A rough reckoning, for rounds of ordinary size."""
    is_scratch = objective.student.startswith("scratch/")
    settings = read_preset(objective.student.removeprefix("scratch/")).training if is_scratch else FULL
    sizes = [len(d.prompt.encode()) + len(d.response.encode()) for d in demonstrations] or [UNKNOWN_ROW]
    a_row = sum(sizes) / len(sizes)
    dev, test = (answers_of(exam, objective.folder) for exam in (objective.tasks.dev, objective.tasks.test))
    samples = settings.samples
    trained = settings.epochs * (len(demonstrations) + 2 * samples / SAMPLES_EACH)
    students = 1 + Distillation().links if objective.training.method == "distill" else 1
    trained *= students * (FROM_NOTHING if students > 1 else 1)
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
        disk=round((2 + (1 + students) * rounds) * checkpoint + rows * (2 * a_row + BYTES_A_SAMPLE)),
    )


def answers_of(exam: Exam, folder: Path) -> int:
    """Answers of one sitting: to each problem the greedy one, and those sampled. Of a file without a size, its lines
    are its problems.
    """
    files = ((folder / s.source).read_bytes().count(b"\n") + 1 for s in exam.sources if s.size is None)
    problems = (exam.size or 0) + sum(s.size or 0 for s in exam.sources) + sum(files)
    return problems * (1 + (exam.samples or 0))


# The cast.


def resolve_engine(player: Player, objective: Objective) -> str:
    """The engine that runs a player here: as written; openai for an endpoint; vllm where a GPU and vllm are; else
    transformers. "" for rules and verifier, which need none.

    A scratch student is so small that starting vllm costs more than it gains.
    """
    if player.engine or player.address:
        return player.engine or "openai"
    name = objective.student if player.model == "student" else player.model
    if name in ("rules", "verifier"):
        return ""
    if name.startswith("scripted/"):
        return "scripted"
    is_small = name.startswith("scratch/")
    return "vllm" if not is_small and find_gpu() and not missing_vllm() else "transformers"


def student_player(objective: Objective) -> Player:
    """The student as the cast has it among the samplers, or as it is by itself."""
    return next((p for p in objective.cast.sampler if p.model == "student"), Player(model="student"))


def _cast_lines(objective: Objective) -> list[str]:
    """What the models of the cast need, a line each.

    Raises: MissingError for the first that is not there.
    """
    if any(player.engine == "vllm" for player in objective.cast.everyone) and (words := missing_vllm()):
        raise MissingError(words)
    lines, asked = [], []
    for part, number, player in objective.cast.models():
        who = f"cast.{part}" + (f".{number}" if len(getattr(objective.cast, part)) > 1 else "")
        if player.address:
            asked.append((who, player))
        elif not player.model.startswith("scripted/"):
            lines.append(_local_line(who, player, objective))
        if part == "challenger":
            require_opening(player.model, opening_of(player, objective, resolve_engine(player, objective)), objective)
    return [*lines, *reach(asked)]


def _local_line(who: str, player: Player, objective: Objective) -> str:
    weights = find_weights(who, player.model, objective.folder)
    device, memory, least = _device(weights.parameters)
    if least > memory:
        raise MissingError(
            f"{who}: {player.model} takes {_gib(least)} at the least, and {device} has {_gib(memory)}; take a smaller"
            " model, or one at an endpoint"
        )
    return f"{who}: {player.model}, {weights.words}, under {resolve_engine(player, objective)}"


def _embedding_lines(objective: Objective) -> list[str]:
    """Raises: MissingError when the model of embeddings could not be run."""
    name = objective.critic.embeddings
    if name is None:
        return []
    if find_spec("sentence_transformers") is None:
        raise MissingError(
            f"critic.embeddings: {name} needs sentence-transformers; install it with `pip install"
            " 'loop-train[embeddings]'`, or take the key out for the student's own hidden states"
        )
    return [f"critic.embeddings: {name}, under sentence-transformers"]


# The machine.


def _device_line(objective: Objective, parameters: int | None) -> str:
    """Where the student runs.

    Raises: MissingError when its weights, with what training adds to them, cannot fit: the least it takes.
    """
    name, memory, least = _device(parameters)
    least = (parameters or 0) * BYTES_TRAINED if objective.weights == "full" else least
    if least > memory:
        mend = "weights: lora, or a smaller student" if objective.weights == "full" else "a smaller student"
        raise MissingError(
            f"student: {objective.student} takes {_gib(least)} to train at the least, and {name} has"
            f" {_gib(memory)}; take {mend}"
        )
    takes = f", of which the student takes {_gib(least)} or more" if parameters else ""
    return f"device: {name}: {_gib(memory)} of memory{takes}"


def _device(parameters: int | None) -> tuple[str, int, int]:
    """What models run on, its memory, and what so many parameters take there: bfloat16 on a GPU, else float32."""
    gpu = find_gpu()
    name, memory = gpu or (f"the CPU with {os.cpu_count()} cores (nvidia-smi finds no GPU)", _main_memory())
    return name, memory, (parameters or 0) * (2 if gpu else 4)


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
