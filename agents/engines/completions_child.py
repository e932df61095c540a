"""The child of `StudentServer`, called with a model and a port: a student at an OpenAI-compatible address.

POST /v1/completions takes one prompt or many. A text is put to the student as its problems are (agents/student.py);
token ids go on as they are. With `echo` and `logprobs` the prompts themselves are weighed, token by token, also texts
as they are. /tokenizer_info, /tokenize and /detokenize are as vllm's, /usage tells what it all came to. Whatever else
is asked for is refused with a status of 400 and the reason: an answer to another question would be scored as one.
"""

from __future__ import annotations

import json
import resource
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import torch

from agents.engines.local_child import answers
from agents.engines.transformers import load_student
from agents.student import student_prompt

KNOWN = frozenset("model prompt max_tokens temperature stop seed echo logprobs".split())
MAX_TOKENS = 16
"""Where a request names none, as the OpenAI API has it."""
WEIGHED_TOKENS = 2048
"""Of one pass over prompts that are weighed: bounds the float32 logits, rows × tokens × vocabulary."""


class Refused(ValueError):
    """What is asked for is not to be had here; the message says what and why."""


class ServedStudent:
    """A student in memory; one request works with it at a time."""

    def __init__(self, folder: str) -> None:
        self.model, self.tokenizer = load_student(folder)
        self.most: int = self.model.config.max_position_embeddings
        self._lock = threading.Lock()
        self._read, self._written, self._seconds = 0, 0, 0.0

    def usage(self) -> dict[str, float]:
        """Tokens read and written, seconds inside the model, its parameters and positions, and peak memory."""
        return {
            "prompt_tokens": self._read,
            "completion_tokens": self._written,
            "seconds": self._seconds,
            "parameters": sum(p.numel() for p in self.model.parameters()),
            "positions": self.most,
            "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        }

    def special_tokens(self) -> dict[str, str | None]:
        """What lm-eval asks of a tokenizer."""
        names = ("bos_token", "eos_token", "pad_token", "chat_template")
        return {name: getattr(self.tokenizer, name, None) for name in names}

    def token_ids(self, text: str) -> list[int]:
        """Without special tokens."""
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def complete(self, body: dict[str, Any]) -> dict[str, Any]:
        """The answer to a request for completions.

        Raises: Refused.
        """
        asked = {key: value for key, value in body.items() if value is not None}
        if unknown := sorted(asked.keys() - KNOWN):
            raise Refused(f"{', '.join(unknown)}: not supported here; leave it out")
        prompts = _prompts(asked.get("prompt"))
        weighs = bool(asked.get("echo")) and "logprobs" in asked
        if not weighs and (asked.get("echo") or "logprobs" in asked):
            raise Refused("echo and logprobs: only both together are supported here")
        if weighs and asked.get("max_tokens", MAX_TOKENS) != 1:
            raise Refused("max_tokens: only 1 is supported with echo")
        with self._lock:
            began = time.perf_counter()
            choices = list(self._weigh(prompts) if weighs else self._write(prompts, asked))
            self._seconds += time.perf_counter() - began
        numbered = [{"index": place, **choice} for place, choice in enumerate(choices)]
        return {"object": "text_completion", "model": asked.get("model", ""), "choices": numbered}

    def _write(self, prompts: list[str | list[int]], asked: dict[str, Any]) -> Iterator[dict[str, Any]]:
        stops = asked.get("stop", [])
        stops = [stop for stop in ([stops] if isinstance(stops, str) else stops) if stop]
        texts = [
            student_prompt(self.tokenizer, p) if isinstance(p, str) else self.tokenizer.decode(p) for p in prompts
        ]
        for place, text in enumerate(texts):
            self._check_length(place, len(self.token_ids(text)))
        common = {
            "temperature": float(asked.get("temperature", 1.0)),
            "max_tokens": int(asked.get("max_tokens", MAX_TOKENS)),
            "seed": int(asked.get("seed", 0)),
        }
        for row in answers(self.model, self.tokenizer, [{"whole": text, **common} for text in texts]):
            self._read += row["prompt_tokens"]
            self._written += row["completion_tokens"]
            ends = [end for stop in stops if (end := row["text"].find(stop)) >= 0]
            yield {
                "text": row["text"][: min(ends)] if ends else row["text"],
                "finish_reason": "stop" if ends else row["finish"],
            }

    def _weigh(self, prompts: list[str | list[int]]) -> Iterator[dict[str, Any]]:
        """Each token's log-probability, the likeliest in its place, and one token more, greedily."""
        rows = [self.token_ids(prompt) if isinstance(prompt, str) else prompt for prompt in prompts]
        for place, row in enumerate(rows):
            self._check_length(place, len(row))
        size = max(1, WEIGHED_TOKENS // max(map(len, rows)))
        for start in range(0, len(rows), size):
            yield from self._weigh_together(rows[start : start + size])

    @torch.inference_mode()
    def _weigh_together(self, rows: list[list[int]]) -> Iterator[dict[str, Any]]:
        inputs = self.tokenizer.pad({"input_ids": rows}, padding_side="right", return_tensors="pt")
        logits = self.model(**inputs.to(self.model.device)).logits
        for ids, row in zip(rows, logits, strict=True):
            known = row[: len(ids)].float().log_softmax(dim=-1)
            best, likeliest = known.max(dim=-1)
            following = [*ids[1:], int(likeliest[-1])]
            weights = known[range(len(ids)), following].tolist()
            names = [self.tokenizer.decode([token]) for token in (*ids, following[-1])]
            tops = [self.tokenizer.decode([token]) for token in likeliest.tolist()]
            self._read += len(ids)
            self._written += 1
            yield {
                "text": self.tokenizer.decode([*ids, following[-1]]),
                "finish_reason": "length",
                "logprobs": {
                    "tokens": names,
                    "token_logprobs": [None, *weights],
                    "top_logprobs": [None, *({top: value} for top, value in zip(tops, best.tolist(), strict=True))],
                },
            }

    def _check_length(self, place: int, length: int) -> None:
        if not 0 < length < self.most:
            raise Refused(
                f"prompt {place}: has {length:,} tokens, and the student takes 1 to {self.most - 1:,}; show it fewer"
                " examples (--shots), or take a task with shorter prompts"
            )


def _prompts(given: object) -> list[str | list[int]]:
    """One prompt or many, each a text or token ids.

    Raises: Refused for anything else.
    """
    many = [given] if isinstance(given, str) or (isinstance(given, list) and all(_is_id(p) for p in given)) else given
    if not isinstance(many, list) or not all(
        isinstance(prompt, str) or (isinstance(prompt, list) and all(_is_id(token) for token in prompt))
        for prompt in many
    ):
        raise Refused("prompt: is no text, token ids, or list of these")
    return many


def _is_id(value: object) -> bool:
    return type(value) is int


class Conversation(BaseHTTPRequestHandler):
    """One connection; a fault that is not the asker's ends it, and stands in the log."""

    student: ServedStudent

    def do_GET(self) -> None:
        """/health, /usage and /tokenizer_info."""
        told = {"/usage": self.student.usage, "/tokenizer_info": self.student.special_tokens, "/health": dict}
        if self.path in told:
            self._send(200, told[self.path]())
        else:
            self._send(404, {"error": {"message": f"{self.path}: not found"}})

    def do_POST(self) -> None:
        """/v1/completions, /tokenize and /detokenize."""
        try:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if self.path == "/v1/completions":
                self._send(200, self.student.complete(body))
            elif self.path == "/tokenize":
                self._send(200, {"tokens": self.student.token_ids(body["prompt"])})
            elif self.path == "/detokenize":
                self._send(200, {"prompt": self.student.tokenizer.decode(body["tokens"])})
            else:
                self._send(404, {"error": {"message": f"{self.path}: not supported here"}})
        except (ValueError, TypeError, KeyError) as error:
            self._send(400, {"error": {"message": str(error)}})

    def _send(self, status: int, told: object) -> None:
        text = json.dumps(told).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: object) -> None:
        """Nothing."""


def main() -> None:
    """Serve until killed."""
    Conversation.student = ServedStudent(sys.argv[1])
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[2])), Conversation).serve_forever()


if __name__ == "__main__":
    main()
