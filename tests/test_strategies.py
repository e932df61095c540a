"""Whole runs in which the strategies play: the rows they bring, where these come from, and what is refused."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from fault_server import FaultServer, Manners, Seen
from launches import ROOT
from scripted import Scripted
from test_agents import play, rows

from agents.engines.scripted import work_out
from agents.scripts import challenger
from agents.talk import Message, Question

CELLS = [{"skill": "sum", "level": level, "problems": 12, "samples": 2} for level in (2, 3)]
TURN = "<|im_start|>user\n"
TEXTS = "\n\n".join(
    f"Lesson {n}. " + " ".join(f"Column {n} carries into column {n + 1}, and digit {k} stays." for k in range(9))
    for n in range(6)
)


def numbers_of(prompt: str) -> list[int]:
    problem = prompt.rpartition("Problem:")[2].partition("Answer:")[0]
    return [int(n.replace(" ", "")) for n in re.findall(r"[+-]?\s*\d+", problem)]


class Cast:
    """A model that plans what it is told, writes as the challenger does, and adds up as `solves` says."""

    def __init__(self, strategies: list[dict[str, Any]], solves: Callable[[str, int], str]) -> None:
        self.strategies, self.solves = strategies, solves

    def __call__(self, prompt: str, body: dict[str, Any], sample: int) -> str:
        if "messages" not in body:
            return challenger.answer(Question((), seed=body["seed"], whole=prompt))
        messages = tuple(Message(turn["role"], turn["content"]) for turn in body["messages"])
        if body["messages"][0]["role"] == "system":
            plan = {"hypothesis": "As told.", "strategies": self.strategies}
            return json.dumps({"action": "plan", "plan": plan})
        if "## Problem" in prompt or "Text: " in prompt or "textbook" in prompt:
            return challenger.answer(Question(messages, None, seed=body.get("seed", 0)))
        return self.solves(prompt, sample)


def adds(prompt: str, sample: int) -> str:
    return work_out(numbers_of(prompt))


def errs_now_and_then(prompt: str, sample: int) -> str:
    """Wrong at every other problem, whatever the sample."""
    numbers = numbers_of(prompt)
    return work_out(numbers, slip=numbers[0] % 2 == 1)


def needs_a_hint(prompt: str, sample: int) -> str:
    """Solves what it is told the answer of; and every third time it tells that it was told."""
    numbers = numbers_of(prompt)
    told = "Answer:" in prompt.rpartition("Problem:")[2]
    said = work_out(numbers, slip=not told)
    return f"As given, the known answer is right.\n{said}" if told and numbers[0] % 3 == 0 else said


def run(
    folder: Path, model: Cast, *parts: str, critic: bool = False, writers: tuple[str, ...] = ("small",),
    opening: str = "", seen: list[Seen] | None = None,
) -> Path:  # fmt: skip
    """One round as the model plans it; it plays the parts named beside orchestrator and sampler."""
    path = Scripted(problems=200, budget="rounds: 1, usd: 5").write(folder)
    (folder / "lessons.md").write_text(TEXTS, encoding="utf-8")
    _, front, prose = path.read_text(encoding="utf-8").split("---\n")
    with FaultServer(Manners(models=writers), say=model, seen=[] if seen is None else seen) as server:
        entry = {"model": "small", "endpoint": f"{server.url}/v1", "prices": {"input": 1.0, "output": 1.0}}
        cast = dict.fromkeys(("orchestrator", "sampler", *parts), entry)
        if "challenger" in parts:
            turn = {"user_turn": opening} if opening else {}
            cast["challenger"] = [entry | {"model": name} | turn for name in writers]
        if critic:
            cast |= {"critic": "scripted/critic"}
        objective = yaml.safe_load(front) | {"cast": cast, "documents": "lessons.md"}
        path.write_text(f"---\n{json.dumps(objective)}\n---\n{prose}", encoding="utf-8")
        return play(path) / "rounds" / "001"


def admitted(room: Path) -> dict[str, dict[str, Any]]:
    """Examples by the id of their sample."""
    return {row["id"]: row["example"] for row in rows(room / "admissions.jsonl") if row["example"]}


def test_what_no_sample_solved_is_drawn_with_a_hint_that_no_row_shows(tmp_path: Path) -> None:
    """mechanisms §7.2, STaR: hint text absent from training rows."""
    strategy = {"kind": "rejection_sampling", "allotments": CELLS, "rationalise": True}
    room = run(tmp_path, Cast([strategy], needs_a_hint))
    samples = {row["id"]: row for row in rows(room / "samples.jsonl")}
    hinted = [row for row in samples.values() if row["hinted"]]
    assert len(samples) == 96 and len(hinted) == 48, "as many again, since none was solved"
    reasons = {row["id"]: row["reason"] for row in rows(room / "critiques.jsonl")}
    told = [row for row in hinted if "known answer" in row["response"]]
    assert told and {reasons[row["id"]] for row in told} == {"tells of its hint"}
    kept = admitted(room)
    assert kept and all(samples[key]["hinted"] for key in kept)
    for example in kept.values():
        assert re.fullmatch(r"What is [\d +-]+ \?", example["prompt"])
        assert "answer" not in example["response"].casefold()


def test_problems_are_written_voted_on_and_traced_to_their_source(tmp_path: Path) -> None:
    strategies = [
        {"kind": "failure_variants", "count": 8},
        {"kind": "self_instruct", "count": 8, "most_overlap": 1.0},
    ]
    room = run(tmp_path, Cast(strategies, errs_now_and_then), "challenger")
    pieces = rows(room / "written.jsonl")
    written = {row["written"]["prompt"]: row for row in pieces if row["written"]}
    assert len(pieces) == 16 and {row["author"] for row in written.values()} == {"failure_variants", "self_instruct"}
    samples = {row["id"]: row for row in rows(room / "samples.jsonl")}
    assert len(samples) == 5 * len(written), "five independent answers to each"
    for example in admitted(room).values():
        piece = written[example["prompt"]]
        assert example["strategy"] == piece["author"] and piece["written"]["lineage"]
        assert example["response"].endswith(f"#### {sum(numbers_of(example['prompt']))}") is not (
            numbers_of(example["prompt"])[0] % 2 == 1
        ), "the label is what the samples agree on, right or wrong"
    probed = {row["problem"]["id"] for row in rows(room.parent / "000" / "probe.jsonl")}
    assert {row["written"]["parent"] for row in pieces if row["author"] == "failure_variants"} <= probed


@pytest.mark.parametrize("critic", [False, True])
def test_texts_are_learnt_only_where_somebody_judges_them(tmp_path: Path, critic: bool) -> None:
    strategies = [{"kind": "rephrase", "count": 4, "styles": ["easy"]}, {"kind": "textbook", "count": 3}]
    room = run(tmp_path, Cast(strategies, adds), "challenger", critic=critic)
    samples = rows(room / "samples.jsonl")
    reasons = [row["reason"] for row in rows(room / "critiques.jsonl")]
    originals = [row for row in samples if "Column" in row["response"]]
    rephrased = [row for row in samples if row["strategy"] == "rephrase" and row not in originals]
    assert len(originals) == len({row["problem"]["parent"] for row in rephrased}), "one to one with the original"
    assert all(row["written"] and row["problem"]["prompt"] == "" for row in samples if row["strategy"] == "textbook")
    if not critic:
        assert set(reasons) == {"nobody judged it"}


def test_a_chat_model_writes_what_users_ask_and_votes_label_it(tmp_path: Path) -> None:
    """Magpie: all that the model is given is how a user's turn begins, and each answer is a problem of its own."""
    seen: list[Seen] = []
    strategy = {"kind": "magpie", "count": 10}
    room = run(tmp_path, Cast([strategy], adds), "challenger", opening=TURN, seen=seen)
    begun = [request.body for request in seen if request.path == "/v1/completions"]
    assert len(begun) == 10 == len({body["seed"] for body in begun}) and {body["prompt"] for body in begun} == {TURN}
    written = [row["written"] for row in rows(room / "written.jsonl")]
    assert all(w["prompt"].startswith("What is ") and w["response"] == "" == w["parent"] for w in written)
    samples = rows(room / "samples.jsonl")
    assert len(samples) == 50 and {row["sampler"] for row in samples} == {"small"}, "asked as a chat model it answers"
    kept = admitted(room).values()
    assert {row["prompt"] for row in kept} == {w["prompt"] for w in written}
    for row in kept:
        assert row["strategy"] == "magpie" and row["response"].endswith(f"#### {sum(numbers_of(row['prompt']))}")


