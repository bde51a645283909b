"""`archipel lab card`: what a lab says of itself to whoever looks for one."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from archipel.cli.clock import clock_ms
from archipel.cli.doors import Mendable, home_folder, mending, printable, show
from archipel.cli.lab_backup import HOME, JSON
from archipel.cli.outputs import NewFile

if TYPE_CHECKING:
    from archipel.directory.card import Card
    from archipel.directory.own import CardWords

MANY = {"address": "addresses", "mirror": "mirrors", "witness": "witnesses"}
ONE = ("purpose", "licence", "jurisdiction", "contact", "days")
SETTINGS = (*MANY, *ONE)


class SettingWord(click.ParamType):
    """NAME=VALUE, of what a card says."""

    name = "setting"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, str]:
        """Parted."""
        if isinstance(value, tuple):
            return value
        name, equals, said = str(value).partition("=")
        if not equals or name not in SETTINGS:
            self.fail(
                f"{value!r:.80}: expected NAME=VALUE, NAME one of {', '.join(SETTINGS)}", param, ctx
            )
        return name, said.strip()


@click.command()
@HOME
@click.option(
    "--set",
    "settings",
    multiple=True,
    type=SettingWord(),
    metavar="NAME=VALUE",
    help="Say this: address, purpose, licence, jurisdiction, contact, mirror, witness (its key line, and perhaps its address "
    "after a space), days (for which a card holds). address, mirror and witness may be given several times, and replace "
    "what was set; an empty value takes it back.",
)
@click.option("--withdraw", is_flag=True, help="Be found no more, from now on.")
@click.option(
    "--out", type=NewFile(".jsonl"), metavar="FILE", help="Also write the card as a directory file."
)
@JSON
def card(
    home: Path | None,
    settings: Sequence[tuple[str, str]],
    withdraw: bool,
    out: Path | None,
    as_json: bool,
) -> None:
    """What this lab says of itself in directories: show it, or set it and sign it.

    A lab that runs hands its card on at /card and /labs, and signs it anew every hour with its newest head. Until something is
    set, a lab says nothing of itself.

    \b
    Examples:
      archipel lab card
      archipel lab card --set address=https://lab.example --set "purpose=open models for schools" --set licence=Apache-2.0
      archipel lab card --set mirror=https://mirror.example/lab --out lab.jsonl
      archipel lab card --withdraw
    """
    from archipel.cli.keys import load_key
    from archipel.directory.card import BadCard
    from archipel.directory.lines import to_lines
    from archipel.directory.own import card_of, renewed, set_words, words_of

    if settings and withdraw:
        raise click.UsageError("--set and --withdraw exclude each other")
    folder = home_folder("lab", home, make=False)
    with mending(BadCard, OSError):
        if settings or withdraw:
            identity = load_key(folder / "lab.key")
            set_words(folder, _words(words_of(folder), settings, withdraw))
            found = renewed(folder, identity, None, clock_ms())
        else:
            found = card_of(folder)
        if found is None:
            raise Mendable(
                f"the lab at {folder} says nothing of itself; give --set address=https://..., where others reach it"
            )
        if out is not None:
            out.write_bytes(to_lines([found.sealed]))
    show(found.said.model_dump(mode="json"), as_json, lambda: "\n".join(card_lines(found)))


def _words(
    before: "CardWords | None", settings: Sequence[tuple[str, str]], withdraw: bool
) -> "CardWords":
    """What is said from now on. Raises Mendable: no card can say it."""
    from pydantic import ValidationError

    from archipel.directory.own import CardWords
    from archipel.records.recipe_faults import explain

    said: dict[str, Any] = {} if before is None else before.model_dump(mode="json")
    said["is_withdrawn"] = withdraw
    try:
        words = CardWords.model_validate(said | _set(settings), strict=False)
    except ValidationError as error:
        raise Mendable(explain(error)) from None
    if not words.is_withdrawn and not words.addresses:
        raise Mendable("a card needs an address: --set address=https://..., where others reach it")
    return words


def _set(settings: Sequence[tuple[str, str]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in settings:
        if name in MANY:
            listed = found.setdefault(MANY[name], [])
            if value:
                listed.append(_witness(value) if name == "witness" else value.rstrip("/"))
        elif name == "days":
            found[name] = int(value) if value.isdecimal() and len(value) < 6 else value
        else:
            found[name] = value or None
    return found


def _witness(value: str) -> Mapping[str, str]:
    """Raises Mendable: its first word is no key line."""
    from archipel.ledger.signed_note import BadNote, NoteKey

    key, _, address = value.partition(" ")
    try:
        NoteKey.from_text(key)
    except BadNote as error:
        raise Mendable(
            f"--set witness: got {key!r:.80}; {error}, as `archipel ledger witness` prints it"
        ) from None
    return {"key": key} | ({"address": address.strip()} if address.strip() else {})


def card_lines(card: "Card") -> Iterator[str]:
    """For people; every text of it may be a stranger's."""
    from archipel.directory.viewed import name_of

    said = card.said
    yield f"lab {said.lab}"
    if said.withdrawn:
        yield "withdrawn: it is no more to be found"
    for each in said.addresses:
        yield f"  at {printable(each)}"
    for name in ("purpose", "licence", "jurisdiction", "contact"):
        text = getattr(said, name)
        if text is not None:
            yield f"  {name}: {printable(text)}"
    yield f"  ledger {printable(said.origin)}" + (
        "" if card.head is None else f", {card.head.size} entries under the signed head"
    )
    for witness in said.witnesses:
        yield f"  names the witness {printable(name_of(witness.key))}"
    for each in said.mirrors:
        yield f"  mirror {printable(each)}"
    yield f"  card {said.number}, from {moment(said.issued_ms)} until {moment(said.until_ms)}"


def moment(at_ms: int) -> str:
    """A time that means the same everywhere; as a number, if no calendar has it."""
    from datetime import UTC, datetime

    try:
        return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")
    except (OverflowError, OSError, ValueError):
        return f"{at_ms} ms"
