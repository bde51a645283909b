"""Texts that end a completion: found by the token that completes them, whatever the tokens' boundaries."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, decoders, models, pre_tokenizers
from tokenizers import Tokenizer as Backend

from archipel.model.pieces import NoPieces
from archipel.model.stop_strings import StopStrings
from archipel.model.tokenizer import Tokenizer, byte_tokenizer
from archipel.records.requests import ENDED


def byte_level() -> Tokenizer:
    """Bytes, some of their pairs, and a plain and a special word."""
    symbols = sorted(pre_tokenizers.ByteLevel.alphabet())
    pairs = [("a", "b"), ("Ċ", "Ċ"), ("Ã", "©"), ("©", "Ċ"), ("b", "Ã")]
    words = [*symbols, *("".join(pair) for pair in pairs)]
    backend = Backend(models.BPE({word: n for n, word in enumerate(words)}, pairs))
    backend.decoder = decoders.ByteLevel()
    backend.add_tokens(["<tool> é"])
    backend.add_special_tokens([AddedToken("<end>", special=True)])
    return Tokenizer(backend, eos_token="<end>")


def byte_fallback() -> Tokenizer:
    """As the Llama family has it: words with a sign for blanks, and bytes for what is no word."""
    words = [
        "<unk>",
        *(f"<0x{byte:02X}>" for byte in range(256)),
        "▁",
        "a",
        "▁a",
        "b",
        "ab",
        "é",
        "▁▁",
    ]
    backend = Backend(
        models.BPE(
            {word: n for n, word in enumerate(words)}, [], unk_token="<unk>", byte_fallback=True
        )
    )
    backend.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    backend.add_special_tokens([AddedToken("<unk>", special=True)])
    return Tokenizer(backend)


TOKENIZERS = {"bytes": byte_tokenizer(), "pairs": byte_level(), "fallback": byte_fallback()}
TEXTS = st.lists(st.text("ab é\n", min_size=1, max_size=4), min_size=1, max_size=3)


def rows(tokenizer: Tokenizer) -> st.SearchStrategy[list[int]]:
    """Tokens that write what the texts are made of, and halves of it."""
    wanted = set("ab é\nÃ".encode())
    told = [n for n, piece in enumerate(tokenizer.pieces) if set(piece) <= wanted]
    return st.lists(st.sampled_from(told), max_size=12)


@given(data=st.data(), name=st.sampled_from(sorted(TOKENIZERS)), texts=TEXTS)
def test_a_completion_ends_with_the_first_token_after_which_a_text_stands_in_it(data, name, texts):
    tokenizer = TOKENIZERS[name]
    row = data.draw(rows(tokenizer))
    stops = StopStrings.of(texts, tokenizer.pieces)
    written = [b"".join(tokenizer.pieces[t] for t in row[:n]) for n in range(len(row) + 1)]
    holding = [n for n, told in enumerate(written) if any(text.encode() in told for text in texts)]
    assert stops.end_of(row) == (holding[0] if holding else None)


@given(data=st.data(), name=st.sampled_from(sorted(TOKENIZERS)), texts=TEXTS)
def test_its_text_is_what_stands_before_the_text_that_ended_it(data, name, texts):
    tokenizer = TOKENIZERS[name]
    row = data.draw(rows(tokenizer))
    stops = StopStrings.of(texts, tokenizer.pieces)
    end = stops.end_of(row)
    whole = tokenizer.decode(row[:end])
    if end is None:
        assert stops.text(row, whole) == whole
        return
    written = b"".join(tokenizer.pieces[t] for t in row[:end])
    before = written[: min(at for text in texts if (at := written.find(text.encode())) >= 0)]
    text = stops.text(row[:end], whole)
    assert "\ufffd" in whole or whole.startswith(text)
    assert not any(each in text for each in texts)
    plain = before.decode("utf-8", "replace").replace("\ufffd", "")
    assert text.replace("\ufffd", "").removeprefix(" ") == plain.removeprefix(" ")


def test_half_characters_and_merged_tokens_are_no_hiding_place():
    tokenizer = TOKENIZERS["pairs"]
    half, merged = (tokenizer.backend.token_to_id(word) for word in ("bÃ", "©Ċ"))
    stops = StopStrings.of(["é\n"], tokenizer.pieces)
    assert stops.end_of([half, merged, half]) == 2
    assert stops.text([half, merged], tokenizer.decode([half, merged])) == "b"
    # What the last token writes after the text is no part of the completion either.
    early = StopStrings.of(["é"], tokenizer.pieces)
    assert early.text([half, merged], tokenizer.decode([half, merged])) == "b"


def test_a_token_costs_its_own_bytes_however_long_the_completion_is():
    pieces = TOKENIZERS["bytes"].pieces
    stops = StopStrings.of(["aab"], pieces)
    letter = pieces.index(b"a")
    state = 0
    for _ in range(1000):
        state = stops.after(state, letter)
    assert len(stops._known) <= 4, "a handful of states, not a thousand texts"
    assert stops.after(state, pieces.index(b"b")) == ENDED


def test_texts_within_texts_end_at_the_shorter():
    tokenizer = TOKENIZERS["bytes"]
    stops = StopStrings.of(["abab", "ba"], tokenizer.pieces)
    row = [tokenizer.pieces.index(bytes([byte])) for byte in b"aabab"]
    assert stops.end_of(row) == 4
    assert stops.text(row[:4], "aaba") == "aa"


def test_a_tokenizer_that_does_more_than_put_tokens_side_by_side_is_refused():
    backend = Backend(models.WordPiece({"[UNK]": 0, "a": 1, "##b": 2, "b": 3}, unk_token="[UNK]"))
    backend.decoder = decoders.WordPiece()
    with pytest.raises(NoPieces, match="by themselves"):
        _ = Tokenizer(backend).pieces


@pytest.mark.parametrize("name", sorted(TOKENIZERS))
def test_pieces_are_what_the_decoder_writes(name):
    tokenizer = TOKENIZERS[name]
    for token, piece in enumerate(tokenizer.pieces):
        told = tokenizer.decode([token])
        if "\ufffd" not in told:
            assert piece.decode().lstrip(" ") == told.lstrip(" ")
        assert piece or token in tokenizer.special_ids


@pytest.mark.parametrize("signs", [("",), ("a", "x", "x")])
def test_a_decoder_that_makes_a_book_of_a_token_is_refused(signs: tuple[str, ...]) -> None:
    backend = Backend(models.BPE({"a": 0, "b": 1}, []))
    backend.decoder = decoders.Sequence([decoders.Replace(sign, "x" * 40_000) for sign in signs])
    with pytest.raises(NoPieces, match="more than 65536 characters for one token"):
        _ = Tokenizer(backend).pieces


def test_what_is_remembered_is_bounded(monkeypatch):
    monkeypatch.setattr("archipel.model.stop_strings._MAX_KNOWN", 3)
    pieces = TOKENIZERS["bytes"].pieces
    stops = StopStrings.of(["abc"], pieces)
    known = []
    for byte in b"ababxyzabc":
        state = stops.after(0, pieces.index(bytes([byte])))
        known.append(len(stops._known))
    assert state == 0
    assert max(known) == 3
    assert stops.end_of([pieces.index(bytes([byte])) for byte in b"ababxyzabc."]) == 10


def test_the_first_token_speaks_like_any_other_and_none_beyond_the_vocabulary_does():
    stops = StopStrings.of(["b"], (b"ab", b"c"))
    assert stops.end_of([0]) == 1
    assert stops.end_of([-2, 2, 1, 0]) == 4


def test_a_blank_that_the_decoder_took_is_taken_however_half_characters_are_shown():
    stops = StopStrings.of(["."], (b" a", b"\xe2", b"\x96", b"."))
    assert stops.text([0, 1, 2, 3], "a\ufffd\ufffd.") == "a\ufffd"
    assert stops.text([0, 1, 2, 3], " a\ufffd\ufffd.") == " a\ufffd"
