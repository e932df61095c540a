"""Scratch students: a small Llama and its tokenizer, made from nothing but a preset and the demonstrations.

Import it only in a child process: it brings torch.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from loop.presets import Architecture

END = "<|end|>"
PAD = "<|pad|>"
NEARLY_EVERY = 0.8
"""Share of the texts of a kind in which a phrase must stand to become one token."""
KIND_SHARE = 0.05
"""A kind of text (those that begin with the same two words) rarer than this gets no tokens of its own."""


def build_student(shape: Architecture, texts: Sequence[tuple[str, str]], folder: Path, seed: int) -> int:
    """Write a fresh student for (prompt, response) pairs into the folder; its number of parameters."""
    tokenizer = build_tokenizer(texts)
    torch.manual_seed(seed)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=shape.hidden,
            num_hidden_layers=shape.layers,
            num_attention_heads=shape.heads,
            num_key_value_heads=shape.kv_heads,
            head_dim=shape.head_size,
            intermediate_size=shape.mlp,
            max_position_embeddings=shape.positions,
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return int(model.num_parameters())


def build_tokenizer(texts: Sequence[tuple[str, str]]) -> PreTrainedTokenizerFast:
    """A tokenizer of bytes, so that any text can be written, plus whole tokens for recurring phrases.

    A phrase never holds a digit, and never a part of a problem's own content: it stands in nearly every text.
    """
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: number for number, token in enumerate([PAD, END, *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    phrases = recurring([prompt for prompt, _ in texts]) + recurring([response for _, response in texts])
    found = sorted(dict.fromkeys(phrases))
    tokenizer.add_tokens([AddedToken(phrase, normalized=False) for phrase in found])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=END,
        pad_token=PAD,
        clean_up_tokenization_spaces=False,
        model_max_length=1_000_000,
    )


def recurring(texts: Sequence[str]) -> list[str]:
    """The longest phrases that stand in nearly every text of its kind, kinds told apart by the first words."""
    kinds: dict[str, list[str]] = defaultdict(list)
    for text in texts:
        kinds[" ".join(re.findall(r"[^\W\d]+", text)[:2])].append(text)
    phrases: list[str] = []
    for members in kinds.values():
        if len(members) >= max(2, KIND_SHARE * len(texts)):
            phrases += _common_phrases(members)
    return phrases


def _common_phrases(texts: Sequence[str]) -> list[str]:
    """Phrases of nearly all the texts: what stands between numbers, and runs of words that the first text has."""
    between = Counter(phrase for text in texts for phrase in set(re.split(r"[-+]?\d+", text)))
    phrases = [phrase for phrase in between if len(phrase) > 1] + _runs_of_words(texts)
    return [phrase for phrase in phrases if _share(phrase, texts) >= NEARLY_EVERY]


def _runs_of_words(texts: Sequence[str]) -> list[str]:
    """Maximal runs of digit-free words of the first text that nearly all the texts hold."""
    pieces = re.findall(r"\s+|[^\s]+", texts[0])
    phrases: list[str] = []
    start = 0
    while start < len(pieces):
        end = start
        while end < len(pieces) and not any(c.isdigit() for c in pieces[end]):
            if _share("".join(pieces[start : end + 1]), texts) < NEARLY_EVERY:
                break
            end += 1
        if end > start and len(phrase := "".join(pieces[start:end])) > 1:
            phrases.append(phrase)
        start = max(end, start + 1)
    return phrases


def _share(phrase: str, texts: Sequence[str]) -> float:
    return sum(phrase in text for text in texts) / len(texts)
