"""What is streamed is what the tokenizer makes of the whole, up to a stop string, however it is cut into tokens."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archipel.model.tokenizer import byte_tokenizer
from archipel.serve.voice import voice_of

TOKENIZER = byte_tokenizer()
texts = st.text("ab é🦊\n", max_size=24)


def streamed(tokens: list[int], stops: tuple[str, ...]) -> tuple[str, list[str]]:
    voice = voice_of(TOKENIZER, stops)
    parts = [*map(voice.say, tokens), voice.end()]
    return "".join(parts), parts


@settings(max_examples=200, deadline=None)
@given(texts)
def test_a_stream_says_the_whole_text_and_no_half_characters(text: str) -> None:
    said, parts = streamed(TOKENIZER.encode(text), ())
    assert said == text
    assert not any("\ufffd" in part for part in parts)


@settings(max_examples=300, deadline=None)
@given(texts, st.lists(st.text("ab é", min_size=1, max_size=4), min_size=1, max_size=3))
def test_nothing_of_a_stop_string_is_said_nor_anything_after(text: str, stops: list[str]) -> None:
    found = [at for stop in stops if (at := text.find(stop)) >= 0]
    # The engine ends an answer at the first token after which a stop string is whole.
    ends = [text.find(stop) + len(stop) for stop in stops if stop in text]
    tokens = TOKENIZER.encode(text[: min(ends)] if ends else text)
    said, _ = streamed(tokens, tuple(stops))
    whole = text[: min(ends)] if ends else text
    expected = min((at for stop in stops if (at := whole.find(stop)) >= 0), default=len(whole))
    assert said == whole[:expected]
    assert not found or not any(stop in said for stop in stops)


def test_bytes_that_are_no_characters_are_shown_once_nothing_can_mend_them() -> None:
    half = TOKENIZER.encode("é")[:1]
    said, parts = streamed(half, ())
    assert parts[:-1] == [""]
    assert said == "\ufffd"


def test_a_special_token_says_nothing() -> None:
    said, _ = streamed([*TOKENIZER.encode("a"), *TOKENIZER.stop_ids], ())
    assert said == "a"


@pytest.mark.parametrize("token", [-1, 10**6])
def test_a_token_that_is_none_says_nothing(token: int) -> None:
    assert streamed([token], ())[0] == ""
