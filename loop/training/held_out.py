"""Measuring on the held-out demonstrations: the loss of models and of their ensemble, and greedy accuracy.

It brings torch.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch.nn import functional
from transformers import PreTrainedTokenizerBase

from loop.jobs import DistillJob
from loop.training.distillation import Ensemble, ensemble_log_probs
from loop.training.looks import greedy_accuracy, padded
from loop.training.student import tokenised

ROWS = 64
"""Of a batch."""


@dataclass(frozen=True)
class Losses:
    """Loss per response token, in nats, over the held-out part; None where there is none."""

    members: tuple[float | None, ...]
    by_probability: float | None
    by_logit: float | None
    tokens: int
    """That each member read."""


@torch.no_grad()
def losses(members: Ensemble, tokenizer: PreTrainedTokenizerBase, job: DistillJob, first: int = 0) -> Losses:
    """Of each member, and of those from `first` on together, under both ways to average."""
    if not job.held_out:
        return Losses((None,) * len(members.members), None, None, 0)
    rows = tokenised(tokenizer, replace(job.train, rows=tuple((p, r, 1) for p, r in job.held_out)))
    total, answered, read = torch.zeros(len(members.members) + 2, dtype=torch.float64), 0, 0
    for batch in rows.batch(ROWS):
        inputs = padded(batch["input_ids"], 0).to(members.device)
        labels = padded(batch["labels"], -100).to(members.device)[:, 1:]
        logits = torch.stack([model(input_ids=inputs, use_cache=False).logits[:, :-1] for model in members.members])
        said = [*logits, ensemble_log_probs(logits[first:]), ensemble_log_probs(logits[first:], "logit")]
        total += torch.stack([_total(one, labels) for one in said]).cpu()
        answered += int((labels != -100).sum())
        read += sum(batch["length"])
    *alone, by_probability, by_logit = (total / max(answered, 1)).tolist()
    return Losses(tuple(alone), by_probability, by_logit, read)


def accuracy(model: Any, tokenizer: PreTrainedTokenizerBase, job: DistillJob) -> tuple[float | None, int]:
    """Share of the held-out prompts whose greedy answer is the demonstration's; and the tokens read and written."""
    if not job.held_out:
        return None, 0
    share, tokens, _ = greedy_accuracy(model.eval(), tokenizer, job.held_out, job.answer, job.max_new_tokens)
    return share, tokens


def _total(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Summed loss of logits (rows, length, vocabulary) on labels (rows, length)."""
    return functional.cross_entropy(logits.flatten(0, 1).float(), labels.flatten(), reduction="sum").double()
