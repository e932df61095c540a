"""The command line: loop run, check, status, report, export, evaluate, evolve, serve, new."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from typer.exceptions import TyperException

from loop.errors import LoopError, ObjectiveError

app = typer.Typer(
    help="Write OBJECTIVE.md, type one command, sleep: a small model that is shown to be better.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

INTERRUPTED = 130
ObjectiveFile = Annotated[Path, typer.Argument(help="The objective.", show_default=True)]
RunFolder = Annotated[Path, typer.Argument(help="The folder of a run.")]


@app.command()
def run(
    objective: ObjectiveFile = Path("OBJECTIVE.md"),
    run: Annotated[Path | None, typer.Option("--run", help="The run's folder.")] = None,
) -> None:
    """Start, or go on where it stopped: the same command."""
    from loop.needs import require
    from loop.objective import read_objective
    from loop.report import write_report
    from loop.run import open_run, run_folder
    from loop.runner import go
    from loop.screen import open_screen
    from loop.status import as_table, claim, read_standing
    from loop.timing import time_table

    goal = read_objective(objective)
    folder = run_folder(goal, run)
    if not (folder / "run.db").exists():
        require(goal, folder)
    with open_screen() as screen:
        screen.note(f"run: {folder}")
        work = open_run(goal, folder, screen)
        try:
            go(work)
        except KeyboardInterrupt:
            work.ledger.heartbeat(work.bench.meter.here, ended="interrupted")
            raise
        except LoopError as error:
            work.ledger.event("stopped", str(error))
            work.ledger.heartbeat(work.bench.meter.here, ended="stopped")
            raise
    standing = read_standing(folder)
    console = Console()
    console.print(as_table(standing))
    console.print(time_table(folder))
    console.print(claim(standing), highlight=False)
    console.print(f"report: {write_report(folder)}", highlight=False)


@app.command()
def check(objective: ObjectiveFile = Path("OBJECTIVE.md")) -> None:
    """Everything that can be known before a run."""
    from loop.check import check_objective

    for line in check_objective(objective):
        typer.echo(line)


@app.command()
def status(
    run: RunFolder, as_json_text: Annotated[bool, typer.Option("--json", help="For programs.")] = False
) -> None:
    """The ledger: one row a round."""
    from loop.status import as_json, as_table, claim, read_standing

    standing = read_standing(run)
    if as_json_text:
        typer.echo(json.dumps(as_json(standing)))
        return
    console = Console()
    console.print(as_table(standing))
    console.print(claim(standing), highlight=False)


@app.command()
def report(run: RunFolder) -> None:
    """One self-contained HTML file with plots."""
    from loop.report import write_report

    typer.echo(write_report(run))


@app.command()
def export(
    run: RunFolder,
    folder: Annotated[Path, typer.Argument(help="A new folder.")],
    push: Annotated[str | None, typer.Option("--push", help="An id on a hub; the token is in HF_TOKEN.")] = None,
    public: Annotated[bool, typer.Option("--public", help="Let others see what is pushed.")] = False,
) -> None:
    """The best student as a model folder with a card, and the rows that it was trained on."""
    from loop.export import export
    from loop.hub import Hub

    if public and not push:
        raise ObjectiveError("--public: says how to push; add --push NAME/STUDENT, or leave it out")
    export(run, folder, typer.echo, Hub(push, public) if push else None)


@app.command()
def evaluate(
    run: RunFolder,
    task: Annotated[list[str], typer.Option(help="Of lm-eval; or dev, or test: the run's own exams. Repeatable.")],
    number: Annotated[int | None, typer.Option("--round", help="Whose student; the best if not given.")] = None,
    include: Annotated[list[Path] | None, typer.Option(help="A folder with task files.")] = None,
    files: Annotated[
        list[str] | None, typer.Option("--data", help="SPLIT=FILE, JSON lines in place of the data set.")
    ] = None,
    shots: Annotated[
        int | None, typer.Option(help="Examples in a prompt; the task's own if not given.", min=0)
    ] = None,
    limit: Annotated[int | None, typer.Option(help="Problems of each task.", min=1)] = None,
    download: Annotated[bool, typer.Option("--download", help="Tasks may fetch their data sets.")] = False,
    as_json_text: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """A student through lm-evaluation-harness; what was asked before is not done again."""
    from loop.lm_eval import Wish, evaluate_by_lm_eval
    from loop.lm_eval_table import as_table

    local = dict(pair.partition("=")[::2] for pair in files or ())
    paths = {split: Path(name) for split, name in local.items()}
    wishes = [Wish(name, number, tuple(include or ()), paths, shots, limit, download) for name in task]
    scores = evaluate_by_lm_eval(run, wishes, lambda words: typer.echo(words, err=True))
    if as_json_text:
        typer.echo(json.dumps([score.model_dump() | {"agrees": score.agrees} for score in scores]))
        return
    Console().print(as_table(scores))


@app.command()
def evolve(
    objective: ObjectiveFile = Path("OBJECTIVE.md"),
    run: Annotated[Path | None, typer.Option("--run", help="The evolution's folder.")] = None,
    generations: Annotated[int, typer.Option(help="Children to try, earlier launches counted.", min=1, max=999)] = 10,
    documents: Annotated[int, typer.Option(help="Held out to score on; as many are sealed.", min=1, max=1000)] = 8,
    repeats: Annotated[int, typer.Option(help="Scorings of parent and child, averaged.", min=1, max=64)] = 4,
    seed: Annotated[int, typer.Option(help="Of every choice.", min=0, max=2**31 - 1)] = 0,
) -> None:
    """Improve how questions are written from documents; the same command goes on."""
    from loop.evolution import Terms
    from loop.evolve import Evolution, check_can_evolve, evolution_folder
    from loop.evolved import as_table, lines
    from loop.needs import require
    from loop.objective import read_objective
    from loop.run import open_run
    from loop.screen import open_screen

    goal, terms = read_objective(objective), Terms(documents=documents, repeats=repeats, seed=seed)
    check_can_evolve(goal, terms)
    folder = evolution_folder(goal, run)
    if not (folder / "run.db").exists():
        require(goal, folder)
    with open_screen() as screen:
        screen.note(f"evolution: {folder}")
        evolved = Evolution(open_run(goal, folder, screen), terms).go(generations)
    console = Console()
    console.print(as_table(evolved))
    for line in lines(evolved, folder):
        console.print(line, highlight=False, soft_wrap=True)


@app.command()
def serve(
    run: RunFolder,
    port: Annotated[int, typer.Option(help="Where it listens.", min=1, max=65535)] = 8000,
    host: Annotated[str, typer.Option(help="Of this machine; 0.0.0.0 lets others in.")] = "127.0.0.1",
) -> None:
    """The best student at an OpenAI-compatible address, until interrupted. Needs vllm."""
    from loop.serve import serve

    serve(run, host, port, typer.echo)


@app.command()
def new(
    folder: Annotated[Path, typer.Argument(help="A new folder.")],
    preset: Annotated[str, typer.Option(help="What to start from.")] = "default",
) -> None:
    """A folder with an OBJECTIVE.md to start from."""
    from loop.new import new_objective

    typer.echo(new_objective(folder, preset))


def main() -> NoReturn:
    """Run a command; what is wrong is one line, and the exit code says of which kind."""
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        sys.exit(app(standalone_mode=False))
    except TyperException as error:
        words = " ".join(error.format_message().split()).rstrip(".")
        print(f"loop: {words}; see loop --help", file=sys.stderr)
        sys.exit(ObjectiveError.exit_code)
    except LoopError as error:
        print(f"loop: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        _say_interrupted()
        sys.exit(INTERRUPTED)
    except SystemExit as end:  # typer makes one of a KeyboardInterrupt
        if end.code == INTERRUPTED:
            _say_interrupted()
        raise
    except BrokenPipeError:
        sys.exit(0)


def _say_interrupted() -> None:
    print("loop: interrupted; the same command goes on from here", file=sys.stderr)


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
