"""Export: a small real run with an adapter, from its folder to what a stranger loads; cards, crashes and a hub."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

import pytest
from fault_server import FaultServer
from launches import DIED, ROOT
from scripted import Scripted

from agents.engines import Request, SamplingJob
from agents.replies import Plan
from loop.cards import dataset_card, fenced, model_card, plain
from loop.crew import Crew
from loop.errors import DamagedRunError, MissingError, ObjectiveError
from loop.export import export, read_story
from loop.ingredients import licence_of, shown
from loop.jobs import Exported, ExportJob, TrainJob
from loop.lineage import lineage
from loop.objective import read_objective
from loop.presets import Architecture, TrainSettings
from loop.rounds import Round
from loop.run import open_run
from loop.runner import go, play_round_zero
from loop.status import as_json

SHAPE = Architecture(hidden=64, layers=2, heads=2, kv_heads=1, head_size=32, mlp=128, positions=256)
TOKEN = "hf_thisIsASecretOfTheTest"
ODD = ("1 + 1 = ?", " spaces \n\n", "{{ turns }} {% raw %}", "übung – 好\r\n", "<|end|> # not a heading", "")
OBJECTIVE = """---
student: base
tasks:
  practice:
    - {{source: problems.jsonl, verifier: numeric}}
  dev: {{from: practice, size: 20}}
  test: {{from: practice, size: 10}}
budget: {{rounds: 1}}
control: false
training: {{weights: lora}}
cast: {{sampler: {{model: small, endpoint: "{url}/v1", prices: {{input: 1, output: 1}}}}}}
---
# Differences
Always the same.

