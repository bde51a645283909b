"""Properties of keys, names, signatures and envelopes."""

import base64
import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import archipel.identity
from archipel.identity import (
    DID_CHARS,
    MAX_ENVELOPE_BYTES,
    MAX_PAYLOAD_BYTES,
    BadDid,
    BadEnvelope,
    BadKeyFile,
    BadSignature,
    Envelope,
    Identity,
    did_from_public_key,
    did_to_public_key,
    pre_authentication_encoding,
    sign,
    verify,
    verify_bytes,
)
from archipel.key_file import MAX_KEY_FILE_BYTES

ALICE = Identity.from_seed(bytes(31) + b"\x01")
BOB = Identity.from_seed(bytes(31) + b"\x02")
TYPE = "application/vnd.archipel.test+json"
GROUP_ORDER = 2**252 + 27742317777372353535851937790883648493

# The points of order 1, 2, 4 and 8 of edwards25519, as tabled by libsodium, and encodings >= p.
LOW_ORDER_OR_NON_CANONICAL = [
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0100000000000000000000000000000000000000000000000000000000000000",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
]


@pytest.mark.parametrize(
    ("seed", "did"),  # the Ed25519 vectors of the W3C CCG did:key specification
    [
        (0, "did:key:z6MkiTBz1ymuepAQ4HEHYSF1H8quG5GLVVQR3djdX3mDooWp"),
        (1, "did:key:z6MkjchhfUsD6mmvni8mCdXHw216Xrm9bQe2mBH1P5RDjVJG"),
        (2, "did:key:z6MknGc3ocHs3zdPiJbnaaqDi58NGb4pk1Sp9WxWufuXSdxf"),
    ],
)
def test_names_equal_the_did_key_vectors(seed: int, did: str) -> None:
    identity = Identity.from_seed(seed.to_bytes(32, "big"))
    assert identity.did == did
    assert did_to_public_key(did) == identity.public_key


def test_signatures_equal_the_rfc_8032_vectors() -> None:
    identity = Identity.from_seed(
        bytes.fromhex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb")
    )
    signature = bytes.fromhex(
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
        "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
    )
    assert identity.public_key.hex().startswith("3d4017c3e843895a92b70aa74d1b7ebc")
    assert identity.sign_bytes(b"\x72") == signature
    verify_bytes(identity.public_key, b"\x72", signature)


def test_pre_authentication_encoding_equals_the_dsse_vector() -> None:
    encoded = pre_authentication_encoding("http://example.com/HelloWorld", b"hello world")
    assert encoded == b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"


@given(st.binary(min_size=32, max_size=32))
def test_every_accepted_name_has_one_spelling(public_key: bytes) -> None:
    did = did_from_public_key(public_key)
    try:
        decoded = did_to_public_key(did)
    except BadDid:
        return
    assert decoded == public_key


@pytest.mark.parametrize(
    "change",
    [
        lambda did: did + "1",
        lambda did: did[:-1],
        lambda did: did.replace("did:key:z", "did:key:u"),
        lambda did: did.replace("did:key:z6Mk", "did:key:z1Mk"),
        lambda did: did[:-1] + "0",
        lambda did: did.replace("z6Mk", "z0Mk"),
        lambda did: 7,
        lambda did: None,
        lambda did: did[:-1] + "é",
        lambda did: did + "\n",
        lambda did: did.upper(),
        lambda did: did + "#" + did[8:],
        lambda did: "",
        lambda did: "did:key:z" + "1" * 47,
        lambda did: "did:key:z" + "z" * 47,
        # a 32-byte number without its multicodec, filled up with zero digits
        lambda did: "did:key:z" + "4zvwRjXUKGfvwnParsHAS3HuSVzV5cA4McphgmoCtajS".rjust(47, "1"),
    ],
)
def test_a_misspelt_name_is_refused(change) -> None:
    with pytest.raises(BadDid):
        did_to_public_key(change(ALICE.did))


@pytest.mark.parametrize("sign_bit", [0, 0x80])
@pytest.mark.parametrize("point", LOW_ORDER_OR_NON_CANONICAL)
def test_a_key_that_anyone_could_sign_for_is_refused(point: str, sign_bit: int) -> None:
    key = bytearray.fromhex(point)
    key[31] |= sign_bit
    with pytest.raises(BadDid, match=r"low-order|does not hold"):
        did_to_public_key(did_from_public_key(bytes(key)))
    forged = bytes.fromhex(LOW_ORDER_OR_NON_CANONICAL[1]) + bytes(32)
    with pytest.raises(BadSignature):
        verify_bytes(bytes(key), b"anything", forged)


