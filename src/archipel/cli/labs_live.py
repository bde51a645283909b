"""What labs answer when they are asked now: who they are, their head and who signed it, their runs and prices.

Laws: each lab has a deadline of its own, and what it said until then counts; an answer is bounded, and is another lab's unless its
key says otherwise; a head that contradicts the card's is told, never passed over.
"""

import asyncio
import contextlib
import ssl
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from archipel.directory.asking import Asker, NoSource
from archipel.directory.card import Card, witnessed
from archipel.directory.viewed import name_of
from archipel.ledger.cosignature import cosigned_at
from archipel.ledger.mirror import cosigned_place
from archipel.ledger.signed_note import MAX_NOTE_BYTES, BadNote, NoteKey
from archipel.ledger.tree_head import BadTreeHead, TreeHead, verify_tree_head
from archipel.ledger.verification import lab_key
from archipel.node.client import LabReader
from archipel.node.exchange import Bounds, LabRefused, LabUnreachable, believed
from archipel.node.sealed import founding_of
from archipel.node.side_by_side import side_by_side
from archipel.records.canonical import sha256_digest
from archipel.records.document import BadDocument, read_document, read_documents
from archipel.records.documents import LabFacts, RunView
from archipel.records.market_documents import MarketView
from archipel.records.mirror_documents import WitnessView
from archipel.records.programmes import any_from_canonical
from archipel.records.recipe_form import InvalidRecipe

LAB_LIMIT_S = 10.0
AT_ONCE = 64
MAX_RUNS = 1_000
"""Of a lab, that are looked through."""
MAX_RUNS_ASKED = 8
"""Open runs whose market and model are asked for."""
MAX_NOTES_ASKED = 8
"""Mirrors' files with a witness's signature."""
OVER = frozenset({"complete", "stopped"})
FEW = Bounds(LAB_LIMIT_S, 4_000_000)
RECIPE = Bounds(LAB_LIMIT_S, 1_000_000)
MAX_SIGNED = 64
"""Heads with a witness's signature, of one answer."""


@dataclass(frozen=True, slots=True)
class LiveRun:
    """A run that is not over."""

    view: RunView
    model: str | None = None
    """What its recipe says of a model that starts from nothing."""
    market: MarketView | None = None
    """None: it pays a posted price."""


@dataclass(slots=True)
class Live:
    """What one lab answered; filled as answers come."""

    problem: str | None = None
    """Why it is not reachable, or what is wrong with it."""
    is_reached: bool = False
    """It answered as the lab that it is."""
    software: str = ""
    head: TreeHead | None = None
    is_newest: bool = True
    """False: the lab says no head now, so this is the card's."""
    witnesses: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Key line of a witness -> (entries under the newest head that it signed, when in Unix seconds)."""
    num_runs: int = 0
    runs: list[LiveRun] = field(default_factory=list)


async def look(
    cards: Mapping[str, Card], authorities: ssl.SSLContext, note: Callable[[int], None]
) -> dict[str, Live]:
    """Ask all of these labs, many at a time; `note` hears how many were asked."""
    done = 0

    async def one(card: Card) -> Live:
        nonlocal done
        live = await _looked_at(card, authorities)
        done += 1
        note(done)
        return live

    found = await side_by_side(one, cards.values(), AT_ONCE)
    return dict(zip(cards, found, strict=True))


async def _looked_at(card: Card, authorities: ssl.SSLContext) -> Live:
    live = Live(head=card.head, is_newest=False)
    for key, at_s in witnessed(card.said.head or "", card.said).items():
        live.witnesses[key] = (0 if card.head is None else card.head.size, at_s)
    mirrors = asyncio.create_task(_ask_mirrors(card, live, authorities))
    try:
        async with asyncio.timeout(LAB_LIMIT_S), LabReader(",".join(card.said.addresses)) as lab:
            await _ask_lab(lab, card, live)
            await mirrors
    except TimeoutError:
        live.problem = live.problem or f"not all answered within {LAB_LIMIT_S:.0f} s"
    except (LabUnreachable, LabRefused, BadDocument, ValueError) as error:
        live.problem = live.problem or str(error)
    finally:
        mirrors.cancel()
        await asyncio.gather(mirrors, return_exceptions=True)
    return live


async def _ask_lab(lab: LabReader, card: Card, live: Live) -> None:
    facts = read_document(LabFacts, await lab.get_bytes("/lab", FEW))
    founding = believed(lambda: founding_of(facts))
    if founding.lab != card.said.lab:
        raise LabRefused("wrong-lab", f"another lab answers there: {founding.lab}", 200)
    live.is_reached, live.software = True, facts.software
    _compare(card, live, await lab.get_bytes("/ledger/head", Bounds(LAB_LIMIT_S, MAX_NOTE_BYTES)))
    with contextlib.suppress(LabRefused, BadDocument):  # it hands no signatures on
        for key, signed in read_witnesses(
            await lab.get_bytes("/ledger/witnesses", FEW), card
        ).items():
            live.witnesses[key] = max(live.witnesses.get(key, (0, 0)), signed)
    told = await lab.get_bytes("/runs", FEW, limit=MAX_RUNS)
    runs = read_documents(RunView, told, MAX_RUNS)
    live.num_runs = len(runs)
    going_on = [each for each in runs if each.phase not in OVER][-MAX_RUNS_ASKED:]
    live.runs = [LiveRun(each) for each in going_on]
    live.runs = list(await asyncio.gather(*(_run(lab, each) for each in going_on)))


def read_witnesses(data: bytes, card: Card) -> dict[str, tuple[int, int]]:
    """Key line of each witness that signed a head of this lab -> (entries under it, when in Unix seconds).

    Heads of others, and signatures that do not hold, count for nothing.

    Raises:
        BadDocument: no list of signed heads.
    """
    found: dict[str, tuple[int, int]] = {}
    for each in read_documents(WitnessView, data, MAX_SIGNED):
        with contextlib.suppress(BadNote, BadTreeHead, ValueError):
            note = each.note.encode()
            head = verify_tree_head(note, lab_key(card.said.lab))
            at_s = cosigned_at(note, NoteKey.from_text(each.key))
            found[each.key] = max(found.get(each.key, (0, 0)), (head.size, at_s))
    return found


def _compare(card: Card, live: Live, note: bytes) -> None:
    """The newest head, and whether it can go on from the card's."""
    try:
        head = verify_tree_head(note, lab_key(card.said.lab))
    except BadTreeHead as error:
        live.problem = f"its newest head: {error}"
        return
    before = card.head
    if before is not None and head.size < before.size:
        live.problem = f"it shows a head over {head.size} entries, and its card one over {before.size}: it went back; keep both"
    elif before is not None and head.size == before.size and head.root != before.root:
        live.problem = f"it signed two heads over {head.size} entries: its ledger forks; keep both"
    live.head, live.is_newest = head, True


