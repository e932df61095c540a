"""datatrove: its four steps of MinHash deduplication, or its n-gram decontamination, one task in one process.

The index of exam n-grams is written here in the form of its indexer, which itself would load lighteval's tasks.
"""

import json
import os
import struct
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from datatrove.data import Document
from datatrove.pipeline.decont.n_grams import NGramsDecontConfig, NGramsDecontFilter
from datatrove.pipeline.dedup.minhash import (
    MinhashConfig,
    MinhashDedupBuckets,
    MinhashDedupCluster,
    MinhashDedupSignature,
)
from datatrove.utils.text import ngrams, simplify_text

BUCKETS, HASHES, SHINGLE, RUN = 32, 8, 5, 13


def documents(path: str) -> Iterator[Document]:
    with Path(path).open(encoding="utf-8") as lines:
        for row in map(json.loads, lines):
            yield Document(text=row["text"], id=str(row["id"]))


def repeated(given: str, folder: Path) -> list[int]:
    config = MinhashConfig(n_grams=SHINGLE, num_buckets=BUCKETS, hashes_per_bucket=HASHES)
    signatures, buckets, removed = (str(folder / name) for name in ("signatures", "buckets", "removed"))
    MinhashDedupSignature(signatures, config).run(documents(given))
    for bucket in range(BUCKETS):
        MinhashDedupBuckets(signatures, buckets, config=config).run(rank=bucket, world_size=BUCKETS)
    MinhashDedupCluster(buckets, removed, config=config).run()
    marked = folder / "removed" / "000000.remove"
    return [number for (number,) in struct.iter_unpack("<I", marked.read_bytes())] if marked.exists() else []


def contaminated(given: str, folder: Path, exams: list[str]) -> list[int]:
    config = NGramsDecontConfig(n_grams=RUN, find_query_ngrams=True)
    keep = NGramsDecontFilter(str(folder), config=config)
    words = (keep.tokenizer.word_tokenize(simplify_text(exam, config.norm_config)) for exam in exams)
    hashes = {keep.hash_func(" ".join(run)) for exam in words for run in ngrams(exam, RUN)}
    np.array(list(hashes), dtype=config.hash_config.np_descr).tofile(folder / "exams.index.hashes")
    return [int(document.id) for document in documents(given) if keep.filter(document) is not True]


def main() -> None:
    kind, given, told = sys.argv[1:]
    folder = Path(told).parent / "datatrove"
    folder.mkdir()
    exams = json.loads((Path(given).parent / "exams.json").read_text(encoding="utf-8"))
    began, used = time.monotonic(), sum(os.times()[:4])
    flagged = repeated(given, folder) if kind == "duplicates" else contaminated(given, folder, exams)
    spent = {"seconds": time.monotonic() - began, "cpu": sum(os.times()[:4]) - used}
    Path(told).write_text(json.dumps({**spent, "flagged": flagged}))


if __name__ == "__main__":
    main()
