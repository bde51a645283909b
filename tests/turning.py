"""Words about turns as nodes and trusted roles say them, for stories."""

from typing import Any

from archipel.identity import Identity, sign
from archipel.records.episodes import HOSTED, EpisodeTerms
from archipel.records.parcel import pack_parcel
from archipel.records.turns import (
    TURN_TYPE,
    Reply,
    Said,
    TurnsAsked,
    TurnsAwaited,
    TurnsTold,
    encode_word,
    pack_replies,
    pack_said,
)
from people import EOS, ref

TERMS = EpisodeTerms(environment=HOSTED, parameters={}, turns=3, tools="auto", chat_template="auto")


def word(author: Identity, lab: str, seq: int, kind: Any, **fields: Any) -> bytes:
    """In its envelope."""
    made = kind(lab=lab, author=author.did, seq=seq, **fields)
    return sign(author, encode_word(made), TURN_TYPE).to_json()


def said(group: int = 0, rollout: int = 0, turn: int = 0, *tokens: int) -> Said:
    return Said(group=group, rollout=rollout, turn=turn, tokens=(*(tokens or (5,)), EOS))


def asked(author: Identity, lab: str, work: str, *turns: Said) -> bytes:
    """A parcel for /turns."""
    data = pack_said(turns)
    return pack_parcel(word(author, lab, 1, TurnsAsked, work=work, said=ref(data)), [data])


def awaited(author: Identity, lab: str, seq: int) -> bytes:
    """A parcel for /turns/next."""
    return pack_parcel(word(author, lab, seq, TurnsAwaited), [])


def told(author: Identity, lab: str, work: str, turns: list[Said], *replies: Reply) -> bytes:
    """A parcel for /turns/told."""
    data = pack_replies(replies)
    fields = {"work": work, "asked": ref(pack_said(turns)).digest, "told": ref(data)}
    return pack_parcel(word(author, lab, 1, TurnsTold, **fields), [data])


def refused(author: Identity, lab: str, work: str, turns: list[Said], reason: str) -> bytes:
    """The same without replies."""
    fields = {"work": work, "asked": ref(pack_said(turns)).digest, "reason": reason}
    return pack_parcel(word(author, lab, 1, TurnsTold, fault="work", **fields), [])


def reply(to: Said, *answer: int, is_over: bool = False, seal: bytes = bytes(64)) -> Reply:
    return Reply(
        group=to.group, rollout=to.rollout, turn=to.turn, answer=answer, is_over=is_over,
        seal=seal.hex(),
    )  # fmt: skip