```
# A heading of its own
---
license: mit
```
"""


class Quiet:
    """A screen that shows nothing."""

    def stage(self, room: str, stage: str) -> None: ...
    def progress(self, done: float, total: float, rate: str) -> None: ...
    def note(self, text: str) -> None: ...


def silent(_: str) -> None: ...


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def prompt(number: int) -> str:
    return f"What is {number} - {number - 7} ?"


@dataclass(frozen=True)
class Home:
    """A run whose student learnt through an adapter that every difference is 7, and its exports."""

    folder: Path
    run: Path
    early: Path
    """Exported when only round 0 was closed."""
    late: Path
    """Exported when it was finished."""
    crew: Crew


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    folder = tmp_path_factory.mktemp("export")
    crew = Crew(folder / "logs", lambda: None)
    crew.warm()
    make_base(folder / "base", crew)
    problems = [{"prompt": prompt(n), "answer": "7"} for n in range(107, 187)]
    (folder / "problems.jsonl").write_text("".join(json.dumps(row) + "\n" for row in problems), encoding="utf-8")
    with FaultServer(say=lambda *_: "#### 7") as server:
        (folder / "OBJECTIVE.md").write_text(OBJECTIVE.format(url=server.url), encoding="utf-8")
        run = open_run(read_objective(folder / "OBJECTIVE.md"), folder / "run", Quiet())
        settings = TrainSettings(learning_rate=3e-3, rows_per_step=8, epochs=6, samples=2000, lora_rank=8)
        student = run.bench.student.model_copy(update={"settings": settings, "max_new_tokens": 16})
        run = replace(run, bench=replace(run.bench, student=student))
        play_round_zero(run)
        export(run.folder, folder / "early", silent)
        go(run)
    export(run.folder, folder / "late", silent)
    yield Home(folder, run.folder, folder / "early", folder / "late", crew)


def make_base(folder: Path, crew: Crew) -> None:
    """A model that says 6 to everything, and has heard of 7; trained whole in a child, with a licence in its card."""
    from loop.training.scratch import build_student

    build_student(SHAPE, [(prompt(n), "#### 6") for n in range(10, 40)], folder, seed=0)
    taught = tuple((prompt(n), f"#### {6 if n % 3 else 7}", 1) for n in range(20, 84))
    settings = TrainSettings(learning_rate=5e-3, rows_per_step=16)
    job = TrainJob(str(folder), str(folder), taught, settings, "full", seed=0, epochs=12)
    crew.run("loop.training.sft:sft", job, lambda *_: None, "base")
    (folder / "README.md").write_text("---\nlicense: cc-by-4.0\n---\n# Base\n", encoding="utf-8")


def answers(folder: Path, prompts: list[str]) -> list[str]:
    """As the loop examines a student."""
    from agents.engines.transformers import TransformersEngine

    job = SamplingJob(str(folder), tuple(Request(f"{i:x}", p) for i, p in enumerate(prompts)), 0.0, 16, 0)
    said = {row.key: row.text for batch in TransformersEngine().complete(job) for row in batch}
    return [said[f"{i:x}"] for i in range(len(prompts))]


def test_the_adapter_is_merged_and_a_stranger_gets_the_same_answers(home: Home) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    best = read_story(home.run).standing.best
    assert best > 0, "a round was kept"
    checkpoint, folder = home.run / f"rounds/{best:03}/checkpoint", home.late / "model"
    assert (checkpoint / "adapter_config.json").exists() and not (folder / "adapter_config.json").exists()
    assert {"model.safetensors", "tokenizer.json", "generation_config.json", "chat_template.jinja"} <= {
        path.name for path in folder.iterdir()
    }
    prompts = [prompt(n) for n in range(107, 147)]
    known = answers(checkpoint, prompts)
    assert known == answers(folder, prompts) and set(known) == {"#### 7"} != {*answers(home.folder / "base", prompts)}
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder)
    turns = [[{"role": "user", "content": p}] for p in prompts[:4]]
    how = {"add_generation_prompt": True, "return_tensors": "pt", "return_dict": True, "padding": True}
    inputs = tokenizer.apply_chat_template(turns, **how)
    with torch.inference_mode():
        written = model.generate(**inputs)[:, inputs["input_ids"].shape[1] :]
    assert tokenizer.batch_decode(written, skip_special_tokens=True) == known[:4]
    settings = json.loads((home.run / "settings.json").read_text())
    told = model.generation_config
    assert model.config.use_cache is True
    assert told.do_sample is False and told.max_new_tokens == settings["max_new_tokens"]
    assert (told.eos_token_id, told.pad_token_id) == (tokenizer.eos_token_id, tokenizer.pad_token_id)
    assert str(home.folder) not in "".join(p.read_text() for p in folder.glob("*.json")), "no path of this machine"


def test_the_chat_template_puts_one_turn_as_training_did(home: Home) -> None:
    from transformers import AutoTokenizer

    from agents.student import student_prompt
    from loop.training.student import tokenised

    bare, exported = (AutoTokenizer.from_pretrained(path) for path in (home.folder / "base", home.late / "model"))
    assert bare.chat_template is None and exported.chat_template
    job = TrainJob("", "", tuple((p, "", 1) for p in ODD), TrainSettings(learning_rate=1, rows_per_step=1), "full", 0)
    for text, row in zip(ODD, tokenised(bare, job), strict=True):
        turn = [{"role": "user", "content": text}]
        told = exported.apply_chat_template(turn, tokenize=False, add_generation_prompt=True)
        assert told == text + "\n" == student_prompt(bare, text) == student_prompt(exported, text)
        ids = exported.apply_chat_template(turn, add_generation_prompt=True)["input_ids"]
        assert [*ids, exported.eos_token_id] == row["input_ids"]


def test_weights_of_a_bfloat16_base_stay_so_and_its_own_template_too(home: Home, tmp_path: Path) -> None:
    """Its settings for sampling are left out; they would refuse to be written beside a greedy one."""
    from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

    base, adapter, out = (tmp_path / name for name in ("base", "adapter", "out"))
    model, tokenizer = (kind.from_pretrained(home.folder / "base") for kind in (AutoModelForCausalLM, AutoTokenizer))
    ends = [tokenizer.eos_token_id, 5]
    model.generation_config = GenerationConfig(do_sample=True, temperature=0.7, eos_token_id=ends)
    model.bfloat16().save_pretrained(base)
    tokenizer.chat_template = "{% for m in messages %}[{{ m.role }}] {{ m.content }}{% endfor %} >"
    tokenizer.save_pretrained(base)
    best = read_story(home.run).standing.best
    shutil.copytree(home.run / f"rounds/{best:03}/checkpoint", adapter)
    told = json.loads((adapter / "adapter_config.json").read_text()) | {"base_model_name_or_path": str(base)}
    (adapter / "adapter_config.json").write_text(json.dumps(told))
    tokenizer.save_pretrained(adapter)
    job = ExportJob(str(adapter), str(out), max_new_tokens=9)
    done: Exported = home.crew.run("loop.exporter:export_model", job, lambda *_: None, "bfloat16").result
    assert (done.dtype, done.merged, done.template) == ("bfloat16", True, "own")
    assert json.loads((out / "generation_config.json").read_text()).items() >= {"max_new_tokens": 9}.items()
    loaded = AutoModelForCausalLM.from_pretrained(out)
    assert loaded.dtype.itemsize == 2 and loaded.generation_config.eos_token_id == sorted(ends)
    assert AutoTokenizer.from_pretrained(out).chat_template == tokenizer.chat_template
    (adapter / "adapter_config.json").write_text(json.dumps(told | {"base_model_name_or_path": str(tmp_path / "no")}))
    with pytest.raises(MissingError, match=r"adapter: cannot be exported: [^\n]*$"):
        home.crew.run("loop.exporter:export_model", job, lambda *_: None, "no base")


def test_the_rows_of_the_lineage_are_read_by_datasets(home: Home, tmp_path: Path) -> None:
    from datasets import load_dataset

    loaded = load_dataset(str(home.late / "dataset"), cache_dir=str(tmp_path))["train"]
    story = read_story(home.run)
    assert [dict(row) for row in loaded] == [row.model_dump(mode="json") | lists(row) for row in story.taught]
    assert len(loaded) == len({row["id"] for row in loaded}) > 0
    mixed = {number: rows(home.run / f"rounds/{number:03}/dataset.jsonl") for number in story.line[1:]}
    for number, mix in mixed.items():
        taught = {row.id: row.copies[row.trained.index(number)] for row in story.taught if number in row.trained}
        assert taught == {row["id"]: row["copies"] for row in mix}
    assert {row.sampler for row in story.taught} == {"small"} and all(row.strategy for row in story.taught)


class Planned:
    """A round's room of which only the plan is asked for."""

    def __init__(self, start: str) -> None:
        self.plan = Plan.model_validate({"hypothesis": "h", "strategies": [], "training": {"start": start}})

    def fetch(self, _: object) -> Plan:
        return self.plan


