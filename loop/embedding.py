"""Embedding: what a frozen model makes of a text, as one row of features. Import it only in a child process.

The student's own last hidden states, mean-pooled over the text's tokens; or a sentence-transformers model.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from agents.engines import EngineError
from agents.engines.transformers import load_student
from loop.crew import Report
from loop.errors import MissingError
from loop.files import make_folder
from loop.quality import Embedded, EmbedJob

BATCH_TOKENS = 16_384
"""Tokens of one batch, padding counted."""
BATCH_ROWS = 256


def embed(job: EmbedJob, report: Report) -> Embedded:
    """Write the features of the job's texts to its file.

    Raises: MissingError when the model, or what it needs, is not there.
    """
    began = time.perf_counter()
    work = _sentences if job.kind == "sentence" else _hidden
    features, tokens, parameters = work(job, report)
    out = Path(job.out)
    make_folder(out.parent)
    temporary = out.with_name(f".{out.name}.tmp")
    with temporary.open("wb") as file:
        np.save(file, features, allow_pickle=False)
    temporary.replace(out)
    return Embedded(len(features), features.shape[1], tokens, parameters, time.perf_counter() - began)


def load_encoder(folder: str) -> tuple[Any, Any]:
    """Model and tokenizer of a folder or id, frozen: no parameter of the model ever gets a gradient.

    Raises: MissingError when there is none.
    """
    try:
        model, tokenizer = load_student(folder)
    except EngineError as error:
        raise MissingError(str(error)) from error
    return model.requires_grad_(False), tokenizer


def pool(model: Any, rows: Sequence[Sequence[int]]) -> torch.Tensor:
    """The mean of the last hidden states over each row's tokens: rows × features, in float32.

    Rows are padded at their right end, where a causal model does not look from within a row.
    """
    longest = max(map(len, rows))
    ids = torch.tensor([[*row, *[0] * (longest - len(row))] for row in rows], device=model.device)
    lengths = torch.tensor([len(row) for row in rows], device=model.device)
    mask = torch.arange(longest, device=model.device) < lengths[:, None]
    states = model.base_model(input_ids=ids, attention_mask=mask.long(), use_cache=False).last_hidden_state.float()
    pooled: torch.Tensor = (states * mask[..., None]).sum(dim=1) / lengths[:, None]
    return pooled


def _hidden(job: EmbedJob, report: Report) -> tuple[NDArray[np.float32], int, int]:
    model, tokenizer = load_encoder(job.model)
    positions = getattr(model.config, "max_position_embeddings", job.most_tokens)
    texts = tokenizer(list(job.texts), add_special_tokens=False)["input_ids"] if job.texts else []
    rows = [ids[: min(job.most_tokens, positions)] or [tokenizer.eos_token_id] for ids in texts]
    features = np.zeros((len(rows), model.config.hidden_size), np.float32)
    done = 0
    for batch in _batches(rows):
        features[batch] = pool(model, [rows[i] for i in batch]).cpu().numpy()
        done += len(batch)
        report(done, len(rows), "texts read")
    return features, sum(map(len, rows)), sum(p.numel() for p in model.parameters())


def _batches(rows: Sequence[Sequence[int]]) -> Iterator[list[int]]:
    """The places of all rows in batches of like length, longest first: what does not fit in memory fails at once."""
    queue = sorted(range(len(rows)), key=lambda i: -len(rows[i]))
    while queue:
        size = max(1, min(BATCH_ROWS, BATCH_TOKENS // len(rows[queue[0]])))
        yield queue[:size]
        queue = queue[size:]


def _sentences(job: EmbedJob, report: Report) -> tuple[NDArray[np.float32], int, int]:
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError as error:
        raise MissingError(
            f"{job.model}: embeddings of a sentence-transformers model need that package; install it with"
            " `pip install 'loop-train[embeddings]'`, or take the student's own hidden states"
        ) from error
    try:
        model = SentenceTransformer(job.model)
    except (OSError, ValueError) as error:
        raise MissingError(f"{job.model}: no model can be loaded there: {str(error).splitlines()[0]}") from error
    model.max_seq_length = min(job.most_tokens, model.max_seq_length or job.most_tokens)
    model.requires_grad_(False)
    parts = []
    for first in range(0, len(job.texts), BATCH_ROWS):
        parts.append(model.encode(list(job.texts[first : first + BATCH_ROWS]), show_progress_bar=False))
        report(min(first + BATCH_ROWS, len(job.texts)), len(job.texts), "texts read")
    cut = {"truncation": True, "max_length": model.max_seq_length}
    tokens = sum(map(len, model.tokenizer(list(job.texts), **cut)["input_ids"])) if job.texts else 0
    size = model.get_embedding_dimension() or 0
    features = np.concatenate(parts).astype(np.float32) if parts else np.zeros((0, size), np.float32)
    return features, tokens, sum(p.numel() for p in model.parameters())
