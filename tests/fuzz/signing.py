"""What a schema cannot say: hooks for schemathesis that sign what it sends and name what is there.

A parcel's statements are of every kind, really signed by people who are there, at times spoilt inside; half of
the sound requests get a real name in their path, and a really signed offer in their header. What a request
becomes is drawn by what it was, so the same seed of the tool gives the same requests; those that the tool
made unsound stay as they are.
"""

import base64
import json
import random
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

import schemathesis
from hypothesis import strategies

from archipel.identity import Identity, sign
from archipel.records.parcel import MEDIA_TYPE, pack_parcel
from archipel.records.statements import RECORD_TYPE, BlobOffered, encode
from fuzz.driving import THERE
from fuzz.spoiling import spoilt
from people import envelope, identity, ref
from specimens import LAB, NODE, OPERATOR, SMALL

SPEAKERS = ("operator", "learner", "node 0", "node 1", "node 2", "gone", "stranger")
_numbers = count(1)


@cache
def _there() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Path(THERE).read_bytes())
    return found


@schemathesis.serializer(MEDIA_TYPE)
def _as_it_is(_: Any, value: Any) -> Any:
    return value if isinstance(value, bytes) else str(value).encode()


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: dict[str, Any]) -> None:
    """Half of the sound requests say something that the lab can follow further."""
    if case.meta is None or not case.meta.generation.mode.is_positive:
        return
    if case.path == "/leases":
        case.query["wait_s"] = 0
    said = (case.method, case.path, case.path_parameters, dict(case.headers), repr(case.body))
    random_ = random.Random(repr(said))
    if random_.random() < 0.5:
        return
    _name(random_, case)
    if "Archipel-Offer" in case.headers:
        _offer(random_, case)


def _name(random_: random.Random, case: Any) -> None:
    """A name that is there."""
    for parameter, names in (("name", "runs"), ("did", "nodes"), ("digest", "blobs")):
        if parameter in case.path_parameters:
            case.path_parameters[parameter] = random_.choice(_there()[names])


def _parcel(seed: int) -> bytes:
    """For both routes: each reads its own fields and passes over the rest."""
    random_ = random.Random(seed)
    asked = {"request": _statement(random_, SMALL["lease.requested"]).decode()}
    document: dict[str, Any] = {"record": _statement(random_).decode()} | asked
    if random_.random() < 0.3:
        document["next"] = asked
    blobs = [random_.randbytes(random_.randrange(40)) for _ in range(random_.randrange(3))]
    data = pack_parcel(json.dumps(document).encode(), blobs)
    return spoilt(random_, [data]) if random_.random() < 0.2 else data


schemathesis.openapi.media_type(MEDIA_TYPE, strategies.integers(0, 2**32).map(_parcel))


def _statement(random_: random.Random, said: Any = None) -> bytes:
    """Some kind, by somebody who is there or not, in a fresh number; at times spoilt inside."""
    who = identity(random_.choice(SPEAKERS))
    words = _readdressed(encode(said or random_.choice(list(SMALL.values()))), who)
    if random_.random() < 0.3:
        words = spoilt(random_, [words])[:40_000]
    return sign(who, words, RECORD_TYPE).to_json()


def _readdressed(words: bytes, who: Identity) -> bytes:
    document = json.loads(words)
    document |= {"lab": _there()["lab"], "author": who.did, "seq": _there()["seq"] + next(_numbers)}
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    for known in (LAB, NODE, OPERATOR):
        text = text.replace(known, _there()["lab"] if known == LAB else who.did)
    return text.encode()


def _offer(random_: random.Random, case: Any) -> None:
    """For the bytes that are sent, or others, or a blob that is there; a lease's, or an operator's."""
    body = getattr(case.body, "data", case.body)
    body = body if isinstance(body, bytes) else b""
    blob = ref(body if random_.random() < 0.7 else b"other bytes")
    if random_.random() < 0.7:
        case.path_parameters["digest"] = blob.digest
    work = random_.choice((None, None, *_there()["works"], "run.999"))
    who = identity("operator" if work is None else random_.choice(SPEAKERS))
    offered = BlobOffered(
        lab=_there()["lab"],
        author=who.did,
        seq=_there()["seq"] + next(_numbers),
        blob=blob,
        work=work,
    )
    case.headers["Archipel-Offer"] = base64.b64encode(envelope(who, offered)).decode()