@pytest.mark.parametrize(("starts", "line"), [("best best best", (0, 1, 3)), ("best best base", (0, 3))])
def test_the_lineage_leaves_out_what_was_discarded_and_what_was_not_started_from(
    starts: str, line: tuple[int, ...]
) -> None:
    rooms = {f"{number:03}": Planned(start) for number, start in enumerate(starts.split(), 1)}
    rounds = [Round(round=n, status=s) for n, s in enumerate(("start", "kept", "discarded", "kept", "failed"))]
    assert lineage(rounds, 3, rooms.__getitem__) == line  # type: ignore[arg-type]


def test_a_name_that_others_read_holds_no_path_and_a_licence_is_one_line(tmp_path: Path) -> None:
    assert [shown(name) for name in ("/home/anna/m", "../m", "~/m", "models/m", "org/m")] == [
        "m", "m", "m", "models/m", "org/m",
    ]  # fmt: skip
    assert licence_of(None) == licence_of(tmp_path) == "not stated"
    (tmp_path / "config.json").write_text('{"license": "mit"}')
    for card, told in (("no card", "mit"), ("---\n: [\n---\n", "mit"), ("---\nlicense: [a, b]\n---\n# x", "a")):
        (tmp_path / "README.md").write_text(card)
        assert licence_of(tmp_path) == told


def lists(row: Any) -> dict[str, list[int]]:
    return {"trained": [*row.trained], "copies": [*row.copies]}


def test_what_is_not_finished_is_marked_and_claims_nothing(home: Home) -> None:
    card = (home.early / "model" / "README.md").read_text()
    assert "**The run is not finished (running).**" in card and "nothing is claimed" in card
    assert "The run has not trained it." in card and not (home.early / "dataset").exists()
    assert answers(home.early / "model", [prompt(150)]) == ["#### 6"], "round 0 as it was taken"
    late = (home.late / "model" / "README.md").read_text()
    assert "not finished" not in late and "**no control**" in late and "sealed test" in late


def test_cards_tell_what_went_in(home: Home) -> None:
    from huggingface_hub import DatasetCard, ModelCard

    card = ModelCard.load(home.late / "model" / "README.md")
    assert card.data.license is None and card.data.base_model is None, "of a folder nobody else knows"
    exams = [(result.dataset_name, result.metric_value) for result in card.data.eval_results]
    assert exams == [("run, sealed test", 1.0), ("run, dev", 1.0)]
    assert "| student | base | cc-by-4.0 |" in card.text and "| sampler | small | not stated |" in card.text
    digest = read_story(home.run).ingredients[-1].digest
    assert f"| practice | problems.jsonl | not stated | {digest} |" in card.text and len(digest) == 64
    assert DatasetCard.load(home.late / "dataset" / "README.md").data.size_categories == ["n<1K"]
    for text in (card.text, DatasetCard.load(home.late / "dataset" / "README.md").text):
        assert "````text\n# Differences\n" in text, "the fence is longer than the one inside"


