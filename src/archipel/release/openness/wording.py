"""A grade in words, for a terminal. Pure."""

from archipel.release.openness.card import Grade, PartCard
from archipel.release.openness.mof import CLASS_NAMES
from archipel.release.openness.mot_file import Claimed
from archipel.release.openness.osaid import is_open_source

ROMAN = {0: "none", 1: "I", 2: "II", 3: "III"}


def told(grade: Grade, is_rebuilt: bool) -> list[str]:
    """All of it. is_rebuilt: somebody gave a report of what was made again."""
    classes = grade.classes
    return [
        f"{CLASS_NAMES[classes.present]}, by the bytes of this {grade.of}"
        f" (stated: {ROMAN[classes.stated]}; reproduced: "
        f"{ROMAN[classes.reproduced] if is_rebuilt else 'nothing was rebuilt'})",
        "what counts: "
        + ", ".join(
            f"class {ROMAN[each.of_class]} {each.have} of {each.of}" for each in grade.progress
        ),
        "",
        *(line for each in grade.parts for line in _part(each)),
        "",
        f"Open Source AI Definition 1.0: {is_open_source(grade.osaid)}",
        *(f"  {each.answer:20} {each.about}: {each.asks} ({each.why})" for each in grade.osaid),
        "",
        *(f"not shown: {each}" for each in grade.not_shown),
    ]


def _part(card: PartCard) -> list[str]:
    mark = "+" if card.counts else "-" if card.is_required else " "
    asked = f"{ROMAN[card.of_class]}{'' if card.is_required else ', optional'}"
    licence = card.licence or ("" if card.level == "absent" else "no licence")
    head = f"{mark} {card.component:31} {asked:13} {card.level:11} {licence}"
    return [head.rstrip(), *(f"      {each}" for each in card.why)]


def told_of_claims(claimed: Claimed) -> list[str]:
    """A model file: claims, by the framework's rules."""
    reading = claimed.reading()
    lines = [f"{CLASS_NAMES[reading.best]}, if all that {claimed.name} says of itself is so"]
    for each, progress in reading.classes.items():
        lacking = [*progress.missing, *progress.unlicensed, *progress.invalid]
        words = f"; lacking: {', '.join(lacking)}" if lacking else ""
        lines.append(f"class {ROMAN[each]}: {progress.have} of {progress.of}{words}")
    if reading.unfit:
        lines.append(f"open, but of another type than the component: {', '.join(reading.unfit)}")
    lines.extend(f"not a component of the framework: {each}" for each in claimed.unknown)
    return [*lines, "not shown: that any of it is there; give its folder for that"]
