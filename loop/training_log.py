"""The log of a training: a line every few steps, of all its launches."""

from __future__ import annotations

import json
from pathlib import Path


def lost_tokens(log: Path) -> int:
    """Tokens that launches which died trained on in vain, behind the step that the next one began from.

    They were spent all the same. A launch begins with a line that names its training: one job may have several.
    """
    if not log.exists():
        return 0
    lost, training = 0, ""
    last: dict[str, int] = {}
    for line in log.read_text(encoding="utf-8").splitlines():
        try:
            row = json.loads(line)
            training, tokens = row.get("begins", training), int(row["tokens"])
        except (ValueError, KeyError):
            continue
        lost += max(0, last.get(training, 0) - tokens)
        last[training] = tokens
    return lost
