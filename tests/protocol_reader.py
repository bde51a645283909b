"""A reader of what a lab and its nodes say, from docs/reference/protocol.md alone: nothing of archipel is imported.

Numbers in brackets are clauses of protocol.md.
"""

import base64
import hashlib
import json
import struct
from itertools import accumulate, pairwise
from typing import Any

import zstandard
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
RECORD = "application/vnd.archipel.record.v1+json"


def canonical(value: Any) -> bytes:
    """(protocol 1.1)"""
    if isinstance(value, dict):
        items = (canonical(key) + b":" + canonical(value[key]) for key in sorted(value))
        return b"{" + b",".join(items) + b"}"
    if isinstance(value, list):
        return b"[" + b",".join(map(canonical, value)) + b"]"
    if isinstance(value, str):
        return b'"' + b"".join(map(_escaped, value)) + b'"'
    if value is None or isinstance(value, bool):
        return {None: b"null", True: b"true", False: b"false"}[value]
    assert type(value) is int
    assert abs(value) < 2**53
    return str(value).encode()


def _escaped(character: str) -> bytes:
    short = {
        '"': b'\\"',
        "\\": b"\\\\",
        "\b": b"\\b",
        "\t": b"\\t",
        "\n": b"\\n",
        "\f": b"\\f",
        "\r": b"\\r",
    }
    if character in short:
        return short[character]
    return character.encode() if character >= " " else b"\\u%04x" % ord(character)


def key_of(did: str) -> bytes:
    """(protocol 2.1)"""
    number = 0
    for digit in did.removeprefix("did:key:z"):
        number = number * 58 + ALPHABET.index(digit)
    data = number.to_bytes(34, "big")
    assert data[:2] == b"\xed\x01"
    return data[2:]


def verify(did: str, message: bytes, signature: bytes) -> None:
    """(protocol 2.2), but for keys and points of low order."""
    Ed25519PublicKey.from_public_bytes(key_of(did)).verify(signature, message)


def opened(data: bytes) -> dict[str, Any]:
    """The statement in an envelope (protocol 1.2, 2.3, 2.4, 2.5)."""
    envelope = json.loads(data)
    assert canonical(envelope) == data
    (signed,), kind = envelope["signatures"], envelope["payloadType"].encode()
    payload = base64.b64decode(envelope["payload"])
    message = b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)
    verify(signed["keyid"], message, base64.b64decode(signed["sig"]))
    statement: dict[str, Any] = json.loads(payload)
    assert kind.decode() == RECORD
    assert canonical(statement) == payload
    assert statement["author"] == signed["keyid"]
    return statement


def presented(signed: dict[str, str], kind: str, signer: str) -> dict[str, Any]:
    """What a node shows that another signed (protocol 4.7, 4.10)."""
    text, name = signed["payload"].encode(), f"application/vnd.archipel.{kind}.v1+json".encode()
    said: dict[str, Any] = json.loads(text)
    assert canonical(said) == text
    message = b"DSSEv1 %d %b %d %b" % (len(name), name, len(text), text)
    verify(said[signer], message, bytes.fromhex(signed["signature"]))
    return said


def effort_bits(lab: str, author: str, effort: dict[str, Any]) -> int:
    """Leading zero bits of a newcomer's effort (protocol 4.11)."""
    words = f"{lab} {author} {effort['root']} {effort['nonce']}"
    digest = hashlib.sha256(b"archipel.joining.v1\0" + words.encode()).digest()
    return 256 - int.from_bytes(digest, "big").bit_length()


def leaf(entry: bytes) -> bytes:
    """(protocol 8.2)"""
    return hashlib.sha256(b"\0" + entry).digest()


def node(left: bytes, right: bytes) -> bytes:
    """(protocol 8.2)"""
    return hashlib.sha256(b"\1" + left + right).digest()


def root(leaves: list[bytes]) -> bytes:
    """(protocol 8.2)"""
    if len(leaves) < 2:
        return leaves[0] if leaves else hashlib.sha256().digest()
    split = 1 << (len(leaves) - 1).bit_length() - 1
    return node(root(leaves[:split]), root(leaves[split:]))


def head(note: bytes, did: str) -> tuple[int, bytes]:
    """(size, root) of a signed head (protocol 8.3)."""
    text, line = note.decode().split("\n\n")
    origin, size, encoded = text.split("\n")
    dash, name, given = line.rstrip("\n").split(" ")
    data = base64.b64decode(given)
    assert (dash, name, origin) == (
        "\u2014",
        origin,
        f"archipel.lab/{did.removeprefix('did:key:')}",
    )
    assert data[:4] == hashlib.sha256(origin.encode() + b"\n\1" + key_of(did)).digest()[:4]
    verify(did, text.encode() + b"\n", data[4:])
    return int(size), base64.b64decode(encoded)


def inclusion_root(seed: bytes, index: int, size: int, proof: list[bytes]) -> bytes:
    """(protocol 8.4)"""
    inner = (index ^ size - 1).bit_length()
    assert len(proof) == inner + (index >> inner).bit_count()
    for level, other in enumerate(proof):
        is_left = level < inner and not index >> level & 1
        seed = node(seed, other) if is_left else node(other, seed)
    return seed


