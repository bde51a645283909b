"""What is kept of the labs that somebody knows: bounded, whoever sends however much. Pure: the time is an argument.

Parts: `KnownLab`, `Directory`. Laws: a card is taken in by its signature alone; where there is no room for all, those stay that
were added by hand, that answered lately at their address, and that several sources vouch for; of the rest each source keeps an
equal number, so one that floods pushes out its own, and many under one site's name stand behind the others. What is forgotten by hand comes back by hand alone.
"""

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from urllib.parse import urlsplit

from archipel.directory.card import Card
from archipel.directory.cards import newest
from archipel.records.lab_card import is_loopback

MAX_LABS = 1_024
MAX_FORGOTTEN = 1_024
MAX_SOURCES = 8
"""Named of one lab."""
FEW_OF_SITE = 16
"""Labs under one site's name; more of them stand behind those of others."""
REACHED_LATELY_MS = 14 * 86_400_000


@dataclass(frozen=True, slots=True)
class KnownLab:
    """One lab, as far as it is known."""

    cards: tuple[Card, ...]
    """The newest, or two that contradict each other."""
    since_ms: int
    """When the first card of it came."""
    sources: frozenset[str] = frozenset()
    """Who handed its cards on."""
    reached_ms: int | None = None
    """When it last gave its card at its own address."""
    is_added: bool = False
    """By hand."""

    @property
    def card(self) -> Card:
        """The first of them."""
        return self.cards[0]

    @property
    def is_contradicted(self) -> bool:
        """It signed two cards under one number."""
        return len(self.cards) > 1

    @property
    def is_withdrawn(self) -> bool:
        """It said that it is no more to be found."""
        return any(each.said.withdrawn for each in self.cards)


@dataclass(frozen=True, slots=True)
class Directory:
    """All that are known."""

    labs: Mapping[str, KnownLab] = field(default_factory=lambda: MappingProxyType({}))
    forgotten: frozenset[str] = frozenset()
    """Labs whose cards are not taken in."""

    def shown(self) -> dict[str, KnownLab]:
        """Those to be found: withdrawn ones are kept, and not shown."""
        return {did: each for did, each in self.labs.items() if not each.is_withdrawn}

    def sealed(self) -> list[bytes]:
        """Every card as it was signed, by lab: withdrawn ones too, or older cards of them would come back."""
        return [card.sealed for did in sorted(self.labs) for card in self.labs[did].cards]


@dataclass(frozen=True, slots=True)
class Source:
    """Where cards come from."""

    name: str
    """By which it is one voice."""
    is_near: bool = False
    """It is on this machine, so it may name addresses that mean this machine."""
    is_by_hand: bool = False
    """Somebody asked for its cards by hand: they come back after they were forgotten, and no flood pushes them out."""


def took(
    directory: Directory,
    cards: Iterable[Card],
    source: Source,
    now_ms: int,
    most: int = MAX_LABS,
) -> Directory:
    """The directory after a source's cards came, with at most so many labs."""
    labs, forgotten = dict(directory.labs), set(directory.forgotten)
    for card in cards:
        did = card.said.lab
        if source.is_by_hand:
            forgotten.discard(did)
        if (
            did in forgotten
            or not card.is_in_force(now_ms)
            or not (source.is_near or _is_far(card))
        ):
            continue
        known = labs.get(did, KnownLab((), now_ms))
        sources = known.sources | {source.name}
        labs[did] = replace(
            known,
            cards=newest((*known.cards, card)),
            sources=frozenset(sorted(sources)[:MAX_SOURCES]),
            is_added=known.is_added or source.is_by_hand,
        )
    return swept(Directory(labs, frozenset(forgotten)), now_ms, most)


def reached(directory: Directory, did: str, now_ms: int) -> Directory:
    """It gave its card at its own address."""
    known = directory.labs.get(did)
    if known is None:
        return directory
    labs = {**directory.labs, did: replace(known, reached_ms=now_ms)}
    return replace(directory, labs=labs)


def forgot(directory: Directory, did: str) -> Directory:
    """It is not shown any more, whoever hands on its card, until it is added by hand."""
    labs = {each: known for each, known in directory.labs.items() if each != did}
    others = sorted(directory.forgotten - {did})[1 - MAX_FORGOTTEN :]
    return Directory(labs, frozenset((*others, did)))


def swept(directory: Directory, now_ms: int, most: int = MAX_LABS) -> Directory:
    """Without cards whose time is over, and with at most so many labs."""
    labs = {}
    for did, known in directory.labs.items():
        cards = newest(each for each in known.cards if each.is_in_force(now_ms))
        if cards:
            labs[did] = known if cards == known.cards else replace(known, cards=cards)
    kept = labs if len(labs) <= most else _first(labs, now_ms, most)
    return replace(directory, labs=MappingProxyType(kept))


def _first(labs: Mapping[str, KnownLab], now_ms: int, most: int) -> dict[str, KnownLab]:
    """Those that stay, the surest first."""

    def is_late(known: KnownLab) -> bool:
        return known.reached_ms is None or now_ms - known.reached_ms > REACHED_LATELY_MS

    of_source = _places(labs, lambda known: known.sources, lambda known: False)
    of_site = _places(labs, _site, is_late)

    def rank(did: str) -> tuple[bool, int, bool, int, int, str]:
        known = labs[did]
        crowd = of_site[did] // FEW_OF_SITE
        return (
            *(not known.is_added, crowd, is_late(known)),
            *(-len(known.sources), of_source[did], did),
        )

    return {did: labs[did] for did in sorted(labs, key=rank)[:most]}


def _places(
    labs: Mapping[str, KnownLab],
    group_of: Callable[[KnownLab], Hashable],
    is_behind: Callable[[KnownLab], bool],
) -> dict[str, int]:
    """Lab -> how many of its group stand before it: those that are not behind, and of these the ones known for longer."""
    num: Counter[Hashable] = Counter()
    places = {}
    for did in sorted(labs, key=lambda did: (is_behind(labs[did]), labs[did].since_ms, did)):
        group = group_of(labs[did])
        places[did], num[group] = num[group], num[group] + 1
    return places


def _site(known: KnownLab) -> str:
    """Whose name it is asked under first: the last two parts of its host's; what is withdrawn counts by itself."""
    addresses = known.card.said.addresses
    if not addresses:
        return known.card.said.lab
    host = urlsplit(addresses[0]).hostname or ""
    return host if host.rpartition(".")[2].isdecimal() else ".".join(host.split(".")[-2:])


def _is_far(card: Card) -> bool:
    """No address in it means the machine of whoever reads it."""
    said = card.said
    named = (*said.addresses, *said.mirrors, *(each.address or "" for each in said.witnesses))
    return not any(map(is_loopback, named))
