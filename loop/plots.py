"""Plots: inline SVG, drawn from numbers alone. Colours and strokes are the page's, by class."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil, floor, inf, isfinite, log10
from typing import NamedTuple

from markupsafe import Markup

from loop.records import Score

LETTER = 6.0
"""Width of a small letter, in pixels, generously."""


class Mark(NamedTuple):
    """One score to be drawn: at a round, or in the test's panel."""

    label: str
    kind: str
    """start, kept, discarded, failed or control: its shape."""
    score: Score | None
    title: str


@dataclass(frozen=True)
class Scores:
    """All that the plot of scores by round shows."""

    rounds: Sequence[Mark]
    best: Sequence[float | None]
    """The best dev score so far, after each round."""
    controls: Mapping[int, Mark]
    """The control's looks at dev, by the round whose tokens it had seen."""
    lines: Sequence[tuple[str, float]]
    """Levels to compare with: round 0, the control's best, the goal."""
    tests: Sequence[Mark]
    desc: str


@dataclass(frozen=True)
class Box:
    """Where data lie on the paper: the values `low` to `high` go from `bottom` up to `top`."""

    left: float
    right: float
    top: float
    bottom: float
    low: float
    high: float

    def y(self, value: float) -> float:
        """The height of a value."""
        return self.bottom - (value - self.low) / (self.high - self.low) * (self.bottom - self.top)

    def x(self, position: float, count: int) -> float:
        """The middle of one of `count` columns."""
        return self.left + (position + 0.5) * (self.right - self.left) / max(count, 1)


def element(name: str, *content: str, **attributes: object) -> Markup:
    """One element with everything in it escaped; `class_` is written class, `stroke_width` stroke-width."""
    written = Markup("").join(
        Markup(' {}="{}"').format(key.rstrip("_").replace("_", "-"), _number(value))
        for key, value in attributes.items()
    )
    return Markup("<{0}{1}>{2}</{0}>").format(name, written, Markup("").join(content))


def drawing(name: str, size: tuple[float, float], title: str, desc: str, parts: Iterable[str]) -> Markup:
    """An SVG that a screen reader can tell of."""
    width, height = size
    return element(
        "svg", element("title", title, id=f"{name}-title"), element("desc", desc, id=f"{name}-desc"), *parts,
        viewBox=f"0 0 {width:g} {height:g}", width=width, height=height, role="img",
        aria_labelledby=f"{name}-title {name}-desc", class_="plot",
    )  # fmt: skip


def score_plot(what: Scores, wide: bool) -> Markup:
    """Dev by round, the best so far as a step line, what to compare with, and the sealed test at the end."""
    width, height = (820.0, 400.0) if wide else (360.0, 320.0)
    column, gutter = (58.0, 118.0) if wide else (32.0, 58.0)
    panel = max(column * len(what.tests), 72.0) if what.tests else 0.0
    drawn = [m.score for m in (*what.rounds, *what.controls.values(), *what.tests) if m.score]
    values = [v for s in drawn for v in (s.low, s.high)] + [level for _, level in what.lines]
    low, high, steps = axis(values, 0.0, 1.0)
    box = Box(34, width - gutter - panel, 34, height - 40, low, high)
    test = Box(width - panel, width, box.top, box.bottom, low, high)
    right = width if what.tests else box.right
    parts: list[str] = [*_grid(box, right, steps), text(box.left, 14, "dev, by round", "soft strong")]
    parts += _levels(box, what.lines, box.right + 8, wide)
    parts += [_step_line(box, what.best), *_control_line(box, what)]
    parts += _columns(box, what.rounds, every=ceil(22 * len(what.rounds) / (box.right - box.left)))
    if what.tests:
        parts += [text(test.left, 14, "sealed test", "soft strong")]
        short = [mark._replace(label=mark.label.removeprefix("round ")) for mark in what.tests]
        parts += _columns(test, what.tests if wide else short, every=1)
    name = "score" if wide else "score-narrow"
    return drawing(name, (width, height), "Score by round", what.desc, parts)


