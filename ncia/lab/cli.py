"""`ncia lab …`: the two-site lab for people."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from ncia.core.base.errors import NciaError
from ncia.core.base.ids import SiteId
from ncia.lab.lab import Lab
from ncia.lab.people import console_link

app = typer.Typer(help="Two data centres and a witness on this machine: bring them up, hurt them, take them down.")

VISITOR = "kim"  # of the reference estate: on call
SiteArgument = Annotated[str, typer.Argument(help="A site of the estate, e.g. daejeon.")]
LinkEnd = Annotated[str | None, typer.Argument(help="A link's end; the link of the two data centres unless told.")]


@app.callback(invoke_without_command=True)
def main(
    context: typer.Context,
    burn: Annotated[str | None, typer.Option(help="The main job: up, load, prove, burn this site, recover.")] = None,
    dark: Annotated[
        str | None,
        typer.Option("--blackout", help="As --burn, but the site's disks stay: it returns, and its systems go home."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="With --burn or --blackout: the figures as the last line.")
    ] = False,
) -> None:
    if context.invoked_subcommand is not None:
        return
    if burn is None and dark is None:
        up()
        return
    from ncia.lab.exercise import Exercise
    from ncia.lab.homecoming import Homecoming

    home = Lab().home
    story = Homecoming(home, SiteId(dark), print) if dark else Exercise(home, SiteId(str(burn)), print)
    outcome = story.run()
    for failure in outcome.failures:
        print(f"Failed: {failure}")
    if as_json:
        print(outcome.as_json())
    raise typer.Exit(0 if outcome.correct else 1)


@app.command()
def up() -> None:
    """Bring the lab up; it stays running."""
    lab = Lab()
    lab.up()
    tell_consoles(lab, VISITOR)
    print("Try: ./dev lab status · ./dev ncia status · ./dev lab start citizens load · ./dev lab cut · ./dev lab heal")
    print("     ./dev lab blackout daejeon · ./dev lab start daejeon · ./dev lab down")


@app.command()
def console(person: Annotated[str, typer.Argument(help="One of the lab's people.")] = VISITOR) -> None:
    """Print addresses that open the consoles as one of the lab's people; each is good once, for ten minutes."""
    tell_consoles(Lab(), person)


@app.command()
def status() -> None:
    """Every process and link, and what is wrong with it."""
    lab = Lab()
    console = Console()
    states = lab.processes()
    if not states:
        raise NciaError("lab.not-up", "tell the lab's status", f"there is no lab in {lab.home}", "lab up")
    shown = Table("site", "process", "pid", "state")
    for state in sorted(states, key=lambda state: (state.site, state.name)):
        shown.add_row(state.site, state.name, str(state.pid), "[green]runs" if state.alive else "[red]ended")
    console.print(shown)
    links = Table("link", "end", "joined", "channels", "sent", "faults")
    for link in lab.links():
        told = link.state
        if told is None:
            links.add_row(f"{link.a}-{link.b}", link.reported_by, "[red]this end is gone", "", "", "")
            continue
        faults = [name for name in ("cut", "swallow", "delay_seconds", "bytes_per_second") if told[name]]
        links.add_row(
            f"{link.a}-{link.b}",
            link.reported_by,
            "[green]yes" if told["connected"] else "[red]no",
            str(told["channels"]),
            f"{told['bytes_sent']:,}",
            "[red]" + ", ".join(f"{name} {told[name]}" for name in faults) if faults else "",
        )
    console.print(links)
    for site, how in lab.lost.items():
        console.print(f"[red]{site} is lost: {how}")
    ended = [state for state in states if not state.alive]
    raise typer.Exit(1 if ended else 0)


@app.command()
def burn(site: SiteArgument) -> None:
    """A site is gone for good: swallowed, killed, its folder deleted."""
    Lab().burn(SiteId(site))


@app.command()
def blackout(site: SiteArgument) -> None:
    """A site's power is gone; `start SITE` brings it back."""
    Lab().blackout(SiteId(site))


@app.command()
def attack(
    host: Annotated[
        str | None, typer.Argument(help="An SSH host of the estate; a site's store host unless told.")
    ] = None,
    site: Annotated[str | None, typer.Option(help="At which site; the first data centre unless told.")] = None,
    guesses: Annotated[int, typer.Option(min=0, max=1000, help="Passwords to try before.")] = 40,
    enter: Annotated[bool, typer.Option(help="Get in at the end, by a weak account that exists meanwhile.")] = True,
) -> None:
    """Try passwords on an SSH host over the network, then get in; wait for the incident and print it."""
    from ncia.lab.attack import Attack

    tried = Attack.on(Lab(), site, host, guesses, enter)
    refused = tried.run()
    entered = " and got in" if enter else ""
    print(f"{tried.source} tried {refused} passwords on {tried.host.id}{entered}")
    incident = tried.wait_for_incident()
    print(f"{incident['severity']}: {incident['sentence']}")
    print(f"Try: {incident['run_next']} · ncia alerts ack {incident['id']} --by PERSON --comment …")


@app.command()
def cut(a: LinkEnd = None, b: LinkEnd = None) -> None:
    """Cut a link: what is sent waits, nothing is refused."""
    Lab().cut(*ends(a, b))


@app.command()
def slow(milliseconds: float, a: LinkEnd = None, b: LinkEnd = None) -> None:
    """Delay a link, each way."""
    Lab().slow(milliseconds, *ends(a, b))


@app.command()
def throttle(bytes_per_second: int, a: LinkEnd = None, b: LinkEnd = None) -> None:
    """Let only so many bytes a second over a link, each way; 0 for as many as will."""
    Lab().throttle(bytes_per_second, *ends(a, b))


@app.command()
def heal() -> None:
    """Every link whole again (not to sites that are lost)."""
    Lab().heal()


@app.command()
def down(keep: Annotated[bool, typer.Option(help="Leave the folders, to read the logs.")] = False) -> None:
    """Stop everything, leave nothing."""
    Lab().down(keep=keep)


@app.command()
def start(
    site: SiteArgument, process: Annotated[str | None, typer.Argument(help="As `status` calls it.")] = None
) -> None:
    """Start one process, or bring back a whole site that went dark."""
    Lab().start(SiteId(site), process)


@app.command()
def stop(site: SiteArgument, process: Annotated[str, typer.Argument(help="As `status` calls it.")]) -> None:
    """End one process."""
    Lab().stop(SiteId(site), process)


def tell_consoles(lab: Lab, person: str) -> None:
    for site in lab.estate().centres:
        if site not in lab.lost:
            print(f"console of {site}: {console_link(lab, site, person)}")
    print(f"Each opens once, as {person}; for new ones: ./dev lab console [PERSON]")


def ends(a: str | None, b: str | None) -> tuple[SiteId | None, SiteId | None]:
    return (SiteId(a) if a else None, SiteId(b) if b else None)
