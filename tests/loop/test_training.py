"""What every training shares: it goes on where it was killed, and stops when it goes astray."""

from __future__ import annotations

import json
import math
import multiprocessing
import pickle
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from test_trainer import ROWS, SETTINGS, SHAPE, quiet

from loop.crew import Crew, Report
from loop.errors import StageError
from loop.jobs import STEPS, ConvergeJob, Diverged, RanksJob, TrainJob
from loop.memory import within_memory
from loop.trained import Trained
from loop.training_log import lost_tokens

SFT = "loop.training.sft:sft"
CONVERGE = "loop.training.convergence:converge"


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from loop.training.scratch import build_student

    folder = tmp_path_factory.mktemp("student")
    build_student(SHAPE, ROWS, folder, seed=0)
    return folder


def a_job(student: Path, out: Path, **changes: object) -> TrainJob:
    out.mkdir(parents=True)
    rows = tuple((prompt, response, 1) for prompt, response in ROWS)
    job = TrainJob(str(student), str(out), rows, SETTINGS, "full", seed=1, epochs=10, keep_every=0.0)
    return replace(job, log=str(out.with_suffix(".jsonl")), **changes)


def killed_at(crew: Crew, work: str, job: object, step: int) -> None:
    """Have it done, and kill the child by SIGKILL when it reports the step."""

    def kill(done: float, total: float, rate: str) -> None:
        if done >= step:
            for process in multiprocessing.active_children():
                process.kill()

    with pytest.raises(StageError, match="the process died"):
        crew.run(work, job, kill, "killed")


def logged(job: TrainJob, what: str = "loss") -> dict[int, float]:
    """What the log says by step; a step that was done again counts as it was done last."""
    rows = [json.loads(line) for line in Path(job.log).read_text().splitlines()]
    return {row["step"]: row[what] for row in rows if what in row}


def weights_of(job: TrainJob) -> bytes:
    return next(Path(job.out).glob("*.safetensors")).read_bytes()


@pytest.mark.parametrize("weights", ["full", "lora"])
def test_a_killed_training_goes_on_and_ends_as_the_unbroken_one(
    crew: Crew, student: Path, tmp_path: Path, weights: str
) -> None:
    """To the last bit, on one thread: weights, every logged loss, tokens."""
    unbroken, broken = (a_job(student, tmp_path / name / "out", weights=weights) for name in ("whole", "killed"))
    wanted: Trained = crew.run(SFT, replace(unbroken, keep_every=None), quiet, "whole").result
    assert not Path(unbroken.out + STEPS).exists()
    killed_at(crew, SFT, broken, step=50)
    steps = list(Path(broken.out + STEPS).glob("step-*"))
    assert len(steps) == 1 and steps[0].name.split("-")[1] in ("40", "50")
    went_on: Trained = crew.run(SFT, broken, quiet, "killed").result
    assert went_on.note.startswith("training goes on from step ") and went_on.steps == wanted.steps == 70
    assert (went_on.tokens, went_on.loss) == (wanted.tokens, wanted.loss)
    assert logged(broken) == logged(unbroken) and weights_of(broken) == weights_of(unbroken)


def test_round_zero_goes_on_too_with_its_looks(crew: Crew, tmp_path: Path) -> None:
    """It is killed in its second cycle; the looks before are not lost, nor the weights of the best of them."""

    def job(name: str) -> ConvergeJob:
        train = replace(a_job(Path(), tmp_path / name / "out"), start="", rows=tuple((p, r, 1) for p, r in ROWS[20:]))
        return ConvergeJob(train, SHAPE, ROWS[:8], "####", max_new_tokens=12, cycle=20, max_cycles=2)

    unbroken, broken = job("whole"), job("killed")
    wanted: Trained = crew.run(CONVERGE, unbroken, quiet, "whole").result
    killed_at(crew, CONVERGE, broken, step=30)
    went_on: Trained = crew.run(CONVERGE, broken, quiet, "killed").result
    assert went_on.note in ("training goes on from step 20", "training goes on from step 30")
    assert went_on.looks == wanted.looks and len(wanted.looks) == 2 and went_on.tokens == wanted.tokens
    assert went_on.sampled_tokens == wanted.sampled_tokens
    assert weights_of(broken.train) == weights_of(unbroken.train)