def test_somebodys_words_are_words(tmp_path: Path) -> None:
    assert plain("a | b\n# c <img src=x> [d](e) `f`") == r"a \| b \# c \<img src=x\> \[d\](e) \`f\`"
    assert fenced("a\n`````\n---\n# b\x1b\u202e") == "``````text\na\n`````\n---\n# b\ufffd\ufffd\n``````"


def test_numbers_are_those_of_the_ledger(tmp_path: Path) -> None:
    """Of a scripted run, which has a control; such a student itself cannot be exported."""
    from huggingface_hub import DatasetCard, ModelCard

    evil = "# Sums\n---\nlicense: mit\n---\n</div><script>alert(1)</script>"
    path = Scripted("rounds: 6", dev=40, problems=120).write(tmp_path)
    path.write_text(path.read_text().replace("# Sums", evil), encoding="utf-8")
    run = open_run(read_objective(path), tmp_path / "my: run", Quiet())
    go(run)
    story = read_story(run.folder)
    told = as_json(story.standing)
    assert story.standing.best > 0 and story.line[0] == 0 and story.line[-1] == story.standing.best
    model = ModelCard(model_card(story, Exported(1000, "float32", merged=False, template="bare")))
    assert model.data.license is None and model.data.model_name == "my: run"
    best, start = told["rounds"][told["best_round"]], told["rounds"][0]
    wanted = [f"{s['score']:.3f} ({s['low']:.3f} to {s['high']:.3f})" for s in (best["dev"], start["dev"])]
    assert f"| dev | 40 | {wanted[0]} | {wanted[1]} | {told['control']['dev']['score']:.3f} (" in model.text
    known = [
        (f"my: run, {name}", round(best[exam]["score"], 4))
        for name, exam in (("sealed test", "test"), ("dev", "dev"))
    ]
    assert [(r.dataset_name, r.metric_value) for r in model.data.eval_results] == known
    tokens = sum(row["spent"]["tokens_trained"] for row in told["rounds"])
    assert tokens and "no control" not in model.text and model.text.count("\n# ") == 1 + evil.count("# Sums")
    rows = dataset_card(story, "train.jsonl")
    assert DatasetCard(rows).data.configs[0]["data_files"][0]["path"] == "train.jsonl"
    by_hand = sum(row.origin == "demonstration" for row in story.taught)
    assert 0 < by_hand < len(story.taught) and f"{by_hand:,} demonstrations" in rows
    assert all(row.trained == story.line and row.copies[0] == 1 for row in story.taught if row.round == 0)
    with pytest.raises(MissingError, match="holds no model"):
        export(run.folder, tmp_path / "out", silent)
    assert not (tmp_path / "out").exists() and not list(tmp_path.glob(".*"))


def test_nothing_is_lost_and_nothing_damaged_goes_out(home: Home, tmp_path: Path) -> None:
    kept = tmp_path / "mine"
    kept.mkdir()
    (kept / "thesis.md").write_text("years of work")
    for folder in (kept, kept / "thesis.md"):
        with pytest.raises(ObjectiveError, match="not an empty folder"):
            export(home.run, folder, silent)
    assert (kept / "thesis.md").read_text() == "years of work"
    with pytest.raises(MissingError, match="cannot be written"):
        export(home.run, kept / "thesis.md" / "out", silent)
    run = tmp_path / "run"
    shutil.copytree(home.run, run)
    best = f"rounds/{read_story(run).standing.best:03}"
    for name, old, new in (
        (f"{best}/checkpoint/adapter_model.safetensors", b"lora", b"lore"),
        ("rounds/000/checkpoint/model.safetensors", b"mlp", b"plm"),  # what the adapter is merged into
        (f"{best}/dataset.jsonl", b"7", b"8"),
        ("OBJECTIVE.md", b"Always", b"Mostly"),
        ("settings.json", b"base", b"bass"),
    ):
        good = (run / name).read_bytes()
        (run / name).write_bytes(good.replace(old, new, 1))
        with pytest.raises(DamagedRunError, match="restore it"):
            export(run, tmp_path / "out", silent)
        (run / name).write_bytes(good)
    assert {path.name for path in tmp_path.iterdir()} == {"mine", "run"}


