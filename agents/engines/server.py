"""A vllm server of ours: started, watched and stopped. It answers as any OpenAI-compatible endpoint does."""

from __future__ import annotations

import json
import socket
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from agents.engines import EngineError
from agents.engines.gpu import gpu_holders, wait_until_free
from agents.engines.guard import Guarded
from agents.engines.vllm_settings import (
    as_flags,
    largest_rank,
    missing_vllm,
    read_adapter,
    vllm_environment,
    vllm_python,
    vllm_settings,
)

CHAT_TEMPLATE = "{{ messages | map(attribute='content') | join('\n\n') + '\n' }}"
"""For a student without one of its own: as agents/student.py puts a problem, and agents/talk.py several turns."""
PROGRESS = ("vllm:prompt_tokens_total", "vllm:generation_tokens_total")
"""Counters in /metrics that rise while a server is at work."""


@dataclass(frozen=True)
class Served:
    """What a server serves, and where."""

    model: str
    """Folder or id of a model, or folder of a LoRA adapter: its base is then served as `<name>-base`."""
    name: str = "student"
    """How clients ask for it."""
    adapters: Mapping[str, str] = field(default_factory=dict)
    """Further LoRA adapters on the same base: folders by the name that clients ask for."""
    host: str = "127.0.0.1"
    port: int = 0
    """0 takes a free one."""
    command: tuple[str, ...] = ()
    """The program that is started, with vllm's flags after it; empty is vllm's own server."""
    talks: bool = True
    """Whether a model without a chat template gets one, so that it can be talked to; else it only goes on with texts,
    which come many in a request."""


@dataclass(frozen=True)
class Patience:
    """How long a server is waited for, and how often it is mended."""

    start_seconds: float = 1800.0
    """Until it answers /health: a model may have to be downloaded first."""
    silent_seconds: float = 60.0
    """Within which a completion of one token must come, or the server's counters of tokens rise."""
    look_seconds: float = 10.0
    """Between two looks at it."""
    restarts: int = 3
    """Of a dead or silent server; then it is given up."""
    grace_seconds: float = 10.0
    """Between SIGTERM and SIGKILL."""


