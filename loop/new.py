"""New: a folder with an OBJECTIVE.md and what it names, to start from."""

from __future__ import annotations

import shutil
from importlib.resources import files
from pathlib import Path

from loop.errors import MissingError, ObjectiveError
from loop.objective import read_objective

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
ROWS = {
    "default": ("chain_sum/demonstrations.jsonl",),
    "endpoint": ("chain_sum/demonstrations.jsonl",),
    "gpu": ("word_problems/demonstrations.jsonl", "word_problems/problems.jsonl"),
}
"""Files of rows that a preset names, below `EXAMPLES`; they are copied beside its OBJECTIVE.md."""


def objective_presets() -> list[str]:
    """The presets of OBJECTIVE.md there are."""
    folder = files("templates") / "objectives"
    return sorted(f.name.removesuffix(".md") for f in folder.iterdir() if f.name.endswith(".md"))


def new_objective(folder: Path, preset: str) -> str:
    """Write the preset into a new or empty folder; what to do next, in a line.

    Raises: ObjectiveError for an unknown preset or a folder that holds something, MissingError where nothing can be
    written.
    """
    if preset not in objective_presets():
        raise ObjectiveError(f"--preset: {preset!r} is no preset; write one of {', '.join(objective_presets())}")
    try:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise ObjectiveError(f"{folder}: is there and not an empty folder; name a new one")
        folder.mkdir(parents=True, exist_ok=True)
        for name in ROWS[preset]:
            shutil.copyfile(EXAMPLES / name, folder / Path(name).name)
        text = (files("templates") / "objectives" / f"{preset}.md").read_text(encoding="utf-8")
        (folder / "OBJECTIVE.md").write_text(text, encoding="utf-8")
    except OSError as error:
        raise MissingError(f"{error.filename or folder}: {error.strerror}; name another folder") from error
    read_objective(folder / "OBJECTIVE.md")
    return f"{folder} is ready: mend {folder / 'OBJECTIVE.md'} to your liking, then: cd {folder} && loop run"
