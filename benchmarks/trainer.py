"""Tokens per second of our trainer, of plain TRL and of a bare torch loop: same model, same rows, one process.

    python -m benchmarks.trainer [--steps 150] [--repeats 3]

The three take turns, so that whatever else the machine does hits all alike; the table gives medians and the ratio of
medians to plain TRL.
"""

import argparse
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from datasets import Dataset
from rich.console import Console
from rich.table import Table
from transformers import AutoModelForCausalLM, AutoTokenizer, logging
from trl import SFTConfig, SFTTrainer

from loop.jobs import TrainJob
from loop.objective import Demonstration
from loop.presets import read_preset
from loop.sources import read_rows
from loop.training.scratch import build_student
from loop.training.sft import sft
from loop.training.student import load_trainable, tokenised

DEMONSTRATIONS = Path(__file__).parents[1] / "examples" / "chain_sum" / "demonstrations.jsonl"


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--steps", type=int, default=150)
    options.add_argument("--repeats", type=int, default=3)
    chosen = options.parse_args()
    logging.set_verbosity_error()
    torch.set_flush_denormal(True)  # as in the children of a run, here for all alike
    with tempfile.TemporaryDirectory() as folder:
        job = make_job(Path(folder), chosen.steps)
        speeds: dict[str, list[float]] = {name: [] for name in CONTESTANTS}
        for repeat in range(chosen.repeats):
            names = list(CONTESTANTS)
            for name in names[repeat % 3 :] + names[: repeat % 3]:
                tokens, seconds = CONTESTANTS[name](job)
                speeds[name].append(tokens / seconds)
    show(speeds)


def make_job(folder: Path, steps: int) -> TrainJob:
    rows = read_rows(DEMONSTRATIONS, Demonstration)
    preset = read_preset("tiny")
    build_student(preset.architecture, [(row.prompt, row.response) for row in rows], folder / "student", seed=0)
    return TrainJob(
        start=str(folder / "student"),
        out=str(folder / "out"),
        rows=tuple((row.prompt, row.response, 1) for row in rows),
        settings=preset.training,
        weights="full",
        seed=0,
        epochs=steps * preset.training.rows_per_step / len(rows),
    )


def ours(job: TrainJob) -> tuple[int, float]:
    began = time.perf_counter()
    trained = sft(job, lambda *_: None)
    return trained.tokens, time.perf_counter() - began


def plain_trl(job: TrainJob) -> tuple[int, float]:
    """What a TRL user would write: prompt and completion columns, the defaults, the same optimiser settings."""
    began = time.perf_counter()
    tokenizer = AutoTokenizer.from_pretrained(job.start)
    rows = [{"prompt": prompt + "\n", "completion": response} for prompt, response, _ in job.rows]
    steps = round(job.epochs * len(rows) / job.settings.rows_per_step)
    trainer = SFTTrainer(
        model=AutoModelForCausalLM.from_pretrained(job.start, dtype=torch.float32),
        args=SFTConfig(
            output_dir=job.out,
            max_steps=steps,
            per_device_train_batch_size=job.settings.rows_per_step,
            learning_rate=job.settings.learning_rate,
            weight_decay=job.settings.weight_decay,
            adam_beta2=job.settings.adam_beta2,
            bf16=False,
            use_cpu=True,
            gradient_checkpointing=False,
            include_num_input_tokens_seen="non_padding",
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
        ),
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
    )
    trainer.train()
    return int(trainer.state.num_input_tokens_seen), time.perf_counter() - began


def bare_torch(job: TrainJob) -> tuple[int, float]:
    began = time.perf_counter()
    model, tokenizer = load_trainable(job)
    rows = tokenised(tokenizer, job)
    inputs, labels = [torch.tensor(r) for r in rows["input_ids"]], [torch.tensor(r) for r in rows["labels"]]
    optimiser = torch.optim.AdamW(
        model.parameters(), lr=job.settings.learning_rate, weight_decay=job.settings.weight_decay, fused=True
    )
    chance, tokens = random.Random(job.seed), 0
    for _ in range(round(job.epochs * len(inputs) / job.settings.rows_per_step)):
        batch = chance.sample(range(len(inputs)), job.settings.rows_per_step)
        ids = torch.nn.utils.rnn.pad_sequence([inputs[i] for i in batch], batch_first=True)
        told = torch.nn.utils.rnn.pad_sequence([labels[i] for i in batch], batch_first=True, padding_value=-100)
        model(input_ids=ids, labels=told).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad()
        tokens += sum(len(inputs[i]) for i in batch)
    return tokens, time.perf_counter() - began


CONTESTANTS: dict[str, Callable[[TrainJob], tuple[int, float]]] = {
    "loop": ours,
    "plain TRL": plain_trl,
    "bare torch": bare_torch,
}


def show(speeds: dict[str, list[float]]) -> None:
    table = Table(title="training, non-padding tokens per second, loading and preparing included")
    for name in ("trainer", "median", "lowest", "highest", "of plain TRL"):
        table.add_column(name, justify="left" if name == "trainer" else "right")
    plain = statistics.median(speeds["plain TRL"])
    for name, found in speeds.items():
        median = statistics.median(found)
        table.add_row(name, f"{median:,.0f}", f"{min(found):,.0f}", f"{max(found):,.0f}", f"{median / plain:.0%}")
    Console().print(table)


if __name__ == "__main__":
    main()
