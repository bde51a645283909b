"""`archipel door key`: who may use a door, for what, how much of it, and what was used."""

from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from archipel.cli.clock import clock_ms
from archipel.cli.door_folder import FOLDER, accounts_at
from archipel.cli.door_grants import charge, tie, untie
from archipel.cli.doors import mending, show
from archipel.cli.helping import Group
from archipel.cli.lab_door import JSON
from archipel.door.keys import SCOPES, USUAL, BadKeyQuestion
from archipel.plurals import counted

if TYPE_CHECKING:
    from archipel.door.keys import Key, Limits

DAY_MS = 86_400_000


class Bound(click.ParamType):
    """A number, or `none` for no bound. scale: parts of one that are counted."""

    name = "number"

    def __init__(self, scale: int = 1) -> None:
        self._scale = scale

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """In those parts; -1: none."""
        if isinstance(value, int):
            return value
        if value == "none":
            return -1
        try:
            found = round(float(value) * self._scale)
        except (ValueError, OverflowError):
            found = -1
        if not 0 <= found < 2**53 or (self._scale == 1 and not value.isdecimal()):
            self.fail(f"got {value!r}, expected a number from 0 up, or none", param, ctx)
        return found


@click.group(cls=Group)
def key() -> None:
    """API keys: make, list, revoke; what their tenants may use, have used, and who pays."""


for each in (tie, untie, charge):
    key.add_command(each)


@key.command()
@click.argument("tenant", metavar="TENANT")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    type=click.Choice(SCOPES),
    help="What it may be used for; give it once for each [train, sample, checkpoints, usage].",
)
@click.option("--days", type=click.IntRange(1, 36_500), help="It ends after so many [never].")
@FOLDER
@JSON
def make(
    tenant: str, scopes: tuple[str, ...], days: int | None, folder: Path | None, as_json: bool
) -> None:
    """Make an API key for TENANT, a name of your choice, and print it: it is shown this once.

    All keys of one tenant see the same models. `publish` lets it show checkpoints to every tenant; `foreign-samples` lets
    it train on samples whose log-probabilities this door did not record itself.

    \b
    Examples:
      archipel door key make ada
      archipel door key make class-7 --scope sample --days 30
    """
    now_ms = clock_ms()
    expires_ms = None if days is None else now_ms + days * DAY_MS
    with mending(BadKeyQuestion), closing(accounts_at(folder, make=True)) as accounts:
        made = accounts.keys.make(tenant, scopes or USUAL, now_ms, expires_ms)
    found = {
        "key": made,
        "tenant": tenant,
        "scopes": sorted(scopes or USUAL),
        "expires_ms": expires_ms,
    }
    show(found, as_json, lambda: made)
    if not as_json:
        click.echo("shown this once; clients take it from TINKER_API_KEY", err=True)


@key.command("list")
@FOLDER
@JSON
def list_(folder: Path | None, as_json: bool) -> None:
    """All keys of this door by their public names, without their secrets.

    \b
    Example:
      archipel door key list
    """
    with closing(accounts_at(folder)) as accounts:
        keys = accounts.keys.all()
    rows = [_facts(each) for each in keys]
    now_ms = clock_ms()
    show(rows, as_json, lambda: "\n".join(_row(each, now_ms) for each in keys) or "no keys yet")


@key.command()
@click.argument("name", metavar="KEY")
@FOLDER
@JSON
def revoke(name: str, folder: Path | None, as_json: bool) -> None:
    """Refuse the key of this public name from now on, also at a door that runs.

    \b
    Example:
      archipel door key revoke 5f0c1a2b3c4d
    """
    with mending(BadKeyQuestion), closing(accounts_at(folder)) as accounts:
        accounts.keys.revoke(name, clock_ms())
    show({"revoked": name}, as_json, lambda: f"{name} is revoked")


