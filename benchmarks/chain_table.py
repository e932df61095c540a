"""What `benchmarks.chain` found, as a table: the mean over seeds with its 95 % interval, and what follows from it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from rich.console import Console
from rich.table import Table

from benchmarks.compute_matched_table import over, told


@dataclass(frozen=True)
class Arm:
    """One student or ensemble on the exam."""

    loss: float
    """Mean over response tokens, in nats; of an ensemble, probabilities averaged."""
    by_logit: float
    """The same with logits averaged."""
    accuracy: float


@dataclass(frozen=True)
class Found:
    """All arms of one seed, by name."""

    seed: int
    arms: Mapping[str, Arm]


def show(found: Sequence[Found], links: int) -> None:
    """Print the table and the differences."""
    console = Console(width=110)
    table = Table(title=f"on demonstrations of the same generator, mean of {len(found)} seeds ± 95 %")
    for name in ("student", "loss", "logits averaged", "accuracy", "passes", "to serve"):
        table.add_column(name, justify="left" if name == "student" else "right")
    for name in rows(links):
        arms = [one.arms[name] for one in found]
        losses, right = [arm.loss for arm in arms], [arm.accuracy for arm in arms]
        several = name in ("independent ensemble", "chain ensemble")
        by_logit = f"{fmean(arm.by_logit for arm in arms):.3f}" if several else ""
        passes, serve = cost(name, links)
        table.add_row(name, around(losses), by_logit, around(right), passes, serve)
    console.print(table)
    for better, worse in pairs(links):
        gaps = [one.arms[worse].loss - one.arms[better].loss for one in found]
        right = [one.arms[better].accuracy - one.arms[worse].accuracy for one in found]
        console.print(f"loss of {worse} less that of {better}: {told(gaps)}; accuracy gained: {told(right)}")


def rows(links: int) -> list[str]:
    """The arms that the table shows, in order."""
    return [
        "single, usual regularisation", "single", "single, as long as the chain", "the best of the members",
        "independent ensemble", *(f"link {number}" for number in range(1, links + 1)), "chain ensemble",
        "distilled from it",
    ]  # fmt: skip


def pairs(links: int) -> list[tuple[str, str]]:
    """What is compared: (which should be better, than which)."""
    return [
        (f"link {links}", "single"),
        ("chain ensemble", "independent ensemble"),
        ("chain ensemble", "single, as long as the chain"),
        ("distilled from it", "single, as long as the chain"),
        ("chain ensemble", "distilled from it"),
    ]


def cost(name: str, links: int) -> tuple[str, str]:
    """Passes over the rows in passes of one student, with the teachers' reading as a third of a trained pass; and
    what it costs to serve.
    """
    taught = links - 1
    passes = {
        "single, as long as the chain": float(links), "the best of the members": float(links),
        "independent ensemble": float(links), "chain ensemble": links + taught / 3,
        "distilled from it": links + taught / 3 + 1 + links / 3,
    }  # fmt: skip
    number = int(name.removeprefix("link ")) if name.startswith("link ") else 1
    trained = passes.get(name, number + (number - 1) / 3)
    return f"{trained:.1f}", f"{links if name.endswith('ensemble') else 1}"


def around(values: Sequence[float]) -> str:
    """The mean with half of the interval over seeds."""
    found = over(values)
    return f"{found[0]:.3f} ± {found[2] - found[0]:.3f}" if found else f"{fmean(values):.3f}"
