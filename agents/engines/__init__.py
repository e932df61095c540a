"""Engines: how models run. A job goes in, batches of completions come out as they finish."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal, Protocol

from agents.purse import FREE, Prices


class EngineError(Exception):
    """An engine cannot run the job: one line that names what is wrong and the mend."""


@dataclass(frozen=True)
class Request:
    """One prompt to be completed once; `key` names the completion."""

    key: str
    prompt: str


@dataclass(frozen=True)
class SamplingJob:
    """What an engine is asked to do. The same job gives the same keys and counts under every engine."""

    model: str
    """A model folder or id."""
    requests: tuple[Request, ...]
    temperature: float
    """0 is greedy."""
    max_new_tokens: int
    seed: int
    done: frozenset[str] = field(default_factory=frozenset)
    """Keys that need no completion any more: an earlier launch has them."""
    endpoint: str = ""
    """Base address of an OpenAI-compatible server, for the engine openai."""
    api_key_env: str = ""
    """Name of the environment variable that holds its key."""
    whole_prompts: bool = False
    """Whether the prompts are whole texts already, to be continued as they are."""
    prices: Prices = FREE
    usd: float | None = None
    """Dollars that the job may cost; None is no limit."""


@dataclass(frozen=True)
class Completion:
    """What the model wrote for one request, without the end-of-text token."""

    key: str
    text: str
    finish: Literal["stop", "length", "error"]
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0
    """Of the prompt's tokens, those that the engine had in its cache and says so."""


class Engine(Protocol):
    """A way to run models."""

    engine_seconds: float
    """Seconds spent inside the model's own calls so far."""
    parameters: int
    """Of the model that ran last; what FLOPs are counted by; 0 where it is not known."""
    stopped: str
    """"usd" when the job's dollars ended it early, else ""."""

    def complete(self, job: SamplingJob) -> Iterator[list[Completion]]:
        """Batches of completions, each as it finishes; every owed key exactly once."""


def open_engine(name: str) -> Engine:
    """The engine by its name in OBJECTIVE.md. Imports it only now: some cost seconds.

    Raises: EngineError for a name there is no engine for.
    """
    if name == "transformers":
        from agents.engines.transformers import TransformersEngine

        return TransformersEngine()
    if name == "scripted":
        from agents.engines.scripted import ScriptedEngine

        return ScriptedEngine()
    if name == "openai":
        from agents.engines.openai import OpenAIEngine

        return OpenAIEngine()
    if name == "vllm":
        from agents.engines.vllm import VllmEngine

        return VllmEngine()
    raise EngineError(f"engine {name}: not available; write transformers, vllm, openai or scripted")
