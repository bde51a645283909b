"""Readers of what strangers say of labs: cards, directory files, what is kept of them, and pages of runs."""

import json

from archipel.cli.labs_live import _model, read_witnesses
from archipel.directory.card import BadCard, read_card, witnessed
from archipel.directory.known import Directory, Source, took
from archipel.directory.lines import NotADirectory, read_lines, to_lines
from archipel.directory.own import CardWords
from archipel.directory.shelf import Unkept, directory_of, shelf_bytes
from archipel.identity import sign
from archipel.ledger.cosignature import cosigned, witness_key
from archipel.records.document import BadDocument, read_documents
from archipel.records.documents import RunView
from archipel.records.lab_card import CARD_TYPE, NamedWitness, card_bytes, card_from_bytes, spelled
from archipel.records.recipe_form import InvalidRecipe
from fuzz.reading import Reader
from labcards import NOW_MS, card, head, lab_identity, withdrawn
from tiny import tiny_recipe

KEY = witness_key("w", lab_identity("w").public_key).to_text()
NOTE = head("a") + cosigned(head("a").partition("\n\n")[0] + "\n", "w", lab_identity("w"), 77)
CARDS = (
    card("a", head=NOTE, purpose="schools", witnesses=(NamedWitness(key=KEY),)),
    withdrawn("b", 2),
    card("c", mirrors=("https://c.example/mirror",), licence="MIT"),
)
RUN = RunView(
    run="r", programme="rl", phase="running", version=1, versions=2, recipe="sha256:" + "0" * 64,
    opened_at_ms=1, published_at_ms=(), learner_utilisation=0.5, reward=None, rewards=(),
    evaluations=(), spent_micro=1, progress={},
)  # fmt: skip


def _signed(data: bytes) -> object:
    """By a lab, so that a reader comes to what is inside."""
    return read_card(sign(lab_identity("a"), data[:8_000], CARD_TYPE).to_json())


def _words(data: bytes) -> object:
    return CardWords.model_validate_json(data)


def readers() -> dict[str, Reader]:
    """One for each kind of bytes."""
    known = took(Directory(), CARDS, Source("s"), NOW_MS)
    return {
        "lab cards": Reader(read_card, tuple(each.sealed for each in CARDS), (BadCard,)),
        "signed lab cards": Reader(
            _signed, tuple(card_bytes(each.said) for each in (CARDS[0], card("a"))), (BadCard,)
        ),
        "what a card says": Reader(
            card_from_bytes, tuple(card_bytes(each.said) for each in CARDS), (ValueError,)
        ),
        "directory files": Reader(
            read_lines, (to_lines(each.sealed for each in CARDS),), (NotADirectory,)
        ),
        "kept directories": Reader(directory_of, (shelf_bytes(known),), (Unkept,)),
        "addresses in cards": Reader(
            lambda data: spelled(data.decode("utf-8", "replace")),
            (b"https://a.example:8443/lab", b"http://[::1]:8440"),
            (ValueError,),
        ),
        "heads that witnesses signed": Reader(
            lambda data: witnessed(data.decode("utf-8", "replace"), CARDS[0].said),
            (NOTE.encode(),),
            (),
        ),
        "words of a card": Reader(
            _words,
            (CardWords(addresses=("https://a.example",)).model_dump_json().encode(),),
            (ValueError,),
        ),
        "pages of runs": Reader(
            lambda data: read_documents(RunView, data, 1000),
            (b"[" + RUN.model_dump_json().encode() + b"]",),
            (BadDocument,),
        ),
        "signed heads": Reader(
            lambda data: read_witnesses(data, CARDS[0]),
            (json.dumps([{"key": KEY, "size": 1, "at_s": 1, "note": NOTE}]).encode(),),
            (BadDocument,),
        ),
        "models of runs": Reader(_model, (tiny_recipe(3, 1).canonical_bytes(),), (InvalidRecipe,)),
    }
