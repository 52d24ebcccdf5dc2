"""What every entry's body is."""

from __future__ import annotations

from typing import ClassVar

from pydantic import BaseModel, ConfigDict


class Body(BaseModel):
    """Base of all entry bodies: frozen, closed, no silent coercion."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=False, allow_inf_nan=False)
    KIND: ClassVar[str]
    VERSION: ClassVar[int] = 1