def test_tokens_behind_the_last_kept_step_are_lost_and_those_before_it_counted_once(tmp_path: Path) -> None:
    """Of a job's two trainings, the first died twice: at 300 tokens, kept at 200; then anew, at 100."""
    log = tmp_path / "log.jsonl"
    assert lost_tokens(log) == (0, 0)
    rows = [("a", 0), ("", 100), ("", 300), ("a", 200), ("", 250), ("a", 0), ("", 100), ("a", 0), ("", 400), ("b", 0)]
    lines = [{"tokens": tokens} | ({"begins": name} if name else {}) for name, tokens in rows]
    log.write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"tokens": 5')
    assert lost_tokens(log) == (100 + 250 + 100, 0)


def test_a_damaged_or_foreign_step_is_not_gone_on_from(crew: Crew, student: Path, tmp_path: Path) -> None:
    """Training begins anew, says so, and ends as if there had been none."""
    job = a_job(student, tmp_path / "out", epochs=3, keep_every=None)
    crew.run(SFT, job, quiet, "whole")
    wanted = weights_of(job)
    killed_at(crew, SFT, replace(job, keep_every=0.0), step=20)
    steps = Path(job.out + STEPS)
    other: Trained = crew.run(SFT, replace(job, epochs=2), quiet, "other").result
    assert other.note == "training begins anew: its kept step 10 is of another job" and other.steps == 14
    assert not steps.exists()
    killed_at(crew, SFT, replace(job, keep_every=0.0), step=20)
    optimizer = next(steps.glob("step-*/optimizer.pt"))
    whole = optimizer.read_bytes()
    optimizer.write_bytes(whole[:5000] + bytes([whole[5000] ^ 1]) + whole[5001:])
    anew: Trained = crew.run(SFT, job, quiet, "anew").result
    assert anew.note == "training begins anew: its kept step 10 is damaged" and anew.steps == 21
    assert weights_of(job) == wanted


SPIKES = (0.15, 0.04, 0.05, 0.0, 0.45, 0.02, 0.55, 0.0, 0.0, 3.08, 0.1, 1.32, 0.43, 0.0, 3.02, 0.06, 2.33, 1.22, 0.0)
"""Losses of a round that ended well: its student has most rows by heart."""


def test_a_loss_that_rises_and_stays_up_ends_training(tmp_path: Path) -> None:
    """Hard batches do not, a warm-up neither; what it came to until then is told."""
    import torch
    from transformers import TrainerControl, TrainerState, TrainingArguments

    from loop.training.watch import Watch

    def watch_over(losses: Sequence[float], norm: float = 1.0) -> int:
        watch = Watch(TrainJob("", str(tmp_path / "out"), (), SETTINGS, "full", seed=0), 1000, quiet)
        for number, loss in enumerate(losses, 1):
            watch.steps = 10 * number
            state = TrainerState(global_step=watch.steps)
            logs = {"loss": loss, "grad_norm": norm}
            watch.on_log(TrainingArguments(), state, TrainerControl(), logs, model=torch.nn.Linear(2, 3))
        return watch.steps

    assert watch_over(SPIKES) == 190
    assert watch_over((5.0, 6.5, 4.0, 2.2, 0.7, 0.1)) == 60
    with pytest.raises(
        Diverged, match=r"^training diverged: the loss is 2, and was 0.06, at step 250; lower"
    ) as risen:
        watch_over((*SPIKES, 0.3, 1.8, 2.2, 2.1, 1.9, 2.0))
    assert risen.value.trained == Trained(9, steps=250, tokens=0, loss=1.9, engine_seconds=0.0)
    with pytest.raises(Diverged, match="the gradient's norm is inf at step 10"):
        watch_over(SPIKES, norm=math.inf)
    carried = pickle.loads(pickle.dumps(risen.value))
    assert carried.trained == risen.value.trained and not carried.again, "as it comes back from a child"


