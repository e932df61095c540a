"""Export: the best student of a run as a model folder for others, and the rows that it was trained on, with cards."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from agents.engines import EngineError
from agents.engines.vllm_settings import read_adapter
from loop.cards import Story, dataset_card, model_card
from loop.crew import Crew
from loop.errors import DamagedRunError, MissingError, ObjectiveError
from loop.files import as_line, fsync_folder, make_folder, write_atomic, write_manifest
from loop.front_matter import read_text, split_text
from loop.hub import Hub
from loop.ingredients import base_model, ingredients
from loop.jobs import Exported, ExportJob
from loop.ledger import Ledger
from loop.lineage import DEMONSTRATION, Rooms, Taught, lineage, taught_rows
from loop.records import digest
from loop.room import Room
from loop.rounds import best_of
from loop.run import tokens_of_an_answer
from loop.screen import PlainScreen
from loop.serve import student_of
from loop.status import read_standing

CARD = "README.md"
ROWS = "train.jsonl"
PRELOAD = ("loop.exporter",)


def export(run: Path, folder: Path, say: Callable[[str], None], hub: Hub | None = None) -> None:
    """Write the best student so far to `folder`/model and its rows to `folder`/dataset, whole or not at all; then
    push both to the hub, where one is named.

    A run that is not finished is exported too, and its card says so: a run that was given up for good, or whose
    machine is gone, would else keep its student for ever.

    Raises: ObjectiveError for a folder that holds something; MissingError without a student, a base or disk space;
    DamagedRunError when something is not what the ledger vouches for.
    """
    folder = folder.resolve()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ObjectiveError(f"{folder}: is there and not an empty folder; name a new one")
    if hub is not None:
        hub.check()
    story = read_story(run, hub.repository if hub else "")
    student, _ = student_of(run, best_of(story.standing.rounds, story.standing.lost))
    base = _base(run, student, story)
    temporary = folder.with_name(f".{folder.name}.export")
    try:
        shutil.rmtree(temporary, ignore_errors=True)  # of an export that died
        make_folder(temporary)
        model = _write(
            story, ExportJob(str(student), str(temporary / "model"), story.max_new_tokens, base), temporary, run
        )
        write_manifest(temporary)
        temporary.rename(folder)
        fsync_folder(folder.parent)
    except OSError as error:
        raise MissingError(f"{folder}: cannot be written ({error.strerror or error}); name another folder") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    for line in _told(story, model, folder):
        say(line)
    if hub is not None:
        say(hub.push(folder))


def read_story(run: Path, repository: str = "") -> Story:
    """What the cards tell of a run, as its ledger vouches for it; of a run at work, as it stands.

    Args: repository: where model and data set will be on a hub, if they will.

    Raises: DamagedRunError.
    """
    standing = read_standing(run)
    ledger = Ledger.read(run / "run.db")
    try:
        signature = ledger.fact("signature")
        settings, prose = _objective(run, signature["objective"])
        rooms: Rooms = partial(_room, run, ledger)
        line = lineage(standing.rounds, standing.best, rooms, standing.lost)
        taught = taught_rows(standing.rounds, line, rooms)
    finally:
        ledger.close()
    return Story(
        name=run.resolve().name, standing=standing, prose=prose,
        ingredients=ingredients(settings, signature["files"]), base=base_model(settings), line=line, taught=taught,
        demonstrated=settings["objective"]["demonstrations"] is not None, seed=settings["objective"]["seed"],
        versions=settings.get("versions", {}), max_new_tokens=settings.get("max_new_tokens") or _longest(taught),
        repository=repository,
    )  # fmt: skip


def _room(run: Path, ledger: Ledger, name: str) -> Room:
    return Room(run, name, ledger, PlainScreen())


def _objective(run: Path, signed: str) -> tuple[dict[str, Any], str]:
    """settings.json, and the prose of the objective, both as the ledger vouches for them.

    Raises: DamagedRunError.
    """
    try:
        settings: dict[str, Any] = json.loads((run / "settings.json").read_text(encoding="utf-8"))
        _, prose = split_text(read_text(run / "OBJECTIVE.md"))
        if digest(settings["objective"], prose) == signed:
            return settings, prose
    except (OSError, ValueError, KeyError, TypeError, ObjectiveError) as error:
        raise DamagedRunError(f"{run}: settings.json or OBJECTIVE.md cannot be read; restore it") from error
    raise DamagedRunError(f"{run}: settings.json or OBJECTIVE.md was changed since the run began; restore it")


def _longest(taught: list[Taught]) -> int:
    """Tokens of an answer, in runs whose settings do not tell: by what was demonstrated."""
    shown = (len(row.response.encode()) for row in taught if row.origin == DEMONSTRATION)
    return tokens_of_an_answer(max(shown, default=1024))


def _base(run: Path, student: Path, story: Story) -> str:
    """The model that an adapter belongs to where that is round 0's, verified, wherever the run is now; else ""."""
    try:
        adapter = read_adapter(str(student))
    except EngineError as error:
        raise MissingError(str(error)) from error
    start = story.standing.rounds[0].checkpoint
    if adapter is None or start is None or not adapter["base_model_name_or_path"].endswith(f"/{start.path}"):
        return ""
    return str(student_of(run, best_of(story.standing.rounds[:1], ()))[0])


def _write(story: Story, job: ExportJob, out: Path, run: Path) -> Exported:
    """Model, rows and cards."""
    crew = Crew(run / "logs", lambda: None)
    crew.warm(PRELOAD)
    model: Exported = crew.run("loop.exporter:export_model", job, lambda *_: None, "export").result
    write_atomic(out / "model" / CARD, model_card(story, model))
    if story.taught:
        write_atomic(out / "dataset" / ROWS, "".join(as_line(row) + "\n" for row in story.taught))
        write_atomic(out / "dataset" / CARD, dataset_card(story, ROWS))
    return model


def _told(story: Story, model: Exported, folder: Path) -> list[str]:
    how = ", its adapter merged" if model.merged else ""
    lines = [story.what, f"model: {folder / 'model'}, {model.parameters:,} parameters in {model.dtype}{how}"]
    if story.taught:
        lines.append(f"dataset: {folder / 'dataset'}, {len(story.taught):,} rows")
    elif story.demonstrated:
        lines.append("no dataset: no round came to a mix, and the demonstrations stand in none")
    else:
        lines.append("no dataset: the run has not trained this student")
    if story.standing.status != "finished":
        lines.append(f"the run is not finished ({story.standing.status}): its card claims nothing")
    return [*lines, "fill in the licence in each README.md before you give it to others"]
