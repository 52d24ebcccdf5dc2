"""Errors that an on-call person can act on: what was attempted, on what, why it failed, what to try."""

from __future__ import annotations

from dataclasses import dataclass


class NciaError(Exception):
    """Base of every error that we raise on purpose.

    ``code`` is stable and greppable (``estate.dangling-reference``); ``what`` names the attempt and its object;
    ``why`` the reason; ``hint`` what to try next (may be empty where nothing can be done).
    """

    def __init__(self, code: str, what: str, why: str, hint: str = "") -> None:
        self.code = code
        self.what = what
        self.why = why
        self.hint = hint
        super().__init__(f"{what}: {why}" + (f" (try: {hint})" if hint else ""))

    def as_problem(self) -> dict[str, str]:
        """The same error as the body of an RFC 9457 problem+json answer."""
        return {"code": self.code, "title": self.what, "detail": self.why, "hint": self.hint}


class Refusal(NciaError):
    """A request was understood and is not allowed now; ``override`` names what would allow it, if anything."""

    def __init__(self, code: str, what: str, why: str, hint: str = "", override: str = "") -> None:
        super().__init__(code, what, why, hint)
        self.override = override


class Unreachable(NciaError):
    """A peer, store or host did not answer in time; nothing is known about whether it acted."""


class NoQuorum(Unreachable):
    """etcd could not commit: nothing that needs a third vote may go on."""


@dataclass(frozen=True)
class Fault:
    """One thing wrong with an input file; faults are gathered and told together.

    ``line`` counts from 1; 0 where the fault belongs to the file as a whole.
    """

    file: str
    line: int
    what: str
    hint: str = ""

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        return f"{place}: {self.what}" + (f"\n    try: {self.hint}" if self.hint else "")


class InputFaults(NciaError):
    """An input was refused; carries every fault found in it, not only the first."""

    def __init__(self, what: str, faults: tuple[Fault, ...]) -> None:
        self.faults = faults
        count = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
        super().__init__("input.faults", what, f"{count}\n" + "\n".join(str(fault) for fault in faults))