def test_weights_that_are_no_numbers_are_not_published(crew: Crew, student: Path, tmp_path: Path) -> None:
    """A weight that no row touches spoils no loss: only reading the weights back finds it."""
    import torch
    from safetensors.torch import load_file, save_file
    from transformers import AutoModelForCausalLM, AutoTokenizer

    poisoned = tmp_path / "poisoned"
    model = AutoModelForCausalLM.from_pretrained(student, tie_word_embeddings=False)
    model.save_pretrained(poisoned)
    AutoTokenizer.from_pretrained(student).save_pretrained(poisoned)
    weights = load_file(poisoned / "model.safetensors")
    assert "lm_head.weight" in weights
    weights["model.embed_tokens.weight"][0, 0] = torch.nan  # of the padding
    save_file(weights, poisoned / "model.safetensors", metadata={"format": "pt"})
    job = a_job(poisoned, tmp_path / "out", epochs=1, settings=SETTINGS.model_copy(update={"rows_per_step": 1}))
    with pytest.raises(Diverged, match=r"embed_tokens\.weight holds a weight that is no number"):
        crew.run(SFT, job, quiet, "poisoned")


def sft_in_little_memory(job: TrainJob, report: Report) -> Trained:
    """Trains where more than five rows at once do not fit, nor four without computing activations twice."""
    import torch

    from loop.training.sft import sft

    def refuse(module: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        if isinstance(module, torch.nn.Embedding):
            rows = len(inputs[0])
            if rows > 5 or (rows > 3 and not job.recompute):
                raise torch.OutOfMemoryError(f"CUDA out of memory: {rows} rows")

    hook = torch.nn.modules.module.register_module_forward_pre_hook(refuse)
    try:
        return sft(job, report)
    finally:
        hook.remove()


def test_what_does_not_fit_is_trained_with_fewer_rows_at_once(crew: Crew, student: Path, tmp_path: Path) -> None:
    """The effective batch stays: every logged loss is that of the batch in one piece but for rounding."""
    whole, cut = (a_job(student, tmp_path / name / "out", epochs=3, keep_every=None) for name in ("whole", "cut"))
    wanted: Trained = crew.run(SFT, whole, quiet, "whole").result
    told: list[str] = []
    work = f"{__name__}:{sft_in_little_memory.__name__}"
    fitted: Trained = within_memory(lambda job: crew.run(work, job, quiet, "cut"), cut, told.append).result
    assert told == [
        "training ran out of memory; again with 8 rows of 16 at once",
        "training ran out of memory; again with 4 rows of 16 at once and activations computed twice",
    ]
    assert (fitted.rows_at_once, fitted.recompute) == (4, True) and (wanted.rows_at_once, wanted.recompute) == (
        0,
        False,
    )
    assert (fitted.steps, fitted.tokens) == (wanted.steps, wanted.tokens)
    assert logged(cut) == pytest.approx(logged(whole), rel=1e-4)


def test_several_processes_share_a_training(crew: Crew, student: Path, tmp_path: Path) -> None:
    """Two on this CPU, as two GPUs would: a step of all rows is the same step, and the first writes it down."""
    whole = SETTINGS.model_copy(update={"rows_per_step": 96})
    rows = tuple((prompt, response, 1) for prompt, response in ROWS[:96])
    alone, shared = (a_job(student, tmp_path / n / "out", rows=rows, settings=whole) for n in ("alone", "shared"))
    wanted: Trained = crew.run(SFT, alone, quiet, "alone").result
    progress: list[float] = []
    order = RanksJob(SFT, shared, shared, processes=2)
    trained: Trained = crew.run(
        "loop.training.ranks:train", order, lambda done, *_: progress.append(done), "ranks"
    ).result
    from loop.training.ranks import most_ranks

    assert most_ranks(96, 5) == 4 and most_ranks(16, 0) == 1 and most_ranks(16, 8) == 8
    assert (trained.steps, trained.tokens) == (wanted.steps, wanted.tokens) and progress == [10]
    assert logged(shared) == pytest.approx(logged(alone), rel=1e-4)
    lines = [json.loads(line) for line in Path(shared.log).read_text().splitlines()]
    assert [line["step"] for line in lines] == [0, 10], "one process logs"
    kept = next(Path(shared.out + STEPS).glob("step-10-*"))
    assert {path.name for path in kept.glob("rng_state*")} == {"rng_state_0.pth", "rng_state_1.pth"}