def test_a_second_signature_cannot_be_derived_from_the_first() -> None:
    signature = ALICE.sign_bytes(b"message")
    s = int.from_bytes(signature[32:], "little")
    shifted = signature[:32] + (s + GROUP_ORDER).to_bytes(32, "little")
    with pytest.raises(BadSignature):
        verify_bytes(ALICE.public_key, b"message", shifted)


@settings(max_examples=60)
@given(st.integers(min_value=0, max_value=511))
def test_any_flipped_bit_breaks_a_signature(bit: int) -> None:
    signature = bytearray(ALICE.sign_bytes(b"message"))
    signature[bit // 8] ^= 1 << bit % 8
    with pytest.raises(BadSignature):
        verify_bytes(ALICE.public_key, b"message", bytes(signature))


@given(st.binary(max_size=200))
def test_an_envelope_comes_back_as_it_was_sent(payload: bytes) -> None:
    envelope = sign(ALICE, payload, TYPE)
    arrived = Envelope.from_json(envelope.to_json())
    assert arrived == envelope
    assert verify(arrived, TYPE) == ALICE.did


def test_changing_any_part_of_an_envelope_is_noticed() -> None:
    good = sign(ALICE, b"payload", TYPE)
    for bad in [
        Envelope(b"payloae", TYPE, good.keyid, good.signature),
        Envelope(b"payload", TYPE, BOB.did, good.signature),
        Envelope(b"payload", TYPE, good.keyid, BOB.sign_bytes(b"payload")),
        Envelope(b"payload", TYPE, good.keyid, good.signature[:-1]),
        Envelope(b"payload", TYPE, good.keyid, ALICE.sign_bytes(b"payload")),
    ]:
        with pytest.raises(BadSignature):
            verify(bad, TYPE)


def test_a_statement_of_one_type_is_not_taken_for_another() -> None:
    with pytest.raises(BadEnvelope, match="expected 'other'"):
        verify(sign(ALICE, b"payload", TYPE), "other")
    good = sign(ALICE, b"payload", TYPE)
    with pytest.raises(BadSignature):
        verify(Envelope(good.payload, "other", good.keyid, good.signature), "other")


def _edited(change) -> bytes:
    fields = json.loads(sign(ALICE, b"payload", TYPE).to_json())
    change(fields)
    return json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"null",
        b"\xff",
        b"{" * 60_000,
        b"[" * 60_000,
        b'{"payload":"\\ud800","payloadType":"x","signatures":[{"keyid":"x","sig":""}]}',
        _edited(lambda f: f.update(extra=1)),
        _edited(lambda f: f.pop("payload")),
        _edited(lambda f: f.update(payload=7)),
        _edited(lambda f: f.update(payloadType=7)),
        _edited(lambda f: f.update(payloadType="")),
        _edited(lambda f: f.update(payloadType="a b")),
        _edited(lambda f: f.update(payloadType="t" * 129)),
        _edited(lambda f: f.update(payload=f["payload"].rstrip("="))),
        _edited(lambda f: f.update(payload=f["payload"] + "\n")),
        _edited(lambda f: f.update(payload="cGF5bG9hZB==")),  # unused bits set
        _edited(lambda f: f.update(signatures=[])),
        _edited(lambda f: f.update(signatures=f["signatures"] * 2)),
        _edited(lambda f: f.update(signatures={"keyid": "x", "sig": ""})),
        _edited(lambda f: f["signatures"][0].update(extra=1)),
        _edited(lambda f: f["signatures"][0].pop("keyid")),
        b" " + sign(ALICE, b"payload", TYPE).to_json(),
        sign(ALICE, b"payload", TYPE).to_json() + b"\n",
        sign(ALICE, b"payload", TYPE).to_json().replace(b'{"payload"', b'{"payload":"","payload"'),
        b"x" * (MAX_ENVELOPE_BYTES + 1),
    ],
)
def test_what_is_not_exactly_an_envelope_is_refused(data: bytes) -> None:
    with pytest.raises(BadEnvelope):
        Envelope.from_json(data)


