"""Weights: where a model's are, and how many. Nothing here imports torch or asks the network."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

from loop.errors import MissingError
from loop.figures import in_tokens
from loop.objective import Objective
from loop.presets import Architecture, read_preset


@dataclass(frozen=True)
class Weights:
    """What is known of a model's weights."""

    words: str
    parameters: int | None
    """None where the model is not on this machine, or its files do not tell."""


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
    found = find_weights("student", name, objective.folder)
    return Weights(f"{found.words}, {how}", found.parameters)


def find_weights(who: str, name: str, folder: Path) -> Weights:
    """Where a model's weights are: in a folder relative to `folder`, in the cache, or still to be downloaded.

    Args: who: the key under which the objective names it.

    Raises: MissingError when they are not on this machine and cannot come to it.
    """
    folder, place = folder / name, "in its folder"
    if not folder.is_dir():
        folder, place = _cached(who, name), "in the cache of Hugging Face"
    if not folder.name:
        return Weights(f"not on this machine: the run downloads it first (beforehand: hf download {name})", None)
    if not [*folder.glob("*.safetensors"), *folder.glob("*.bin")]:
        raise MissingError(f"{who}: {name} has a config.json and no weights; put its *.safetensors into {folder}")
    stored = _stored_parameters(who, folder)
    size = f"{in_tokens(stored)} parameters" if stored else "of a size that its files do not tell"
    return Weights(f"{place}: {size}", stored)


def model_folder(name: str, folder: Path) -> Path | None:
    """Where a model's files are on this machine, its tokenizer's among them; None where they are not."""
    if (folder / name).is_dir():
        return folder / name
    from huggingface_hub import try_to_load_from_cache

    config = try_to_load_from_cache(name, "config.json")
    return Path(config).parent if isinstance(config, str) else None


def _cached(who: str, name: str) -> Path:
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
            f"{who}: {name} is not in {constants.HF_HUB_CACHE}, and HF_HUB_OFFLINE forbids to fetch it; unset that"
            f" and run: hf download {name}"
        )
    return Path()


def count_parameters(shape: Architecture, tokens: int = 280) -> int:
    """Parameters of a Llama with tied embeddings; a scratch tokenizer has 256 bytes, an end, and a few phrases."""
    attention = shape.hidden * shape.head_size * (2 * shape.heads + 2 * shape.kv_heads)
    layer = attention + 3 * shape.hidden * shape.mlp + 2 * shape.hidden
    return tokens * shape.hidden + shape.layers * layer + shape.hidden


def _stored_parameters(who: str, folder: Path) -> int | None:
    """Parameters by the headers of the safetensors files: eight bytes of length, then shapes as JSON."""
    total = 0
    try:
        for path in folder.glob("*.safetensors"):
            with path.open("rb") as file:
                header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
            total += sum(math.prod(entry["shape"]) for name, entry in header.items() if name != "__metadata__")
    except (OSError, ValueError, KeyError, TypeError, OverflowError, MemoryError) as error:
        raise MissingError(f"{who}: {path} cannot be read as safetensors; fetch it again") from error
    return total or None