def curve(name: str, title: str, looks: Sequence[tuple[float, float]], chosen: float) -> Markup:
    """A small line: (step, value) at each look, with the chosen step marked."""
    width, height = 376.0, 190.0
    low, high, steps = axis([value for _, value in looks], 0.0)
    box = Box(44, width - 42, 30, height - 30, low, high)
    last = max(step for step, _ in looks) or 1
    points = [(box.left + step / last * (box.right - box.left), box.y(value)) for step, value in looks]
    at = box.left + chosen / last * (box.right - box.left)
    value = dict(looks)[chosen]
    parts: list[str] = [*_grid(box, box.right, steps), text(box.left, 14, title, "soft strong")]
    parts.append(element("path", d=_path(points), class_="line accent"))
    parts += [_line(at, box.top, at, box.bottom, "rule dashed"), shape("kept", at, box.y(value))]
    side = "middle" if box.left + 16 < at < box.right - 16 else "start" if at < box.right - 16 else "end"
    parts.append(text(at, box.y(value) - 9, f"{value:.3g}", "value", side))
    parts += [
        text(box.left, box.bottom + 18, "0", "soft"),
        text(box.right, box.bottom + 18, f"{last:,.0f} steps", "soft", "end"),
    ]
    desc = f"{len(looks)} looks; at the chosen step {chosen:,.0f} it is {value:.3g}, at the last {looks[-1][1]:.3g}."
    return drawing(name, (width, height), title, desc, parts)


class Bar(NamedTuple):
    """One cell of a plan."""

    group: str
    label: str
    whole: int
    part: int | None
    """Of the whole, how much came through; None where that is not known yet."""


def columns(name: str, title: str, bars: Sequence[Bar]) -> Markup:
    """A column for each cell: the whole as a frame, the part filled, written above where there is room."""
    each = max(14.0, min(46.0, 470.0 / len(bars)))
    width, top, bottom = max(120.0, each * len(bars)), 34.0, 118.0
    most = max(bar.whole for bar in bars) or 1
    written = each >= LETTER * max(len(f"/{bar.whole}") for bar in bars)
    every = ceil(LETTER * (max(len(bar.label) for bar in bars) + 1) / each)
    parts: list[str] = []
    for i, bar in enumerate(bars):
        x, roof = i * each, bottom - (bottom - top) * bar.whole / most
        height = (bottom - top) * min(bar.part or 0, most) / most
        inside: list[str] = [
            element("title", _told(bar)),
            element("rect", x=x + 3, y=roof, width=each - 6, height=bottom - roof, class_="frame"),
            element("rect", x=x + 3, y=bottom - height, width=each - 6, height=height, class_="fill"),
        ]
        if written:
            inside.append(text(x + each / 2, roof - 4, f"/{bar.whole}", "soft small", "middle"))
            part = "" if bar.part is None else str(bar.part)
            inside.append(text(x + each / 2, roof - 16, part, "value", "middle"))
        if i % every == 0:
            inside.append(text(x + each / 2, bottom + 15, bar.label, "soft", "middle"))
        if bar.group and (i == 0 or bars[i - 1].group != bar.group):
            inside.append(text(x + 3, bottom + 31, bar.group, "soft"))
        parts.append(element("g", *inside))
    parts.append(_line(0, bottom, width, bottom, "rule"))
    return drawing(name, (width, bottom + 36), title, "; ".join(map(_told, bars)), parts)


def axis(values: Sequence[float], least: float, most: float = inf) -> tuple[float, float, list[float]]:
    """A range that holds all values, inside `least` to `most` and from there where it is near, with round ticks."""
    low, high = min(values, default=0.0), max(values, default=1.0)
    low = least if low - least < (high - low) / 2 else low
    span = max(high - low, 0.1 * abs(high), 1e-6)
    rough = 10 ** floor(log10(span / 4))
    step = next(rough * n for n in (1, 2, 5, 10) if span / (rough * n) <= 5)
    low, high = max(least, floor(low / step) * step), min(most, ceil((high + 1e-9) / step) * step)
    if high <= low:
        low, high = (low, low + step) if low + step <= most else (high - step, high)
    ticks = [low + i * step for i in range(int((high - low) / step + 1e-6) + 1)]
    return low, high, ticks