def test_the_largest_payload_still_fits_a_ledger_entry() -> None:
    envelope = sign(ALICE, bytes(MAX_PAYLOAD_BYTES), "t" * 128)
    assert len(envelope.to_json()) <= MAX_ENVELOPE_BYTES
    with pytest.raises(BadEnvelope, match="limit is 48000"):
        sign(ALICE, bytes(MAX_PAYLOAD_BYTES + 1), TYPE)


def test_received_payload_bytes_are_kept_even_when_they_are_not_canonical(tmp_path: Path) -> None:
    payload = b'{ "b": 1,   "a": 2 }'
    envelope = Envelope.from_json(sign(ALICE, payload, TYPE).to_json())
    assert envelope.payload == payload
    assert base64.b64encode(payload) in envelope.to_json()


def test_a_key_is_made_once_private_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "node.key"
    first = Identity.load_or_create(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert Identity.load_or_create(path).did == first.did == Identity.load(path).did
    assert list(path.parent.iterdir()) == [path]
    assert first.did in repr(first)


def test_a_flipped_bit_in_a_key_file_never_gives_another_key(tmp_path: Path) -> None:
    path = tmp_path / "node.key"
    did, data = Identity.load_or_create(path).did, path.read_bytes()
    refused = 0
    for at, bit in itertools.product(range(len(data)), range(8)):
        path.write_bytes(data[:at] + bytes([data[at] ^ (1 << bit)]) + data[at + 1 :])
        try:
            assert Identity.load(path).did == did
        except BadKeyFile as error:
            refused += "is damaged" in str(error)
    assert refused > 32 * 8, "a private key has no redundancy of its own"


def test_a_key_file_from_elsewhere_has_no_name_and_is_read(tmp_path: Path) -> None:
    path = tmp_path / "node.key"
    did = Identity.load_or_create(path).did
    path.write_bytes(path.read_bytes().partition(b"\n")[2])
    assert Identity.load(path).did == did


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660, 0o601])
def test_a_key_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "node.key"
    Identity.load_or_create(path)
    path.chmod(mode)
    with pytest.raises(BadKeyFile, match="chmod 600"):
        Identity.load_or_create(path)


@pytest.mark.parametrize(
    "content", [b"", b"not a key", b"-----BEGIN PRIVATE KEY-----\n", b"x" * 5000]
)
def test_a_broken_key_file_is_reported_and_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "node.key"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(BadKeyFile, match=r"node\.key"):
        Identity.load_or_create(path)
    assert path.read_bytes() == content


def test_processes_that_start_together_share_one_key(tmp_path: Path) -> None:
    program = (
        "import sys, pathlib\n"
        "from archipel.identity import Identity\n"
        "sys.stdin.readline()\n"
        "print(Identity.load_or_create(pathlib.Path(sys.argv[1])).did)\n"
    )
    command = [sys.executable, "-c", program, os.fspath(tmp_path / "node.key")]
    started = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(4)
    ]
    for process in started:
        process.stdin.write(b"go\n")
        process.stdin.flush()
    assert len({process.communicate()[0] for process in started}) == 1


def test_an_envelope_fits_a_16_bit_length_to_the_last_byte() -> None:
    assert MAX_ENVELOPE_BYTES == 2**16 - 1
    good = sign(ALICE, b"payload", TYPE)
    room = MAX_ENVELOPE_BYTES - len(Envelope(good.payload, TYPE, "", good.signature).to_json())
    longest = Envelope(good.payload, TYPE, "k" * room, good.signature)
    assert len(longest.to_json()) == MAX_ENVELOPE_BYTES
    assert Envelope.from_json(longest.to_json()) == longest
    longer = Envelope(good.payload, TYPE, "k" * (room + 1), good.signature).to_json()
    with pytest.raises(BadEnvelope, match="65536 bytes; the limit is 65535"):
        Envelope.from_json(longer)


