"""Epoch AI's table of models (epoch.ai/data, CC BY 4.0): makers, countries, days, access, parameters, parents.

What a cell does not say is unknown. A country is a maker's own only where a line names as many countries as makers.
"Restricted" and "non-commercial" weights are restricted; weights behind an interface, or unreleased, are closed.
"""

from typing import BinaryIO, Final

from archipel.observatory.importers.cells import BadCell, day, whole
from archipel.observatory.importers.countries import country_of
from archipel.observatory.importers.lines import Column, Line, read_table
from archipel.observatory.importers.taking import Taking
from archipel.observatory.rows import MAX_LINKS, UNKNOWN

COLUMNS: Final = {
    "model": Column(("Model", "System", "Model name", "Name"), is_needed=True),
    "date": Column(("Publication date", "Release date", "Date"), is_needed=True),
    "organisation": Column(("Organization", "Organisation", "Developer"), is_needed=True),
    "country": Column(("Country (of organization)", "Country (from Organization)", "Country")),
    "access": Column(("Model accessibility", "Accessibility", "Access"), is_needed=True),
    "domain": Column(("Domain",)),
    "parameters": Column(("Parameters", "Model size (parameters)")),
    "parent": Column(("Base model",)),
    "data": Column(("Training dataset", "Training datasets")),
    "code": Column(("Training code accessibility",)),
}
ACCESS: Final = {
    "": UNKNOWN,
    "open weights (unrestricted)": "open",
    "open source": "open",
    "open weights (restricted use)": "restricted",
    "open weights (non-commercial)": "restricted",
    "api access": "closed",
    "hosted access (no api)": "closed",
    "unreleased": "closed",
}
_CODE: Final = {
    "open source": "disclosed",
    "open (restricted use)": "disclosed",
    "open (non-commercial)": "disclosed",
    "unreleased": "undisclosed",
}
UNNAMED_DATA: Final = "Unspecified unreleased"


def take(file: BinaryIO, taking: Taking) -> None:
    """Take in the table in `file`.

    Raises:
        BadTable: it is none; TooStrict: a line was refused, and none may be.
    """
    table = read_table(file, COLUMNS)
    taking.unused = table.unused
    for line in table.lines:
        taking.counted["lines"] += 1
        place = f"line {line.number}"
        try:
            _take_line(line, place, taking)
        except BadCell as error:
            taking.refuse(place, str(error))


def _take_line(line: Line, place: str, taking: Taking) -> None:
    if line.why_not:
        raise BadCell(line.why_not)
    said = line.get("access").lower()
    if said not in ACCESS:
        raise BadCell(
            f"accessibility {line.get('access')!r:.60}; expected one of {', '.join(ACCESS)}"
        )
    released, params = day(line.get("date"), taking.day), line.get("parameters")
    facts = {
        "released": released,
        "kind": _kind(line.get("domain")),
        "access": ACCESS[said],
        "params": whole(params) if params else UNKNOWN,
        "parents": tuple(taking.id_of(each) for each in _parts(line.get("parent"))) or UNKNOWN,
        "organisations": _makers(line, place, taking),
    }
    model = taking.model(line.get("model"), place, **facts)
    if model is None:
        return
    for about, answer in (
        ("training_data", _data(line.get("data"))),
        ("training_code", _CODE.get(line.get("code").lower(), UNKNOWN)),
    ):
        if answer != UNKNOWN:
            taking.about(
                "disclosures", about, model, place, about=about, answer=answer, at=taking.day
            )


def _makers(line: Line, place: str, taking: Taking) -> tuple[str, ...]:
    makers, countries = _parts(line.get("organisation")), _parts(line.get("country"))
    is_paired = len(makers) == len(countries)
    taking.counted["lines whose countries fit no maker"] += bool(countries) and not is_paired
    found = [
        taking.organisation(maker, place, country_of(countries[at]) if is_paired else UNKNOWN)
        for at, maker in enumerate(makers[:MAX_LINKS])
    ]
    return tuple(dict.fromkeys(each for each in found if each is not None))


def _kind(domain: str) -> str:
    domains = set(_parts(domain))
    if "Language" in domains:
        return "language" if domains == {"Language"} else "multimodal"
    return "other" if domains else UNKNOWN


def _data(text: str) -> str:
    named = _parts(text)
    if not named:
        return UNKNOWN
    if UNNAMED_DATA not in named:
        return "disclosed"
    return "partly" if len(named) > 1 else "undisclosed"


def _parts(text: str) -> list[str]:
    return [part for each in text.split(",") if (part := each.strip())]