@key.command()
@click.argument("tenant", metavar="TENANT")
@click.option("--share", type=int, help="Weight of its part where several wait: 1 to 1000.")
@click.option("--requests-per-second", "requests", type=Bound(1000), help="Calls that begin work.")
@click.option("--tokens-per-minute", "minute", type=Bound(), help="Tokens of all kinds.")
@click.option("--tokens-per-month", "month", type=Bound(), help="Tokens of a calendar month, UTC.")
@FOLDER
@JSON
def limit(
    tenant: str,
    share: int | None,
    requests: int | None,
    minute: int | None,
    month: int | None,
    folder: Path | None,
    as_json: bool,
) -> None:
    """Say how much TENANT may use; what is not given stays, and `none` takes a bound away.

    \b
    Examples:
      archipel door key limit ada --share 3 --tokens-per-minute 200000
      archipel door key limit ada --tokens-per-month none
    """
    given = {
        "share": share,
        "requests_milli": requests,
        "tokens_per_minute": minute,
        "tokens_per_month": month,
    }
    changes: dict[str, Any] = {
        name: None if value == -1 else value for name, value in given.items() if value is not None
    }
    with mending(BadKeyQuestion), closing(accounts_at(folder)) as accounts:
        limits = replace(accounts.keys.limits(tenant), **changes)
        accounts.keys.limit(tenant, limits)
    found = {"tenant": tenant} | vars(limits)
    show(found, as_json, lambda: f"{tenant}: {_words(limits)}")


@key.command()
@click.option("--tenant", help="Of this one alone [all].")
@click.option(
    "--days", type=click.IntRange(1, 400), default=30, show_default=True, help="How far back."
)
@FOLDER
@JSON
def usage(tenant: str | None, days: int, folder: Path | None, as_json: bool) -> None:
    """What was used, by day, key and kind, in UTC.

    \b
    Examples:
      archipel door key usage
      archipel door key usage --tenant ada --days 7 --json
    """
    from archipel.door.usage import TooMany
    from archipel.door.usage import days as by_day

    now_ms = clock_ms()
    start_ms = now_ms - now_ms % DAY_MS - (days - 1) * DAY_MS
    with mending(TooMany), closing(accounts_at(folder)) as accounts:
        whose = {each.name: each.tenant for each in accounts.keys.all()}
        found = by_day(accounts.usage.hours(None, start_ms, now_ms + 1))
    rows = [
        {
            "day": _day(each.start_ms),
            "tenant": whose[each.key],
            "key": each.key,
            "kind": each.kind,
            "base_model": each.model or None,
            "calls": each.calls,
            "tokens": each.num_tokens,
        }
        for each in found
        if tenant is None or whose[each.key] == tenant
    ]
    show(rows, as_json, lambda: "\n".join(map(_used, rows)) or "nothing was used yet")


def _facts(each: "Key") -> dict[str, Any]:
    facts = {name: value for name, value in vars(each).items() if name != "limits"}
    return facts | vars(each.limits)


def _row(each: "Key", now_ms: int) -> str:
    if each.revoked_ms is not None:
        until = f"revoked {_day(each.revoked_ms)}"
    elif each.expires_ms is None:
        until = "no end"
    else:
        word = "ended" if each.expires_ms <= now_ms else "until"
        until = f"{word} {_day(each.expires_ms)}"
    return f"{each.name}  {each.tenant}  {until}  {','.join(each.scopes)}  {_words(each.limits)}"


def _words(limits: "Limits") -> str:
    parts = [f"share {limits.share}"]
    if limits.requests_milli is not None:
        parts.append(f"{limits.requests_milli / 1000:g} calls/s")
    if limits.tokens_per_minute is not None:
        parts.append(f"{limits.tokens_per_minute} tokens/min")
    if limits.tokens_per_month is not None:
        parts.append(f"{limits.tokens_per_month} tokens/month")
    return ", ".join(parts)


def _used(row: dict[str, Any]) -> str:
    model = f"  {row['base_model']}" if row["base_model"] else ""
    return (
        f"{row['day']}  {row['tenant']}  {row['key']}  {row['kind']:<7}  {row['tokens']} tokens in "
        f"{counted(row['calls'], 'call')}{model}"
    )


def _day(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d")
