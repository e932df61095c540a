"""Deduplication and decontamination: rows per second, peak memory, recall and precision, ours and peers.

    python -m benchmarks.curation [--sizes 10000 100000 1000000] [--only NAME ...]

Rows of about 200 words are drawn from a seeded generator, the words as frequent as a language's. One in ten is a copy
of an earlier row with one to three words replaced; one in twenty shares half its words with one, and is none. One in
a hundred holds an exam problem word for word, one in a hundred another with every tenth word replaced.

Each measurement is a process of its own, so that its peak memory is its own (of children, the largest); imports and
start are left out of its seconds. CPU seconds are those of all its threads and children: what holds on a machine that
does other things too, and what the growth is computed from. Peers run in environments of their own, which this script
makes below .bench/.
"""

import argparse
import json
import math
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.sampling import PEERS, ROOT, environment
from loop.contamination import Exams
from loop.duplicates import Novelty, Row

VOCABULARY, EXAMS, POOL = 30_000, 1000, 5000
"""Words; exam problems; rows that copies are made of, the latest."""
LETTERS = "abcdefghijklmnopqrstuvwxyz"


Planted = dict[str, list[frozenset[int]]]
"""By kind, the ids of each planted row and of what it is made of."""


class Writer:
    """Rows and exam problems, the same for the same number of rows."""

    def __init__(self) -> None:
        self._luck = random.Random(0)
        self._words = ["".join(self._luck.choices(LETTERS, k=self._luck.randint(2, 9))) for _ in range(VOCABULARY)]
        self._weights = list(accumulate(1 / rank for rank in range(1, VOCABULARY + 1)))  # Zipf's law
        self.exams = [" ".join(self._some(self._luck.randint(40, 70))) for _ in range(EXAMS)]
        self._pool: list[tuple[int, list[str]]] = []

    def rows(self, number: int) -> Iterator[dict[str, object]]:
        """Each with its text, what was planted ("copy", "half", "leak", "edited", or ""), and what it is of."""
        for n in range(number):
            lot = self._luck.random()
            words, planted, of = self._some(self._luck.randint(150, 250)), "", n
            if self._pool and lot < 0.10:
                of, source = self._luck.choice(self._pool)
                words, planted = self._replaced(source, self._luck.randint(1, 3)), "copy"
            elif self._pool and lot < 0.15:
                of, source = self._luck.choice(self._pool)
                words, planted = source[: len(source) // 2] + words[: len(words) // 2], "half"
            elif lot < 0.17:
                exam = self._luck.choice(self.exams).split()
                planted = "leak" if lot < 0.16 else "edited"
                if planted == "edited":
                    exam = [self._luck.choice(self._words) if i % 10 == 9 else w for i, w in enumerate(exam)]
                words = words[:70] + exam + words[70:140]
            else:
                self._pool[n % POOL : n % POOL + 1] = [(n, words)]
            yield {"id": n, "text": " ".join(words), "planted": planted, "of": of}

    def _some(self, number: int) -> list[str]:
        return self._luck.choices(self._words, cum_weights=self._weights, k=number)

    def _replaced(self, words: list[str], times: int) -> list[str]:
        words = list(words)
        for place in self._luck.sample(range(len(words)), times):
            words[place] = self._luck.choice(self._words)
        return words


@dataclass(frozen=True)
class Measured:
    """What one process did with one file of rows."""

    rows: int
    seconds: float
    cpu: float
    """Seconds, of all threads and children."""
    megabytes: float
    flagged: frozenset[int]


@dataclass(frozen=True)
class Contestant:
    """A command that reads rows and writes the ids that it would drop. `environment`: "" for our own."""

    name: str
    environment: str
    script: str
    arguments: tuple[str, ...] = ()

    def run(self, rows: Path, number: int, scratch: Path) -> Measured:
        told = scratch / "told.json"
        own = [sys.executable, "-m", "benchmarks.curation"]
        command = [str(environment(self.environment)), str(PEERS / self.script)] if self.environment else own
        with (scratch / "log").open("w") as log:
            asked = subprocess.Popen(
                [*command, *self.arguments, str(rows), str(told)], cwd=ROOT, stdout=log, stderr=log,
                env=os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(scratch / "hf")},
            )  # fmt: skip
            _, status, used = os.wait4(asked.pid, 0)
        if status or not told.exists():
            sys.exit(f"{self.name} failed:\n" + (scratch / "log").read_text()[-3000:])
        found = json.loads(told.read_text())
        return Measured(number, found["seconds"], found["cpu"], used.ru_maxrss / 1024, frozenset(found["flagged"]))


DUPLICATES = (
    Contestant("loop", "", "", ("duplicates",)),
    Contestant("rensa", "lsh", "plain_lsh.py", ("rensa",)),
    Contestant("gaoya", "lsh", "plain_lsh.py", ("gaoya",)),
    Contestant("datasketch", "lsh", "plain_lsh.py", ("datasketch",)),
    Contestant("text-dedup", "text_dedup", "text_dedup_client.py"),
    Contestant("datatrove", "datatrove", "datatrove_client.py", ("duplicates",)),
)
CONTAMINATION = (
    Contestant("loop", "", "", ("contamination",)),
    Contestant("datatrove", "datatrove", "datatrove_client.py", ("contamination",)),
)


