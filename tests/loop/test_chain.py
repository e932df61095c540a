"""Distillation as mechanisms.md §5 has it, on students so small that it takes seconds; the gap recovered of §7.2."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from examples.chain_sum.make_demonstrations import demonstrations
from loop.crew import Crew, Limits
from loop.errors import StageError
from loop.jobs import DistillJob, TrainJob
from loop.links import Distilled, Links, in_words
from loop.presets import Architecture, TrainSettings
from loop.trained import Trained
from loop.training_log import lost_tokens
from loop.vocabulary import is_same_tokenizer
from loop.weak_to_strong import NO_GAP, gap_recovered, recovered

SHAPE = Architecture(hidden=64, layers=2, heads=2, kv_heads=1, head_size=32, mlp=128, positions=256)
SETTINGS = TrainSettings(learning_rate=3e-3, rows_per_step=16, warmup=0.1, weight_decay=0.5)
ROWS = tuple((str(d["prompt"]), str(d["response"])) for d in demonstrations({2: 60, 3: 20}, seed=3))
TRIALS = 1000


def quiet(done: float, total: float, rate: str) -> None: ...


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A student that has learnt nothing yet."""
    from loop.training.scratch import build_student

    folder = tmp_path_factory.mktemp("base")
    build_student(SHAPE, ROWS, folder, seed=0)
    return folder


def lesson(base: Path, folder: Path, **changes: Any) -> DistillJob:
    """Two links and a student to serve, two passes each."""
    (folder / "out").mkdir(parents=True, exist_ok=True)
    rows = tuple((prompt, response, 1) for prompt, response in ROWS[12:])
    train = TrainJob(
        str(base), str(folder / "out"), rows, SETTINGS, "full", seed=1, epochs=2, log=str(folder / "log")
    )
    job = DistillJob(
        train=train, fresh=True, links=2, alpha=0.5, temperature=1.0, dropout=0.1, serve="ensemble",
        links_folder=str(folder / "links"), held_out=ROWS[:12], answer="####", max_new_tokens=40,
    )  # fmt: skip
    return replace(job, **changes)


def weights(folder: Path) -> bytes:
    return (folder / "model.safetensors").read_bytes()


def distill(crew: Crew, job: DistillJob) -> Trained:
    trained: Trained = crew.run("loop.training.chain:distill", job, quiet, "distill").result
    return trained


# The loss.


def test_check_alpha_0_equals_cross_entropy_bit_for_bit(base: Path, tmp_path: Path) -> None:
    """The loss itself; and a link's weights after training equal those of plain supervised training."""
    import torch
    from torch.nn import functional
    from trl import SFTTrainer

    from loop.training.distillation import Distiller, distillation_loss, load_teacher
    from loop.training.sft import arguments
    from loop.training.student import load_trainable, tokenised

    torch.manual_seed(0)
    student, teacher = torch.randn(3, 5, 11, requires_grad=True), 9 * torch.randn(3, 5, 11)
    labels = torch.randint(0, 11, (3, 5)).masked_fill(torch.rand(3, 5) < 0.3, -100)
    ours = distillation_loss(student, teacher, labels, alpha=0.0, temperature=2.0)
    taken = labels != -100
    plain = functional.cross_entropy(student[taken], labels[taken], reduction="sum") / taken.sum()
    assert torch.equal(ours, plain)
    gradients = [torch.autograd.grad(loss, student)[0] for loss in (ours, plain)]
    assert torch.equal(*gradients)

    job = lesson(base, tmp_path).train
    ended = {}
    for name in ("plain", "taught"):
        model, tokenizer = load_trainable(job)
        common = {
            "model": model, "args": arguments(job, max_steps=6), "train_dataset": tokenised(tokenizer, job),
            "processing_class": tokenizer,
        }  # fmt: skip
        told = {"teacher": load_teacher([str(base)], tokenizer), "alpha": 0.0, "temperature": 1.0}
        trainer: Any = SFTTrainer(**common) if name == "plain" else Distiller(**common, **told)
        trainer.train()
        ended[name] = model.state_dict()
    assert all(torch.equal(ended["plain"][key], ended["taught"][key]) for key in ended["plain"])


