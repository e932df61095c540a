"""The watch on a training: it counts tokens and time, reports, ends what has to end, and keeps steps to go on from.

It goes with any trainer of transformers or TRL: pass it as a callback, and train by `Watch.train`.
"""

from __future__ import annotations

import json
import math
import statistics
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
import torch.distributed as dist
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from agents.training import DIVERGED
from loop.crew import Report
from loop.jobs import Diverged, TrainJob
from loop.trained import Trained
from loop.training.steps import KeptSteps

RISE, FLOOR, IN_A_ROW = 8.0, 0.2, 5
"""A loss diverges when so many logged ones in a row are above so many times the median of the last `RECENT` before,
which counts as no less than the floor, in nats. Eight times the median alone says nothing: of 96,256 logged losses of
756 trainings that ended well, 18,036 were above it, in 258 trainings three in a row (a student that has its rows by
heart has a median of next to nothing, and a hard batch has not). With the floor, of 821 curves 17 had one such loss,
4 had two in a row, and none had more."""
RECENT = 20
COUNTED = ("engine_seconds", "tokens", "sampled_tokens", "loss", "losses", "risen")
"""What is counted from the first step on, and so kept with a step."""
KEEPING = 0.02
"""Share of the time that may go into keeping steps."""


class Watch(TrainerCallback):  # type: ignore[misc]
    """Counts tokens and time, reports, keeps to the limits, stops at a loss that diverges, and keeps steps."""

    shown: ClassVar[Mapping[str, str]] = {}
    """What else of TRL's numbers the log gets: its name there, and ours."""

    def __init__(self, job: TrainJob, steps: int, report: Report, whole: object = None) -> None:
        """`whole` is the job that `job` is a part of, where it is one."""
        self._job, self._of, self._report = job, steps, report
        self._began = self._step_began = self._kept_at = time.monotonic()
        self._keeping_took = 0.0
        self._kept = KeptSteps(job, whole or job)
        self._epoch_began = torch.get_rng_state()
        self._resumed: torch.Tensor | None = None
        self.engine_seconds = 0.0
        self.tokens = self.steps = self.sampled_tokens = 0
        self.loss: float | None = None
        self.losses: list[float] = []
        self.risen = 0
        self.stopped = self.note = ""
        self._log = Path(job.log) if job.log else None

    def train(self, trainer: Any) -> None:
        """Have the trainer train, on from the last step that an earlier launch of this very job kept.

        Raises: Diverged.
        """
        step, self.note = self._kept.last()
        if step is None:
            self._kept.remove()
        else:
            self.restore(step)
        trainer.train(resume_from_checkpoint=None if step is None else str(step))

    def trained(self, model: Any) -> Trained:
        """The record of what was done."""
        return Trained(
            parameters=sum(p.numel() for p in model.parameters()),
            steps=self.steps,
            tokens=self.tokens,
            loss=self.loss,
            engine_seconds=self.engine_seconds,
            sampled_tokens=self.sampled_tokens,
            stopped=self.stopped,
            rows_at_once=self._job.rows_at_once,
            recompute=self._job.recompute,
            note=self.note,
        )

    def keep(self, folder: Path) -> None:
        """Write what the trainer does not: what was counted so far, and the random state that shuffled this epoch."""
        counted = {name: getattr(self, name) for name in COUNTED}
        (folder / "watch.json").write_text(json.dumps(counted), encoding="utf-8")
        torch.save(self._epoch_began, folder / "epoch_rng.pth")

    def restore(self, folder: Path) -> None:
        """Take up what `keep` wrote."""
        for name, value in json.loads((folder / "watch.json").read_text(encoding="utf-8")).items():
            setattr(self, name, value)
        self._resumed = torch.load(folder / "epoch_rng.pth", weights_only=True)

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """The log says from where this launch goes on; later tokens of an earlier one were trained on in vain."""
        self.steps, self._kept_at = state.global_step, time.monotonic()
        self.log({"step": self.steps, "of": self._of, "tokens": self.tokens, "begins": self._kept.identity})

    def on_epoch_begin(self, *_: Any, **__: Any) -> None:
        """An epoch that is gone on with is shuffled as it was; the trainer sets the random state right afterwards."""
        if self._resumed is not None:
            torch.set_rng_state(self._resumed)
            self._resumed = None
        self._epoch_began = _of_first_process(torch.get_rng_state())
        torch.set_rng_state(self._epoch_began)  # or the processes would not shuffle alike

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        """The clock of the engine starts."""
        self._step_began = time.monotonic()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """The clock stops; a limit that is reached ends training; now and then a step is kept."""
        self.engine_seconds += time.monotonic() - self._step_began
        self.steps, self.tokens = state.global_step, int(state.num_input_tokens_seen)
        self.stopped = self._job.limits.spent_by(self.tokens, self._began)
        if _any_process(bool(self.stopped)):
            self.stopped = self.stopped or "minutes"
            control.should_training_stop = True
        elif state.global_step % args.logging_steps == 0 and self._is_due(kwargs["model"]):
            self._kept_at = time.monotonic()
            control.should_save = True

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """What the trainer has written becomes the step to go on from."""
        _wait_for_all()
        if state.is_world_process_zero:
            written = Path(args.output_dir) / f"checkpoint-{state.global_step}"
            self.keep(written)
            self._kept.keep(written, state.global_step)
        _wait_for_all()
        now = time.monotonic()
        self._keeping_took, self._kept_at = now - self._kept_at, now

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: Any = None,
        **kwargs: Any,
    ) -> None:
        """Report and log the loss; one that diverges ends training.

        Raises: Diverged.
        """
        loss = (logs or {}).get("loss")
        if loss is None:
            return
        if wrong := self._strays(loss, logs.get("grad_norm", 0.0)):
            self._kept.remove()
            diverged = Diverged(f"{DIVERGED}: {wrong} at step {state.global_step}; lower the learning rate")
            diverged.trained = self.trained(kwargs["model"])
            raise diverged
        self.loss = loss
        rate = self.tokens / max(self.engine_seconds, 1e-9)  # of all launches, as the tokens are
        self._report(self.steps, self._of, f"{rate:,.0f} tokens/s, loss {loss:.3f}")
        more = {name: logs[key] for key, name in self.shown.items() if key in logs}
        self.log({"step": self.steps, "of": self._of, "loss": loss, "tokens": self.tokens, **more})

    def log(self, line: dict[str, Any]) -> None:
        """Add a line to the job's log."""
        if self._log and not (dist.is_initialized() and dist.get_rank()):
            with self._log.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")

    def _strays(self, loss: float, norm: float) -> str:
        """What is wrong with a logged loss or the gradient's norm, or ""."""
        if not math.isfinite(loss):
            return f"the loss is {loss}"
        if not math.isfinite(norm):
            return f"the gradient's norm is {norm}"
        usual = statistics.median(self.losses) if self.losses else math.inf
        if loss <= RISE * max(usual, FLOOR):
            self.losses, self.risen = [*self.losses, loss][-RECENT:], 0
            return ""
        self.risen += 1
        return f"the loss is {loss:.3g}, and was {usual:.3g}," if self.risen == IN_A_ROW else ""

    def _is_due(self, model: Any) -> bool:
        """Whether a step should be kept now: the first process decides, for all."""
        every = self._job.keep_every
        if every is None:
            return False
        due = time.monotonic() - self._kept_at >= (max(every, self._keeping_took / KEEPING) if every else 0.0)
        trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
        return _any_process(due and self._kept.has_room(trained))


def _any_process(yes: bool) -> bool:
    """Whether any process of this training says yes: all have to go the same way."""
    if not dist.is_initialized():
        return yes
    votes = torch.tensor(int(yes), device="cuda" if torch.cuda.is_available() else "cpu")
    dist.all_reduce(votes, op=dist.ReduceOp.MAX)
    return bool(votes.item())


def _of_first_process(state: torch.Tensor) -> torch.Tensor:
    """The random state that the first process of this training has."""
    if not dist.is_initialized():
        return state
    shared = state.to("cuda" if torch.cuda.is_available() else "cpu")
    dist.broadcast(shared, src=0)
    return shared.cpu()


def _wait_for_all() -> None:
    if dist.is_initialized():
        dist.barrier()
