"""The engine and the talker at OpenAI-compatible endpoints, against a server that misbehaves."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from fault_server import FaultServer, Manners, digest
from pydantic import BaseModel

from agents.endpoint import EndpointTalker
from agents.engines import Completion, EngineError, Request, SamplingJob, open_engine
from agents.engines.faults import Endpoint
from agents.engines.openai import OpenAIEngine
from agents.engines.pace import Patience
from agents.purse import Prices, Purse, PurseEmpty
from agents.talk import Message, Question, Unreachable, ask_for

QUICK = Patience(first_wait=0.02, longest_wait=0.2, first_probe=0.05, longest_probe=0.1, outage=20.0, quick=5.0)
BASE = Manners(chat="no template")
GREEDY = 0.0


def job(server: FaultServer, prompts: int, samples: int = 1, **changed: Any) -> SamplingJob:
    requests = tuple(
        Request(f"{prompt:04x}{sample:02x}", f"What is {prompt} and {prompt}?")
        for prompt in range(prompts)
        for sample in range(samples)
    )
    return replace(SamplingJob("small", requests, 0.8, 64, 7, endpoint=server.url), **changed)


def complete(asked: SamplingJob, patience: Patience = QUICK) -> list[Completion]:
    """All rows, each for an owed key, once."""
    rows = [row for batch in OpenAIEngine(patience).complete(asked) for row in batch]
    owed = [request.key for request in asked.requests if request.key not in asked.done]
    assert sorted(row.key for row in rows) == sorted(owed)
    return rows


def check_texts(asked: SamplingJob, rows: list[Completion]) -> None:
    """Each row has an answer to its own prompt, and no two samples of a prompt are the same one."""
    prompts = {request.key: request.prompt for request in asked.requests}
    for row in rows:
        assert row.text.startswith(digest(prompts[row.key])) and row.finish == "stop"
    assert asked.temperature == GREEDY or len({row.text for row in rows}) == len(rows)


def check_counts(server: FaultServer, rows: list[Completion]) -> None:
    """The rows' tokens are those that the server billed: no request was paid twice, none forgotten."""
    billed = [sum(tokens) for tokens in zip(*server.billed, strict=True)]
    assert billed == [sum(row.prompt_tokens for row in rows), sum(row.completion_tokens for row in rows)]


def prompts_seen(server: FaultServer) -> list[str]:
    asked = [seen.body.get("prompt") or seen.body["messages"][-1]["content"] for seen in server.seen]
    return [prompt.strip() for group in asked for prompt in (group if isinstance(group, list) else [group])]


@pytest.mark.parametrize(("manners", "prompts", "samples"), [(Manners(), 100, 1), (BASE, 600, 2)])
def test_a_fifth_of_faults_loses_and_doubles_nothing(manners: Manners, prompts: int, samples: int) -> None:
    requests, seconds = [], []
    for faults in (0.0, 0.2):
        with FaultServer(replace(manners, faults=faults, hang=0.3, latency=0.003, seed=3)) as server:
            asked, began = job(server, prompts, samples), time.monotonic()
            check_texts(asked, complete(asked))
            requests.append(len(server.seen))
            seconds.append(time.monotonic() - began)
            if faults:
                met = Counter(seen.fault for seen in server.seen if seen.fault)
                print(f"{requests} requests, {seconds[0]:.2f} and {seconds[1]:.2f} seconds, {dict(met)}")
                assert met, "faults were met"
    assert requests[1] < 2 * requests[0] + 10


def test_the_same_job_asks_the_same() -> None:
    bodies = []
    for _ in range(2):
        with FaultServer(BASE) as server:
            complete(job(server, 70, 3))
            bodies.append(sorted(json.dumps(seen.body, sort_keys=True) for seen in server.seen))
    assert bodies[0] == bodies[1]
    assert len({json.loads(body)["seed"] for body in bodies[0]}) == len(bodies[0])


