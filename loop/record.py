"""The base of all records."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Record(BaseModel):
    """Base of all records: frozen, and a key that is not declared is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")
