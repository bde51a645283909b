"""What a parent's licence asks of whoever gives away a model that was made from it. Pure.

Laws: a licence that is in no table is unknown, and that is said; nothing here is legal advice. A distilled, adapted or
merged model counts as made from its parent as a fine-tuned one does: whoever holds otherwise says so and why.
Sources: the licences' own texts; GNU project, list of licences and their compatibility; Creative Commons, licences
compatible with ShareAlike (BY-SA 4.0 may become GPL-3.0, not the other way).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

from archipel.release.index import Parent
from archipel.release.openness.licences import OPEN

Ask = Literal["nothing", "same", "non-commercial", "none", "unknown"]
"""Of a work made from it: nothing but notices; the same licence; no commercial use; it may not be given away at all."""

_GPL3: Final = ("GPL-3.0", "GPL-3.0-only", "GPL-3.0+", "GPL-3.0-or-later")
_AGPL3: Final = ("AGPL-3.0", "AGPL-3.0-only", "AGPL-3.0-or-later")
_GPL2: Final = ("GPL-2.0", "GPL-2.0-only")
_GPL2_ON: Final = ("GPL-2.0+", "GPL-2.0-or-later")
_LGPL3: Final = ("LGPL-3.0", "LGPL-3.0-only", "LGPL-3.0+", "LGPL-3.0-or-later")
_LGPL2: Final = (
    *("LGPL-2.0", "LGPL-2.0-only", "LGPL-2.0+", "LGPL-2.0-or-later"),
    *("LGPL-2.1", "LGPL-2.1-only", "LGPL-2.1+", "LGPL-2.1-or-later"),
)
_SHARED: Final[dict[tuple[str, ...], tuple[str, ...]]] = {
    _GPL3: (*_GPL3, *_AGPL3),
    _AGPL3: _AGPL3,
    _GPL2: (*_GPL2, *_GPL2_ON),
    _GPL2_ON: (*_GPL2, *_GPL2_ON, *_GPL3, *_AGPL3),
    _LGPL3: (*_LGPL3, *_GPL3, *_AGPL3),
    _LGPL2: (*_LGPL2, *_LGPL3, *_GPL2, *_GPL2_ON, *_GPL3, *_AGPL3),
    ("MPL-2.0",): ("MPL-2.0", *_LGPL2, *_LGPL3, *_GPL2_ON, *_GPL3, *_AGPL3),
    ("CC-BY-SA-3.0",): ("CC-BY-SA-3.0", "CC-BY-SA-4.0"),
    ("CC-BY-SA-4.0",): ("CC-BY-SA-4.0", "GPL-3.0-only", "GPL-3.0"),
    ("EUPL-1.2",): ("EUPL-1.2", *_GPL2, *_GPL3, *_AGPL3, "CC-BY-SA-3.0"),
    **{
        (each,): (each,)
        for each in (
            *("CC-BY-SA-1.0", "CC-BY-SA-2.0", "CC-BY-SA-2.5", "ODbL-1.0", "CDLA-Sharing-1.0"),
            *("EUPL-1.1", "EPL-2.0", "OSL-3.0", "CDDL-1.0", "GFDL-1.3", "MPL-2.0-no-copyleft-exception"),
        )
    },
}  # fmt: skip
"""Licences that ask for the same -> under which a work made from it may be given away."""
_SAME: Final = {name: allowed for names, allowed in _SHARED.items() for name in names}
_FREE: Final = frozenset(
    [
        "0BSD",
        "AFL-3.0",
        "Apache-1.1",
        "Apache-2.0",
        "Artistic-2.0",
        "BSD-1-Clause",
        "BSD-2-Clause",
        "BSD-2-Clause-Patent",
        "BSD-3-Clause",
        "BSD-3-Clause-Clear",
        "BSL-1.0",
        "BlueOak-1.0.0",
        "CC0-1.0",
        "CC-BY-1.0",
        "CC-BY-2.0",
        "CC-BY-2.5",
        "CC-BY-3.0",
        "CC-BY-4.0",
        "CDLA-Permissive-1.0",
        "CDLA-Permissive-2.0",
        "ECL-2.0",
        "ISC",
        "MIT",
        "MIT-0",
        "MulanPSL-2.0",
        "NCSA",
        "ODC-By-1.0",
        "OGL-UK-3.0",
        "OpenMDW-1.0",
        "OpenMDW-1.1",
        "PDDL-1.0",
        "PostgreSQL",
        "Python-2.0",
        "UPL-1.0",
        "Unlicense",
        "Zlib",
    ]
)
_VERSIONS: Final = ("1.0", "2.0", "2.5", "3.0", "4.0")
_NO_COMMERCE: Final = frozenset(
    f"CC-{kind}-{version}" for kind in ("BY-NC", "BY-NC-SA") for version in _VERSIONS
)
_NOTHING_MADE_FROM_IT: Final = frozenset(
    f"CC-{kind}-{version}" for kind in ("BY-ND", "BY-NC-ND") for version in _VERSIONS
)
RESTRICTED: Final = _NO_COMMERCE | _NOTHING_MADE_FROM_IT
"""Not open, and known."""


@dataclass(frozen=True, slots=True)
class Judged:
    """One parent's terms beside the release's."""

    faults: tuple[str, ...] = ()
    """Why the release may not go out so."""
    unknown: tuple[str, ...] = ()
    """What nobody here can judge."""


def asks(licence: str) -> Ask:
    """Of one SPDX id."""
    if licence in _NOTHING_MADE_FROM_IT:
        return "none"
    if licence in _NO_COMMERCE:
        return "non-commercial"
    if licence in _SAME:
        return "same"
    return "nothing" if licence in _FREE else "unknown"


def judged(parent: str | None, release: str | None) -> Judged:
    """May a model under the terms `release` be made from one under the terms `parent`? Both SPDX ids joined by AND."""
    if parent is None:
        return Judged(unknown=("it states no licence, so nobody may be allowed to give away more",))
    faults: list[str] = []
    unknown: list[str] = []
    own = () if release is None else tuple(release.split(" AND "))
    said = release or "no licence at all"
    for each in parent.split(" AND "):
        match asks(each):
            case "none":
                faults.append(f"{each} lets nobody give away what was made from it")
            case "non-commercial" if not any(one in _NO_COMMERCE for one in own):
                faults.append(f"{each} forbids commercial use; the release is under {said}")
            case "non-commercial" if "-SA-" in each and each not in own:
                faults.append(f"{each} asks for the same licence; the release is under {said}")
            case "same" if fault := _same(each, own, said):
                faults.append(fault)
            case "unknown":
                about = "is open, and what it asks" if each in OPEN else "and what it asks"
                unknown.append(f"{each} {about} of a work made from it is not known here; read it")
            case _:
                pass
    return Judged(tuple(faults), tuple(unknown))


def _same(licence: str, own: tuple[str, ...], said: str) -> str:
    """Why the release's terms are not those that it asks for; empty: they are."""
    allowed = _SAME[licence]
    others = [each for each in own if each not in allowed and asks(each) != "nothing"]
    if not any(each in allowed for each in own):
        return f"{licence} asks for one of {', '.join(allowed[:4])}; the release is under {said}"
    if others:
        return f"{licence} allows no further terms; the release adds {', '.join(others)}"
    return ""


def why_not(parents: Iterable[Parent], release: str | None) -> list[str]:
    """Whose terms forbid the release, a sentence for each fault; those of a parent with a reason are left out."""
    return [
        f"{each.relation} {each.name!r}: {fault}"
        for each in parents
        if each.despite is None
        for fault in judged(each.licence, release).faults
    ]


def not_known(parents: Iterable[Parent], release: str | None) -> list[str]:
    """What nobody here can judge of them, and whose terms the release goes against for a reason."""
    found = []
    for each in parents:
        said = judged(each.licence, release)
        found += [f"{each.relation} {each.name!r}: {line}" for line in said.unknown]
        if said.faults and each.despite is not None:
            found.append(
                f"{each.relation} {each.name!r}: {'; '.join(said.faults)}; its owner says: {each.despite}"
            )
    return found
