"""Kept steps: what a training writes now and then, so that one that is killed goes on from the last of them.

transformers writes what a step is: weights, optimizer, schedule, random states, position. Here it gets a manifest and
the identity of its job, and then its name, all at once: what has no name, was changed, or belongs to another job is
not gone on from. (transformers takes the newest folder by its name, whole or not.)
"""

from __future__ import annotations

import shutil
from importlib.metadata import version
from pathlib import Path

from loop.errors import DamagedRunError
from loop.files import fsync_folder, verify_manifest, write_manifest
from loop.jobs import STEPS, TrainJob, identity_of
from loop.records import digest

JOB = "job"
"""The file of a kept step that says whose it is."""


class KeptSteps:
    """The steps of one training job: at most one is kept, in a folder beside the checkpoint's."""

    def __init__(self, job: TrainJob, whole: object) -> None:
        """`whole` is the job with all that it hangs on, where `job` is only a part of it."""
        out = Path(job.out)
        self.folder = out.with_name(out.name + STEPS)
        versions = [version(package) for package in ("torch", "transformers", "trl", "peft")]
        self.identity = digest(identity_of(whole), versions)
        """Of the job, with the versions of what trains it."""

    def last(self) -> tuple[Path | None, str]:
        """The folder of the last step to go on from, None where there is none, and what to say of it."""
        note = ""
        steps = (place for place in self.folder.glob("step-*-*"))
        for place in sorted(steps, key=lambda place: int(place.name.split("-")[1]), reverse=True):
            _, step, manifest = place.name.split("-")
            try:
                verify_manifest(place, manifest)
            except DamagedRunError:
                note = f"training begins anew: its kept step {step} is damaged"
                continue
            if (place / JOB).read_text(encoding="utf-8") != self.identity:
                note = f"training begins anew: its kept step {step} is of another job"
                continue
            return place, f"training goes on from step {step}"
        return None, note

    def has_room(self, trained: int) -> bool:
        """Whether the disk has room for two steps of so many trained parameters: weights and Adam's two moments."""
        self.folder.mkdir(parents=True, exist_ok=True)
        return shutil.disk_usage(self.folder).free > 2 * 3 * 4 * trained

    def keep(self, written: Path, step: int) -> None:
        """Give a written step its name, durably; then remove every other."""
        (written / JOB).write_text(self.identity, encoding="utf-8")
        kept = self.folder / f"step-{step}-{write_manifest(written)}"
        written.rename(kept)
        fsync_folder(self.folder)
        for other in self.folder.iterdir():
            if other.is_dir() and other != kept:
                shutil.rmtree(other)

    def remove(self) -> None:
        """Remove all: there is nothing to go on from."""
        shutil.rmtree(self.folder, ignore_errors=True)
