"""The engine vllm's child: steps vllm over a job's requests, and says each row as it finishes.

    python -m agents.engines.vllm_child JOB.json DESCRIPTOR

It runs under LOOP_VLLM_PYTHON and needs nothing but the standard library, vllm and agents/student.py. What it says
goes to a pipe of its own: vllm prints on standard output and error.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from agents.student import student_prompt

FLUSH_SECONDS = 0.2
"""Rows are said together when they finish within this time."""


class Mouth:
    """The pipe to the parent: a JSON object a line."""

    def __init__(self, descriptor: int) -> None:
        os.set_inheritable(descriptor, False)
        self._pipe = os.fdopen(descriptor, "w", encoding="utf-8")

    def say(self, **told: object) -> None:
        """Say something at once."""
        self._pipe.write(json.dumps(told) + "\n")
        self._pipe.flush()


def main() -> None:
    """Do the job."""
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    mouth = Mouth(int(sys.argv[2]))
    from vllm import EngineArgs, LLMEngine

    engine = LLMEngine.from_engine_args(EngineArgs(disable_log_stats=True, **job["settings"]))
    mouth.say(parameters=_parameters(engine.model_config.model, job["adapter"]))
    rows: list[tuple[Any, ...]] = []
    seconds, said = 0.0, time.monotonic()
    for finished, spent in _finished(engine, job):
        rows += finished
        seconds += spent
        if time.monotonic() - said >= FLUSH_SECONDS:
            mouth.say(rows=rows, seconds=seconds)
            rows, said = [], time.monotonic()
    mouth.say(rows=rows, seconds=seconds, done=True)


def _finished(engine: Any, job: dict[str, Any]) -> Iterator[tuple[list[tuple[Any, ...]], float]]:
    """Rows (the fields of a Completion) that a step finished, and the seconds inside vllm's own calls."""
    from vllm import SamplingParams
    from vllm.lora.request import LoRARequest
    from vllm.sampling_params import RequestOutputKind

    tokenizer = engine.get_tokenizer()
    ends = _end_tokens(engine, tokenizer)
    # A new name and number for each job: caches of vllm go by them, not by the weights.
    number = int.from_bytes(os.urandom(3)) + 1
    adapter = LoRARequest(f"{Path(job['adapter']).name}-{number}", number, job["adapter"]) if job["adapter"] else None
    prompts = [student_prompt(tokenizer, prompt) for _, prompt in job["requests"]]
    tokens = tokenizer(prompts, add_special_tokens=False)["input_ids"]
    lengths, refused = {}, []
    began = time.perf_counter()
    for (key, _), ids in zip(job["requests"], tokens, strict=True):
        sampling = SamplingParams(
            temperature=job["temperature"],
            max_tokens=job["max_new_tokens"],
            seed=_seed(job["seed"], key),
            stop_token_ids=sorted(ends),
            detokenize=False,  # done once for each row, as the engine transformers does it
            output_kind=RequestOutputKind.FINAL_ONLY,
        )
        try:
            engine.add_request(key, {"prompt_token_ids": ids}, sampling, lora_request=adapter)
        except ValueError as error:  # longer than the model's positions
            print(f"{key}: {error}", file=sys.stderr, flush=True)
            refused.append((key, "", "error", len(ids), 0, 0))
        lengths[key] = len(ids)
    yield refused, time.perf_counter() - began
    while engine.has_unfinished_requests():
        began = time.perf_counter()
        outputs = engine.step()
        spent = time.perf_counter() - began
        yield [_row(tokenizer, output, lengths, ends) for output in outputs if output.finished], spent


def _row(tokenizer: Any, output: Any, lengths: dict[str, int], ends: set[int]) -> tuple[Any, ...]:
    key, written = output.request_id, list(output.outputs[0].token_ids)
    stopped = bool(written) and written[-1] in ends
    text = tokenizer.decode(written[:-1] if stopped else written, skip_special_tokens=True)
    finish = "stop" if stopped else "length"
    return key, text, finish, lengths[key], len(written), output.num_cached_tokens or 0


def _end_tokens(engine: Any, tokenizer: Any) -> set[int]:
    """The same as the engine transformers stops at."""
    listed = engine.model_config.try_get_generation_config().get("eos_token_id")
    listed = listed if isinstance(listed, list) else [listed]
    return {token for token in [*listed, tokenizer.eos_token_id] if token is not None}


def _seed(seed: int, key: str) -> int:
    return int(hashlib.sha256(f"{seed} {key}".encode()).hexdigest()[:15], 16)


def _parameters(model: str, adapter: str) -> int:
    """Of the model and its adapter, by the headers of their weights; 0 when they are kept in another form."""
    folder = Path(model)
    if not folder.is_dir():
        from huggingface_hub import snapshot_download

        folder = Path(snapshot_download(model, local_files_only=True, allow_patterns="*.safetensors"))
    files = [*folder.glob("*.safetensors"), *(Path(adapter).glob("*.safetensors") if adapter else ())]
    return sum(_count(path) for path in files)


def _count(path: Path) -> int:
    """Numbers in a safetensors file: 8 bytes with the header's length, the header, the tensors."""
    with path.open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    total = 0
    for name, tensor in header.items():
        if name != "__metadata__":
            size = 1
            for length in tensor["shape"]:
                size *= length
            total += size
    return total


if __name__ == "__main__":
    main()