def shape(kind: str, x: float, y: float) -> Markup:
    """The mark of a status: told apart by form, not by colour alone."""
    match kind:
        case "start":
            return element("path", d=f"M{x:.1f} {y - 6:.1f}l6 6l-6 6l-6-6z", class_="mark start")
        case "failed":
            return element("path", d=f"M{x - 4:.1f} {y - 4:.1f}l8 8m0-8l-8 8", class_="mark failed")
        case "control":
            return element("rect", x=x - 3.5, y=y - 3.5, width=7, height=7, class_="mark control")
        case _:
            return element("circle", cx=x, cy=y, r=5, class_=f"mark {kind}")


def text(x: float, y: float, words: str, class_: str = "", anchor: str = "start") -> Markup:
    """A line of words."""
    return element("text", words, x=x, y=y, class_=class_, text_anchor=anchor)


def _columns(box: Box, marks: Sequence[Mark], every: int) -> list[str]:
    """Marks side by side with their intervals; scores are written where there is room."""
    parts: list[str] = []
    room = (box.right - box.left) / max(len(marks), 1)
    for i, mark in enumerate(marks):
        x, score = box.x(i, len(marks)), mark.score
        inside: list[str] = [element("title", mark.title)]
        if score is None:
            inside.append(shape("failed", x, box.bottom - 10))
        else:
            inside.append(_line(x, box.y(score.low), x, box.y(score.high), f"interval {mark.kind}"))
            inside.append(shape(mark.kind, x, box.y(score.score)))
            if room >= 30:
                inside.append(text(x, box.y(score.high) - 6, f"{score.score:.3f}", "value", "middle"))
        if i % max(every, 1) == 0:
            inside.append(text(x, box.bottom + 20, mark.label, "soft", "middle"))
        parts.append(element("g", *inside))
    return parts


def _step_line(box: Box, best: Sequence[float | None]) -> Markup:
    points: list[tuple[float, float]] = []
    for i, value in enumerate(best):
        if value is None:
            continue
        x = box.x(i, len(best))
        points += [(x, points[-1][1])] if points else []
        points.append((x, box.y(value)))
    points += [(box.right, points[-1][1])] if points else []
    return element("path", d=_path(points), class_="line accent")


def _control_line(box: Box, what: Scores) -> list[str]:
    """The control's looks at dev, small: their intervals would hide the rounds'."""
    placed = [
        (box.x(number, len(what.rounds)) + 9, box.y(mark.score.score), mark)
        for number, mark in sorted(what.controls.items())
        if mark.score
    ]
    path = element("path", d=_path([(x, y) for x, y, _ in placed]), class_="line control")
    return [path, *(element("g", element("title", m.title), shape("control", x, y)) for x, y, m in placed)]


def _levels(box: Box, lines: Sequence[tuple[str, float]], x: float, wide: bool) -> list[str]:
    """Horizontal reference lines, their words kept apart in the gutter."""
    parts: list[str] = []
    free = box.top - 20
    for label, level in sorted(lines, key=lambda line: -line[1]):
        y = box.y(level)
        free = max(y + 4, free + 14)
        parts.append(_line(box.left, y, box.right, y, f"level {label.split()[0]}"))
        parts.append(text(x, free, f"{label} {level:.3f}" if wide else label, "soft"))
    return parts


def _grid(box: Box, right: float, ticks: Sequence[float]) -> list[str]:
    digits = max((len(f"{t:.4f}".rstrip("0").partition(".")[2]) for t in ticks), default=0)
    parts: list[str] = []
    for tick in ticks:
        parts.append(_line(box.left, box.y(tick), right, box.y(tick), "grid"))
        parts.append(text(box.left - 8, box.y(tick) + 4, f"{tick:.{digits}f}", "soft", "end"))
    return parts


def _line(x1: float, y1: float, x2: float, y2: float, class_: str) -> Markup:
    return element("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=class_)


def _path(points: Sequence[tuple[float, float]]) -> str:
    return "".join(f"{'L' if i else 'M'}{x:.1f} {y:.1f}" for i, (x, y) in enumerate(points))


def _told(bar: Bar) -> str:
    passed = "" if bar.part is None else f", {bar.part:,} passed"
    return f"{bar.group} {bar.label}".strip() + f": {bar.whole:,} samples{passed}"


def _number(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.1f}".removesuffix(".0") if isfinite(value) else "0"
    return str(value)
