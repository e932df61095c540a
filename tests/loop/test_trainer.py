"""The trainer and the transformers engine as they are, on a student so small that it takes seconds."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from agents.engines import EngineError, Request, SamplingJob
from examples.chain_sum.make_demonstrations import demonstrations
from loop.crew import Crew, Limits
from loop.jobs import ConvergeJob, Diverged, TrainJob
from loop.presets import Architecture, TrainSettings
from loop.trained import Trained

SHAPE = Architecture(hidden=64, layers=2, heads=2, kv_heads=1, head_size=32, mlp=128, positions=256)
SETTINGS = TrainSettings(learning_rate=3e-3, rows_per_step=16, warmup=0.1)
ROWS = tuple((str(d["prompt"]), str(d["response"])) for d in demonstrations({2: 90, 3: 30}, seed=3))


def quiet(done: float, total: float, rate: str) -> None: ...


@pytest.fixture(scope="module")
def student(crew: Crew, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Trained]:
    """A student of round 0, made in a child as a run makes it."""
    out = tmp_path_factory.mktemp("student")
    job = ConvergeJob(
        train=TrainJob("", str(out), tuple((p, r, 1) for p, r in ROWS[20:]), SETTINGS, "full", seed=0),
        architecture=SHAPE,
        held_out=ROWS[:20],
        answer="####",
        max_new_tokens=40,
        cycle=40,
        max_cycles=4,
    )
    trained: Trained = crew.run("loop.training.convergence:converge", job, quiet, "converge").result
    return out, trained


def train_on(student: Path, out: Path, **changes: object) -> TrainJob:
    rows = tuple((p, r, 1) for p, r in ROWS)
    out.mkdir()
    return replace(TrainJob(str(student), str(out), rows, SETTINGS, "full", seed=1, epochs=2), **changes)


def test_round_zero_looks_at_what_it_was_not_trained_on(student: tuple[Path, Trained]) -> None:
    out, trained = student
    assert trained.looks and all(0 <= look["accuracy"] <= 1 and math.isfinite(look["loss"]) for look in trained.looks)
    assert trained.looks[-1]["loss"] < trained.looks[0]["loss"], "forty steps more must tell"
    assert trained.sampled_tokens > 0 and trained.tokens > 0 and trained.engine_seconds > 0
    assert json.loads((out / "config.json").read_text())["tie_word_embeddings"] is True


def test_full_training_lowers_the_loss_and_counts_its_tokens(
    crew: Crew, student: tuple[Path, Trained], tmp_path: Path
) -> None:
    job = train_on(student[0], tmp_path / "out", log=str(tmp_path / "log.jsonl"), epochs=6)
    trained: Trained = crew.run("loop.training.sft:sft", job, quiet, "full").result
    log = [row for row in map(json.loads, (tmp_path / "log.jsonl").read_text().splitlines()) if "loss" in row]
    assert log[-1]["loss"] < log[0]["loss"]
    again = replace(job, tokens=trained.tokens, out=str(tmp_path / "again"))
    (tmp_path / "again").mkdir()
    matched: Trained = crew.run("loop.training.sft:sft", again, quiet, "matched").result
    assert matched.tokens == pytest.approx(trained.tokens, rel=0.02), "a control is trained on as many tokens"


def test_an_adapter_is_trained_and_gone_on_with(crew: Crew, student: tuple[Path, Trained], tmp_path: Path) -> None:
    job = train_on(student[0], tmp_path / "first", weights="lora")
    first: Trained = crew.run("loop.training.sft:sft", job, quiet, "lora").result
    assert (tmp_path / "first" / "adapter_config.json").exists()
    further = train_on(tmp_path / "first", tmp_path / "second", weights="lora")
    crew.run("loop.training.sft:sft", further, quiet, "lora-again")
    weights = [(tmp_path / name / "adapter_model.safetensors").read_bytes() for name in ("first", "second")]
    assert weights[0] != weights[1] and first.parameters > student[1].parameters


def test_a_cpu_that_can_multiplies_in_bfloat16_where_the_preset_says_so(
    crew: Crew, student: tuple[Path, Trained], tmp_path: Path
) -> None:
    import torch
    from safetensors.torch import load_file

    if not torch.cpu.get_capabilities().get("amx_bf16") or torch.cuda.is_available():
        pytest.skip("no CPU with matrix units for bfloat16, or a GPU")
    losses, weights = {}, {}
    for name, settings in (("usual", SETTINGS), ("half", SETTINGS.model_copy(update={"bf16_on_cpu": True}))):
        trained: Trained = crew.run(
            "loop.training.sft:sft", train_on(student[0], tmp_path / name, settings=settings), quiet, name
        ).result
        losses[name], weights[name] = trained.loss, load_file(tmp_path / name / "model.safetensors")
    assert all(weight.dtype == torch.float32 for weight in weights["half"].values())
    assert losses["half"] != losses["usual"] and losses["half"] == pytest.approx(losses["usual"], rel=0.05)


def test_a_limit_ends_training_and_a_lost_loss_fails_it(
    crew: Crew, student: tuple[Path, Trained], tmp_path: Path
) -> None:
    short = train_on(student[0], tmp_path / "short", limits=Limits(tokens=500), epochs=50)
    trained: Trained = crew.run("loop.training.sft:sft", short, quiet, "short").result
    assert trained.stopped == "tokens" and 500 <= trained.tokens < 500 + 16 * 60
    wild = SETTINGS.model_copy(update={"learning_rate": 1e30})
    with pytest.raises(
        Diverged, match=r"^training diverged: the loss is nan at step .*; lower the learning rate"
    ) as lost:
        crew.run(
            "loop.training.sft:sft", train_on(student[0], tmp_path / "wild", settings=wild, epochs=30), quiet, "wild"
        )
    assert lost.value.trained is not None and lost.value.trained.tokens > 0, "it was spent"


def test_the_engine_writes_what_generate_writes(student: tuple[Path, Trained]) -> None:
    """Greedily, each row for itself; and a job that goes on draws what the unbroken one would have drawn."""
    import torch

    from agents.engines.transformers import TransformersEngine, load_student

    requests = tuple(Request(f"{i:x}", prompt) for i, (prompt, _) in enumerate(ROWS[:40]))
    job = SamplingJob(str(student[0]), requests, temperature=0.0, max_new_tokens=40, seed=5)
    written = {row.key: row for batch in TransformersEngine().complete(job) for row in batch}
    assert written.keys() == {request.key for request in requests}
    model, tokenizer = load_student(str(student[0]))
    for request in requests:
        ids = tokenizer(request.prompt + "\n", return_tensors="pt").input_ids
        with torch.inference_mode():
            plain = model.generate(ids, max_new_tokens=40, do_sample=False, pad_token_id=tokenizer.pad_token_id)
        assert written[request.key].text == tokenizer.decode(plain[0, ids.shape[1] :], skip_special_tokens=True)
        assert written[request.key].finish in ("stop", "length")
    warm = replace(job, temperature=1.0)
    drawn = {row.key: row for batch in TransformersEngine().complete(warm) for row in batch}
    rest = {
        row.key: row
        for batch in TransformersEngine().complete(replace(warm, done=frozenset(list(drawn)[:25])))
        for row in batch
    }
    assert rest == {key: drawn[key] for key in list(drawn)[25:]}
    assert {row.text for row in drawn.values()} != {row.text for row in written.values()}


def test_a_model_that_is_not_there_is_one_line() -> None:
    from agents.engines.transformers import load_student

    with pytest.raises(EngineError, match="no model can be loaded there"):
        load_student("/nowhere/at/all")


def test_a_tokenizer_that_pads_right_changes_nothing(student: tuple[Path, Trained]) -> None:
    from agents.engines.transformers import TransformersEngine, load_student

    model, tokenizer = load_student(str(student[0]))
    prompts = ["1 + 1", "1 + 2 + 3 + 4 - 5 - 6 + 7", "9 - 8 + 7"]
    job = SamplingJob("", tuple(Request(f"{i:x}", p) for i, p in enumerate(prompts)), 0.0, 12, 0)
    said = {}
    for side in ("left", "right"):  # a trainer's tokenizer pads right, and round 0 is looked at with it
        tokenizer.padding_side = side
        said[side] = [row for batch in TransformersEngine().complete_with(model, tokenizer, job) for row in batch]
    assert said["left"] == said["right"]
