"""Vocabularies: whether two tokenizers are the same, by their files. Nothing here imports torch or transformers."""

from __future__ import annotations

import json
from pathlib import Path


def vocabulary_of(folder: Path) -> dict[str, int] | None:
    """Every token of the tokenizer in a model's folder with its number; None where no tokenizer.json tells."""
    try:
        told = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
        listed = told["model"]["vocab"]
        # A list is of (token, score) in the order of their numbers.
        tokens = dict(listed) if isinstance(listed, dict) else {row[0]: place for place, row in enumerate(listed)}
        return tokens | {token["content"]: token["id"] for token in told.get("added_tokens", ())}
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        return None


def is_same_tokenizer(one: Path, other: Path) -> bool:
    """Whether both folders have a tokenizer with the same tokens at the same numbers."""
    tokens = vocabulary_of(one)
    return tokens is not None and tokens == vocabulary_of(other)
