"""Chain distillation against what it costs: single students, an independent ensemble, a chain and what is distilled.

    python -m benchmarks.chain [--seeds 0 1 2] [--links 4] [--folder FOLDER] [--at-once 2] [--quick]

Scratch students learn a fixed set of demonstrations, few enough to be learnt by heart, and are measured on others
from the same generator: mean loss per response token, and greedy accuracy. A chain's links are strongly regularised,
and so are the members of the ensemble that is made beside it: the same recipe and as many passes each, without a
teacher (the first link and the first member are one). What is done in FOLDER is not done again: the command can be
stopped and goes on.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import os
import shutil
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from agents.training import Distillation
from benchmarks.chain_table import Arm, Found, show
from benchmarks.compute_matched import worked_in_any_order
from loop.files import write_atomic
from loop.jobs import DistillJob, TrainJob
from loop.links import Links
from loop.presets import read_preset
from loop.records import digest

TINY = read_preset("tiny")
USUAL = 0.1
"""Weight decay of the preset."""
VALIDATION = 100
"""Rows, trained on by nobody, by which the best of the members is chosen."""


@dataclass(frozen=True)
class Size:
    """How large the benchmark is; everything that its results depend on, but for the seed."""

    demonstrations: int = 45
    """Of each length; some are drawn twice, and stand there once. With seed 0 a single student has a loss of 1.54
    with the usual weight decay, 0.83 with 1.6 and dropout. Where one has not learnt its rows by heart yet, it is
    training that is lacking: with 70 of each length and 48 passes, one trained three times as long beat all else.
    """
    lengths: tuple[int, int] = (3, 5)
    epochs: float = 120.0
    """Passes of every student; of the single one that is trained as long as the whole chain, as many times more as
    there are links."""
    exam: int = 600
    links: int = 4
    alpha: float = 0.5
    serve_alpha: float = Distillation.model_fields["serve_alpha"].default
    weight_decay: float = Distillation.model_fields["weight_decay"].default
    dropout: float = Distillation.model_fields["dropout"].default


QUICK = Size(demonstrations=20, epochs=2.0, exam=30, links=2)
"""To see that everything runs; its numbers say nothing."""


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    options.add_argument("--links", type=int, help=f"{Size.links} if not given")
    options.add_argument("--folder", type=Path, default=Path("runs/benchmark-chain"))
    options.add_argument("--at-once", type=int, default=os.cpu_count() or 1, help="seeds at work at the same time")
    options.add_argument("--quick", action="store_true", help="a smoke run of a minute")
    chosen = options.parse_args()
    size = QUICK if chosen.quick else Size()
    size = replace(size, links=chosen.links or size.links)
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // chosen.at_once)))
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    with ProcessPoolExecutor(chosen.at_once, mp_context=multiprocessing.get_context("spawn")) as pool:
        show(list(pool.map(partial(play, size=size, folder=chosen.folder), chosen.seeds)), size.links)


def play(seed: int, size: Size, folder: Path) -> Found:
    """Every arm of one seed."""
    from loop.training.scratch import build_student

    folder = folder.absolute() / f"{digest(asdict(size), TINY.model_dump())[:8]}-seed-{seed}"
    rows = worked(size.lengths, size.demonstrations, seed)
    unseen = [row for row in worked(size.lengths, size.exam, seed + 10_000) if row[0] not in dict(rows)]
    exam, validation = unseen[: size.exam], unseen[size.exam : size.exam + VALIDATION]
    base = folder / "base"
    if not (base / "config.json").exists():
        base.mkdir(parents=True, exist_ok=True)
        build_student(TINY.architecture, rows, base, seed)
    job = DistillJob(
        train=TrainJob(
            start=str(base), out=str(folder / "chain"), rows=tuple((p, r, 1) for p, r in rows), weights="full",
            settings=TINY.training.model_copy(update={"weight_decay": size.weight_decay}), seed=seed,
            epochs=size.epochs,
        ),
        fresh=True, links=size.links, alpha=size.alpha, serve_alpha=size.serve_alpha, temperature=1.0,
        dropout=size.dropout, serve="ensemble", links_folder=str(folder / "links"), held_out=tuple(exam),
        answer="####", max_new_tokens=120,
    )  # fmt: skip
    return Found(seed, Arms(folder, job, tuple(validation)).all())


def worked(lengths: tuple[int, int], count: int, seed: int) -> list[tuple[str, str]]:
    """Demonstrations (prompt, response) of chain sums, so many of each length, each worked in one of two orders."""
    told = worked_in_any_order(dict.fromkeys(range(lengths[0], lengths[1] + 1), count), seed)
    return [(str(row["prompt"]), str(row["response"])) for row in told]


class Arms:
    """The arms of one seed: each is trained and measured once, and its figures are kept in a file."""

    def __init__(self, folder: Path, job: DistillJob, validation: tuple[tuple[str, str], ...]) -> None:
        self._folder, self._job, self._validation = folder, job, validation

    def all(self) -> dict[str, Arm]:
        """In the order of the table."""
        job, count = self._job, self._job.links
        usual = job.train.settings.model_copy(update={"weight_decay": USUAL})
        plain = replace(job, train=replace(job.train, settings=usual), dropout=0.0)
        long = replace(job, train=replace(job.train, epochs=count * job.train.epochs))
        members = [str(self._folder / "members" / str(number)) for number in range(1, count + 1)]
        links = [str(Links(job).folder(number)) for number in range(1, count + 1)]
        served = self._folder / "chain"
        arms: dict[str, Callable[[], Arm]] = {
            "single, usual regularisation": lambda: self._lone(plain, 1, self._folder / "usual"),
            "single": lambda: self._lone(job, 1, Path(members[0])),
            "single, as long as the chain": lambda: self._lone(long, 1, self._folder / "long"),
        }
        for number in range(2, count + 1):
            arms[f"member {number}"] = partial(self._lone, job, number, Path(members[number - 1]))
        arms |= {
            "the best of the members": lambda: self._best(members),
            "independent ensemble": lambda: self._measure(members),
            "served": lambda: self._chain(served),
        }
        arms |= {f"link {number}": partial(self._measure, [links[number - 1]]) for number in range(1, count + 1)}
        arms |= {
            "chain ensemble": lambda: self._measure(links),
            "distilled from it": lambda: self._measure([str(served)]),
        }
        return {name: self._once(name, work) for name, work in arms.items()}

    def _once(self, name: str, work: Callable[[], Arm]) -> Arm:
        path = self._folder / "arms" / f"{name}.json"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            print(f"{time.strftime('%H:%M:%S')} {self._folder.name}: {name}", flush=True)
            write_atomic(path, json.dumps(asdict(work())))
        return Arm(**json.loads(path.read_text(encoding="utf-8")))

    def _lone(self, job: DistillJob, number: int, out: Path) -> Arm:
        """A student of its own, from the weights and the order of the rows that the link of this number has."""
        from transformers import PrinterCallback
        from trl import SFTTrainer

        from loop.training.chain import begin
        from loop.training.sft import arguments
        from loop.training.student import save, tokenised

        link, model, tokenizer = begin(replace(job, train=replace(job.train, out=str(out))), number)
        rows = tokenised(tokenizer, link)
        steps = math.ceil(link.epochs * math.ceil(len(rows) / link.settings.rows_per_step))
        trainer = SFTTrainer(
            model=model, args=arguments(link, max_steps=steps), train_dataset=rows, processing_class=tokenizer
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()
        save(trainer.model, tokenizer, out)
        return self._measure([str(out)])

    def _best(self, members: Sequence[str]) -> Arm:
        """That with the lowest loss on the validation rows."""
        told = self._losses(members, replace(self._job, held_out=self._validation)).members
        return self._measure([members[min(range(len(members)), key=lambda place: told[place] or math.inf)]])

    def _chain(self, out: Path) -> Arm:
        """The chain as a run trains it, its links and the student that is served."""
        from loop.training.chain import distill

        shutil.rmtree(out, ignore_errors=True)
        out.mkdir(parents=True)
        distill(self._job, lambda *_: None)
        return self._measure([str(out)])

    def _losses(self, folders: Sequence[str], job: DistillJob) -> Any:
        from loop.training.distillation import load_teacher
        from loop.training.held_out import losses
        from loop.training.student import load_trainable

        _, tokenizer = load_trainable(self._job.train)
        return losses(load_teacher(folders, tokenizer), tokenizer, job)

    def _measure(self, folders: Sequence[str]) -> Arm:
        """Loss and accuracy of these students together."""
        from loop.training.distillation import load_teacher
        from loop.training.held_out import accuracy
        from loop.training.student import load_trainable

        _, tokenizer = load_trainable(self._job.train)
        found = self._losses(folders, self._job)
        right, _ = accuracy(load_teacher(folders, tokenizer), tokenizer, self._job)
        return Arm(found.by_probability, found.by_logit, right or 0.0)


if __name__ == "__main__":
    main()
