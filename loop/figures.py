"""Figures: tokens, dollars, times and p-values as people read them."""

from __future__ import annotations


def in_tokens(count: int) -> str:
    """A number of tokens in at most five letters: 950, 20.9k, 1.23M, 123M."""
    for size, unit in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if count >= 0.9995 * size:
            share = count / size
            return f"{share:.{2 if share < 9.995 else 1 if share < 99.95 else 0}f}{unit}"
    return str(count)


def in_usd(dollars: float) -> str:
    """Dollars in at most five letters, up to a hundred thousand: 0.12, 99.50, 1235."""
    return f"{dollars:.2f}" if dollars < 99.995 else f"{dollars:.0f}"


def in_time(seconds: float) -> str:
    """Seconds as 0:07, 12:40 or 3:05:12."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def in_p(p: float) -> str:
    """A p-value with three digits after the point, or that it is less."""
    return f"{p:.3f}" if p >= 0.001 else "<0.001"


def as_ending(ended: str) -> str:
    """Why a run ended: "rounds reached", or the signs of collapse as they are."""
    return ended if ended.startswith("collapse: ") else f"{ended} reached"