async def _run(lab: LabReader, view: RunView) -> LiveRun:
    """With its market, if it has one, and its model, as far as they are told."""
    market = model = None
    with contextlib.suppress(LabRefused, BadDocument):  # no market: what it pays is posted
        data = await lab.get_bytes(f"/runs/{view.run}/market", FEW, rows=0)
        market = read_document(MarketView, data)
    with contextlib.suppress(LabRefused, InvalidRecipe):  # not kept, or of a later software
        recipe = await lab.get_bytes(f"/blobs/{view.recipe}", RECIPE)
        model = _model(recipe) if sha256_digest(recipe) == view.recipe else None
    return LiveRun(view, model, market)


def _model(recipe: bytes) -> str | None:
    model = getattr(any_from_canonical(recipe), "model", None)
    return (
        None
        if model is None
        else f"{model.family}, {model.num_layers} layers of {model.hidden_size}"
    )


async def _ask_mirrors(card: Card, live: Live, authorities: ssl.SSLContext) -> None:
    """Heads that witnesses signed, from where the card says that copies of the ledger lie."""
    named = [
        (f"{mirror}/{cosigned_place(name_of(each.key))}", each.key)
        for mirror in card.said.mirrors
        for each in card.said.witnesses
    ][:MAX_NOTES_ASKED]
    async with Asker(authorities) as asker:
        await asyncio.gather(*(_ask_note(asker, url, key, card, live) for url, key in named))


async def _ask_note(asker: Asker, url: str, key: str, card: Card, live: Live) -> None:
    try:
        note = await asker.get(url, MAX_NOTE_BYTES)
        head = verify_tree_head(note, lab_key(card.said.lab))
        at_s = witnessed(note.decode(), card.said).get(key)
    except (NoSource, BadTreeHead):
        return
    if at_s is not None:
        live.witnesses[key] = max(live.witnesses.get(key, (0, 0)), (head.size, at_s))


def prices(runs: Sequence[LiveRun]) -> list[tuple[str, int, int]]:
    """(run, micro-credits for a million tokens, the same for an hour of one lot) of markets that cleared."""
    return [
        (
            run.view.run,
            market.last.price_micro,
            market.last.price_micro * market.terms.lot_milli * 3600 // 10**9,
        )
        for run in runs
        if (market := run.market) is not None
        and market.last is not None
        and market.last.price_micro
    ]
