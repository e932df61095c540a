"""The exporter: a checkpoint as a model folder for others, adapters merged.

Import it only in a child process: it brings torch.
"""

from __future__ import annotations

from pathlib import Path

import torch
from peft import PeftConfig, PeftModel
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from agents.engines.server import CHAT_TEMPLATE
from agents.engines.transformers import end_tokens
from agents.engines.vllm_settings import ADAPTER
from loop.crew import Report
from loop.errors import MissingError
from loop.jobs import Exported, ExportJob


def export_model(job: ExportJob, report: Report) -> Exported:
    """Write weights, tokenizer and greedy generation settings to `job.out`, the student's prompt as its chat template
    where it has none.

    Raises: MissingError when an adapter's base is not to be had, or there is no room for the weights.
    """
    report(0, 1, "loading")
    is_adapter = (Path(job.checkpoint) / ADAPTER).is_file()
    try:
        model = _merged(job) if is_adapter else _load(job.checkpoint)
        tokenizer = AutoTokenizer.from_pretrained(job.checkpoint, padding_side="left")
        has_template = bool(tokenizer.chat_template)
        _complete(tokenizer)
        model.generation_config = _greedily(model, tokenizer, job.max_new_tokens)
        model.config.use_cache = True  # the trainer turns it off, and answers would be written ever more slowly
        report(0, 1, "writing")
        model.save_pretrained(job.out)
        tokenizer.save_pretrained(job.out)
    except OSError as error:
        raise MissingError(f"{job.checkpoint}: cannot be exported: {str(error).splitlines()[0]}") from error
    dtype = str(model.dtype).removeprefix("torch.")
    return Exported(model.num_parameters(), dtype, merged=is_adapter, template="own" if has_template else "bare")


def _load(name: str) -> PreTrainedModel:
    return AutoModelForCausalLM.from_pretrained(name, dtype="auto")


def _merged(job: ExportJob) -> PreTrainedModel:
    """The base with the adapter in its weights: summed in float32, then rounded once, to the base's precision."""
    base = _load(job.base or PeftConfig.from_pretrained(job.checkpoint).base_model_name_or_path)
    stored = base.dtype
    whole = PeftModel.from_pretrained(base.to(torch.float32), job.checkpoint).merge_and_unload(safe_merge=True)
    return whole.to(stored)


def _complete(tokenizer: PreTrainedTokenizerBase) -> None:
    """What a stranger needs of the tokenizer: a pad token and a chat template."""
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    if not tokenizer.chat_template:
        tokenizer.chat_template = CHAT_TEMPLATE


def _greedily(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, most: int) -> GenerationConfig:
    """As the student is examined; what its base says of sampling is left out, since the exams never heard of it."""
    ends = sorted(end_tokens(model, tokenizer))
    return GenerationConfig(
        do_sample=False,
        max_new_tokens=most,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=ends[0] if len(ends) == 1 else ends,
        pad_token_id=tokenizer.pad_token_id,
    )
