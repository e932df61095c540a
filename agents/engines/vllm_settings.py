"""Where vllm is, and how it is started: one place for the offline engine and the server."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from agents.engines import EngineError
from agents.engines.apart import missing_from

MEND = "pip install 'loop-train[vllm]', or name a Python that has vllm in LOOP_VLLM_PYTHON"
ADAPTER = "adapter_config.json"
LORA_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""Those that vllm takes (vllm.config.lora, 0.32.0)."""


def vllm_python() -> str:
    """The interpreter that has vllm: LOOP_VLLM_PYTHON, or our own."""
    return os.environ.get("LOOP_VLLM_PYTHON") or sys.executable


def missing_vllm() -> str:
    """Why there is no vllm to be had, in one line with the mend; "" where there is."""
    return missing_from(vllm_python(), "vllm", "vllm", MEND)


def on_gpu() -> bool:
    """Whether vllm will run on a GPU, as far as can be told without importing it."""
    return shutil.which("nvidia-smi") is not None


def apart_from_vllm(engine: str) -> str:
    """Why a trainer cannot have a student of this engine answer by vllm beside it, in one line with the mend; ""
    where it can, or need not: off a GPU the model's own `generate` answers.
    """
    if engine != "vllm" or not on_gpu() or find_spec("vllm") is not None:
        return ""
    return (
        f"vllm: {sys.executable} has none, and GRPO has vllm answer inside the trainer, so LOOP_VLLM_PYTHON does not"
        " help; pip install 'loop-train[vllm]', or let the student run under transformers"
    )


def vllm_environment() -> dict[str, str]:
    """The environment of a process that runs vllm; what the person has set in their own stays so."""
    ours = {name: value for name, value in os.environ.items() if name not in ("PYTHONHOME", "PYTHONWARNINGS")}
    fixed = {"PYTHONUNBUFFERED": "1", "PYTHONSAFEPATH": "1", "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}
    if not on_gpu():
        # One process, where vllm would start three that import it each; and not more threads than it would take.
        threads = str(max(1, (os.cpu_count() or 1) - 1))
        frugal = {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "OMP_NUM_THREADS": threads, "OMP_WAIT_POLICY": "PASSIVE"}
        ours = frugal | ours
    # GiB for the keys and values of a CPU's sequences; vllm would take half of the memory.
    return {"VLLM_CPU_KVCACHE_SPACE": "1", "TOKENIZERS_PARALLELISM": "false"} | ours | fixed


def vllm_settings(model: str) -> dict[str, Any]:
    """Arguments of vllm's EngineArgs for a model folder or id, or for a LoRA adapter on its base.

    LOOP_VLLM_ARGS, a JSON object, changes or adds any of them.

    Raises: EngineError when that is none, or the adapter names no base.
    """
    settings: dict[str, Any] = {
        "model": model,
        "dtype": "bfloat16" if on_gpu() else "float32",  # as the engine transformers computes
        "max_model_len": -1,  # the model's own, or as much as fits
        "gpu_memory_utilization": 0.85,
        "enable_prefix_caching": True,  # the samples of one problem share its prompt
        "enforce_eager": not on_gpu(),  # on a CPU compiling costs more than it gains
    }
    if not on_gpu():
        # A seeded request whose prompt is cut between two steps ends the engine there: `set_offset` of its generator,
        # which a CPU's has not (vllm 0.32.0, gpu_model_runner.py).
        settings["enable_chunked_prefill"] = False
    if adapter := read_adapter(model):
        settings["model"] = adapter["base_model_name_or_path"]
        settings["enable_lora"] = True
        settings["max_lora_rank"] = largest_rank([model])
        if (Path(model) / "tokenizer_config.json").is_file():
            settings["tokenizer"] = model
    try:
        changed: dict[str, Any] = json.loads(os.environ.get("LOOP_VLLM_ARGS") or "{}")
        return settings | changed
    except (ValueError, TypeError) as error:
        raise EngineError(f"LOOP_VLLM_ARGS: is no JSON object ({error}); write one, or unset it") from error


def as_flags(settings: dict[str, Any]) -> list[str]:
    """Settings as vllm's command line takes them."""
    flags: list[str] = []
    for name, value in settings.items():
        flag = "--" + name.replace("_", "-")
        if isinstance(value, bool):
            flags.append(flag if value else flag.replace("--", "--no-", 1))
        elif isinstance(value, list):
            flags += [flag, *value]
        else:
            flags.append(f"{flag}={json.dumps(value) if isinstance(value, dict) else value}")
    return flags


def largest_rank(adapters: Iterable[str]) -> int:
    """The rank that vllm must be ready for, of those that it takes."""
    rank = max(int((read_adapter(folder) or {}).get("r", 1)) for folder in adapters)
    return next((allowed for allowed in LORA_RANKS if allowed >= rank), LORA_RANKS[-1])


def read_adapter(model: str) -> dict[str, Any] | None:
    """What adapter_config.json says in a LoRA adapter's folder; None where the model is none.

    Raises: EngineError when it names no base model.
    """
    path = Path(model) / ADAPTER
    if not path.is_file():
        return None
    try:
        adapter: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        adapter["base_model_name_or_path"] += ""
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise EngineError(f"{path}: names no base model; train the adapter again, or mend it") from error
    return adapter