@pytest.mark.parametrize(
    ("manners", "variable", "said"),
    [
        (Manners(key="right"), "FAULT_KEY", "HTTP 401.*environment variable FAULT_KEY"),
        (Manners(key="right"), "", "HTTP 401.*api_key_env"),
        (Manners(), "NOT_THERE", "environment variable NOT_THERE is not set"),
        (Manners(models=("large",)), "", "model small: HTTP 404.*does not exist.*/v1/models"),
        (Manners(always=403), "FAULT_KEY", "HTTP 403.*not to be had at any price.*FAULT_KEY may not"),
        (Manners(always=400), "", "HTTP 400.*not to be had at any price; mend"),
        (Manners(always=402), "", "HTTP 402"),
    ],
)
def test_what_never_will_be_stops_at_once(
    manners: Manners, variable: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAULT_KEY", "sk-secret")
    with FaultServer(manners) as server:
        with pytest.raises(EngineError, match=said) as raised:
            complete(job(server, 200, 4, api_key_env=variable))
        assert not isinstance(raised.value, Unreachable)
        assert "\n" not in str(raised.value) and "sk-secret" not in str(raised.value)
        assert server.url in str(raised.value) and "small" in str(raised.value)
        assert len(server.seen) <= 2


def test_a_spent_time_is_waited_for() -> None:
    with FaultServer(Manners(first=("429",), retry_after="1")) as server:
        complete(job(server, 1))
        assert server.seen[1].when - server.seen[0].when >= 1.0
    date = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=2)
    with FaultServer(Manners(first=("503",), retry_after=format_datetime(date, usegmt=True))) as server:
        complete(job(server, 1))
        assert datetime.now(UTC) >= date and len(server.seen) == 2
    with FaultServer(Manners(first=("503",), retry_after="86400")) as server:
        complete(job(server, 1), replace(QUICK, longest_retry_after=0.1))


def test_silence_and_a_trickle_are_faults() -> None:
    with FaultServer(Manners(first=("hang", "slow"), hang=60.0)) as server:
        check_texts(job(server, 3), complete(job(server, 3), replace(QUICK, quick=0.4, silence=1.0)))
        assert [seen.fault for seen in server.seen] == ["hang", "slow", "", "", ""]


def test_an_outage_pauses_the_stage_and_it_goes_on() -> None:
    with FaultServer(BASE) as server:
        asked = job(server, 640)
        batches = OpenAIEngine(QUICK).complete(asked)
        rows = next(batches)
        server.down = True
        up = threading.Timer(1.5, lambda: setattr(server, "down", False))
        up.start()
        rows += [row for batch in batches for row in batch]
        up.join()
        check_texts(asked, rows)
        assert len(rows) == 640
        broken = sum(seen.fault == "reset" for seen in server.seen)
        assert 5 <= broken <= 45, "as many as were in flight, and then a probe now and then"


def test_an_endpoint_that_stays_down_is_given_up_in_one_line() -> None:
    with FaultServer() as server:
        url = server.url
    gone = SamplingJob("small", (Request("a", "Hello?"), Request("b", "Hello!")), 0.5, 9, 0, endpoint=url)
    with pytest.raises(Unreachable, match=f"{url}, model small: down for") as raised:
        complete(gone, replace(QUICK, outage=0.5))
    assert "\n" not in str(raised.value)
    assert not [thread for thread in threading.enumerate() if thread.name == "endpoint"]


@pytest.mark.parametrize("kind", ["500", "short", "invalid"])
def test_tries_are_bounded_while_others_get_through(kind: str) -> None:
    """A prompt that always breaks the server is no outage."""
    with FaultServer(Manners(faults=1.0, kinds=(kind,))) as server, pytest.raises(Unreachable, match="3 tries"):
        complete(job(server, 1), replace(QUICK, tries=3, failures=4))


@pytest.mark.parametrize("manners", [Manners(), BASE])
def test_the_dollars_hold(manners: Manners) -> None:
    prices = Prices(input=1e5, output=1e6)
    with FaultServer(replace(manners, latency=0.002)) as server:
        asked = job(server, 100, 2, prices=prices, usd=400.0)
        engine = OpenAIEngine(QUICK)
        rows = [row for batch in engine.complete(asked) for row in batch]
        bills = [prices.cost(*tokens) for tokens in server.billed]
        assert engine.stopped == "usd" and 0 < len(rows) < 200
        assert len({row.key for row in rows}) == len(rows)
        assert 400.0 <= sum(bills) <= 400.0 + max(bills)
        assert server.most_at_once > 1, "together, as long as they fit"
        check_counts(server, rows)
        rest = replace(asked, done=frozenset(row.key for row in rows), usd=None)
        complete(rest)
        assert engine.stopped == "usd"


