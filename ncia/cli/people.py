"""`ncia login | logout | whoami`, `ncia token …`, `ncia people …`: who asks, and who may."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from ncia.cli.client import Api
from ncia.cli.session import Session
from ncia.core.base.errors import NciaError

app = typer.Typer()
token_app = typer.Typer(help="Tokens with which machines ask: issue, list, revoke.", no_args_is_help=True)
people_app = typer.Typer(help="Accounts: who may ask for what, and who may not for a while.", no_args_is_help=True)
app.add_typer(token_app, name="token")
app.add_typer(people_app, name="people")

PAGE = 1000

AsJson = Annotated[bool, typer.Option("--json", help="Print what the API answers.")]
Reason = Annotated[str, typer.Option(help="Why, for the journal.")]
By = Annotated[str, typer.Option(help="Who asks, at the unix socket; elsewhere it is whoever is signed in.")]
Person = Annotated[str, typer.Argument(help="A person of the estate.")]


@app.command()
def login(
    key: Annotated[
        Path | None, typer.Option(help="Your OpenSSH key: a file, a hardware key's handle, or FILE.pub of the agent's.")
    ] = None,
    browser: Annotated[bool, typer.Option(help="Also print an address that opens the console, good once.")] = False,
) -> None:
    """Sign in as yourself with your own key; no password, nothing secret leaves this machine."""
    api = Api.from_environment()
    if key is not None:
        api = _sign_in(api, key)
    elif not browser or api.session is None:
        hint = "ncia login --key ~/.ssh/id_ed25519"
        raise NciaError("cli.no-key", f"sign in at {api.address}", "no key was named", hint)
    if browser:
        told = api.post("/v1/sign-in/links")
        print(f"{api.console()}{told['path']}")
        print(f"Good once, until {told['expires_at']}.")


@app.command()
def logout() -> None:
    """End the session here, and at both sites."""
    api = Api.from_environment()
    if api.session is None:
        print(f"nobody is signed in at {api.address}")
        return
    person = api.session.person
    try:
        api.post("/v1/sign-out")
    except NciaError as error:
        if error.code != "api.signed-out":
            raise
    api.keep(None)
    print(f"{person} is signed out")


@app.command()
def whoami(as_json: AsJson = False) -> None:
    """Whom the API takes you for, and how far you may see."""
    told = Api.from_environment().get("/v1/me")
    if as_json:
        print(json.dumps(told))
        return
    sees = ", ".join(told["agencies"]) or "the whole estate"
    until = f", until {told['expires_at']}" if told["expires_at"] else ""
    print(f"{told['name']}, {told['role']}, sees {sees}{until}")


@token_app.command()
def issue(
    name: Annotated[str, typer.Argument(help="What the token is for: a-z, 0-9 and dashes.")],
    role: Annotated[str, typer.Option(help="operator or auditor.")],
    days: Annotated[float, typer.Option(help="For how long it holds.")] = 90,
    agency: Annotated[
        list[str] | None, typer.Option(help="It sees this agency's systems only; may be repeated.")
    ] = None,
    by: By = "",
) -> None:
    """Make a token. Its secret is printed this once, alone on stdout; what is kept of it is a hash."""
    body = {"name": name, "role": role, "days": days, "agencies": agency or [], "by": by}
    told = Api.from_environment().post("/v1/tokens", body)
    typer.echo(f"{told['token']}: {told['role']}, until {told['expires_at']}; its secret is not shown again:", err=True)
    print(told["secret"])


@token_app.command("list")
def tokens(as_json: AsJson = False) -> None:
    """Every token that is remembered; never a secret."""
    told = Api.from_environment().get("/v1/tokens", limit=PAGE)["tokens"]
    if as_json:
        print(json.dumps(told))
        return
    rows = [
        (t["token"], t["name"], t["role"], ", ".join(t["agencies"]) or "all", t["state"], t["expires_at"][:16], t["by"])
        for t in told
    ]
    _show(("token", "name", "role", "sees", "state", "until (UTC)", "issued by"), rows)


@token_app.command()
def revoke(
    token: Annotated[str, typer.Argument(help="As `ncia token list` shows it.")], reason: Reason, by: By = ""
) -> None:
    """A token holds no longer, at both sites."""
    told = Api.from_environment().post(f"/v1/tokens/{token}/revoke", {"reason": reason, "by": by})
    print(f"{told['token']} {told['state']}")


@people_app.command("list")
def people(as_json: AsJson = False) -> None:
    """Every account of the estate: role, keys, sessions, and whether it rests."""
    told = Api.from_environment().get("/v1/people", limit=PAGE)["people"]
    if as_json:
        print(json.dumps(told))
        return
    rows = [
        (
            p["id"],
            p["name"],
            p["role"],
            ", ".join(p["agencies"]) or "all",
            str(len(p["keys"])),
            str(p["sessions"]),
            f"suspended: {p['suspended']}" if p["suspended"] else "active" if p["keys"] else "has no key",
        )
        for p in told
    ]
    _show(("person", "name", "role", "sees", "keys", "sessions", "state"), rows)


@people_app.command()
def suspend(person: Person, reason: Reason, by: By = "") -> None:
    """An account rests: its sessions end, its approvals do not count."""
    told = Api.from_environment().post(f"/v1/people/{person}/suspend", {"reason": reason, "by": by})
    print(f"{told['person']} {told['state']}")


@people_app.command()
def restore(person: Person, reason: Reason, by: By = "") -> None:
    """A suspended account may ask again, once it has signed in."""
    told = Api.from_environment().post(f"/v1/people/{person}/restore", {"reason": reason, "by": by})
    print(f"{told['person']} {told['state']}")


def _sign_in(api: Api, key: Path) -> Api:
    # Here, for these commands stand beside `warden`: one that starts must not carry the keys' library about.
    from ncia.cli.signing import own_key
    from ncia.core.requests.challenges import NAMESPACE, signed_bytes

    own = own_key(key)
    asked: dict[str, Any] = api.post("/v1/sign-in/challenges")
    signature = own.sign(signed_bytes(site=asked["site"], challenge=asked["challenge"]), NAMESPACE)
    told = api.post("/v1/sign-in/sessions", {"challenge": asked["challenge"], "signature": signature})
    signed_in = api.keep(Session(told["secret"], told["person"], told["expires_at"]))
    print(f"{told['person']} ({told['role']}, {own.public.fingerprint}) is signed in until {told['expires_at']}")
    return signed_in


def _show(headings: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        table.add_column(heading)
    for row in rows:
        table.add_row(*row)
    Console(highlight=False).print(table)
