"""The default engine: `transformers`, on a CPU or a GPU, with no server. Import it only in a child process."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from agents.engines import Completion, EngineError, Request, SamplingJob
from agents.student import student_prompt

BATCH_TOKENS = 65_536
"""Tokens of one batch, prompts and room for completions counted: bounds the key-value cache."""
BATCH_ROWS = 512


class TransformersEngine:
    """Left-padded batches sorted by length, each seeded by its content."""

    def __init__(self) -> None:
        self.engine_seconds = 0.0

    def complete(self, job: SamplingJob) -> Iterator[list[Completion]]:
        """See Engine. A batch is always made up the same way, so that a job that goes on after a kill draws
        what the unbroken one would have drawn.
        """
        model, tokenizer = load_student(job.model)
        yield from self.complete_with(model, tokenizer, job)

    def complete_with(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, job: SamplingJob
    ) -> Iterator[list[Completion]]:
        """As `complete`, with a model that is in memory already."""
        for batch in _batches(tokenizer, job):
            if all(request.key in job.done for request, _ in batch):
                continue
            began = time.perf_counter()
            rows = _generate(model, tokenizer, job, batch)
            self.engine_seconds += time.perf_counter() - began
            yield [row for row in rows if row.key not in job.done]


def load_student(folder: str) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Model and tokenizer of a folder or hub id, or of a LoRA adapter on its base, ready to generate.

    Raises: EngineError when there is none.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left")
        model = AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.bfloat16 if torch.cuda.is_available() else torch.float32
        )
    except (OSError, ValueError) as error:
        raise EngineError(f"{folder}: no model can be loaded there: {str(error).splitlines()[0]}") from error
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return model.to("cuda" if torch.cuda.is_available() else "cpu").eval(), tokenizer


def _batches(
    tokenizer: PreTrainedTokenizerBase, job: SamplingJob
) -> Iterator[list[tuple[Request, list[int]]]]:
    """The whole job in batches of like length, longest first: what does not fit in memory fails at once."""
    prompts = [student_prompt(tokenizer, request.prompt) for request in job.requests]
    tokens = tokenizer(prompts, add_special_tokens=False)["input_ids"] if prompts else []
    queue = sorted(zip(job.requests, tokens, strict=True), key=lambda pair: -len(pair[1]))
    while queue:
        longest = len(queue[0][1]) + job.max_new_tokens
        size = max(1, min(BATCH_ROWS, BATCH_TOKENS // longest))
        yield queue[:size]
        queue = queue[size:]


def _generate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    job: SamplingJob,
    batch: list[tuple[Request, list[int]]],
) -> list[Completion]:
    inputs = tokenizer.pad({"input_ids": [ids for _, ids in batch]}, return_tensors="pt").to(model.device)
    torch.manual_seed(_batch_seed(job.seed, batch[0][0].key))
    choice: dict[str, Any] = {"do_sample": False}
    if job.temperature > 0:
        choice = {"do_sample": True, "temperature": job.temperature, "top_k": 0, "top_p": 1.0}
    with torch.inference_mode():
        output = model.generate(
            input_ids=inputs["input_ids"],
            attention_mask=inputs["attention_mask"],
            max_new_tokens=job.max_new_tokens,
            pad_token_id=tokenizer.pad_token_id,
            **choice,
        )
    written = output[:, inputs["input_ids"].shape[1] :].tolist()
    ends = _end_tokens(model, tokenizer)
    return [
        _completion(tokenizer, request, ids, row, ends)
        for (request, ids), row in zip(batch, written, strict=True)
    ]


def _completion(
    tokenizer: PreTrainedTokenizerBase, request: Request, prompt: list[int], row: list[int], ends: set[int]
) -> Completion:
    stop = next((i for i, token in enumerate(row) if token in ends), None)
    kept = row if stop is None else row[:stop]
    return Completion(
        key=request.key,
        text=tokenizer.decode(kept, skip_special_tokens=True),
        finish="length" if stop is None else "stop",
        prompt_tokens=len(prompt),
        completion_tokens=len(kept) + (stop is not None),
    )


def _end_tokens(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> set[int]:
    ends = model.generation_config.eos_token_id if model.generation_config else None
    listed = ends if isinstance(ends, list) else [ends]
    return {token for token in [*listed, tokenizer.eos_token_id] if token is not None}


def _batch_seed(seed: int, key: str) -> int:
    return (seed * 1_000_003 + int(key, 16)) % (2**63)