class VllmServer:
    """As a context manager: it answers inside, and nothing of it is left outside, however our process ends."""

    def __init__(self, served: Served, patience: Patience = Patience(), echo: bool = False) -> None:
        """`echo`: copy its log to our standard error."""
        self.served, self._patience, self._echo = served, patience, echo
        self._port = served.port or free_port(served.host)
        self._command = (*(served.command or _vllm_command()), *as_flags(_settings(served, self._port)))
        self._process: Guarded | None = None
        self._before: dict[int, int] = {}
        self._over, self._given_up = threading.Event(), ""
        self._watching = threading.Thread(target=self._watch, daemon=True)
        self.restarts = 0

    @property
    def address(self) -> str:
        """What an OpenAI client takes as its base address."""
        return f"http://{self.served.host}:{self._port}/v1"

    def __enter__(self) -> VllmServer:
        """Start it and wait until it answers.

        Raises: EngineError with the reason and the end of its log when it does not.
        """
        if _is_taken(self.served.host, self._port):
            raise EngineError(f"port {self._port}: something listens there already; name another")
        self._before = gpu_holders()
        self._start()
        self._watching.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._stop()
        self._watching.join()
        self._stop()  # what was being started meanwhile
        wait_until_free(self._before)

    def wait(self, seconds: float | None = None) -> None:
        """Return after so many seconds in which the server was there, or restarted; None waits for good.

        Raises: EngineError as soon as it is given up.
        """
        self._over.wait(seconds)
        if self._given_up:
            raise EngineError(self._given_up)

    def _start(self) -> None:
        self._process = Guarded(self._command, vllm_environment(), self._patience.grace_seconds, echo=self._echo)
        end = time.monotonic() + self._patience.start_seconds
        wrong = ""
        try:
            while self._get("/health", 5.0) is None and not wrong and not self._over.wait(0.2):
                late = f"no answer in {self._patience.start_seconds:.0f} s" if time.monotonic() > end else ""
                wrong = late if (code := self._process.code()) is None else f"exit code {code}"
        except BaseException:
            self._stop()
            raise
        if wrong:
            self._stop()
            raise EngineError(f"vllm: the server did not start ({wrong}): {self._process.last_words()}")

    def _stop(self) -> None:
        if self._process is not None:
            try:
                self._process.stop()
            except TimeoutError as error:
                raise EngineError(f"vllm: {error}; end them by hand") from error

    def _watch(self) -> None:
        """Start the server anew when it is dead or silent, until that has been done often enough."""
        while not self._over.wait(self._patience.look_seconds):
            if not (wrong := self._trouble()) or self._over.is_set():
                continue
            words = self._process.last_words() if self._process else ""
            while wrong and not self._over.is_set():
                if self.restarts >= self._patience.restarts:
                    self._given_up = f"vllm: the server {wrong}, after {self.restarts} restarts: {words}"
                    self._over.set()
                    return
                self.restarts += 1
                print(f"vllm: the server {wrong}; starting it again", file=sys.stderr, flush=True)
                try:
                    self._stop()
                    wait_until_free(self._before)
                    self._start()
                    wrong = ""
                except EngineError as error:
                    wrong, words = "could not be started again", str(error)

    def _trouble(self) -> str:
        """What is wrong with the server, or ""."""
        assert self._process is not None
        if (code := self._process.code()) is not None:
            return f"ended with exit code {code}"
        before = self._progress()
        asked = {"model": self.served.name, "prompt": "1", "max_tokens": 1, "temperature": 0}
        if self._get("/v1/completions", self._patience.silent_seconds, asked) is not None:
            return ""
        if before is not None and (now := self._progress()) is not None and now > before:
            return ""  # at work, and the one token stands in a long queue
        return f"did not write one token in {self._patience.silent_seconds:.0f} s"

    def _progress(self) -> float | None:
        """Tokens read and written so far; None where the server does not tell."""
        told = self._get("/metrics", 5.0)
        if told is None:
            return None
        counted = [float(line.rpartition(" ")[2]) for line in told.splitlines() if line.startswith(PROGRESS)]
        return sum(counted) if counted else None

    def _get(self, path: str, seconds: float, asked: dict[str, Any] | None = None) -> str | None:
        """The text at a path of the server; None when there is none in time."""
        body = None if asked is None else json.dumps(asked).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"{self.address.removesuffix('/v1')}{path}", body, headers)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=seconds) as answer:
                return str(answer.read().decode(errors="replace"))
        except (OSError, ValueError):  # URLError and HTTPError are of the first kind
            return None


def _vllm_command() -> tuple[str, ...]:
    if wrong := missing_vllm():
        raise EngineError(wrong)
    return (vllm_python(), "-m", "vllm.entrypoints.openai.api_server")


def _settings(served: Served, port: int) -> dict[str, Any]:
    """Arguments of vllm's server."""
    settings, adapters, name = vllm_settings(served.model), dict(served.adapters), served.name
    if read_adapter(served.model):
        adapters[served.name], name = served.model, f"{served.name}-base"
    settings |= {"host": served.host, "port": port, "served_model_name": name}
    if adapters:
        settings |= {
            "enable_lora": True,
            "max_loras": len(adapters),
            "max_lora_rank": largest_rank(adapters.values()),
        }
        settings["lora_modules"] = [json.dumps({"name": name, "path": path}) for name, path in adapters.items()]
    if served.talks and _lacks_chat_template(Path(settings.get("tokenizer", settings["model"]))):
        settings["chat_template"] = CHAT_TEMPLATE
    return settings


def _lacks_chat_template(folder: Path) -> bool:
    """Whether it is a folder, and its tokenizer has none: of a model by its id nothing is known here."""
    told = folder / "tokenizer_config.json"
    if not told.is_file() or (folder / "chat_template.jinja").is_file():
        return False
    return "chat_template" not in json.loads(told.read_text(encoding="utf-8"))


def _is_taken(host: str, port: int) -> bool:
    """Whether something answers there: it would be taken for ours."""
    with socket.socket() as asking:
        asking.settimeout(1)
        return asking.connect_ex((host, port)) == 0


def free_port(host: str) -> int:
    """One that nothing listens at."""
    with socket.socket() as listening:
        listening.bind((host, 0))
        return int(listening.getsockname()[1])
