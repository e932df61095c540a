"""The log of a training: a line every few steps, of all its launches."""

from __future__ import annotations

import json
from pathlib import Path


def lost_tokens(log: Path) -> tuple[int, int]:
    """Tokens, trained on and sampled, of launches that died, behind the step that the next one began from.

    They were spent all the same. A launch begins with a line that names its training: one job may have several.
    """
    if not log.exists():
        return 0, 0
    trained = sampled = 0
    training = ""
    last: dict[str, tuple[int, int]] = {}
    for line in log.read_text(encoding="utf-8").splitlines():
        try:
            row = json.loads(line)
            training, now = row.get("begins", training), (int(row["tokens"]), int(row.get("sampled", 0)))
        except (ValueError, KeyError):
            continue
        before = last.get(training, (0, 0))
        if now[0] < before[0]:
            trained, sampled = trained + before[0] - now[0], sampled + max(0, before[1] - now[1])
        last[training] = now
    return trained, sampled