def main() -> None:
    if sys.argv[1:2] in (["duplicates"], ["contamination"]):
        ours(*sys.argv[1:])
    else:
        compete()


def compete() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000])
    options.add_argument("--only", nargs="+", default=[""], help="contestants whose names begin so")
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        files = [write_rows(Path(folder), size) for size in sorted(chosen.sizes)]
        for title, planted, contestants in (
            ("near-duplicates", ("copy",), DUPLICATES),
            (f"contamination by {EXAMS:,} exam problems", ("leak", "edited"), CONTAMINATION),
        ):
            asked = [c for c in contestants if c.name.startswith(tuple(chosen.only))]
            show(title, planted, {c.name: [measure(c, *file) for file in files] for c in asked}, files)


def ours(kind: str, given: str, told: str) -> None:
    """Our own contestant, in its process."""
    exams = json.loads((Path(given).parent / "exams.json").read_text(encoding="utf-8"))
    with Path(given).open(encoding="utf-8") as lines:
        rows = (Row(str(row["id"]), row["text"]) for row in map(json.loads, lines))
        began, used = time.monotonic(), sum(os.times()[:4])
        if kind == "duplicates":
            flagged = [int(name) for name, twin in Novelty().sift(rows) if twin]
        else:
            find = Exams(exams).find
            flagged = [int(row.id) for row in rows if find(row.text, "")]
        spent = {"seconds": time.monotonic() - began, "cpu": sum(os.times()[:4]) - used}
    Path(told).write_text(json.dumps({**spent, "flagged": flagged}))


def write_rows(folder: Path, number: int) -> tuple[Path, int]:
    path, writer = folder / f"{number}.jsonl", Writer()
    (folder / "exams.json").write_text(json.dumps(writer.exams))
    with path.open("w", encoding="utf-8") as lines:
        lines.writelines(json.dumps(row) + "\n" for row in writer.rows(number))
    return path, number


def measure(contestant: Contestant, rows: Path, number: int) -> Measured:
    with tempfile.TemporaryDirectory() as scratch:
        measured = contestant.run(rows, number, Path(scratch))
    told = f"{contestant.name}: {number:,} rows, {measured.seconds:.1f} s, {measured.cpu:.1f} of CPU"
    print(told, file=sys.stderr, flush=True)
    return measured


def show(
    title: str, wanted: tuple[str, ...], found: dict[str, list[Measured]], files: list[tuple[Path, int]]
) -> None:
    """A line a measurement: what was found of each kind planted, and the share of the flagged that were planted.

    A copy is found when it or the row that it copies is flagged: libraries differ in which of a pair they drop.
    """
    columns: dict[str, Callable[[Planted, Measured], str]] = {
        "rows": lambda _, m: f"{m.rows:,}",
        "rows/s": lambda _, m: f"{m.rows / m.seconds:,.0f}",
        "CPU s": lambda _, m: f"{m.cpu:,.1f}",
        "peak MB": lambda _, m: f"{m.megabytes:,.0f}",
        **{kind: lambda planted, m, kind=kind: found_of(planted[kind], m.flagged) for kind in wanted},
        "precision": lambda planted, m: right_of(m.flagged, [pair for kind in wanted for pair in planted[kind]]),
    }
    table = Table(title=title)
    for name in ("by", *columns, "growth"):
        table.add_column(name, justify="left" if name == "by" else "right")
    truths = [planted_in(path) for path, _ in files]
    for name, measured in found.items():
        for planted, m in zip(truths, measured, strict=True):
            is_last = m is measured[-1]
            cells = [read(planted, m) for read in columns.values()]
            table.add_row(name, *cells, growth(measured) if is_last else "", end_section=is_last)
    Console().print(table)


def planted_in(path: Path) -> Planted:
    planted: Planted = defaultdict(list)
    with path.open(encoding="utf-8") as lines:
        for row in map(json.loads, lines):
            planted[row["planted"]].append(frozenset((row["id"], row["of"])))
    return planted


def found_of(pairs: list[frozenset[int]], flagged: frozenset[int]) -> str:
    return f"{sum(bool(pair & flagged) for pair in pairs) / len(pairs):.2%}" if pairs else ""


def right_of(flagged: frozenset[int], pairs: list[frozenset[int]]) -> str:
    return f"{len(flagged & frozenset().union(*pairs)) / len(flagged):.2%}" if flagged else ""


def growth(measured: list[Measured]) -> str:
    """The exponent k of CPU seconds ~ rows^k, between the fewest rows and the most."""
    few, most = measured[0], measured[-1]
    if few is most:
        return ""
    return f"n^{math.log(most.cpu / few.cpu) / math.log(most.rows / few.rows):.2f}"


if __name__ == "__main__":
    main()
