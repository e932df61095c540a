"""Refining by program: a model writes what is to be cleaned away in a document, and it is done here.

ProX (arXiv 2409.17115): first the document as a whole, kept or dropped, then chunk by chunk.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal, NamedTuple

from agents.refiner import (
    Normalize,
    RemoveAll,
    RemoveLines,
    chunk_prompt,
    document_prompt,
    judge_document,
    read_call,
    write_program,
)
from agents.talk import Talker, Unusable
from agents.verdicts import one_line
from loop.records import Record, digest

CHUNK = 6000
"""Characters of a chunk, one longer line excepted: about the 1,500 tokens of ProX."""


class Refined(Record):
    """A document after both passes, with all that was made of its programs."""

    id: str
    """Digest of the text as it was."""
    status: Literal["kept", "dropped", "error"]
    """error: nothing usable was said of the document, and it stands as it was. Who needs it clean leaves it out."""
    text: str
    """"" of a dropped one."""
    reason: str = ""
    """Why it was dropped, or what the error was."""
    executed: int = 0
    """Calls that were carried out, keep_all among them."""
    skipped: int = 0
    """Well-formed calls that could not be: lines that are not there, a source that no line has."""
    malformed: int = 0
    """Calls of an unknown op, or with wrong arguments."""
    chunks: int = 0
    unusable: int = 0
    """Chunks for which no program was said: they stand as they were."""
    prompts: tuple[str, str]
    """Digests of the templates that asked, of document and chunks."""


class Executed(NamedTuple):
    """A chunk after its program."""

    lines: tuple[str, ...]
    executed: int
    skipped: int
    malformed: int


def refine(talker: Talker, text: str) -> Refined:
    """The document, kept or dropped, and cleaned.

    Raises: what `Talker.ask` raises.
    """
    prompts = document_prompt("").digest, chunk_prompt(()).digest
    key = digest("document", text)
    try:
        fate = judge_document(talker, text)
    except Unusable as error:
        return Refined(id=key, status="error", text=text, reason=one_line(str(error)), prompts=prompts)
    if fate.verdict == "drop":
        return Refined(id=key, status="dropped", text="", reason=one_line(fate.reason), prompts=prompts)
    chunks = list(split_chunks(text))
    lines: list[str] = []
    counts = [0, 0, 0]
    unusable = 0
    for chunk in chunks:
        try:
            done = execute(write_program(talker, chunk).calls, chunk)
        except Unusable:
            unusable += 1
            done = Executed(chunk, 0, 0, 0)
        lines += done.lines
        counts = [sum(pair) for pair in zip(counts, done[1:], strict=True)]
    left = "\n".join(lines)
    return Refined(
        id=key,
        status="kept" if left.strip() else "dropped",
        text=left if left.strip() else "",
        reason="" if left.strip() else "nothing of it is left",
        executed=counts[0],
        skipped=counts[1],
        malformed=counts[2],
        chunks=len(chunks),
        unusable=unusable,
        prompts=prompts,
    )


def split_chunks(text: str) -> Iterator[tuple[str, ...]]:
    """The text's lines in chunks of at most CHUNK characters, or of one line. Joined by "\\n" they are the text."""
    lines: list[str] = []
    size = 0
    for line in text.split("\n"):
        if lines and size + len(line) + 1 > CHUNK:
            yield tuple(lines)
            lines, size = [], 0
        lines.append(line)
        size += len(line) + 1
    yield tuple(lines)


def execute(calls: Iterable[Any], lines: Sequence[str]) -> Executed:
    """Carry out a program on a chunk.

    Line numbers are those of the chunk as it was shown, whatever other calls do; a source is looked for in each line,
    after the calls before it. What cannot be carried out whole is not carried out in part.
    """
    left = list(lines)
    gone: set[int] = set()
    executed = skipped = malformed = 0
    for said in calls:
        call = read_call(said)
        if call is None:
            malformed += 1
            continue
        if isinstance(call, RemoveAll):
            gone |= {*range(len(left))}
        elif isinstance(call, RemoveLines):
            if not call.start <= call.end <= len(left):
                skipped += 1
                continue
            gone |= {*range(call.start - 1, call.end)}
        elif isinstance(call, Normalize):
            if call.source == " " or not any(call.source in line for line in left):
                skipped += 1
                continue
            left = [line.replace(call.source, call.target) for line in left]
        executed += 1
    return Executed(tuple(line for i, line in enumerate(left) if i not in gone), executed, skipped, malformed)
