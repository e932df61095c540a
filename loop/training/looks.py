"""Looks: how a student does on rows that it is not trained on, now and then, and the weights of the best look."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase, TrainerControl, TrainerState, TrainingArguments

from agents.engines import Request, SamplingJob
from agents.engines.transformers import TransformersEngine
from loop.crew import Report
from loop.jobs import TrainJob
from loop.records import digest
from loop.trained import Trained
from loop.training.student import tokenised
from loop.training.watch import Watch
from loop.verifiers import extract_answer

Rows = tuple[tuple[str, str, int], ...]

PATIENCE = 2
"""Looks in a row that bring no lower loss, after which a training stops early."""


class Looks(Watch):
    """Looks every so many steps, and when training ends; stops it when `patience` looks in a row gained nothing."""

    def __init__(
        self, job: TrainJob, steps: int, report: Report, tokenizer: PreTrainedTokenizerBase, rows: Rows,
        every: int, patience: int = PATIENCE, whole: object = None,
    ) -> None:  # fmt: skip
        """`rows` are not those of the job, which are trained on."""
        super().__init__(job, steps, report, whole)
        self._tokenizer, self._rows, self._every, self._patience = tokenizer, rows, every, patience
        self.looks: list[dict[str, float]] = []
        self.waited = 0
        self._best: dict[str, torch.Tensor] = {}

    def measure(self, model: Any) -> dict[str, float]:
        """What a look sees."""
        return {"loss": self.held_out_loss(model)}

    def rank(self, look: dict[str, float]) -> tuple[float, ...]:
        """The higher, the better."""
        return (-look["loss"],)

    def gained(self, look: dict[str, float]) -> bool:
        """Whether a look brought anything over those before."""
        return not self.looks or self.rank(look) > max(map(self.rank, self.looks))

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Look, where it is time to."""
        super().on_step_end(args, state, control, **kwargs)
        if self.steps % self._every == 0 or self.steps == self._of or self.stopped:
            self._look(kwargs["model"])
            if self.waited >= self._patience:
                control.should_training_stop = True

    def _look(self, model: Any) -> None:
        model.eval()
        look = {"step": self.steps, **self.measure(model), "tokens": self.tokens}
        model.train()
        self.waited = 0 if self.gained(look) else self.waited + 1
        if not self.looks or self.rank(look) > max(map(self.rank, self.looks)):
            learnt = ((name, value) for name, value in model.named_parameters() if value.requires_grad)
            self._best = {name: value.detach().clone() for name, value in learnt}
        self.looks.append(look)
        self.log(look)
        seen = ", ".join(f"{name} {value:.3f}" for name, value in look.items() if name not in ("step", "tokens"))
        self._report(self.steps, self._of, f"held-out {seen}")

    def held_out_loss(self, model: Any) -> float:
        """Mean loss per response token over the held-out rows, in nats."""
        began = time.monotonic()
        total = count = 0.0
        with torch.inference_mode():
            for batch in tokenised(self._tokenizer, replace(self._job, rows=self._rows)).batch(64):
                inputs, labels = padded(batch["input_ids"], 0), padded(batch["labels"], -100)
                answered = int((labels[:, 1:] != -100).sum())
                output = model(input_ids=inputs.to(model.device), labels=labels.to(model.device))
                total += float(output.loss) * answered
                count += answered
        self.engine_seconds += time.monotonic() - began
        return total / max(count, 1)

    def restore_best(self, model: Any) -> None:
        """Put the weights of the best look back."""
        model.load_state_dict(self._best, strict=False)

    def keep(self, folder: Path) -> None:
        """Also the looks so far, and the weights of the best."""
        super().keep(folder)
        (folder / "looks.json").write_text(json.dumps([self.looks, self.waited]), encoding="utf-8")
        torch.save(self._best, folder / "best.pth")

    def restore(self, folder: Path) -> None:
        """Take these up too."""
        super().restore(folder)
        self.looks, self.waited = json.loads((folder / "looks.json").read_text(encoding="utf-8"))
        self._best = torch.load(folder / "best.pth", weights_only=True)

    def trained(self, model: Any) -> Trained:
        """The record of what was done, with every look."""
        best = max(self.looks, key=self.rank, default=None)
        return replace(
            super().trained(model),
            looks=tuple(self.looks),
            held_out=len(self._rows),
            kept=None if best is None else round(best["step"]),
        )


def hold_out(rows: Rows, share: float, seed: int) -> tuple[Rows, Rows]:
    """The rows to train on, and those to look at: all rows of a share of the prompts, at least of one.

    Which ones follows from the prompt and the seed, so that every round holds out others.
    """
    prompts = sorted({prompt for prompt, _, _ in rows}, key=lambda prompt: digest("held out", seed, prompt))
    held = frozenset(prompts[: max(1, math.ceil(share * len(prompts)))] if len(prompts) > 1 else ())
    return tuple(row for row in rows if row[0] not in held), tuple(row for row in rows if row[0] in held)


def greedy_accuracy(
    model: Any, tokenizer: PreTrainedTokenizerBase, held_out: Sequence[tuple[str, str]], answer: str, most_tokens: int
) -> tuple[float, int, float]:
    """Share of the held-out prompts whose greedy answer is the demonstration's.

    Args: answer: where an answer stands; most_tokens: of a response.

    Returns: the share, the tokens read and written, and the seconds that took.
    """
    requests = tuple(Request(f"{i:x}", prompt) for i, (prompt, _) in enumerate(held_out))
    asked = SamplingJob(model="", requests=requests, temperature=0.0, max_new_tokens=most_tokens, seed=0)
    engine, right, tokens = TransformersEngine(), 0, 0
    for batch in engine.complete_with(model, tokenizer, asked):
        for row in batch:
            wanted = extract_answer(held_out[int(row.key, 16)][1], answer)
            right += wanted is not None and extract_answer(row.text, answer) == wanted
            tokens += row.prompt_tokens + row.completion_tokens
    return right / len(held_out), tokens, engine.engine_seconds


def padded(rows: Sequence[Sequence[int]], value: int) -> torch.Tensor:
    """(rows, longest) with each row filled up with `value`."""
    longest = max(map(len, rows))
    return torch.tensor([[*row, *([value] * (longest - len(row)))] for row in rows])
