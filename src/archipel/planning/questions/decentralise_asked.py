"""`plan decentralise`, what no table can say of its options: methods, lines, departures, and what excludes what."""

import math
import re

from archipel.planning.mistakes import CannotPlan, Impossible, UnitMismatch, nearest
from archipel.planning.quantity import Quantity, given
from archipel.planning.questions.bounds import LINE, bounded
from archipel.planning.requests.option import Request, read_sheet
from archipel.planning.sampling import Draws
from archipel.planning.tables import Shelf
from archipel.planning.units import kind_of

LINES = ("home", "office", "datacentre")
MOST_DEPARTURES = 1e4
"""A day: a site that leaves every few seconds never works."""
_BARE_RATE = re.compile(r"^\s*(?P<number>[\d.]+(?:[eE][-+]?\d+)?)\s*/")
"""`0.2/day`, which has a number and no unit before the stroke."""


def method_of(request: Request) -> str:
    """The name people use for the chosen method.

    Raises:
        UnknownName: no such method, with the nearest.
    """
    sheet = read_sheet("decentralise")
    word = request.method.strip().casefold()
    tabled = {sheet["parts"][name]["table"]: name for name in sheet["lists"]["methods"]}
    method: str = tabled.get(f"method.{word}", word)
    if method not in tabled.values():
        raise nearest(request.method, tabled.values(), "method")
    return method


def check_amounts(asked: dict[str, Quantity], kind: str, request: Request, shelf: Shelf) -> None:
    """Refuse amounts that cannot stand beside each other.

    Raises:
        Impossible: more parameters used than there are, nothing left to pay, a fleet larger than the market.
    """
    amounts = {name: Draws(count=1).centre(each) for name, each in asked.items()}
    total, used = (amounts.get(f"run.{name}", 0.0) for name in ("params", "active_params"))
    if used > total:
        raise Impossible(
            f"--active-params: got {used:g}, expected more than 0 and at most --params {total:g}"
        )
    if amounts["market.subsidy"] == 1:
        raise Impossible("--subsidy: got 1, expected a share from 0 to below 1")
    offered = amounts.get("market.supply") or shelf.entry("decentralise.supply").figure.value
    each = amounts["decentral.per_site"]
    wanted = amounts["decentral.sites"] * each
    if wanted > offered and not request.price:
        most = int(offered // each)
        fewer = f"take at most {most:,} sites" if most else f"take fewer than {each:,.0f} a site"
        raise Impossible(
            f"{wanted:,.0f} accelerators are more than the {offered:,.0f} {kind} on offer; {fewer}, "
            "or say how many there are with --supply"
        )


def rents_of(request: Request, kind: str, shelf: Shelf) -> dict[str, str]:
    """The words that say which rents are taken: `rental.KIND`, `rental.region.REGION.KIND`, and `.spot` of either.

    Raises:
        CannotPlan: an accelerator without a known price, there.
        UnknownName: a region of which no rent is known.
    """
    group = "rental"
    if request.region:
        known = shelf.members("rental.region")
        if request.region not in known:
            raise nearest(request.region, known, "region")
        group = f"rental.region.{request.region}"
    posted = f"{group}.{kind}" if f"{group}.{kind}" in shelf else ""
    if not posted and not (request.price and request.central_price):
        there = f" in {request.region}" if request.region else ""
        names = ", ".join(name for name in shelf.members(group) if f"{group}.{name}" in shelf)
        raise CannotPlan(
            f"no rental price of {kind} is known{there}; give --price and --central-price, or choose "
            f"one of {names}"
        )
    family = kind.partition("-")[0]
    words = {"posted": posted, "median": posted, "tail": posted}
    words["family"] = family if f"rental.dispersion.{family}" in shelf else "h100"
    if request.spot:
        spot = f"{group}.spot.{kind}"
        words |= {"median": spot if spot in shelf else "market.spot", "tail": ""}
        leaves = f"spot_{family}"
        words |= {"leaves": leaves} if f"decentral.interruption.{leaves}" in shelf else {}
    if posted and shelf.entry(posted).figure.low is None:
        words["tail"] = ""
    return words | ({"median": ""} if request.price else {})


def lines_of(request: Request) -> dict[str, Quantity]:
    """A site's upload and download where they are amounts.

    Raises:
        UnknownName, UnitMismatch, Impossible: neither an amount nor a line that has a name.
    """
    word, found = named_line(request), {}
    if word not in LINES:
        if word.replace("-", "").isalpha() or not word:
            raise nearest(request.bandwidth, LINES, "line (or an amount in Mbit/s)")
        found["site.upload"] = _line(request.bandwidth, "--bandwidth", "upload")
    if request.download:
        found["site.download"] = _line(request.download, "--download", "download")
    return found


def named_line(request: Request) -> str:
    """What was written, as names of lines are."""
    word: str = request.bandwidth.strip().casefold()
    return word


def _line(text: str, option: str, direction: str) -> Quantity:
    try:
        value = bounded(_in_bits(text), LINE, option)
    except UnitMismatch as error:
        raise UnitMismatch(f"{error}, 1 Gbps, or {', '.join(LINES)}") from None
    return given(f"site.{direction}", value, "Mbit/s", option, f"{direction} of a site")


def _in_bits(text: str) -> str:
    """A line as advertised, `1Gbps`, in the spelling of units, `1 Gbit/s`."""
    found = re.fullmatch(r"\s*([\d.,_eE+-]+)\s*([kKmMgGtT]?)(?:[bB][pP][sS]|b/s)\s*", text)
    if found is None:
        return text
    scale = {"": "", "k": "k", "m": "M", "g": "G", "t": "T"}[found[2].casefold()]
    return f"{found[1]} {scale}bit/s"


def leaving(request: Request) -> dict[str, Quantity]:
    """How often a site leaves, if it was asked for: a rate, or a mean stay."""
    if not request.churn:
        return {}
    text = _BARE_RATE.sub(r"\g<number> 1/", request.churn)
    which, value = kind_of(text, {"rate": "1/day", "stay": "day"}, "--churn")
    least = 0.0 if which == "rate" else 1.0 / MOST_DEPARTURES
    if not least <= value <= (MOST_DEPARTURES if which == "rate" else math.inf):
        raise Impossible(
            f"--churn: got {request.churn!r}, expected a rate from 0 to {MOST_DEPARTURES:g}/day, "
            "or a mean stay such as 5 days"
        )
    rate = value if which == "rate" else 1.0 / value
    about = "how often a site leaves"
    return {"churn.leaving": given("churn.leaving", rate, "1/day", "--churn", about)}