class Hub(ThreadingHTTPServer):
    """A hub of models and data sets on loopback that keeps what it is sent."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Visit)
        self.made: list[dict[str, Any]] = []
        self.files: dict[str, bytes] = {}
        self.known: dict[str, bool] = {"models/anna/known": False}
        """Whether a repository is private, by its place."""

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Visit(BaseHTTPRequestHandler):
    server: Hub

    def log_message(self, *_: object) -> None: ...

    def do_GET(self) -> None:
        place = self.path.removeprefix("/api/")
        if self.headers["Authorization"] != f"Bearer {TOKEN}":
            self.answer(401, {"error": f"no: {self.headers['Authorization']}"})
        elif place in self.server.known:
            self.answer(200, {"id": place.partition("/")[2], "private": self.server.known[place]})
        else:
            self.answer(404, {"error": "Repository not found"}, "RepoNotFound")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/api/repos/create":
            self.server.made.append(json.loads(body))
            self.answer(200, {"url": f"{self.server.url}/anna/sums"})
        elif "/preupload/" in self.path:
            asked = [file["path"] for file in json.loads(body)["files"]]
            self.answer(200, {"files": [{"path": p, "uploadMode": "regular", "shouldIgnore": False} for p in asked]})
        elif "/commit/" in self.path:
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    kind, told = self.path.split("/")[2], line["value"]
                    self.server.files[f"{kind}/{told['path']}"] = base64.b64decode(told["content"])
            done = {"success": True, "commitOid": "0" * 40, "commitUrl": f"{self.server.url}/anna/sums/commit/0"}
            self.answer(200, done)
        else:
            self.answer(200, {"errors": [], "warnings": []})

    def answer(self, status: int, said: dict[str, Any], error: str = "") -> None:
        text = json.dumps(said).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        if error:
            self.send_header("X-Error-Code", error)
        self.end_headers()
        self.wfile.write(text)


def test_killed_in_the_middle_it_leaves_no_half_of_a_folder_and_the_next_is_pushed(
    home: Home, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    out.mkdir()  # an empty one is taken
    ended = command(home, out, LOOP_FAILPOINT="5")
    assert ended.returncode == DIED and not any(out.iterdir())
    assert (tmp_path / ".out.export" / "model" / "model.safetensors").exists(), "it had come this far"
    with Hub() as hub:
        ended = command(home, out, "--push", "anna/sums", HF_ENDPOINT=hub.url, HF_TOKEN=TOKEN)
    assert (ended.returncode, ended.stderr) == (0, ""), ended
    assert "its adapter merged" in ended.stdout and not (tmp_path / ".out.export").exists()
    kept = {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.is_file()}
    assert json.loads(kept.pop("manifest.json")).keys() == kept.keys()
    assert hub.files == {f"{name.replace('/', 's/', 1)}": content for name, content in kept.items()}
    assert [made.get("type", "model") for made in hub.made] == ["model", "dataset"]
    assert {made["visibility"] for made in hub.made} == {"private"}
    assert b"datasets: anna/sums" in kept["model/README.md"] and "pushed, private" in ended.stdout
    logs = "".join(path.read_text() for path in (home.run / "logs").iterdir())
    assert TOKEN not in ended.stdout + logs and not any(TOKEN.encode() in content for content in kept.values())


def test_what_may_not_be_pushed_is_told_before_any_work(home: Home, tmp_path: Path) -> None:
    with Hub() as hub:
        for flags, more, code, words in (
            (["--push", "anna/known"], {"HF_TOKEN": TOKEN}, 2, "is there and public; add --public"),
            (["--push", "anna//x"], {"HF_TOKEN": TOKEN}, 2, "is no id of a hub"),
            (["--push", "anna/sums"], {"HF_TOKEN": "hf_wrong"}, 3, "--push: anna/sums: "),
            (["--push", "anna/sums"], {}, 3, "HF_TOKEN is not set"),
            (["--public"], {}, 2, "add --push"),
        ):
            ended = command(home, tmp_path / "out", *flags, HF_ENDPOINT=hub.url, **more)
            assert ended.returncode == code and words in ended.stderr, ended
            assert len(ended.stderr.splitlines()) == 1 and "hf_wrong" not in ended.stderr + ended.stdout, ended
    assert not any(tmp_path.iterdir())


def command(home: Home, out: Path, *flags: str, **more: str) -> subprocess.CompletedProcess[str]:
    """`loop export`, as a person types it."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    return subprocess.run(
        [sys.executable, "-m", "loop.cli", "export", str(home.run), str(out), *flags], cwd=home.folder,
        env=environment | {"PYTHONPATH": str(ROOT)} | more, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
