"""The student as a trainer has it: loaded to be trained, its rows as tokens, and saved. It brings torch."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from datasets import Dataset
from peft import AutoPeftModelForCausalLM, LoraConfig
from peft.tuners.lora import LoraLayer
from safetensors import safe_open
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.trainer_utils import set_seed

from agents.student import student_prompt
from agents.training import DIVERGED
from loop.crew import Report
from loop.errors import StageError
from loop.jobs import ConvergeJob, Diverged, PairJob, TrainJob
from loop.trained import Trained

ONE_THREAD = 1_000_000
"""Parameters below which one thread trains faster than two: 15,300 tokens/s against 11,000 for the tiny student, its
matrices are too small to share (two cores with other work on them)."""

LAYER_PARTS = (".mlp", ".self_attn", ".attn", ".attention")
"""How the parts of a layer are called whose outputs go into the residual stream."""


def load_trainable(job: TrainJob) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The model to train, in full precision on a CPU; an adapter folder goes on as the adapter it is."""
    set_seed(job.seed)
    dtype = torch.bfloat16 if torch.cuda.is_available() and job.weights == "lora" else torch.float32
    tokenizer = AutoTokenizer.from_pretrained(job.start)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    if (Path(job.start) / "adapter_config.json").exists():
        return AutoPeftModelForCausalLM.from_pretrained(job.start, dtype=dtype, is_trainable=True), tokenizer
    model = AutoModelForCausalLM.from_pretrained(job.start, dtype=dtype)
    if model.num_parameters() < ONE_THREAD:
        torch.set_num_threads(1)
    return model, tokenizer


def tokenised(tokenizer: PreTrainedTokenizerBase, job: TrainJob) -> Dataset:
    """Rows of input_ids and labels; the prompt's labels are -100, so the loss is on the response and its end."""
    prompts = [student_prompt(tokenizer, prompt) for prompt, _, _ in job.rows]
    prompt_ids = tokenizer(prompts, add_special_tokens=False)["input_ids"]
    response_ids = tokenizer([response for _, response, _ in job.rows], add_special_tokens=False)["input_ids"]
    inputs, labels = [], []
    for (_, _, copies), ask, tell in zip(job.rows, prompt_ids, response_ids, strict=True):
        whole = (ask + tell + [tokenizer.eos_token_id])[: job.settings.max_length]
        inputs += [whole] * copies
        labels += [([-100] * len(ask) + whole[len(ask) :])[: len(whole)]] * copies
    return Dataset.from_dict({"input_ids": inputs, "labels": labels, "length": [len(ids) for ids in inputs]})


def tokenised_pairs(tokenizer: PreTrainedTokenizerBase, job: PairJob) -> Dataset:
    """Rows of prompt_ids, chosen_ids and rejected_ids: the very tokens that supervised training has for these texts.

    A pair whose prompt leaves no room for a response is left out.

    Raises: StageError when none is left.
    """
    sides = [
        tokenised(tokenizer, replace(job.train, rows=tuple((pair[0], pair[side], 1) for pair in job.pairs)))
        for side in (1, 2)
    ]
    rows = []
    for chosen, rejected in zip(*sides, strict=True):
        asked = sum(label == -100 for label in chosen["labels"])
        if asked < job.train.settings.max_length:
            whole = chosen["input_ids"]
            answers = {"chosen_ids": whole[asked:], "rejected_ids": rejected["input_ids"][asked:]}
            rows.append({"prompt_ids": whole[:asked], **answers})
    if not rows:
        raise StageError(f"no prompt of a pair is shorter than {job.train.settings.max_length} tokens")
    return Dataset.from_list(rows)


def adapter_of(job: TrainJob, model: Any) -> LoraConfig | None:
    """The fresh adapter to train; None for full weights, or where the model has one already."""
    if job.weights != "lora" or hasattr(model, "peft_config"):
        return None
    return LoraConfig(
        r=job.settings.lora_rank,
        lora_alpha=job.settings.lora_alpha,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )


def add_dropout(model: Any, share: float) -> None:
    """Drop so much of what adapters take in; of a model without, of what each layer's parts give out.

    By hooks and in the modules alone: the configuration, and so the saved student, stays as it was.

    Raises: StageError when the model has no parts of a known name.
    """
    adapters = [module for module in model.modules() if isinstance(module, LoraLayer)]
    for adapter in adapters:
        for name in adapter.lora_dropout:
            adapter.lora_dropout[name] = torch.nn.Dropout(share)
    parts = [] if adapters else [m for name, m in model.named_modules() if name.endswith(LAYER_PARTS)]
    for part in parts:
        part.register_forward_hook(lambda module, _, given: _dropped(given, share, module.training))
    if not adapters and not parts:
        raise StageError(f"dropout: {type(model).__name__} has no parts named {LAYER_PARTS}; leave dropout out")


def _dropped(given: Any, share: float, training: bool) -> Any:
    if isinstance(given, tuple):
        return (_dropped(given[0], share, training), *given[1:])
    return torch.nn.functional.dropout(given, share, training)


def save(model: Any, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Write the student so that transformers or PEFT load it as it is: by the first process, where there are several.

    Raises: Diverged when what was written holds a weight that is no number.
    """
    if dist.is_initialized() and dist.get_rank():
        return
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    check_finite(folder)


def check_finite(folder: Path) -> None:
    """Read the weights of a checkpoint back, tensor by tensor.

    Raises: Diverged, naming the first tensor that holds a weight that is no number.
    """
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            for name in file.keys():  # noqa: SIM118 (it is no dict)
                if not torch.isfinite(file.get_tensor(name)).all():
                    raise Diverged(f"{DIVERGED}: {name} holds a weight that is no number; lower the learning rate")


def adopt(job: ConvergeJob, report: Report) -> Trained:
    """Take a pretrained student as it is: without demonstrations there is nothing to converge on."""
    report(0, 1, "loading")
    model, tokenizer = load_trainable(job.train)
    save(model, tokenizer, Path(job.train.out))
    return Trained(model.num_parameters(), steps=0, tokens=0, loss=None, engine_seconds=0.0)