@pytest.mark.parametrize(
    ("manners", "samples"),
    [
        (Manners(n="refused"), 3),
        (Manners(n="one"), 3),
        (replace(BASE, lists="refused"), 1),
        (replace(BASE, lists="first"), 2),
        (replace(BASE, n="refused"), 3),
        (replace(BASE, n="one", lists="refused"), 3),
        (replace(BASE, chat="no route"), 2),
        (replace(BASE, chat="broken", lists="refused", n="one"), 2),
    ],
)
def test_what_a_server_lacks_is_done_without(manners: Manners, samples: int) -> None:
    with FaultServer(manners) as server:
        asked = job(server, 50, samples)
        rows = complete(asked)
        check_texts(asked, rows)
        if manners.chat == "broken":
            server.billed.remove((4, 1))  # for a prompt that is no row's
        check_counts(server, rows)
        if manners.n != "yes":
            assert sum("n" in seen.body for seen in server.seen) < 20
        if manners.lists != "yes":
            assert sum(isinstance(seen.body.get("prompt"), list) for seen in server.seen) < 20
        chats = sum(seen.path.startswith("/v1/chat") for seen in server.seen)
        found_out = {"yes": len(server.seen), "broken": 4}.get(manners.chat, 1)
        assert chats == found_out, "which kind of model it is is found out once"


def test_many_rows_go_in_one_request_and_greedy_ones_without_n() -> None:
    with FaultServer(BASE) as server:
        rows = complete(job(server, 128, 4))
        assert len(server.seen) == 1 + 128 * 4 / 32
        check_counts(server, rows)
    with FaultServer(BASE) as server:
        asked = job(server, 128, 2, temperature=GREEDY)
        check_texts(asked, complete(asked))
        assert not any({"n", "seed"} & seen.body.keys() for seen in server.seen) and len(server.seen) == 9


def test_what_is_done_is_never_asked() -> None:
    with FaultServer(BASE) as server:
        asked = job(server, 100)
        done = {request.key for request in asked.requests[::3]}
        complete(replace(asked, done=frozenset(done)))
        owed = {request.prompt for request in asked.requests if request.key not in done}
        assert set(prompts_seen(server)) == owed
        complete(replace(asked, done=frozenset(request.key for request in asked.requests), endpoint="nonsense"))


@pytest.mark.parametrize("manners", [Manners(context=8), replace(BASE, context=8)])
def test_a_prompt_that_is_too_long_is_one_row(manners: Manners) -> None:
    with FaultServer(manners) as server:
        asked = job(server, 60)
        long = Request("ffff", "and so on " * 9)
        rows = complete(replace(asked, requests=(*asked.requests[:9], long, *asked.requests[9:])))
        assert [(row.key, row.text) for row in rows if row.finish == "error"] == [("ffff", "")]
        check_texts(asked, [row for row in rows if row.finish != "error"])
        assert len(server.seen) < 75


def test_thoughts_without_an_answer_are_truncated() -> None:
    for manners in (Manners(thinking="field"), Manners(thinking="tags"), Manners(first=("empty",))):
        with FaultServer(manners) as server:
            (row,) = complete(job(server, 1))
            assert row.finish == "length" and row.completion_tokens > 0
    done = FaultServer(say=lambda prompt, body, sample: f"<think>hm</think> {digest(prompt)}")
    with done as server:
        (row,) = complete(job(server, 1))
        assert row.finish == "stop"


def test_what_a_server_does_not_count_is_estimated() -> None:
    with FaultServer(replace(BASE, usage=False)) as server:
        for row in complete(job(server, 40)):
            assert 9 <= row.prompt_tokens <= 20 and 5 <= row.completion_tokens <= 20


def test_a_job_that_is_left_ends_its_requests() -> None:
    with FaultServer(replace(BASE, latency=0.05)) as server:
        engine = open_engine("openai")
        batches = engine.complete(job(server, 640))
        assert next(iter(batches)) and engine.engine_seconds > 0 and engine.parameters == 0
        batches.close()  # type: ignore[attr-defined]
        assert not [thread for thread in threading.enumerate() if thread.name == "endpoint"]


# The talker.


class Guess(BaseModel):
    """What the model is asked for."""

    word: str
    sure: bool


