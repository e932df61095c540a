"""The screen: what a person sees while a run works. Live with a terminal, plain lines without."""

from __future__ import annotations

import sys
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

HEARTBEAT = 15.0
"""Seconds between two plain lines of one stage."""


class LiveScreen:
    """A bar for the stage at work, and lines that stay above it."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress = Progress(
            TextColumn("[bold]{task.fields[room]:>12}[/] {task.description:<13}"),
            BarColumn(bar_width=28),
            TextColumn("{task.percentage:>3.0f}%"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("[dim]{task.fields[rate]}[/]"),
            console=console,
            transient=True,
        )
        self._task: TaskID | None = None

    def __enter__(self) -> LiveScreen:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def stage(self, room: str, stage: str) -> None:
        """A stage begins: a fresh bar."""
        if self._task is not None:
            self._progress.remove_task(self._task)
        self._task = self._progress.add_task(stage, total=None, room=_title(room), rate="")

    def progress(self, done: float, total: float, rate: str) -> None:
        """Move the bar."""
        if self._task is not None:
            self._progress.update(self._task, completed=done, total=total, rate=rate)

    def note(self, text: str) -> None:
        """A line that stays."""
        self._console.print(text, highlight=False)


class PlainScreen:
    """A line when a stage begins and a heartbeat while it works: for files, pipes and logs."""

    def __init__(self) -> None:
        self._where, self._last = "", time.monotonic()

    def __enter__(self) -> PlainScreen:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def stage(self, room: str, stage: str) -> None:
        """Say that a stage begins."""
        self._where, self._last = f"{_title(room)}: {stage}", time.monotonic()
        _say(self._where)

    def progress(self, done: float, total: float, rate: str) -> None:
        """Say how far it is, now and then."""
        if time.monotonic() - self._last >= HEARTBEAT:
            self._last = time.monotonic()
            _say(f"{self._where}: {done:,.0f} of {total:,.0f}{', ' + rate if rate else ''}")

    def note(self, text: str) -> None:
        """Say it."""
        _say(text)


def open_screen() -> LiveScreen | PlainScreen:
    """The live screen with a terminal, else the plain one."""
    console = Console()
    return LiveScreen(console) if console.is_terminal else PlainScreen()


def _title(room: str) -> str:
    return f"round {int(room)}" if room.isdigit() else room


def _say(line: str) -> None:
    try:
        print(f"{time.strftime('%H:%M:%S')} {line}", flush=True)
    except BrokenPipeError:
        sys.stdout = open("/dev/null", "w")  # noqa: PTH123, SIM115 - a reader that left must not stop the run
