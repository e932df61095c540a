"""The ledger: run.db, one SQLite file, written by one process and read by anyone.

It vouches for files: a card is written only after its file is durable. Budgets are rows here, so that they
outlive a restart. (WAL, synchronous=FULL, BEGIN IMMEDIATE, STRICT: measured in other systems to lose nothing
at any crash point, where DEFERRED transactions fail under contention.)
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import Field

from loop.errors import DamagedRunError, MissingError
from loop.failpoints import failpoint
from loop.records import Record, Spent
from loop.rounds import Round

VERSION = 1

Spending = tuple[str, str, Spent, float, int]
"""(room, stage, spent, engine seconds, peak bytes)."""
COSTS = ("tokens_sampled", "tokens_trained", "flops", "seconds", "usd")
"""Fields of Spent, in the order of the table's columns."""

SCHEMA = """
CREATE TABLE fact   (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE card   (room TEXT NOT NULL, stage TEXT NOT NULL, file TEXT NOT NULL, digest TEXT NOT NULL,
                     rows INTEGER NOT NULL, detail TEXT NOT NULL, PRIMARY KEY (room, stage)) STRICT;
CREATE TABLE spent  (room TEXT NOT NULL, stage TEXT NOT NULL, tokens_sampled INTEGER NOT NULL,
                     tokens_trained INTEGER NOT NULL, flops REAL NOT NULL, seconds REAL NOT NULL,
                     usd REAL NOT NULL, engine_seconds REAL NOT NULL, peak_bytes INTEGER NOT NULL,
                     PRIMARY KEY (room, stage)) STRICT;
CREATE TABLE round  (round INTEGER PRIMARY KEY, status TEXT NOT NULL, record TEXT NOT NULL) STRICT;
CREATE TABLE launch (id INTEGER PRIMARY KEY, pid INTEGER NOT NULL, started TEXT NOT NULL,
                     seconds REAL NOT NULL, ended TEXT) STRICT;
CREATE TABLE event  (id INTEGER PRIMARY KEY, at TEXT NOT NULL, kind TEXT NOT NULL, text TEXT NOT NULL) STRICT;
"""


class Card(Record):
    """The ledger's summary of a finished stage: its file, the file's digest, how many rows, and counts."""

    file: str
    digest: str
    rows: int
    detail: dict[str, Any] = Field(default_factory=dict)


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