def test_a_payload_and_a_type_may_be_as_long_as_their_bounds_when_they_arrive() -> None:
    signature = bytes(64)
    longest = Envelope(bytes(MAX_PAYLOAD_BYTES), "~" * 127 + "!", ALICE.did, signature)
    assert Envelope.from_json(longest.to_json()) == longest
    for payload, kind in ((bytes(MAX_PAYLOAD_BYTES + 1), "t"), (b"", "t" * 129), (b"", "\x7f")):
        with pytest.raises(BadEnvelope, match=r"limit is 48000|is not 1 to 128|canonical JSON"):
            Envelope.from_json(Envelope(payload, kind, ALICE.did, signature).to_json())


@pytest.mark.parametrize("length", [0, 31, 33])
def test_a_key_of_another_length_verifies_nothing(length: int) -> None:
    with pytest.raises(BadSignature, match="low-order or non-canonical"):
        verify_bytes((ALICE.public_key * 2)[:length], b"m", ALICE.sign_bytes(b"m"))


@pytest.mark.parametrize("length", [0, 63, 65, 128])
def test_a_signature_of_another_length_verifies_nothing(length: int) -> None:
    with pytest.raises(BadSignature, match=f"has 64 bytes; got {length}"):
        verify_bytes(ALICE.public_key, b"m", (ALICE.sign_bytes(b"m") * 2)[:length])


def test_a_signature_whose_r_anyone_could_have_chosen_is_refused() -> None:
    for point in LOW_ORDER_OR_NON_CANONICAL:
        forged = bytes.fromhex(point) + ALICE.sign_bytes(b"m")[32:]
        with pytest.raises(BadSignature, match="low-order or non-canonical"):
            verify_bytes(ALICE.public_key, b"m", forged)


def test_the_points_that_are_refused_are_those_whose_order_the_curve_gives() -> None:
    """Of d y^4 + 2 y^2 = 1, which points of order 8 fulfil, there are two roots: a square is one of two numbers."""
    prime = 2**255 - 19
    d = -121665 * pow(121666, -1, prime) % prime
    eighth = archipel.identity._LOW_ORDER_YS - {0, 1, prime - 1}
    assert len(eighth) == 2
    assert sum(eighth) == prime
    assert all((d * pow(y, 4, prime) + 2 * y * y - 1) % prime == 0 for y in eighth)
    square = pow(min(eighth), 2, prime)
    other = (-square - 2 * pow(d, -1, prime)) % prime  # the equation's other root in y^2
    assert pow(other, (prime - 1) // 2, prime) == prime - 1, "which is no square"


def test_every_name_has_one_length() -> None:
    names = [did_from_public_key(Identity.from_seed(bytes([n] * 32)).public_key) for n in range(9)]
    assert {len(name) for name in names} == {DID_CHARS}
    assert all(name.startswith("did:key:z6Mk") for name in names)


def test_a_key_file_is_read_up_to_its_bound(tmp_path: Path) -> None:
    path = tmp_path / "node.key"
    expected = Identity.load_or_create(path).did
    pem = path.read_bytes()
    for extra in (0, 1):
        path.write_bytes(b"\n" * (MAX_KEY_FILE_BYTES - len(pem) + extra) + pem.rstrip() + b"\n")
        assert Identity.load(path).did == expected, "a last newline may be cut"
    path.write_bytes(b"\n" * (MAX_KEY_FILE_BYTES - len(pem) + 2) + pem.rstrip() + b"\n")
    with pytest.raises(BadKeyFile):
        Identity.load(path)


def test_a_new_key_is_on_the_disk_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "home" / "node.key"
    flushed: list[tuple[int, bool]] = []
    flush = os.fsync

    def watched(descriptor: int) -> None:
        flushed.append((os.fstat(descriptor).st_size, path.exists()))
        flush(descriptor)

    monkeypatch.setattr(os, "fsync", watched)
    Identity.load_or_create(path)
    assert flushed == [(path.stat().st_size, False)]
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_a_key_of_another_kind_is_refused(tmp_path: Path) -> None:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

    path = tmp_path / "node.key"
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8)
    path.write_bytes(X25519PrivateKey.generate().private_bytes(*form, serialization.NoEncryption()))
    path.chmod(0o600)
    with pytest.raises(BadKeyFile, match="expected an Ed25519 key"):
        Identity.load(path)
    path.write_bytes(
        X25519PrivateKey.generate().private_bytes(
            *form, serialization.BestAvailableEncryption(b"secret")
        )
    )
    with pytest.raises(BadKeyFile, match="not an unencrypted"):
        Identity.load(path)
