"""Distillation: the loss against a teacher, several models as one, and the trainer of a chain's links.

TRL's own distillation trainer (1.16) has the student write the responses itself, and has no term of cross-entropy;
its GKD trainer can take the rows' responses, again without that term. A chain needs both terms on the rows, so its
trainer is TRL's SFTTrainer with the loss below; on the student's own responses TRL's trainer does it: on_policy.py.

Import it only in a child process: it brings torch.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch.nn import functional
from transformers import AutoModelForCausalLM, DynamicCache, PreTrainedModel, PreTrainedTokenizerBase
from transformers.modeling_outputs import CausalLMOutput
from trl import SFTTrainer

from agents.engines.transformers import load_student
from loop.errors import StageError


def distillation_loss(
    student: torch.Tensor,
    teacher: torch.Tensor,
    labels: torch.Tensor,
    alpha: float,
    temperature: float = 1.0,
    count: torch.Tensor | float | None = None,
) -> torch.Tensor:
    """(1 − α)·CE(student, y) + α·T²·KL(softmax(teacher/T) ‖ softmax(student/T)), a mean per unmasked token.

    T² keeps the size of the gradient (Hinton, arXiv 1503.02531); at T = 1 it changes nothing.

    Args:
        student, teacher: logits (..., vocabulary); widths that differ are cut to the smaller, since what is beyond a
            tokenizer's own tokens is padding.
        labels: (...) the token that each position shall predict, −100 where nothing is learnt.
        count: what the sums over unmasked tokens are divided by; None is their number.

    Returns: the loss, a scalar in nats.
    """
    width = min(student.shape[-1], teacher.shape[-1])
    taken = labels != -100
    student, teacher = student[taken].float(), teacher[taken][:, :width].float()
    count = taken.sum().clamp(min=1) if count is None else count
    hard = functional.cross_entropy(student, labels[taken], reduction="sum")
    soft = functional.kl_div(
        functional.log_softmax(student[:, :width] / temperature, dim=-1),
        functional.log_softmax(teacher / temperature, dim=-1),
        reduction="sum",
        log_target=True,
    )
    return ((1.0 - alpha) * hard + alpha * temperature**2 * soft) / count


def ensemble_log_probs(logits: torch.Tensor, by: str = "probability") -> torch.Tensor:
    """Log-probabilities (..., vocabulary) of an ensemble whose members have logits (members, ..., vocabulary).

    Args: by: "probability" averages what the members predict, "logit" what they say before the softmax. The loss of
        either is at most the members' mean (Jensen), whatever they say.
    """
    if by == "logit":
        return logits.float().mean(dim=0).log_softmax(dim=-1)
    return logits.float().log_softmax(dim=-1).logsumexp(dim=0) - math.log(len(logits))


class Ensemble(torch.nn.Module):
    """Frozen models of one shape as one model whose probabilities are the mean of theirs; one alone stays as it is.

    Its logits are log-probabilities. Members share one key-value cache, layer upon layer.
    """

    def __init__(self, members: Sequence[PreTrainedModel]) -> None:
        super().__init__()
        self.members = torch.nn.ModuleList(members)
        self.eval().requires_grad_(False)
        first: Any = members[0]
        self._layers = first.config.num_hidden_layers
        self.generation_config = first.generation_config
        self.config = copy.deepcopy(first.config)
        self.config.num_hidden_layers = self._layers * len(members)
        if kinds := getattr(first.config, "layer_types", None):
            self.config.layer_types = list(kinds) * len(members)

    @property
    def device(self) -> torch.device:
        """Where its first member is."""
        return next(self.parameters()).device

    def forward(self, past_key_values: DynamicCache | None = None, **inputs: Any) -> CausalLMOutput:
        """Logits (batch, length, vocabulary) for what a causal model of transformers takes."""
        caches = [self._cache(past_key_values, place) for place in range(len(self.members))]
        said = [member(**inputs, **cache).logits for member, cache in zip(self.members, caches, strict=True)]
        return CausalLMOutput(logits=said[0] if len(said) == 1 else ensemble_log_probs(torch.stack(said)))

    def _cache(self, whole: DynamicCache | None, place: int) -> dict[str, Any]:
        """The part of the cache that is a member's."""
        if whole is None:
            return {"use_cache": False}
        part = DynamicCache(config=self.members[place].config)
        part.layers = whole.layers[place * self._layers : (place + 1) * self._layers]
        return {"past_key_values": part, "use_cache": True}


class Distiller(SFTTrainer):  # type: ignore[misc]
    """TRL's SFTTrainer with the loss against a frozen teacher; without one, or at α = 0, it is TRL's own."""

    def __init__(self, *args: Any, teacher: Ensemble | None, alpha: float, temperature: float, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._teacher = teacher if alpha > 0 else None
        self._alpha, self._temperature = alpha, temperature
        if self._teacher is not None:
            self._teacher.to(self.args.device)

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """See `distillation_loss`; the teacher reads what the student reads."""
        if self._teacher is None:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        read = {name: inputs[name] for name in ("input_ids", "attention_mask") if name in inputs}
        with torch.no_grad():
            teacher = self._teacher(**read).logits
        outputs = model(**read, use_cache=False)
        loss = distillation_loss(
            outputs.logits[:, :-1], teacher[:, :-1], inputs["labels"][:, 1:], self._alpha, self._temperature,
            num_items_in_batch,
        )  # fmt: skip
        if self.args.average_tokens_across_devices and num_items_in_batch is not None:
            loss = loss * self.accelerator.num_processes  # gradients are averaged over processes, the count is of all
        return (loss, outputs) if return_outputs else loss


def load_teacher(folders: Sequence[str], tokenizer: PreTrainedTokenizerBase) -> Ensemble:
    """The models in these folders as one frozen teacher.

    Raises: StageError when one has another tokenizer than the student.
    """
    members = []
    for folder in folders:
        model, its = load_student(folder)
        if its.get_vocab() != tokenizer.get_vocab():
            raise StageError(f"{folder}: its tokenizer is not the student's; have it teach by its samples (sft)")
        members.append(model)
    return Ensemble(members)


def fresh(model: PreTrainedModel) -> PreTrainedModel:
    """A model of the same shape with weights of its own, by torch's seed."""
    return AutoModelForCausalLM.from_config(model.config, dtype=model.dtype)
