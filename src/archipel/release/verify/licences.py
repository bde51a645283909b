"""Step 8: every component has a licence, and the text of it lies there or is known by its name; what its
parents' terms ask, it keeps.
"""

from archipel.release import places
from archipel.release.licence_terms import not_known, why_not
from archipel.release.verify.report import Looked


def look_at_licences(looked: Looked) -> None:
    """8. Which components are licensed; one without a licence is nobody's to use, and is said."""
    step, index = looked.step("licences"), looked.index
    if index is None:
        step.unshown.append("no licence was looked at: there is no index")
        return
    texts = {
        each.removeprefix(f"{places.LICENCES}/").removesuffix(".txt")
        for each in looked.files
        if each.startswith(f"{places.LICENCES}/")
    }
    named: dict[str, list[str]] = {}
    for component in index.components:
        if component.licence is None:
            step.unshown.append(f"{component.name}: its owner states no licence, so it is not open")
            continue
        for licence in component.licence.split(" AND "):
            named.setdefault(licence, []).append(component.name)
    for licence, parts in sorted(named.items()):
        lies = "its text lies here" if licence in texts else "by its SPDX id alone"
        step.shown.append(f"{licence} ({lies}): {', '.join(parts)}")
    own = index.licence_of("parameters")
    step.faults += [f"its parents' terms: {each}" for each in why_not(index.parents, own)]
    step.unshown += [f"its parents' terms: {each}" for each in not_known(index.parents, own)]
