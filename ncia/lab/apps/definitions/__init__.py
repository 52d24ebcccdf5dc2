"""The eleven hosted systems of the reference estate, one file each."""

from __future__ import annotations

from collections.abc import Mapping

from ncia.core.base.errors import NciaError
from ncia.lab.apps.definition import Definition
from ncia.lab.apps.definitions import (
    customs,
    egov,
    epeople,
    g2b,
    g4b,
    gangnam_civil,
    gangnam_tax,
    hometax,
    onnara,
    patent,
    share,
)

DEFINITIONS: Mapping[str, Definition] = {
    module.DEFINITION.system: module.DEFINITION
    for module in (share, egov, hometax, g2b, customs, onnara, epeople, patent, g4b, gangnam_civil, gangnam_tax)
}


def definition_of(system: str) -> Definition:
    """Raises :class:`NciaError` where the lab has no application for ``system``."""
    try:
        return DEFINITIONS[system]
    except KeyError:
        known = ", ".join(DEFINITIONS)
        raise NciaError("lab.no-application", f"find the application of {system}", "there is none", known) from None
