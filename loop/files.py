"""Files that survive a crash: whole files by rename, rows by append, folders by a manifest of hashes."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from loop.errors import DamagedCheckpointError, DamagedRunError
from loop.failpoints import failpoint, is_armed

R = TypeVar("R", bound=BaseModel)

MANIFEST = "manifest.json"


def fsync_folder(folder: Path) -> None:
    """Make renames inside the folder durable."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def make_folder(folder: Path) -> None:
    """Make a folder, and those above it, durably; nothing where it is there."""
    missing = [place for place in (folder, *folder.parents) if not place.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for place in missing:
        fsync_folder(place.parent)


def write_atomic(path: Path, text: str) -> None:
    """Write the whole file or nothing: temporary name, fsync, rename, fsync of the folder."""
    make_folder(path.parent)
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    failpoint("file written, not renamed")
    temporary.replace(path)
    failpoint("file renamed, folder not synced")
    fsync_folder(path.parent)


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class RowFile:
    """A file of JSON lines that only grows. Opening it drops a torn last line: that row is owed again.

    One process at a time has it open; another waits, such as for the child of a killed run to be gone.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        make_folder(path.parent)
        self._handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        fcntl.flock(self._handle, fcntl.LOCK_EX)
        fsync_folder(path.parent)
        self.torn = self._drop_torn_tail()
        """Whether there was such a line."""

    def _drop_torn_tail(self) -> bool:
        content = self.path.read_bytes()
        whole = content.rfind(b"\n") + 1
        if whole == len(content):
            return False
        os.ftruncate(self._handle, whole)
        os.fsync(self._handle)
        return True

    def append(self, records: Iterable[BaseModel]) -> None:
        """Add the records and make them durable."""
        rows = "".join(as_line(record) + "\n" for record in records).encode()
        if is_armed():
            middle = len(rows) // 2
            os.write(self._handle, rows[:middle])
            failpoint("rows half written")
            rows = rows[middle:]
        while rows:
            rows = rows[os.write(self._handle, rows) :]
        os.fsync(self._handle)
        failpoint("rows appended")

    def close(self) -> None:
        """Close the file; what was appended is durable already."""
        os.close(self._handle)


def read_rows(path: Path, kind: type[R]) -> list[R]:
    """All rows of a file; a line that is not such a row means that somebody changed the file."""
    return list(iterate_rows(path, kind))


def iterate_rows(path: Path, kind: type[R]) -> Iterator[R]:
    """The rows of a file, one by one.

    Raises: DamagedRunError, naming file and line.
    """
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                yield kind.model_validate_json(line)
            except ValidationError as error:
                raise DamagedRunError(
                    f"{path}:{number}: not a {kind.__name__} row; restore the file, or start a new run"
                ) from error


def write_manifest(folder: Path) -> str:
    """Write the manifest (path, size, SHA-256 of every file) into the folder and sync all; its digest."""
    files = {}
    for inner in (p for p in folder.rglob("*") if p.is_dir()):
        fsync_folder(inner)
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and p.name != MANIFEST):
        with path.open("rb") as file:
            os.fsync(file.fileno())
        files[str(path.relative_to(folder))] = {"size": path.stat().st_size, "sha256": file_digest(path)}
    write_atomic(folder / MANIFEST, json.dumps(files, indent=2, sort_keys=True) + "\n")
    return file_digest(folder / MANIFEST)


def verify_manifest(folder: Path, expected: str) -> None:
    """Check every file of the folder against its manifest, and the manifest against the ledger.

    Raises: DamagedCheckpointError, naming the first file that differs.
    """
    mend = "restore it from a copy, or delete the run and start again"
    if not (folder / MANIFEST).is_file() or file_digest(folder / MANIFEST) != expected:
        raise DamagedCheckpointError(f"{folder / MANIFEST}: missing or changed; {mend}")
    for name, entry in json.loads((folder / MANIFEST).read_text(encoding="utf-8")).items():
        path = folder / name
        if not path.is_file() or file_digest(path) != entry["sha256"]:
            raise DamagedCheckpointError(f"{path}: missing or changed; {mend}")


def publish_folder(temporary: Path, final: Path) -> str:
    """Give a finished folder its name, all at once; the digest of its manifest."""
    manifest = write_manifest(temporary)
    failpoint("folder written, not renamed")
    if final.exists():
        shutil.rmtree(final)
        failpoint("old folder removed, new one not renamed")
    temporary.rename(final)
    failpoint("folder renamed, parent not synced")
    fsync_folder(final.parent)
    return manifest


def as_line(record: BaseModel) -> str:
    """The record as one JSON line without its newline."""
    return json.dumps(record.model_dump(mode="json"), ensure_ascii=False, separators=(",", ":"))


def as_json(value: Any) -> str:
    """A value as indented JSON for people, ending in a newline."""
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json")
    return json.dumps(value, ensure_ascii=False, indent=2) + "\n"
