"""The watch on a training: it counts tokens and time, reports, and ends what has to end. It brings transformers."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from loop.crew import Report
from loop.jobs import Diverged, Trained, TrainJob


class Watch(TrainerCallback):  # type: ignore[misc]
    """Counts tokens and time, reports, keeps to the limits, and stops at a loss that is no number."""

    shown: ClassVar[Mapping[str, str]] = {}
    """What else of TRL's numbers the log gets: its name there, and ours."""

    def __init__(self, job: TrainJob, steps: int, report: Report) -> None:
        self._job, self._of, self._report = job, steps, report
        self._began = self._step_began = time.monotonic()
        self.engine_seconds = 0.0
        self.tokens = self.steps = 0
        self.loss: float | None = None
        self.stopped = ""
        self._log = Path(job.log) if job.log else None

    def trained(self, model: Any) -> Trained:
        """The record of what was done."""
        return Trained(
            parameters=sum(p.numel() for p in model.parameters()),
            steps=self.steps,
            tokens=self.tokens,
            loss=self.loss,
            engine_seconds=self.engine_seconds,
            stopped=self.stopped,
        )

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        """The clock of the engine starts."""
        self._step_began = time.monotonic()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """The clock stops; a limit that is reached ends training."""
        self.engine_seconds += time.monotonic() - self._step_began
        self.steps, self.tokens = state.global_step, int(state.num_input_tokens_seen)
        self.stopped = self._job.limits.spent_by(self.tokens, self._began)
        if self.stopped:
            control.should_training_stop = True

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: Any = None,
        **_: Any,
    ) -> None:
        """Report and log the loss; one that is no number ends training."""
        loss = (logs or {}).get("loss")
        if loss is None:
            return
        if not math.isfinite(loss):
            raise Diverged(f"the loss is {loss} at step {state.global_step}; lower the learning rate")
        self.loss = loss
        rate = self.tokens / max(time.monotonic() - self._began, 1e-9)
        self._report(self.steps, self._of, f"{rate:,.0f} tokens/s, loss {loss:.3f}")
        more = {name: logs[key] for key, name in self.shown.items() if key in logs}
        self.log({"step": self.steps, "of": self._of, "loss": loss, "tokens": self.tokens, **more})

    def log(self, line: dict[str, float]) -> None:
        """Add a line to the job's log."""
        if self._log:
            with self._log.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