class Ledger:
    """run.db, open. Use `Ledger.create_or_open` to write and `Ledger.read` to look."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection = connection
        self._lock = threading.RLock()
        self.path = path
        self._launch: int | None = None

    @classmethod
    def create_or_open(cls, path: Path) -> Ledger:
        """Open for writing; made when it is not there.

        Raises: MissingError when the file system cannot hold it, DamagedRunError when it is not ours.
        """
        try:
            connection = sqlite3.connect(path, isolation_level=None, timeout=30, check_same_thread=False)
            version = int(connection.execute("PRAGMA user_version").fetchone()[0])
            if version not in (0, VERSION):
                raise DamagedRunError(
                    f"{path}: has schema {version}, this loop writes {VERSION}; use the loop that made it"
                )
            cls._prepare(connection, version)
            wrong = connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
        except sqlite3.OperationalError as error:
            raise MissingError(f"{path}: {error}; put the run on a local disk with space left") from error
        except sqlite3.DatabaseError as error:
            raise DamagedRunError(f"{path}: {error}; restore it from a copy") from error
        if wrong != "ok":
            raise DamagedRunError(f"{path}: {wrong}; restore it from a copy".replace("\n", " "))
        return cls(connection, path)

    @staticmethod
    def _prepare(connection: sqlite3.Connection, version: int) -> None:
        """Set the journal and write the schema. Network file systems may refuse WAL only at the first write."""
        for mode in ("WAL", "TRUNCATE"):
            try:
                connection.execute(f"PRAGMA journal_mode={mode}")
                connection.execute("PRAGMA synchronous=FULL")
                connection.execute("BEGIN IMMEDIATE")
                if version == 0:
                    for statement in SCHEMA.split(";"):
                        connection.execute(statement)
                connection.execute(f"PRAGMA user_version={VERSION}")
                failpoint("schema written, not committed")
                connection.execute("COMMIT")
            except sqlite3.OperationalError:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                if mode == "TRUNCATE":
                    raise
            else:
                return

    @classmethod
    def read(cls, path: Path) -> Ledger:
        """Open for looking only, also while a run writes.

        Raises: DamagedRunError when there is no ledger, or it is not one.
        """
        if not path.is_file():
            raise DamagedRunError(f"{path}: no ledger there; name the folder of a run")
        try:
            connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=30)
            connection.execute("SELECT count(*) FROM fact").fetchone()
        except sqlite3.DatabaseError as error:
            raise DamagedRunError(f"{path}: {error}; restore it from a copy") from error
        return cls(connection, path)

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                yield self._connection
                failpoint("transaction open")
                self._connection.execute("COMMIT")
            except BaseException as error:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                if isinstance(error, sqlite3.OperationalError):
                    raise MissingError(f"{self.path}: {error}; free disk space, and go on") from error
                if isinstance(error, sqlite3.DatabaseError):
                    raise DamagedRunError(f"{self.path}: {error}; restore it from a copy") from error
                raise
            failpoint("transaction committed")

    def _rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        try:
            with self._lock:
                return self._connection.execute(query, values).fetchall()
        except sqlite3.DatabaseError as error:
            raise DamagedRunError(f"{self.path}: {error}; restore it from a copy") from error

    # Facts of the run: what it was started with, and how it ended.

    def fact(self, name: str) -> Any:
        """A fact by name, or None."""
        rows = self._rows("SELECT value FROM fact WHERE name = ?", name)
        return json.loads(rows[0][0]) if rows else None

    def set_facts(self, **facts: Any) -> None:
        """Write facts, all in one transaction."""
        with self._transaction() as db:
            for name, value in facts.items():
                db.execute("INSERT OR REPLACE INTO fact VALUES (?, ?)", (name, json.dumps(value)))

    # Cards: the finished marks of stages.

    def card(self, room: str, stage: str) -> Card | None:
        """The card of a finished stage, or None while it is owed."""
        rows = self._rows("SELECT file, digest, rows, detail FROM card WHERE room = ? AND stage = ?", room, stage)
        if not rows:
            return None
        file, digest, count, detail = rows[0]
        return Card(file=file, digest=digest, rows=count, detail=json.loads(detail))

    def put_card(self, room: str, stage: str, card: Card, closes: Round | None = None) -> None:
        """Write a stage's finished mark; with `closes` also the round's line, in the same transaction."""
        with self._transaction() as db:
            detail = json.dumps(card.detail, sort_keys=True)
            values = (room, stage, card.file, card.digest, card.rows, detail)
            db.execute("INSERT INTO card VALUES (?, ?, ?, ?, ?, ?)", values)
            if closes is not None:
                line = (closes.round, closes.status, closes.model_dump_json())
                db.execute("INSERT INTO round VALUES (?, ?, ?)", line)

    def cards(self) -> dict[tuple[str, str], Card]:
        """Every card by (room, stage)."""
        rows = self._rows("SELECT room, stage, file, digest, rows, detail FROM card ORDER BY rowid")
        return {(r[0], r[1]): Card(file=r[2], digest=r[3], rows=r[4], detail=json.loads(r[5])) for r in rows}

    # Rounds.

    def rounds(self) -> list[Round]:
        """All closed rounds in order, failed and discarded ones too."""
        return [Round.model_validate_json(r[0]) for r in self._rows("SELECT record FROM round ORDER BY round")]

    # What was spent. One row a stage, replaced by its new total as the stage goes on; seconds are added up.

    def spend(self, room: str, stage: str, spent: Spent, engine_seconds: float = 0.0, peak_bytes: int = 0) -> None:
        """Set what a stage has cost so far; the seconds of one that is there already stay."""
        with self._transaction() as db:
            db.execute(
                "INSERT INTO spent VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (room, stage) DO UPDATE SET"
                " tokens_sampled = excluded.tokens_sampled, tokens_trained = excluded.tokens_trained,"
                " flops = excluded.flops, usd = excluded.usd, engine_seconds = excluded.engine_seconds,"
                " peak_bytes = excluded.peak_bytes",
                (room, stage, *(getattr(spent, name) for name in COSTS), engine_seconds, peak_bytes),
            )

    def add_seconds(self, room: str, stage: str, seconds: float) -> None:
        """Add to the seconds that a stage has taken, over all tries and launches."""
        with self._transaction() as db:
            db.execute(
                "INSERT INTO spent VALUES (?, ?, 0, 0, 0, ?, 0, 0, 0) ON CONFLICT (room, stage) DO UPDATE SET"
                " seconds = seconds + excluded.seconds",
                (room, stage, seconds),
            )

    def spendings(self) -> list[Spending]:
        """(room, stage, spent, engine seconds, peak bytes) of every stage, in order."""
        rows = self._rows("SELECT * FROM spent ORDER BY rowid")
        return [(r[0], r[1], Spent(**dict(zip(COSTS, r[2:7], strict=True))), r[7], r[8]) for r in rows]

    def spent(self, room: str | None = None) -> Spent:
        """The sum over one room, or over all."""
        return sum((s for r, _, s, _, _ in self.spendings() if room in (None, r)), Spent())

    # Launches and events.

    def begin_launch(self) -> None:
        """Record that a process started work on the run."""
        with self._transaction() as db:
            cursor = db.execute("INSERT INTO launch (pid, started, seconds) VALUES (?, ?, 0)", (os.getpid(), _now()))
            self._launch = cursor.lastrowid

    def heartbeat(self, seconds: float, ended: str | None = None) -> None:
        """Record how long this launch has worked, in seconds of a monotonic clock."""
        told = (seconds, ended, self._launch)
        with self._lock:
            self._connection.execute("UPDATE launch SET seconds = ?, ended = ? WHERE id = ?", told)

    def launches(self) -> list[tuple[int, str, float, str | None]]:
        """(pid, started, seconds, how it ended or None) of every launch."""
        return [tuple(r) for r in self._rows("SELECT pid, started, seconds, ended FROM launch ORDER BY id")]

    def seconds_before(self) -> float:
        """Seconds that earlier launches worked on the run."""
        rows = self._rows("SELECT total(seconds) FROM launch WHERE id IS NOT ?", self._launch)
        return float(rows[0][0])

    def event(self, kind: str, text: str) -> None:
        """Note something worth telling a person."""
        with self._transaction() as db:
            db.execute("INSERT INTO event (at, kind, text) VALUES (?, ?, ?)", (_now(), kind, text))

    def event_once(self, kind: str, text: str) -> None:
        """The same, unless it is noted already: a stage that died and is worked on again says what it said."""
        if (kind, text) not in {(of, said) for _, of, said in self.events()}:
            self.event(kind, text)

    def events(self) -> list[tuple[str, str, str]]:
        """(time, kind, text) of every event, oldest first."""
        return [tuple(r) for r in self._rows("SELECT at, kind, text FROM event ORDER BY id")]
