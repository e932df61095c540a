"""text-dedup: its MinHash command in one process, with the same shingles, hashes and bands as ours."""

import json
import os
import sys
import time
from pathlib import Path

from datasets import load_from_disk
from text_dedup.minhash import main as deduplicate


def main() -> None:
    given, told = sys.argv[1:]
    kept, cache = Path(told).parent / "kept", Path(told).parent / "cache"
    options = {
        "path": "json", "data_files": given, "split": "train", "column": "text", "output": kept, "cache_dir": cache,
        "num_proc": 1, "ngram": 5, "num_perm": 256, "b": 32, "r": 8, "hash_func": "xxh3", "min_length": 5,
    }  # fmt: skip
    began, used = time.monotonic(), sum(os.times()[:4])
    deduplicate([f"--{name}={value}" for name, value in options.items()], standalone_mode=False)
    left = set(load_from_disk(str(kept))["id"])
    spent = {"seconds": time.monotonic() - began, "cpu": sum(os.times()[:4]) - used}
    with Path(given).open(encoding="utf-8") as lines:
        flagged = [row["id"] for row in map(json.loads, lines) if row["id"] not in left]
    Path(told).write_text(json.dumps({**spent, "flagged": flagged}))


if __name__ == "__main__":
    main()
