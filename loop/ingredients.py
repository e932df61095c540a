"""Ingredients: what went into a student, by name, with digest and licence where these are known on this machine."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from loop.cast import Cast, Player
from loop.sources import GYM
from loop.weights import model_folder

NOT_STATED = "not stated"
"""A licence that nobody has told: the person has to find it out and fill it in."""


class Ingredient(NamedTuple):
    """A model, a file or a generator."""

    part: str
    """What it was for: student, sampler, demonstrations."""
    name: str
    digest: str
    """SHA-256 of a file; "" of anything else."""
    licence: str


def ingredients(settings: Mapping[str, Any], digests: Mapping[str, str]) -> list[Ingredient]:
    """All that went in: the student it began as, the models of the cast, then files and generators.

    Args: settings: settings.json of the run. digests: of the files that the objective names, from the ledger.
    """
    objective, folders = settings["objective"], settings.get("folders", {})
    return [
        _student(objective["student"], folders),
        *(_player(part, player, folders) for part, _, player in Cast.model_validate(objective["cast"]).models()),
        *_embeddings(objective, folders),
        *_generators(objective, settings.get("versions", {})),
        *(
            Ingredient(_part(name, objective), shown(name), digest, NOT_STATED)
            for name, digest in sorted(digests.items())
        ),
    ]


def base_model(settings: Mapping[str, Any]) -> str:
    """The hub id of the model that the student was; "" of a scratch student, a folder, or a name that may be one."""
    name: str = settings["objective"]["student"]
    known = name.partition("/")[0] not in ("scratch", "scripted") and name not in settings.get("folders", {})
    return name if known and not Path(name).is_absolute() and _folder(name, {}) else ""


def shown(name: str) -> str:
    """A name as others may read it: of a path from outside the objective's folder, its last part."""
    path = Path(name)
    return path.name if path.is_absolute() or ".." in path.parts or name.startswith("~") else name


def licence_of(folder: Path | None) -> str:
    """What a model's own card says, or else its config; no more than a line of either."""
    if folder is None:
        return NOT_STATED
    for read in (_card, _config):
        told = read(folder).get("license")
        told = told[0] if isinstance(told, list) and told else told
        if isinstance(told, str) and told.strip():
            return " ".join(told.split())[:100]
    return NOT_STATED


def _student(name: str, folders: Mapping[str, str]) -> Ingredient:
    if name.startswith("scratch/"):
        return Ingredient("student", f"{name}, made from the demonstrations", "", "none: nobody's weights are in it")
    return Ingredient("student", shown(name), "", licence_of(_folder(name, folders)))


def _player(part: str, player: Player, folders: Mapping[str, str]) -> Ingredient:
    licence = NOT_STATED if player.address else licence_of(_folder(player.model, folders))
    return Ingredient(part.removesuffix("s"), shown(player.model), "", licence)


def _embeddings(objective: Mapping[str, Any], folders: Mapping[str, str]) -> Iterator[Ingredient]:
    if name := objective["critic"].get("embeddings"):
        yield Ingredient("embeddings", shown(name), "", licence_of(_folder(name, folders)))


def _generators(objective: Mapping[str, Any], versions: Mapping[str, str]) -> Iterator[Ingredient]:
    """Of practice; an exam is not what a student is made of."""
    for source in objective["tasks"]["practice"]:
        if source["source"].startswith(GYM):
            name = f"{source['source']} (reasoning-gym {versions.get('reasoning-gym', 'of an unknown version')})"
            yield Ingredient("practice", name, "", _licence_of_package("reasoning-gym"))


def _part(name: str, objective: Mapping[str, Any]) -> str:
    """What the objective has a file for; of two parts the one that is trained on."""
    tasks = objective["tasks"]
    if name == objective.get("demonstrations"):
        return "demonstrations"
    if any(name == source["source"] for source in tasks["practice"]):
        return "practice"
    for exam in ("dev", "test"):
        if any(name == source["source"] for source in tasks[exam].get("sources", ())):
            return exam
    if name in (objective["critic"].get("rubric"), objective["strategies"].get("harness")):
        return "instructions"
    return "documents"


def _folder(name: str, folders: Mapping[str, str]) -> Path | None:
    """Where a model is on this machine; None where it is not, or its name can be none of the hub."""
    from huggingface_hub.errors import HFValidationError

    try:
        return Path(folders[name]) if name in folders else model_folder(name, Path("/nowhere"))
    except HFValidationError:
        return None


def _card(folder: Path) -> dict[str, Any]:
    """The metadata of a model's README.md; {} where there is none that can be read."""
    try:
        text = (folder / "README.md").read_text(encoding="utf-8", errors="replace")
        front = re.match(r"\s*---[ \t]*\n(.*?)\n---[ \t]*(?:\n|$)", text, re.DOTALL)
        told = yaml.safe_load(front[1]) if front else {}
    except (OSError, yaml.YAMLError):
        return {}
    return told if isinstance(told, dict) else {}


def _config(folder: Path) -> dict[str, Any]:
    try:
        told = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return told if isinstance(told, dict) else {}


def _licence_of_package(name: str) -> str:
    try:
        told = metadata(name).json
    except PackageNotFoundError:
        return NOT_STATED
    return str(told.get("license_expression") or told.get("license") or NOT_STATED)