def test_magpie_is_not_offered_to_a_model_whose_template_nobody_knows(tmp_path: Path) -> None:
    room = run(tmp_path, Cast([{"kind": "magpie", "count": 3}], adds), "challenger")
    assert "magpie is not allowed here" in json.loads((room / "plan.json").read_text())["handover"]
    path = tmp_path / "OBJECTIVE.md"
    asking = path.read_text(encoding="utf-8").replace("{", '{"strategies": {"allow": "magpie"}, ', 1)
    path.write_text(asking, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "loop.cli", "check", str(path)], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 3 and "write user_turn" in done.stderr + done.stdout


def test_two_sizes_of_generator_write_of_the_same_texts_at_equal_tokens(tmp_path: Path) -> None:
    """mechanisms §4, FinePhrase: compare two before paying for the larger. Which wrote what stands in each row."""
    model = Cast([{"kind": "rephrase", "count": 4, "writer": name} for name in ("small", "large")], adds)
    room = run(tmp_path, model, "challenger", writers=("small", "large"))
    made: dict[str, list[tuple[str, Any]]] = {"small": [], "large": []}
    for row in rows(room / "written.jsonl"):
        made[row["model"]].append((row["written"]["parent"], row["written"]["facets"]))
    assert made["small"] == made["large"] and len(made["small"]) == 4
    tokens = dict.fromkeys(made, 0)
    for talk in rows(room / "talks.jsonl"):
        if talk["part"] == "challenger":
            tokens[talk["model"]] += talk["completion_tokens"]
    assert tokens["small"] == tokens["large"] > 0


def test_a_plan_cannot_ask_for_what_the_cast_cannot_play(tmp_path: Path) -> None:
    room = run(tmp_path, Cast([{"kind": "textbook", "count": 3}], adds))
    assert "textbook is not allowed here" in json.loads((room / "plan.json").read_text())["handover"]