def consistency_roots(
    old: int, size: int, old_root: bytes, proof: list[bytes]
) -> tuple[bytes, bytes]:
    """(protocol 8.5)"""
    index, shift = old - 1, (old & -old).bit_length() - 1
    inner = (index ^ size - 1).bit_length()
    border, inner = (index >> inner).bit_count(), inner - shift
    rest = [old_root, *proof] if old == 1 << shift else proof
    assert len(rest) == 1 + inner + border
    one = two = rest[0]
    for level, other in enumerate(rest[1:]):
        if level >= inner or index >> shift + level & 1:
            one, two = node(other, one), node(other, two)
        else:
            two = node(two, other)
    return one, two


def cosigned_at(line: str, note: bytes, key_line: str) -> int:
    """When a witness signed a head (protocol 9.1, 9.3)."""
    name, key_id, encoded = key_line.split("+", 2)
    kind_and_key = base64.b64decode(encoded)
    assert kind_and_key[:1] == b"\x04"
    assert hashlib.sha256(name.encode() + b"\n" + kind_and_key).hexdigest()[:8] == key_id
    said = base64.b64decode(line.removeprefix(f"— {name} ").removesuffix("\n"))
    assert said[:4].hex() == key_id
    at_s, text = int.from_bytes(said[4:12], "big"), note.partition(b"\n\n")[0] + b"\n"
    message = f"cosignature/v1\ntime {at_s}\n".encode() + text
    Ed25519PublicKey.from_public_bytes(kind_and_key[1:]).verify(said[12:], message)
    return at_s


def submission(body: bytes) -> tuple[int, list[bytes], bytes]:
    """The old size, a proof, and a head (protocol 9.1)."""
    lines, _, note = body.partition(b"\n\n")
    first, *hashes = lines.decode().split("\n")
    return int(first.removeprefix("old ")), [base64.b64decode(each) for each in hashes], note


def proof_file(data: bytes) -> tuple[int, list[bytes], bytes]:
    """Index, proof and head (protocol 9.4)."""
    lines, _, note = data.partition(b"\n\n")
    form, index, *hashes = lines.decode().split("\n")
    assert form == "c2sp.org/tlog-proof@v1"
    return int(index.removeprefix("index ")), [base64.b64decode(each) for each in hashes], note


def tile_path(level: int, index: int, width: int) -> str:
    """Where a mirror has it; level -1: entries (protocol 9.5)."""
    digits = str(index).zfill(3 * -(-len(str(index)) // 3))
    groups = [digits[at : at + 3] for at in range(0, len(digits), 3)]
    name = "/".join(f"x{each}" for each in groups[:-1]) + "/" * (len(groups) > 1) + groups[-1]
    return f"tile/{'entries' if level < 0 else level}/{name}{'' if width == 256 else f'.p/{width}'}"


def bundled(data: bytes) -> list[bytes]:
    """Entries of a file of them (protocol 9.5)."""
    entries = []
    while data:
        end = 2 + int.from_bytes(data[:2], "big")
        entries.append(data[2:end])
        data = data[end:]
    return entries


def parcel(data: bytes) -> list[bytes]:
    """The document, and the blobs (protocol 6.1)."""
    number, first = struct.unpack_from("<II", data, 6)
    sizes = (first, *struct.unpack_from(f"<{number}I", data, 14))
    ends = list(accumulate(sizes, initial=14 + 4 * number))
    assert data[:6] == b"APCL1\n"
    assert ends[-1] == len(data)
    return [data[start:end] for start, end in pairwise(ends)]


def payload(data: bytes) -> tuple[dict[str, list[Any]], dict[str, str]]:
    """Tensors and metadata (protocol 6.2)."""
    start = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:start])
    labels, tensors = header.pop("__metadata__"), {}
    for name, form in header.items():
        low, high = (start + each for each in form["data_offsets"])
        letter = {"I32": "i", "F32": "f", "U8": "B"}[form["dtype"]]
        tensors[name] = list(struct.unpack(f"<{form['shape'][0]}{letter}", data[low:high]))
    return tensors, labels


def moved(old: list[int], data: bytes) -> list[int]:
    """The weights after a delta of one block (protocol 6.8, 6.9)."""
    start = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:start])
    assert canonical(header) == data[8:start]
    assert header["body"] == "sha256:" + hashlib.sha256(data[start:]).hexdigest()
    (block,) = header["blocks"]
    if not block["num_changed"]:
        return old
    middle = start + block["where"]
    where, amount = (zstandard.decompress(each) for each in (data[start:middle], data[middle:]))
    if block["positions"]:
        places = [at for at in range(len(old)) if where[at // 8] << at % 8 & 128]
    else:
        gaps = _numbers(where, block["gap_planes"])
        places = [end - 1 for end in accumulate(gap + 1 for gap in gaps)]
    order, new = sorted(range(len(old)), key=lambda at: old[at] >> 7 & 255), list(old)
    for place, less in zip(places, _numbers(amount, block["unit_planes"]), strict=True):
        at, units = order[place], less + 1
        step = -(units + 1) // 2 if units % 2 else units // 2
        new[at] = _flipped(_flipped(old[at]) + step & 0xFFFF)
    return new


def _numbers(planes: bytes, count: int) -> list[int]:
    length = len(planes) // count
    return [sum(planes[p * length + n] << 8 * p for p in range(count)) for n in range(length)]


def _flipped(pattern: int) -> int:
    return pattern ^ 0x7FFF if pattern & 0x8000 else pattern
