"""The default engine: `transformers`, on a CPU or a GPU, with no server. Import it only in a child process."""

from __future__ import annotations

import time
from collections.abc import Iterator

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    DynamicCache,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from agents.engines import Completion, EngineError, Request, SamplingJob
from agents.student import student_prompt

BATCH_TOKENS = 65_536
"""Tokens of one batch, prompts and room for completions counted: bounds the key-value cache."""
BATCH_ROWS = 512


class TransformersEngine:
    """Left-padded batches sorted by length, each seeded by its content."""

    def __init__(self) -> None:
        self.engine_seconds = 0.0
        self.stopped = ""
        self.parameters = 0

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
        self.parameters = sum(p.numel() for p in model.parameters())
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


def _batches(tokenizer: PreTrainedTokenizerBase, job: SamplingJob) -> Iterator[list[tuple[Request, list[int]]]]:
    """The whole job in batches of like length, longest first: what does not fit in memory fails at once."""
    prompts = [r.prompt if job.whole_prompts else student_prompt(tokenizer, r.prompt) for r in job.requests]
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
    rows = {"input_ids": [ids for _, ids in batch]}
    inputs = tokenizer.pad(rows, padding_side="left", return_tensors="pt").to(model.device)  # a trainer's pads right
    generator = torch.Generator(device=model.device).manual_seed(_batch_seed(job.seed, batch[0][0].key))
    ends = end_tokens(model, tokenizer)
    written = _decode(model, inputs["input_ids"], inputs["attention_mask"], job, sorted(ends), generator)
    return [
        _completion(tokenizer, request, ids, row, ends) for (request, ids), row in zip(batch, written, strict=True)
    ]


@torch.inference_mode()
def _decode(
    model: PreTrainedModel,
    prompt: torch.Tensor,
    mask: torch.Tensor,
    job: SamplingJob,
    ends: list[int],
    generator: torch.Generator,
) -> list[list[int]]:
    """Tokens written for each row of a left-padded prompt (rows × tokens), the end token included.

    Finished rows leave the batch once they are a quarter of it: with answers of unlike length this is 1.4 to 1.7
    times as fast as `model.generate`, which carries every row to the end of the longest.
    """
    rows = torch.arange(prompt.shape[0], device=prompt.device)
    written: list[list[int]] = [[] for _ in range(prompt.shape[0])]
    ending = torch.tensor(ends, device=prompt.device)
    cache = DynamicCache(config=model.config)
    positions = (mask.cumsum(dim=1) - 1).clamp(min=0)
    tokens = prompt
    for _ in range(job.max_new_tokens):
        output = model(
            input_ids=tokens,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            logits_to_keep=1,
        )
        chosen = _choose(output.logits[:, -1].float(), job.temperature, generator)
        for row, token in zip(rows.tolist(), chosen.tolist(), strict=True):
            if row >= 0:
                written[row].append(token)
        rows = torch.where(torch.isin(chosen, ending), -1, rows)
        going = (rows >= 0).nonzero().squeeze(1)
        if not len(going):
            break
        tokens, positions = chosen[:, None], positions[:, -1:] + 1
        mask = torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1)
        if len(going) <= 0.75 * len(rows):
            cache.batch_select_indices(going)
            rows, tokens, positions, mask = rows[going], tokens[going], positions[going], mask[going]
    return written


def _choose(logits: torch.Tensor, temperature: float, generator: torch.Generator) -> torch.Tensor:
    """The next token of each row: the likeliest, or one drawn by the Gumbel-max trick."""
    if temperature == 0:
        return logits.argmax(dim=-1)
    noise = torch.empty_like(logits).exponential_(generator=generator).log_()
    return (logits / temperature - noise).argmax(dim=-1)


def _completion(
    tokenizer: PreTrainedTokenizerBase, request: Request, prompt: list[int], row: list[int], ends: set[int]
) -> Completion:
    stopped = bool(row) and row[-1] in ends
    kept = row[:-1] if stopped else row
    return Completion(
        key=request.key,
        text=tokenizer.decode(kept, skip_special_tokens=True),
        finish="stop" if stopped else "length",
        prompt_tokens=len(prompt),
        completion_tokens=len(row),
    )


def end_tokens(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> set[int]:
    """The tokens at which a completion ends: those of the model's generation settings, and the tokenizer's."""
    ends = model.generation_config.eos_token_id if model.generation_config else None
    listed = ends if isinstance(ends, list) else [ends]
    return {token for token in [*listed, tokenizer.eos_token_id] if token is not None}


def _batch_seed(seed: int, key: str) -> int:
    return (seed * 1_000_003 + int(key, 16)) % (2**63)
