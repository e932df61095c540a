"""Presets of scratch students, and how a student is trained: read from templates/students/*.yaml."""

from __future__ import annotations

from importlib.resources import files

import yaml

from loop.errors import ObjectiveError
from loop.records import Record


class Architecture(Record):
    """A Llama: deep and thin, tied embeddings, grouped-query attention (MobileLLM, arXiv 2402.14905)."""

    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_size: int
    """At least 32: vLLM on a CPU takes no less."""
    mlp: int
    positions: int


class TrainSettings(Record):
    """How the student is trained, round 0 and later alike."""

    learning_rate: float
    rows_per_step: int
    epochs: float = 1.0
    """Passes over the mix that a round of ordinary size makes."""
    samples: int = 6000
    """Samples that a round of ordinary size draws."""
    weight_decay: float = 0.0
    warmup: float = 0.03
    """Share of the steps over which the learning rate rises."""
    decay: float = 1.0
    """Share of the steps, at the end, over which it falls linearly to nothing."""
    adam_beta2: float = 0.99
    max_length: int = 1024
    packing: bool = False
    """Whether several rows stand in one sequence, apart from each other (see `SFT`)."""
    dropout: float = 0.0
    hold_out: float = 0.0
    """Share of the prompts that are looked at and not trained on, to stop early."""
    bf16_on_cpu: bool = False
    """Whether a CPU with matrix units for bfloat16 (AMX) multiplies in it, as a GPU does; weights stay float32."""
    lora_rank: int = 16
    lora_alpha: int = 32


class Student(Record):
    """The model being improved, and how it is run and trained."""

    name: str
    engine: str
    weights: str
    settings: TrainSettings
    architecture: Architecture | None
    max_new_tokens: int


class StudentPreset(Record):
    """A scratch student by its preset."""

    architecture: Architecture
    training: TrainSettings


FULL = TrainSettings(learning_rate=2e-5, rows_per_step=32, epochs=3)
"""For a pretrained student trained whole (RFT, arXiv 2308.01825: 2e-5, 3 epochs)."""
LORA = TrainSettings(learning_rate=2e-4, rows_per_step=32, epochs=2)
"""For a pretrained student trained through LoRA (ten times that of full training, as TRL advises)."""


def preset_names() -> list[str]:
    """The scratch presets there are."""
    folder = files("templates") / "students"
    return sorted(f.name.removesuffix(".yaml") for f in folder.iterdir() if f.name.endswith(".yaml"))


def read_preset(name: str) -> StudentPreset:
    """A preset by name.

    Raises: ObjectiveError when there is none.
    """
    if name not in preset_names():
        raise ObjectiveError(f"student: scratch/{name} is no preset; write scratch/ and one of {preset_names()}")
    text = (files("templates") / "students" / f"{name}.yaml").read_text(encoding="utf-8")
    return StudentPreset.model_validate(yaml.safe_load(text))
