"""Our `openai` engine at an endpoint that fails at a fifth of all requests, beside the same endpoint without faults.

    python -m benchmarks.faults [--prompts 2000] [--faults 0.2] [--repeats 3]

The endpoint is the tests' own (tests/fault_server.py), in a process of its own on loopback: refusals with and without
Retry-After, broken and truncated answers, invalid JSON, missing choices, silence and trickles of a second. The table
gives the median wall time of each, their ratio, and how many rows were lost or came twice.
"""

import argparse
import statistics
import subprocess
import sys
import time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.table import Table

from agents.engines import Request, SamplingJob, open_engine

SERVER = Path(__file__).parents[1] / "tests" / "fault_server.py"
WAYS = {
    "prompts in lists": ("--chat", "no template"),
    "4 samples of a prompt": (),
    "one prompt a request": (),
}
"""How the same number of rows is asked for, and what the server is started with for it."""
SAMPLES = {"4 samples of a prompt": 4}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--prompts", type=int, default=2000)
    options.add_argument("--faults", type=float, default=0.2)
    options.add_argument("--repeats", type=int, default=3)
    chosen = options.parse_args()
    table = Table(title=f"{chosen.prompts} rows, {chosen.faults:.0%} faults")
    for name in ("way", "faultless, s", "with faults, s", "ratio", "rows lost", "rows twice"):
        table.add_column(name, justify="left" if name == "way" else "right")
    for way, flags in WAYS.items():
        seconds: dict[float, list[float]] = {0.0: [], chosen.faults: []}
        lost = twice = 0
        for repeat in range(chosen.repeats):
            for rate, measured in seconds.items():
                took, missing, again = sample(way, flags, chosen.prompts, rate, repeat)
                measured.append(took)
                lost, twice = lost + missing, twice + again
        calm, faulty = (statistics.median(measured) for measured in seconds.values())
        table.add_row(way, f"{calm:.1f}", f"{faulty:.1f}", f"{faulty / calm:.2f}", str(lost), str(twice))
    Console().print(table)


def sample(way: str, flags: tuple[str, ...], count: int, rate: float, seed: int) -> tuple[float, int, int]:
    """Seconds, rows lost, rows twice."""
    each = SAMPLES.get(way, 1)
    prompts = [f"What is {number} + {number + 1} ?" for number in range(count // each)]
    requests = tuple(Request(f"{i * each + n:016x}", prompt) for i, prompt in enumerate(prompts) for n in range(each))
    with server(rate, seed, flags) as address:
        job = SamplingJob("small", requests, 0.8, 64, seed, endpoint=address)
        began = time.monotonic()
        rows = Counter(row.key for batch in open_engine("openai").complete(job) for row in batch)
        took = time.monotonic() - began
    return took, len(requests) - len(rows), sum(number - 1 for number in rows.values())


@contextmanager
def server(rate: float, seed: int, flags: tuple[str, ...]):
    """The address of a server that fails so often."""
    # As slow as vllm on two cores (benchmarks.sampling): one prompt at a time it writes about 250 rows a second.
    pace = ("--latency", "0.2", "--row-latency", "0.05")
    command = [sys.executable, str(SERVER), *pace, "--faults", str(rate), "--seed", str(seed), *flags]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        address = process.stdout.readline().split()[-1]
        try:
            yield f"{address.rstrip('/')}/v1"
        finally:
            process.kill()


if __name__ == "__main__":
    main()
