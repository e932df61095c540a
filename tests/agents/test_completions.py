"""The server of a student that lm-eval asks: real weights, a real process."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from agents.engines import EngineError, Request, SamplingJob
from agents.engines.completions import StudentServer
from agents.engines.transformers import TransformersEngine, load_student
from loop.presets import read_preset
from loop.training.scratch import build_student

PROMPTS = ["1 + 2", "7 - 3 + 5"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("served") / "model"
    place.mkdir()
    build_student(read_preset("tiny").architecture, [("1 + 2", "1 + 2 = 3")], place, seed=0)
    return place


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[StudentServer]:
    with StudentServer(str(folder)) as server:
        yield server


def ask(server: StudentServer, path: str = "/completions", **body: object) -> Any:
    """What it answers; of a refusal the words."""
    address = server.address + path if path == "/completions" else server.address.removesuffix("/v1") + path
    request = urllib.request.Request(address, json.dumps(body).encode(), {"Content-Type": "application/json"})
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=60) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        assert error.code == 400
        return json.load(error)["error"]["message"]


def test_it_says_what_the_engine_says(server: StudentServer, folder: Path) -> None:
    job = SamplingJob(str(folder), tuple(Request(f"{n:x}", p) for n, p in enumerate(PROMPTS)), 0.0, 12, 0)
    known = {row.key: row for batch in TransformersEngine().complete(job) for row in batch}
    said = ask(server, prompt=PROMPTS, temperature=0, max_tokens=12, stop=[])["choices"]
    assert [choice["text"] for choice in said] == [known[f"{n:x}"].text for n in range(len(PROMPTS))]
    ids = [ask(server, "/tokenize", prompt=prompt + "\n")["tokens"] for prompt in PROMPTS]
    assert ask(server, prompt=ids, temperature=0, max_tokens=12)["choices"] == said, "ids go on as they are"
    text = said[0]["text"]
    stopped = ask(server, prompt=PROMPTS[0], temperature=0, max_tokens=12, stop=["no such", text[3:5]])["choices"][0]
    assert stopped == {"index": 0, "text": text[: text.index(text[3:5])], "finish_reason": "stop"}
    read = sum(row.prompt_tokens for row in known.values())
    assert server.look() and server.usage.prompt_tokens == 2 * read + known["0"].prompt_tokens
    assert server.usage.completion_tokens > 0 and server.usage.seconds > 0 and server.usage.parameters > 300_000


def test_echo_weighs_every_token(server: StudentServer, folder: Path) -> None:
    model, tokenizer = load_student(str(folder))
    rows = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in ("1 + 2\n1 + 2 = 3", "9 - 4")]
    found = ask(server, prompt=rows, max_tokens=1, logprobs=1, echo=True, temperature=0)["choices"]
    for ids, choice in zip(rows, found, strict=True):
        with torch.inference_mode():
            known = model(input_ids=torch.tensor([ids])).logits[0].log_softmax(dim=-1)
        weights, tops = choice["logprobs"]["token_logprobs"], choice["logprobs"]["top_logprobs"]
        assert weights[0] is tops[0] is None and len(weights) == len(tops) == len(ids) + 1
        expected = [float(known[place, token]) for place, token in enumerate(ids[1:])]
        assert weights[1:-1] == pytest.approx(expected, abs=1e-4)
        assert [max(top.values()) for top in tops[1:]] == pytest.approx(known.max(dim=-1).values.tolist(), abs=1e-4)
    assert ask(server, "/detokenize", tokens=rows[1]) == {"prompt": "9 - 4"}


def test_what_it_has_not_is_refused_by_name(server: StudentServer) -> None:
    assert "best_of, n:" in ask(server, prompt="1", n=2, best_of=2)
    assert "only both together" in ask(server, prompt="1", logprobs=1)
    assert "max_tokens: only 1" in ask(server, prompt="1", logprobs=1, echo=True, max_tokens=5)
    assert "prompt: is no text" in ask(server, prompt=[["a"]])
    assert "prompt 1: has 4,001 tokens" in ask(server, prompt=["1", "1 + " * 1000], temperature=0)


def test_a_model_that_is_not_there() -> None:
    with pytest.raises(EngineError, match=r"exit code.*no model can be loaded"), StudentServer("/no/such/model"):
        raise AssertionError("it is not there")
