"""`ncia repo engines`: what each program that can keep an agency's files does, and what it does not."""

from __future__ import annotations

import importlib
import json
from typing import Annotated

import typer

from ncia.cli.repo import AsJson, app


@app.command()
def engines(
    restic: Annotated[str, typer.Option(help="Which restic, where it is not the one on PATH.")] = "",
    as_json: AsJson = False,
) -> None:
    """What ours and restic's own do and do not, in plain words; the estate says which one keeps an agency's files."""
    told = importlib.import_module("ncia.app.engines").told(restic)
    if as_json:
        print(json.dumps(told, indent=2))
        return
    for each in told:
        print(f"{each['engine']} {each['version']}".strip())
        for sentence in each["sentences"]:
            print(f"  {sentence}")