def test_check_alpha_1_with_teacher_equal_to_student_gives_0() -> None:
    import torch

    from loop.training.distillation import distillation_loss

    torch.manual_seed(1)
    student = (4 * torch.randn(4, 6, 40)).requires_grad_()
    labels = torch.randint(0, 40, (4, 6))
    for temperature in (1.0, 1.2, 3.0):
        loss = distillation_loss(student, student.detach(), labels, alpha=1.0, temperature=temperature)
        assert abs(loss.item()) < 1e-6
        assert float(torch.autograd.grad(loss, student)[0].abs().max()) < 1e-6
    off = distillation_loss(student, torch.randn(4, 6, 40), labels, alpha=1.0)
    assert off.item() > 0.5, "another teacher costs"


def test_check_at_temperature_1_the_temperature_terms_change_nothing() -> None:
    """Against the loss as it is written without any temperature, summed by hand; and at T = 2 they do change it."""
    import torch

    from loop.training.distillation import distillation_loss

    torch.manual_seed(2)
    student, teacher = torch.randn(2, 4, 9), torch.randn(2, 4, 9)
    labels = torch.tensor([[-100, 3, 5, -100], [0, 8, -100, 1]])
    hard, soft, count = 0.0, 0.0, 0
    for row, place in (labels != -100).nonzero().tolist():
        p, q = teacher[row, place].double().softmax(0), student[row, place].double().softmax(0)
        hard -= float(q[labels[row, place]].log())
        soft += float((p * (p / q).log()).sum())
        count += 1
    plain = 0.3 * hard / count + 0.7 * soft / count
    assert float(distillation_loss(student, teacher, labels, alpha=0.7, temperature=1.0)) == pytest.approx(
        plain, 1e-6
    )
    assert float(distillation_loss(student, teacher, labels, alpha=0.7, temperature=2.0)) != pytest.approx(
        plain, 1e-3
    )


def test_check_teacher_parameters_get_no_gradient(base: Path, tmp_path: Path) -> None:
    import torch

    from loop.training.distillation import Distiller, fresh, load_teacher
    from loop.training.sft import arguments
    from loop.training.student import load_trainable, tokenised

    job = lesson(base, tmp_path).train
    model, tokenizer = load_trainable(job)
    teacher = load_teacher([str(base)], tokenizer)
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    trainer = Distiller(
        model=fresh(model), args=arguments(job, max_steps=3), train_dataset=tokenised(tokenizer, job),
        processing_class=tokenizer, teacher=teacher, alpha=0.5, temperature=1.2,
    )  # fmt: skip
    trainer.train()
    assert all(p.grad is None and not p.requires_grad for p in teacher.parameters()) and not teacher.training
    assert all(torch.equal(before[name], value) for name, value in teacher.state_dict().items())


def test_check_the_loss_of_an_ensemble_is_at_most_the_mean_of_its_members() -> None:
    import torch
    from torch.nn import functional

    from loop.training.distillation import ensemble_log_probs

    luck = torch.Generator().manual_seed(3)
    for trial in range(TRIALS):
        size, width = 2 + trial % 7, 3 + trial % 40
        logits = (0.1 + trial % 11) * torch.randn(size, 5, width, generator=luck)
        labels = torch.randint(0, width, (5,), generator=luck)
        mean = torch.stack([functional.cross_entropy(one, labels) for one in logits]).mean()
        for by in ("probability", "logit"):
            said = ensemble_log_probs(logits, by)
            assert float(functional.nll_loss(said, labels)) <= float(mean) + 1e-5, (trial, by)
            assert torch.allclose(said.exp().sum(-1), torch.ones(5), atol=1e-4)


# The chain.


