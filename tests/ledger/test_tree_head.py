"""Properties of signed notes and tree heads, with the vectors of C2SP and Go's sumdb."""

import base64

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archipel.identity import Identity
from archipel.ledger.merkle import EMPTY_ROOT
from archipel.ledger.signed_note import MAX_NOTE_BYTES, BadNote, NoteKey, open_note, sign_note
from archipel.ledger.tree_head import BadTreeHead, TreeHead, sign_tree_head, verify_tree_head

LAB = Identity.from_seed(bytes(31) + b"\x01")
OTHER = Identity.from_seed(bytes(31) + b"\x02")
ORIGIN = "lab.example/archipel"
KEY = NoteKey(ORIGIN, LAB.public_key)
HEAD = sign_tree_head(LAB, ORIGIN, 8, bytes(range(32)))

# golang.org/x/mod/sumdb/note: the package documentation's key pair and note.
GO_VERIFIER = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
GO_SEED = base64.b64decode("AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz")[1:]
GO_TEXT = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n"
)
GO_NOTE = (
    GO_TEXT
    + "\n— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqf"
    "qdngotpRZb6KE6RyyBwJnAM=\n"
).encode()


def test_a_note_equals_the_go_vector_byte_for_byte() -> None:
    key = NoteKey.from_text(GO_VERIFIER)
    assert key.to_text() == GO_VERIFIER
    assert sign_note(GO_TEXT, "PeterNeumann", Identity.from_seed(GO_SEED)) == GO_NOTE
    assert open_note(GO_NOTE, key) == GO_TEXT


def test_a_key_line_equals_the_c2sp_vector() -> None:
    text = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
    key = NoteKey.from_text(text)
    assert (key.name, key.key_id.hex()) == ("example.com/foo", "530d903a")
    assert key.to_text() == text


def test_the_c2sp_example_head_has_the_form_we_read() -> None:
    note = (
        "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n"
        "— example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zh"
        "cyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n"
    )
    root = base64.b64decode("CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=")
    ours = sign_tree_head(LAB, "example.com/behind-the-sofa", 20852163, root)
    assert ours.note.decode().partition("\n\n")[0] == note.partition("\n\n")[0]


@given(st.integers(min_value=0, max_value=2**63 - 1), st.binary(min_size=32, max_size=32))
def test_a_signed_head_reads_back_as_itself(size: int, root: bytes) -> None:
    head = sign_tree_head(LAB, ORIGIN, size, root)
    assert verify_tree_head(head.note, KEY) == head == TreeHead(ORIGIN, size, root, head.note)


@settings(max_examples=80)
@given(st.integers(min_value=0, max_value=len(HEAD.note) * 8 - 1))
def test_no_flipped_bit_of_a_head_goes_unnoticed(bit: int) -> None:
    data = bytearray(HEAD.note)
    data[bit // 8] ^= 1 << bit % 8
    with pytest.raises(BadTreeHead):
        verify_tree_head(bytes(data), KEY)


def test_a_head_of_another_key_or_another_log_is_refused() -> None:
    with pytest.raises(BadTreeHead, match="no signature by"):
        verify_tree_head(sign_tree_head(OTHER, ORIGIN, 8, EMPTY_ROOT).note, KEY)
    with pytest.raises(BadTreeHead, match="no signature by"):
        verify_tree_head(sign_tree_head(LAB, "other.example", 8, EMPTY_ROOT).note, KEY)
    foreign = sign_note(f"other.example\n0\n{base64.b64encode(EMPTY_ROOT).decode()}\n", ORIGIN, LAB)
    with pytest.raises(BadTreeHead, match=r"head of log 'other\.example'"):
        verify_tree_head(foreign, KEY)


@pytest.mark.parametrize(
    "body",
    [
        "8\n",
        "8\nAAAA\n",
        "08\n" + base64.b64encode(bytes(32)).decode() + "\n",
        "+8\n" + base64.b64encode(bytes(32)).decode() + "\n",
        "٨\n" + base64.b64encode(bytes(32)).decode() + "\n",  # an Arabic digit
        "9223372036854775808\n" + base64.b64encode(bytes(32)).decode() + "\n",
        "8\n" + base64.b64encode(bytes(31)).decode() + "\n",
        "8\n" + base64.b64encode(bytes(32)).decode()[:-2] + "B=\n",  # unused bits set
        "8\n" + base64.b64encode(bytes(32)).decode() + "\nextension\n",
        "8\n" + base64.b64encode(bytes(32)).decode() + "\n\n",
    ],
)
def test_a_signed_but_malformed_head_is_refused(body: str) -> None:
    with pytest.raises(BadTreeHead):
        verify_tree_head(sign_note(f"{ORIGIN}\n{body}", ORIGIN, LAB), KEY)


def test_signatures_of_unknown_keys_are_ignored_and_of_known_ones_are_not() -> None:
    witness = sign_note(HEAD.note.decode().partition("\n\n")[0] + "\n", "witness.example", OTHER)
    line = witness.decode().rpartition("\n\n")[2]
    cosigned = HEAD.note + line.encode() * 20
    assert verify_tree_head(cosigned, KEY).root == HEAD.root
    forged = base64.b64encode(KEY.key_id + bytes(64)).decode()
    with pytest.raises(BadTreeHead, match="does not hold"):
        verify_tree_head(HEAD.note + f"— {ORIGIN} {forged}\n".encode(), KEY)


@pytest.mark.parametrize(
    "note",
    [
        b"",
        b"\n\n",
        GO_TEXT.encode(),
        GO_NOTE[:-1],
        GO_NOTE + b"\n",
        GO_NOTE + "— name\n".encode(),
        GO_NOTE + b"- name AAAAAAAA\n",
        GO_NOTE + "— a+b AAAAAAAA\n".encode(),
        GO_NOTE + "— name AAAA\n".encode(),
        GO_NOTE + "— name AAAAAA\n".encode(),
        GO_NOTE.replace(b"then", b"th\ren"),
        GO_NOTE.replace(b"then", b"th\xffen"),
        GO_NOTE + "— name AAAAAAAA\n".encode() * 64,
        b"x" * MAX_NOTE_BYTES + GO_NOTE,
    ],
)
def test_what_is_not_a_note_is_refused(note: bytes) -> None:
    with pytest.raises(BadNote):
        open_note(note, NoteKey.from_text(GO_VERIFIER))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "name",
        "name+00000000",
        GO_VERIFIER.replace("c74f20a3", "c74f20a4"),
        GO_VERIFIER.replace("c74f20a3", "C74F20A3"),
        GO_VERIFIER.replace("Peter", "Petra"),
        GO_VERIFIER.replace("+AR", "+BR"),
        GO_VERIFIER[:-4],
        GO_VERIFIER + "A" * 600,
    ],
)
def test_a_misspelt_key_line_is_refused(text: str) -> None:
    with pytest.raises(BadNote):
        NoteKey.from_text(text)


@pytest.mark.parametrize("origin", ["", "a b", "a+b", "a\nb", "a\u2003b", "a\x00b", "x" * 257])
def test_a_log_name_that_would_break_the_form_is_refused(origin: str) -> None:
    with pytest.raises(BadTreeHead):
        sign_tree_head(LAB, origin, 0, EMPTY_ROOT)
