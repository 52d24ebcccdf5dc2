"""`ncia findings`: attacks that detection rules saw in the sites' logs, with examples; asked of the site's API."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import typer

from ncia.cli.client import Api

app = typer.Typer()


@app.command()
def findings(
    host: Annotated[str | None, typer.Argument(help="Only of this host or service.")] = None,
    rules: Annotated[bool, typer.Option("--rules", help="The site's rules instead, and which can never fire.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="As the API gives it.")] = False,
) -> None:
    """Attacks, those that go on first, each with log lines as examples."""
    told = Api.from_environment().get("/v1/findings")
    if as_json:
        print(json.dumps(told, ensure_ascii=False, sort_keys=True))
        return
    found = [each for each in told["findings"] if host in (None, each["host"])]
    for line in rules_told(told) if rules else findings_told(found, host):
        print(line)


def findings_told(found: list[Mapping[str, Any]], host: str | None) -> Iterator[str]:
    if not found:
        yield f"No rule has fired{f' on {host}' if host else ''}."
    for each in found:
        state = f"closed {each['closed_at']}: {each['reason']}" if each["closed_at"] else "goes on"
        yield f"{each['level'].upper():<8} {each['sentence']}"
        yield f"         {each['title']} · {each['site']} · {each['first_at']} to {each['last_at']} · {state}"
        for example in each["examples"]:
            yield f"           {example}"


def rules_told(told: Mapping[str, Any]) -> Iterator[str]:
    if told["heard_at"] is None:
        yield f"The agent of {told['site']} has not said yet which rules it runs."
        return
    counts = told["counts"]
    yield f"{counts.get('lines', 0)} lines read, {counts.get('unparsed', 0)} of another form, as of {told['heard_at']}"
    lost = {name: counts[name] for name in ("dropped", "untold", "spilt", "gone", "overlong") if counts.get(name)}
    if lost:
        yield "Beyond a bound: " + ", ".join(f"{count} {name}" for name, count in lost.items())
    for rule in told["rules"]:
        state = f"can never fire here: {rule['inactive']}" if rule["inactive"] else "at work"
        yield f"{rule['level']:<14} {rule['title']} · {state}"