def test_a_chain_is_trained_measured_and_gone_on_with_after_a_kill(crew: Crew, base: Path, tmp_path: Path) -> None:
    job = lesson(base, tmp_path / "whole")
    whole = distill(crew, job)
    told = Distilled.model_validate(whole.distilled)
    assert len(told.members) == 2 and told.times == 2 and all(loss and loss > 0 for loss in told.members)
    for loss in (told.by_probability, told.by_logit):
        assert loss is not None and loss <= sum(filter(None, told.members)) / 2
    assert told.lost is not None and "costs 2 times" in in_words(told)
    rows = whole.tokens // 3
    per_token = 2.0 * whole.parameters
    assert whole.read_flops >= per_token * rows * (1 + 2), "link 2 had one teacher, the served student two"
    assert len({weights(folder) for folder in (base, *(Links(job).folder(n) for n in (1, 2)))}) == 3

    cut = lesson(base, tmp_path / "cut")
    short = replace(cut, train=replace(cut.train, limits=Limits(tokens=rows + 10)))
    assert distill(crew, short).stopped == "tokens", "within the second link"
    assert Links(cut).find(1) and not Links(cut).find(2)
    died = lost_tokens(tmp_path / "cut" / "log")
    resumed = distill(crew, cut)
    assert died == (0, 0) and resumed.tokens == whole.tokens
    assert 0 < lost_tokens(tmp_path / "cut" / "log")[0] < rows, "the second link was begun anew, the first was not"
    assert weights(tmp_path / "cut" / "out") == weights(tmp_path / "whole" / "out")
    log = [json.loads(line) for line in (tmp_path / "whole" / "log").read_text().splitlines()]
    assert len({line["begins"] for line in log if "begins" in line}) == 3, "each link is a training of its own"
    assert Links(replace(cut, alpha=0.7)).find(1) is None, "links of other settings are not reused"


def test_the_served_student_alone_has_an_alpha_of_its_own(crew: Crew, base: Path, tmp_path: Path) -> None:
    for alpha in (1.0, 0.5):
        job = lesson(base, tmp_path / str(alpha), serve_alpha=alpha)
        distill(crew, replace(job, held_out=(), train=replace(job.train, epochs=1)))
    for link in ("links/01", "links/02"):
        assert weights(tmp_path / "1.0" / link) == weights(tmp_path / "0.5" / link)
    assert weights(tmp_path / "1.0" / "out") != weights(tmp_path / "0.5" / "out")


def test_the_ensemble_answers_as_its_mean_does(base: Path, tmp_path: Path) -> None:
    """Token by token with one cache for all members, as without any cache."""
    import torch

    from agents.engines import Request, SamplingJob
    from agents.engines.transformers import TransformersEngine
    from loop.training.distillation import Ensemble, fresh
    from loop.training.student import load_trainable

    torch.manual_seed(5)
    model, tokenizer = load_trainable(lesson(base, tmp_path).train)
    ensemble = Ensemble([fresh(model), fresh(model), fresh(model)])
    asked = SamplingJob("", tuple(Request(f"{i:x}", p) for i, (p, _) in enumerate(ROWS[:6])), 0.0, 12, 0)
    written = {
        row.key: row for batch in TransformersEngine().complete_with(ensemble, tokenizer, asked) for row in batch
    }
    for request in asked.requests:
        ids = tokenizer(request.prompt + "\n", return_tensors="pt").input_ids
        start = ids.shape[1]
        for _ in range(12):
            mean = torch.stack([m(input_ids=ids, use_cache=False).logits[0, -1].softmax(0) for m in ensemble.members])
            ids = torch.cat([ids, mean.mean(0).argmax().reshape(1, 1)], dim=1)
            if int(ids[0, -1]) == tokenizer.eos_token_id:
                break
        assert written[request.key].text == tokenizer.decode(ids[0, start:], skip_special_tokens=True)


# A teacher.


def test_a_student_comes_nearer_to_its_teacher_on_rows_and_on_its_own_words(
    crew: Crew, base: Path, tmp_path: Path
) -> None:
    job = lesson(base, tmp_path / "teacher", serve="last")
    job = replace(job, train=replace(job.train, epochs=10))
    taught = distill(crew, job)
    assert taught.tokens % 2 == 0 and weights(tmp_path / "teacher" / "out") == weights(Links(job).folder(2))
    for on_policy in (False, True):
        told = {"teacher": str(tmp_path / "teacher" / "out"), "teacher_name": "big", "alpha": 1.0}
        lone = lesson(base, tmp_path / f"student-{on_policy}", **told, on_policy=on_policy, dropout=0.0)
        lone = replace(lone, max_new_tokens=16, train=replace(lone.train, epochs=8))
        trained = distill(crew, lone)
        found = Distilled.model_validate(trained.distilled)
        lines = (tmp_path / f"student-{on_policy}" / "log").read_text().splitlines()
        losses = [line["loss"] for line in map(json.loads, lines) if "loss" in line]
        assert losses[-1] < losses[0], "nearer to its teacher"
        assert found.teacher == "big" and len(found.members) == 1 and trained.tokens > 0
        assert trained.sampled_tokens > trained.tokens if on_policy else trained.sampled_tokens < trained.tokens


