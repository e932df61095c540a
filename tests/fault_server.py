"""A server of the OpenAI API on loopback that misbehaves as it is told: for tests, or by hand.

    python tests/fault_server.py --port 0 --faults 0.2

What it answers follows from the prompt, the seed and the number of the sample; its faults from its own seed.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import socket
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

KINDS = ("429", "500", "502", "503", "reset", "torn", "short", "invalid", "missing", "hang", "slow")
"""Faults: refusals; a connection that breaks before or inside the body; a body that ends early, is no JSON, lacks a
choice; silence; a trickle of bytes. Also `empty`: an answer without text, which is an answer."""
VLLM_NO_TEMPLATE = (
    "As of transformers v4.44, default chat template is no longer allowed, so you must provide a chat template if the"
    " tokenizer does not define one. None None"
)


@dataclass(frozen=True)
class Manners:
    """How a server behaves."""

    faults: float = 0.0
    """Share of requests that meet one."""
    kinds: tuple[str, ...] = KINDS
    seed: int = 0
    first: tuple[str, ...] = ()
    """What the first requests meet, whatever `faults` says."""
    always: int = 0
    """A status with which all are refused."""
    retry_after: str = "1"
    hang: float = 1.0
    """Seconds of silence, or of a trickle."""
    latency: float = 0.0
    """Seconds a request."""
    row_latency: float = 0.0
    """Seconds more for each row of it."""
    most_in_flight: int = 1000
    """Requests beyond so many are refused with 429."""
    chat: str = "yes"
    """yes, no template, no route, broken (as `transformers serve` says that there is no template)"""
    lists: str = "yes"
    """yes, refused, first (only the first prompt is answered)"""
    n: str = "yes"
    """yes, refused, one (only one sample comes)"""
    schemas: bool = True
    """Whether it knows response_format."""
    usage: bool = True
    thinking: str = ""
    """field: all tokens went into reasoning_content; tags: into an open <think>."""
    key: str = ""
    models: tuple[str, ...] = ("small",)
    context: int = 1_000_000
    """Words that a prompt may have."""


@dataclass(frozen=True)
class Seen:
    """A request that came."""

    when: float
    """On the monotonic clock."""
    path: str
    body: dict[str, Any]
    fault: str
    """What it met, or ""."""


class No(Exception):
    """An answer that is none: status, what is said, headers."""

    def __init__(self, status: int, said: str, **headers: str) -> None:
        super().__init__(said)
        self.status, self.headers = status, headers


def say(prompt: str, body: dict[str, Any], sample: int) -> str:
    """What the model says."""
    return f"{digest(prompt)} said {body.get('seed', 0)} {sample}"


def digest(prompt: str) -> str:
    """By which a test knows whose answer it has."""
    return hashlib.sha256(prompt.strip().encode()).hexdigest()[:12]


@dataclass
class FaultServer:
    """A context manager; `url` is its address. `seen` and `billed` are what it has had to do with so far."""

    manners: Manners = field(default_factory=Manners)
    say: Callable[[str, dict[str, Any], int], str] = say
    port: int = 0
    seen: list[Seen] = field(default_factory=list)
    billed: list[tuple[int, int]] = field(default_factory=list)
    """Tokens, prompt and completion, of every request that was answered whole."""
    most_at_once: int = 0
    down: bool = False
    """Every connection breaks."""

    def __enter__(self) -> Self:
        self.lock, self.stopping, self.in_flight = threading.Lock(), threading.Event(), 0
        server = self

        class Conversation(_Conversation):
            faults = server

        self._http = _Http(("127.0.0.1", self.port), Conversation)
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopping.set()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def receive(self, path: str, body: dict[str, Any]) -> str:
        """Note a request. Returns the fault that it meets."""
        with self.lock:
            chance = random.Random(f"{self.manners.seed} {len(self.seen)}")
            fault = chance.choice(self.manners.kinds) if chance.random() < self.manners.faults else ""
            fault = self.manners.first[len(self.seen)] if len(self.seen) < len(self.manners.first) else fault
            fault = "reset" if self.down else "429" if self.in_flight > self.manners.most_in_flight else fault
            self.seen.append(Seen(time.monotonic(), path, body, fault))
            return fault

    def answer(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Raises: No."""
        chat, manners = path.startswith("/v1/chat"), self.manners
        if body["model"] not in manners.models:
            raise No(404, f"The model `{body['model']}` does not exist.")
        if chat and manners.chat == "broken":
            raise No(500, "Internal Server Error")
        if chat and manners.chat != "yes":
            raise No(400, VLLM_NO_TEMPLATE) if manners.chat == "no template" else No(404, "Not Found")
        if "response_format" in body and not manners.schemas:
            raise No(400, "Unknown parameter: 'response_format'.")
        prompts = [body["messages"][-1]["content"]] if chat else body["prompt"]
        if isinstance(prompts, str):
            prompts = [prompts]
        elif not chat and manners.lists == "refused":
            raise No(422, "prompt: invalid type: sequence, expected a string")
        n = body.get("n", 1)
        if n > 1 and (manners.n == "refused" or not body["temperature"]):
            raise No(400, f"n must be 1, got {n}.")
        if any(len(prompt.split()) > manners.context for prompt in prompts):
            raise No(
                400, f"This model's maximum context length is {manners.context} tokens. Please reduce the length."
            )
        time.sleep(manners.latency + manners.row_latency * len(prompts) * n)
        kept = prompts if manners.lists == "yes" else prompts[:1]
        samples = n if manners.n == "yes" else 1
        texts = [self.say(prompt, body, sample) for prompt in kept for sample in range(samples)]
        choices = [self._choice(chat, place, text) for place, text in enumerate(texts)]
        written = [min(body.get("max_tokens") or body["max_completion_tokens"], len(t.split())) for t in texts]
        usage = {
            "prompt_tokens": sum(len(prompt.split()) + 3 for prompt in kept),
            "completion_tokens": sum(written),
            "prompt_tokens_details": {"cached_tokens": len(kept)},
        }
        return {"id": "a", "object": "c", "choices": choices} | ({"usage": usage} if manners.usage else {})

    def _choice(self, chat: bool, place: int, text: str) -> dict[str, Any]:
        if not chat:
            return {"index": place, "finish_reason": "stop", "text": text}
        message: dict[str, Any] = {"role": "assistant", "content": text}
        if self.manners.thinking == "field":
            message |= {"content": None, "reasoning_content": text}
        elif self.manners.thinking == "tags":
            message["content"] = f"<think>{text}"
        return {"index": place, "finish_reason": "stop", "message": message}


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients may hang up."""


class _Conversation(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    faults: FaultServer

    def log_message(self, *_: object) -> None:
        """Nothing."""

    def do_GET(self) -> None:
        if self.path != "/v1/models":
            return self._send(404, b'{"detail": "Not Found"}')
        models = [{"id": model, "object": "model"} for model in self.faults.manners.models]
        return self._send(200, json.dumps({"object": "list", "data": models}).encode())

    def do_POST(self) -> None:
        server = self.faults
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with server.lock:
            server.in_flight += 1
            server.most_at_once = max(server.most_at_once, server.in_flight)
        fault = server.receive(self.path, body)
        try:
            self._serve(fault, body)
        except No as no:
            said = (
                {"detail": str(no)} if str(no) == "Not Found" else {"error": {"message": str(no), "code": no.status}}
            )
            self._send(no.status, json.dumps(said).encode(), **no.headers)
        finally:
            with server.lock:
                server.in_flight -= 1

    def _serve(self, fault: str, body: dict[str, Any]) -> None:
        server, key = self.faults, self.faults.manners.key
        if key and self.headers.get("Authorization") != f"Bearer {key}":
            raise No(401, f"Incorrect API key provided: {self.headers.get('Authorization', '')[7:]}")
        if server.manners.always:
            raise No(server.manners.always, "this is not to be had\nat any price")
        if fault in ("429", "503"):
            raise No(int(fault), "slow down", Retry_After=server.manners.retry_after)
        if fault == "500":
            raise No(500, "it broke")
        if fault == "502":
            return self._send(502, b"<html><body><h1>502 Bad Gateway</h1></body></html>")
        if fault == "reset":
            return self._reset()
        if fault == "hang":
            server.stopping.wait(server.manners.hang)
            return self._reset()
        reply = server.answer(self.path, body)
        if fault == "missing":
            reply["choices"] = reply["choices"][1:]
        if fault == "empty":
            for choice in reply["choices"]:
                choice["text" if "text" in choice else "message"] = "" if "text" in choice else {"content": ""}
        text = json.dumps(reply).encode()
        if fault == "invalid":
            text = text[:-2]
        if fault in ("torn", "short"):
            self._send(200, text, cut=len(text) // 2)
            return self._reset() if fault == "torn" else None
        if fault != "invalid":
            with server.lock:
                server.billed.append(tuple(reply.get("usage", {}).get(f"{t}_tokens", 0) for t in TOKENS))
        return self._send(200, text, trickle=server.manners.hang if fault == "slow" else 0)

    def _send(self, status: int, text: bytes, cut: int | None = None, trickle: float = 0, **headers: str) -> None:
        """In one piece: two small packets would cost a delayed acknowledgement."""
        lines = {"Content-Type": "application/json", "Content-Length": str(len(text)), **headers}
        head = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in lines.items())
        whole = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n{head}\r\n".encode() + text[:cut]
        step = max(1, len(whole) // 10) if trickle else len(whole)
        for start in range(0, len(whole), step):
            self.wfile.write(whole[start : start + step])
            self.faults.stopping.wait(trickle / 10)
        self.close_connection = self.close_connection or cut is not None

    def _reset(self) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True


TOKENS = ("prompt", "completion")


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--faults", type=float, default=0.0)
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--latency", type=float, default=0.0)
    parser.add_argument("--row-latency", type=float, default=0.0)
    parser.add_argument("--hang", type=float, default=1.0)
    parser.add_argument("--chat", default="yes")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    manners = Manners(
        faults=asked.faults,
        kinds=tuple(asked.kinds.split(",")),
        latency=asked.latency,
        row_latency=asked.row_latency,
        hang=asked.hang,
        chat=asked.chat,
        seed=asked.seed,
    )
    with FaultServer(manners, port=asked.port) as server:
        print(server.url, flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