def replying(prompt: str, body: dict[str, Any], sample: int) -> str:
    """A model that gets the form right when it is corrected, or when the server makes it."""
    right = "cannot be used" in prompt or "response_format" in body
    return json.dumps({"word": digest(body["messages"][0]["content"]), "sure": True if right else "true"})


def question(text: str) -> Question:
    return Question((Message("user", text),), max_tokens=50)


@pytest.fixture
def talkers() -> Iterator[list[EndpointTalker]]:
    opened: list[EndpointTalker] = []
    yield opened
    for talker in opened:
        talker.close()


def talker_at(server: FaultServer, opened: list[EndpointTalker], purse: Purse | None = None) -> EndpointTalker:
    opened.append(EndpointTalker(Endpoint("small", server.url + "/v1"), purse, QUICK))
    return opened[-1]


def test_a_schema_is_asked_where_there_is_one_and_else_repaired(talkers: list[EndpointTalker]) -> None:
    with FaultServer(say=replying) as server:
        talker = talker_at(server, talkers)
        assert ask_for(talker, question("A?"), Guess) == Guess(word=digest("A?"), sure=True)
        (seen,) = server.seen
        schema = seen.body["response_format"]["json_schema"]
        assert schema["schema"] == Guess.model_json_schema() and schema["strict"] is False
    with FaultServer(Manners(schemas=False), say=replying) as server:
        talker = talker_at(server, talkers)
        for text in ("A?", "B?"):
            assert ask_for(talker, question(text), Guess).word == digest(text)
        assert ["response_format" in seen.body for seen in server.seen] == [True, False, False, False, False]


def test_many_threads_get_each_its_answer(talkers: list[EndpointTalker]) -> None:
    with FaultServer(Manners(faults=0.2, hang=0.2, retry_after="0"), say=replying) as server:
        talker = talker_at(server, talkers)
        with ThreadPoolExecutor(16) as pool:
            texts = [f"What is {n}?" for n in range(64)]
            words = list(pool.map(lambda text: ask_for(talker, question(text), Guess).word, texts))
        assert words == [digest(text) for text in texts]
        assert any(seen.fault for seen in server.seen)


def test_a_base_model_is_asked_in_plain_text(talkers: list[EndpointTalker]) -> None:
    with FaultServer(replace(BASE, context=30)) as server:
        talker = talker_at(server, talkers)
        asked = Question((Message("system", "Be kind."), Message("user", "Hello?")), max_tokens=50)
        for _ in range(2):
            answer = talker.ask(asked)
            assert answer.text.startswith(digest("Be kind.\n\nHello?")) and answer.cached_tokens == 1
        assert [seen.path for seen in server.seen] == ["/v1/chat/completions", *["/v1/completions"] * 2]
        assert talker.ask(question("word " * 40)).finish == "length", "too long for the model"


def test_a_bare_text_is_gone_on_with_and_a_chat_model_stays_one(talkers: list[EndpointTalker]) -> None:
    """What Magpie needs: no turn, no template, not a byte more than the text."""
    with FaultServer() as server:
        talker = talker_at(server, talkers)
        opening = "<|im_start|>user\n"
        assert talker.ask(Question((), max_tokens=50, whole=opening)).text.startswith(digest(opening))
        assert talker.ask(question("Hello?")).text.startswith(digest("Hello?"))
        assert [seen.path for seen in server.seen] == ["/v1/completions", "/v1/chat/completions"]
        assert server.seen[0].body["prompt"] == opening and "messages" not in server.seen[0].body


def test_a_talker_tells_what_it_cannot_do(talkers: list[EndpointTalker]) -> None:
    with FaultServer(Manners(thinking="field")) as server:
        purse = Purse(10.0, Prices(output=1e6))
        talker = talker_at(server, talkers, purse)
        while True:
            try:
                assert talker.ask(question("A?")).finish == "length"
            except PurseEmpty:
                break
        assert purse.spent == sum(prompt * 0 + written for prompt, written in server.billed) >= 10.0
    with FaultServer(Manners(always=400)) as server, pytest.raises(EngineError, match="HTTP 400"):
        talker_at(server, talkers).ask(question("A?"))
    with pytest.raises(EngineError, match="no web address"):
        EndpointTalker(Endpoint("small", "localhost"))