def test_a_teacher_with_another_tokenizer_is_refused_with_one_line(crew: Crew, base: Path, tmp_path: Path) -> None:
    from loop.training.scratch import build_student

    (tmp_path / "other").mkdir()
    build_student(SHAPE, [("Say it twice: a", "a a"), ("Say it twice: b", "b b")], tmp_path / "other", seed=0)
    assert is_same_tokenizer(base, base) and not is_same_tokenizer(base, tmp_path / "other")
    assert not is_same_tokenizer(tmp_path, tmp_path), "what is not known is not the same"
    with pytest.raises(StageError, match="its tokenizer is not the student's") as refused:
        distill(crew, lesson(base, tmp_path, teacher=str(tmp_path / "other")))
    assert "\n" not in str(refused.value)


# Weak to strong.


def test_check_the_gap_recovered_is_0_and_1_at_the_ends() -> None:
    assert gap_recovered(weak=0.3, strong=0.3, ceiling=0.8) == 0
    assert gap_recovered(weak=0.3, strong=0.8, ceiling=0.8) == 1
    assert gap_recovered(weak=0.2, strong=0.4, ceiling=0.6) == pytest.approx(0.5)
    assert gap_recovered(weak=0.5, strong=0.7, ceiling=0.5) is None, "no gap: not defined"
    assert (
        recovered("small", 0.5, 0.7, 0.5).reason == NO_GAP and "no control" in recovered("s", 0.5, 0.7, None).reason
    )


def test_a_weak_sampler_sits_dev_once_and_the_ledger_says_what_of_its_gap_is_recovered(
    swift_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from scripted import Scripted

    from loop.contest import play_weak
    from loop.objective import read_objective
    from loop.records import Evaluation
    from loop.report import write_report
    from loop.room import CHECKPOINT, EVALUATION, ROUND
    from loop.rounds import Round
    from loop.run import open_run
    from loop.runner import play_round_zero
    from loop.screen import PlainScreen
    from loop.statistics import wilson

    monkeypatch.setenv("LOOP_CACHE", str(swift_path / "cache"))
    run = open_run(read_objective(Scripted().write(swift_path / "weak")), swift_path / "weak" / "run", PlainScreen())
    play_round_zero(run)
    start = run.room("000").fetch(CHECKPOINT)
    small = run.bench.student_of(start).model_copy(update={"name": "small"})
    run = replace(run, bench=replace(run.bench, samplers={"small": small}))
    solved = run.room("000").fetch(EVALUATION)
    strong = Evaluation(exam="dev", checkpoint="", score=wilson(15, 16), cells=solved.cells, solved=())
    control = strong.model_copy(update={"score": wilson(14, 16)})
    for name, exam in (("001", strong), ("control/001", control)):
        run.room(name).folder.mkdir(parents=True, exist_ok=True)
        run.room(name).once(EVALUATION, lambda exam=exam: exam)
    taught = start.model_copy(update={"parameters": 3})
    closed = Round(round=1, status="kept", dev=strong.score, checkpoint=taught, set_up="weak-to-strong improvement")
    run.room("001").once(ROUND, lambda: closed)
    for _ in range(2):
        play_weak(run)
    weak = run.room("sampler/0").fetch(EVALUATION).score.score
    (found,) = run.ledger.fact("recovered")
    assert (found["weak"], found["strong"], found["ceiling"]) == (weak, 15 / 16, 14 / 16)
    assert found["gap"] == pytest.approx((15 / 16 - weak) / (14 / 16 - weak))
    assert run.ledger.spent("sampler/0").tokens_sampled > 0, "it is counted"
    assert f"the performance gap recovered is {found['gap']:.2f}" in write_report(run.folder).read_text()
