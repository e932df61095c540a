"""MinHash LSH as a library's user would write it: batches of rows in, each row that collides with an earlier one out.

Runs in an environment with datasketch, gaoya and rensa; all get the same shingles, hashes and bands as ours, but no
candidate is verified beyond what the library itself does.
"""

import json
import os
import sys
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

SHINGLE, BANDS, ROWS, ALIKE, BATCH = 5, 32, 8, 0.8, 1000
Batch = list[tuple[int, str]]


def batches(path: str) -> Iterator[Batch]:
    with Path(path).open(encoding="utf-8") as lines:
        rows = ((row["id"], row["text"]) for row in map(json.loads, lines))
        while batch := list(islice(rows, BATCH)):
            yield batch


def shingles(text: str) -> set[str]:
    words = text.split()
    return {" ".join(words[i : i + SHINGLE]) for i in range(len(words) - SHINGLE + 1)}


def rensa(given: Iterator[Batch]) -> Iterator[int]:
    from rensa import RMinHash, RMinHashLSH

    index = RMinHashLSH(ALIKE, BANDS * ROWS, BANDS)
    for batch in given:
        sketches = RMinHash.from_token_sets([shingles(text) for _, text in batch], num_perm=BANDS * ROWS, seed=1)
        for (number, _), sketch in zip(batch, sketches, strict=True):
            if index.query(sketch):
                yield number
            else:
                index.insert(number, sketch)


def gaoya(given: Iterator[Batch]) -> Iterator[int]:
    from gaoya.minhash import MinHashStringIndex

    index = MinHashStringIndex(32, ALIKE, BANDS, ROWS, None, "word", True, (SHINGLE, SHINGLE), "smallvec")
    for batch in given:
        numbers, texts = [number for number, _ in batch], [text for _, text in batch]
        index.par_bulk_insert_docs(numbers, texts)
        for number, near in zip(numbers, index.par_bulk_query(texts), strict=True):
            if any(other < number for other in near):
                yield number


def datasketch(given: Iterator[Batch]) -> Iterator[int]:
    from datasketch import MinHash, MinHashLSH

    index = MinHashLSH(num_perm=BANDS * ROWS, params=(BANDS, ROWS))
    for batch in given:
        encoded = [[shingle.encode() for shingle in shingles(text)] for _, text in batch]
        for (number, _), sketch in zip(batch, MinHash.generator(encoded, num_perm=BANDS * ROWS, seed=1), strict=True):
            if index.query(sketch):
                yield number
            else:
                index.insert(number, sketch)


def main() -> None:
    library, given, told = sys.argv[1:]
    began, used = time.monotonic(), sum(os.times()[:4])
    flagged = list({"rensa": rensa, "gaoya": gaoya, "datasketch": datasketch}[library](batches(given)))
    spent = {"seconds": time.monotonic() - began, "cpu": sum(os.times()[:4]) - used}
    Path(told).write_text(json.dumps({**spent, "flagged": flagged}))


if __name__ == "__main__":
    main()
