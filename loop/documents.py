"""Documents: what a person gives to ground generation, read from text, Markdown and JSON lines."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo

from loop.errors import ObjectiveError
from loop.records import Record, digest
from loop.sources import Text, as_tuple, mistake, read_rows

if TYPE_CHECKING:
    from loop.objective import Objective

KINDS = (".txt", ".md", ".jsonl")
MOST_BYTES = 20_000_000
"""Of all files together: a shelf of books. Their index is kept in memory."""
HEADING = re.compile(r"^#{1,6}[ \t]+(\S.*)$", re.MULTILINE)


class Document(Record):
    """One text: a file of text or Markdown, or a row of JSON lines."""

    id: str
    """Digest of the text."""
    name: str
    """Of its file, relative to OBJECTIVE.md; of a row with # and its id, or else its place among the rows from 1."""
    title: str
    """As the row gives it, or the first heading of Markdown; "" where there is neither."""
    text: str


class Found(NamedTuple):
    """The distinct documents in the order of their files, and how many were left aside."""

    documents: tuple[Document, ...]
    empty: int
    again: int
    """Texts that stand in an earlier document, word for word."""


class DocumentRow(BaseModel):
    """One line of a file of documents; further keys of the line are left aside."""

    model_config = ConfigDict(frozen=True, strict=True)

    text: str
    title: str | None = None
    id: str | int | None = None


def _are_documents(names: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
    if info.context is None:
        return names
    for i, name in enumerate(names):
        try:
            words = _wrong_place(info.context["folder"] / name)
        except (OSError, ValueError):
            words = (
                "is no name of a file; write the path of a file or folder, relative to the folder of the objective"
            )
        if words:
            raise mistake(words, i)
    return names


def _wrong_place(path: Path) -> str:
    """What is wrong with a file or folder of documents before it is read, or ""."""
    kinds = f"{', '.join(KINDS[:-1])} or {KINDS[-1]}"
    if not path.is_dir() and not path.is_file():
        return (
            "is not a file that exists; write the path of a file or folder, relative to the folder of the objective"
        )
    files = _files_in(path)
    if not files:
        return f"is a folder without documents; put {kinds} there"
    wrong = next((file.name for file in files if file.suffix.lower() not in KINDS), "")
    held = f"holds {wrong}, which is" if path.is_dir() else "is a file that is"
    return f"{held} not read; bring {kinds} alone" if wrong else ""


Documents = Annotated[
    tuple[Text, ...], BeforeValidator(as_tuple), Field(min_length=1), AfterValidator(_are_documents)
]
"""Files and folders, relative to OBJECTIVE.md."""


def _files_in(path: Path) -> list[Path]:
    """The file itself, or all files below a folder but hidden ones."""
    if not path.is_dir():
        return [path]
    found = (file for file in path.rglob("*") if file.is_file())
    return [file for file in found if not any(part.startswith(".") for part in file.relative_to(path).parts)]


def document_files(names: Iterable[str], folder: Path) -> tuple[str, ...]:
    """The files that are meant, those of folders too: relative to `folder`, sorted, each once."""
    found = set()
    for name in names:
        place = folder / name
        found |= {(Path(name) / file.relative_to(place)).as_posix() for file in _files_in(place)}
    return tuple(sorted(found))


def read_documents(objective: Objective) -> tuple[Document, ...]:
    """The distinct documents of the objective that hold text; none where it names none.

    Raises: ObjectiveError, naming file and line.
    """
    return find_documents(objective).documents


def find_documents(objective: Objective) -> Found:
    """As `read_documents`, with the counts of what was left aside."""
    try:
        return read_document_files(objective.document_files(), objective.folder)
    except ObjectiveError as error:
        raise ObjectiveError(f"{objective.path.name}: documents: {error}") from error


def read_document_files(names: Iterable[str], folder: Path) -> Found:
    """The documents in these files, relative to the folder.

    Raises: ObjectiveError, "<file>:<line> <what is wrong>; <mend>".
    """
    documents: dict[str, Document] = {}
    size = empty = again = 0
    for name in names:
        try:
            size += (folder / name).stat().st_size
            if size > MOST_BYTES:
                raise ObjectiveError(f"{name} makes them more than {MOST_BYTES // 10**6} MB together; bring fewer")
            read = _rows(name, folder) if name.lower().endswith(".jsonl") else [_text(name, folder)]
        except OSError as error:
            raise ObjectiveError(f"{name} cannot be read; check that it is there") from error
        for document in read:
            empty += not document.text.strip()
            again += document.id in documents
            if document.text.strip():
                documents.setdefault(document.id, document)
    return Found(tuple(documents.values()), empty, again)


def _text(name: str, folder: Path) -> Document:
    try:
        text = (folder / name).read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ObjectiveError(f"{name} is not UTF-8 text; save the file as UTF-8") from error
    heading = HEADING.search(text) if name.lower().endswith(".md") else None
    return _document(name, heading[1].strip() if heading else "", text)


def _rows(name: str, folder: Path) -> list[Document]:
    rows = read_rows(folder / name, DocumentRow)
    places = (number if row.id is None else row.id for number, row in enumerate(rows, 1))
    return [_document(f"{name}#{place}", row.title or "", row.text) for place, row in zip(places, rows, strict=True)]


def _document(name: str, title: str, text: str) -> Document:
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return Document(id=digest(text.strip()), name=name, title=" ".join(title.split())[:200], text=text)
