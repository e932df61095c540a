"""The report's part on training: how round 0 converged, what reinforcement earned, and what the control took."""

from __future__ import annotations

import json
from math import isfinite
from pathlib import Path
from typing import Any

from markupsafe import Markup

from loop.jobs import TRAINING
from loop.ledger import Ledger
from loop.plots import curve
from loop.rounds import Round
from loop.status import Standing


def training_parts(run: Path, ledger: Ledger, standing: Standing) -> dict[str, Any]:
    """The page's variables `convergence`, `rewards` and `control_tokens`."""
    return {
        "convergence": _convergence(run),
        "rewards": {r.round: _rewards(r) for r in standing.rounds},
        "control_tokens": _control_tokens(ledger, standing.best),
    }


def _rewards(closed: Round) -> Markup | None:
    """The mean reward of each batch of answers, where the student was reinforced."""
    told = closed.checkpoint.reinforced if closed.checkpoint else None
    if told is None or len(told.rewards) < 2:
        return None
    looks = [(float(at), reward) for at, reward in enumerate(told.rewards, 1)]
    return curve(f"rewards-{closed.round:03}", f"Mean reward in round {closed.round}", looks, looks[-1][0])


def _control_tokens(ledger: Ledger, best: int) -> tuple[int, int] | None:
    """Tokens trained by the control, and those of equal cost by the rounds up to the best that it was to match."""
    cards = ledger.cards()
    details = {room: card.detail for (room, stage), card in cards.items() if stage == "train"}
    trained = {room: max(d.get("tokens", 0), d.get("matched", 0)) for room, d in details.items()}
    control = [tokens for room, tokens in trained.items() if room.startswith("control/")]
    rounds = [t for room, t in trained.items() if room.isdigit() and 0 < int(room) <= best]
    return (sum(control), sum(rounds)) if control else None


def _convergence(run: Path) -> dict[str, Any] | None:
    """How round 0 converged: its looks at the held-out demonstrations, the chosen and the lowest."""
    path = run / "rounds" / "000" / "checkpoint" / TRAINING
    looks = json.loads(path.read_text(encoding="utf-8")).get("looks", []) if path.is_file() else []
    looks = [look for look in looks if isfinite(look["loss"])]
    if not looks:
        return None
    chosen = max(looks, key=lambda look: (look["accuracy"], -look["loss"]))
    plots = [
        curve(f"look-{key}", title, [(look["step"], look[key]) for look in looks], chosen["step"])
        for key, title in (("accuracy", "held-out accuracy"), ("loss", "held-out loss"))
    ]
    lowest = min(looks, key=lambda look: look["loss"])
    return {"plots": plots, "looks": len(looks), "chosen": chosen, "lowest": lowest, "last": looks[-1]}
