"""What of an answer stands in a text: every span verbatim, as long as can be, none left out."""

import json
import random
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from archipel.release.trace.answer import MAX_ANSWER_CHARACTERS, traced
from archipel.release.trace.corpus import Corpus, Document
from archipel.release.trace.kept_index import open_index, write_index
from archipel.release.trace.spans import Finder, maximal_spans, merged, rarest
from archipel.release.trace.suffixes import END, suffix_array
from archipel.release.trace.texts import PART, texts_of
from archipel.release.trace.told import Untraceable

LETTERS = ("ab", "abc ", "aé𝄞\n", "the cat sat. ")


def drawn(seed: int) -> tuple[random.Random, list[str]]:
    """Texts of few letters, some of them repeated: full of repeats of every length."""
    chance = random.Random(seed)
    letters = LETTERS[seed % len(LETTERS)]
    texts = ["".join(chance.choices(letters, k=chance.choice((0, 1, 7, 40)))) for _ in range(5)]
    texts += chance.choices(texts, k=3)
    texts.append(chance.choice(texts) * chance.randint(1, 30))
    return chance, texts


def laid(texts: list[str]) -> bytes:
    return b"".join(text.encode() + END for text in texts)


def brute(answer: str, texts: list[str], least: int) -> set[tuple[int, int]]:
    """By the definition: it stands in some text, and with neither neighbour it does."""

    def stands(start: int, end: int) -> bool:
        inside = start >= 0 and end <= len(answer)
        return inside and any(answer[start:end] in text for text in texts)

    return {
        (start, end)
        for start in range(len(answer))
        for end in range(start + least, len(answer) + 1)
        if stands(start, end) and not stands(start - 1, end) and not stands(start, end + 1)
    }


def up_to_end(data: bytes, place: int) -> bytes:
    return data[place : data.find(END, place) + 1 or None]


@pytest.mark.parametrize("seed", range(40))
def test_places_are_sorted_by_what_follows_up_to_the_end_of_a_text(seed: int) -> None:
    data = laid(drawn(seed)[1])
    order = suffix_array(data).tolist()
    assert sorted(order) == list(range(len(data)))
    following = [up_to_end(data, place) for place in order]
    assert following == sorted(following)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"a",
        random.Random(1).randbytes(700).replace(END, b"x") * 3,
        END,
        b"a" * 500,
        b"ab" * 300 + END,
        END * 40,
    ],
)
def test_what_repeats_itself_is_sorted_too(data: bytes) -> None:
    following = [up_to_end(data, place) for place in suffix_array(data)]
    assert following == sorted(following)
    assert len(following) == len(data)


@pytest.mark.parametrize("seed", range(40))
def test_spans_are_those_of_the_definition_and_stand_at_every_place(seed: int) -> None:
    chance, texts = drawn(seed)
    data = laid(texts)
    pieces = [chance.choice(texts)[chance.randint(0, 5) :][:30] for _ in range(4)]
    answer = chance.choice(("", "z")).join(pieces)
    finder = Finder(data, suffix_array(data))
    for least in (1, 3, 8):
        spans = list(maximal_spans(answer, finder, least))
        found = {(each.start, each.end) for each in spans}
        assert found == brute(answer, texts, least)
        assert len(found) == len(spans)
        for each in spans:
            text = answer[each.start : each.end].encode()
            standing = {finder.suffixes[at] for at in range(*each.found)}
            everywhere = {at for at in range(len(data)) if data.startswith(text, at)}
            assert standing == everywhere
        covered = {at for start, end in found for at in range(start, end)}
        passages = merged(spans)
        assert {at for start, end in passages for at in range(start, end)} == covered
        assert all(one[1] <= other[0] for one, other in pairwise(passages))


def test_a_span_of_rarer_words_comes_first_whatever_its_length() -> None:
    data = laid(["the of and " * 200 + "zyzzyva sings", "the of the of"])
    finder = Finder(data, suffix_array(data))
    spans = list(maximal_spans("the of and the of and !! zyzzyva sings", finder, 8))
    first, *others = rarest(spans, 9)
    assert (first.start, first.end) == (24, 38)
    assert [each.end - each.start for each in others] == [22]
    assert first.bits > others[0].bits > 0


def corpus(*texts: list[bytes]) -> Corpus:
    data, documents = bytearray(), []
    for number, inside in enumerate(texts):
        added = b"".join(text + END for text in inside)
        own = Document("data", f"data/{number}.txt", None, len(data), len(added))
        documents.append(own)
        data += added
    return Corpus(bytes(data), tuple(documents), ("nothing",))


WORK = Document("rollout", "run.7", 12, 0, 0, (4, 5), 2)
HELD = Corpus(
    b"".join(text + END for text in (b"one two", b"three four", b"five" + PART + b"six", b"five six")),
    (WORK,),
    (),
)  # fmt: skip


def looked_up(
    folder: Path, held: Corpus, answer: str, least: int = 3
) -> Iterator[dict[str, object]]:
    write_index(folder, "key", held, lambda where: None)
    with open_index(folder, "key") as opened:
        assert opened is not None
        for each in traced(answer, opened, least, 9).quotations:
            yield each.to_dict()


def test_a_place_is_named_by_file_and_line_or_by_group_and_entry(tmp_path: Path) -> None:
    lines = texts_of("data/x.jsonl", b'{"a": "first"}\n{"b": ["second\\nline", 3, "third"]}\n')
    assert lines == [b"first", b"second\nline" + PART + b"third", b""]
    (found,) = looked_up(tmp_path / "a", corpus([b"zero"], lines), "line")
    (place,) = found["places"]  # type: ignore[misc]
    assert place["where"] == "data/1.txt, line 3"
    assert (place["before"], place["after"], place["offset"]) == ("second\n", "", 7)
    (found,) = looked_up(tmp_path / "b", HELD, "hree fou")
    (place,) = found["places"]  # type: ignore[misc]
    assert place["where"] == "rollout 1 of group 4, run.7"
    assert (place["entry"], place["before"], place["after"]) == (12, "t", "r")


def test_nothing_is_found_across_two_texts_or_two_strings_of_a_line(tmp_path: Path) -> None:
    for answer in ("twothree", "fivesix"):
        found = list(looked_up(tmp_path / answer, HELD, answer))
        assert all(len(str(each["text"])) <= 5 for each in found)
    (found,) = looked_up(tmp_path / "whole", HELD, "five six")
    assert found["num_places"] == 1


def test_an_index_that_was_changed_is_none(tmp_path: Path) -> None:
    write_index(tmp_path, "key", HELD, lambda where: None)
    for name in ("corpus", "suffixes", "index.json"):
        path = tmp_path / "key" / name
        data = path.read_bytes()
        for changed in (data[:-1], bytes([data[0] ^ 1]) + data[1:]):
            path.write_bytes(changed)
            with open_index(tmp_path, "key") as opened:
                assert opened is None
        path.write_bytes(data)
    with open_index(tmp_path, "key") as opened:
        assert opened is not None
        assert (opened.data[:], opened.documents) == (HELD.data, HELD.documents)
        for wrong, said in (("x" * (MAX_ANSWER_CHARACTERS + 1), "at most"), ("\ud800", "UTF-8")):
            with pytest.raises(Untraceable, match=said):
                traced(wrong, opened, 3, 9)
    with open_index(tmp_path, "other") as opened:
        assert opened is None


def test_what_is_no_text_has_none_and_what_is_no_json_is_itself() -> None:
    assert texts_of("a.txt", b"\xff\x00") is None
    assert texts_of("a.txt", b"a\0b") is None
    assert texts_of("a.json", b"{") == [b"{"]
    assert texts_of("a.json", json.dumps({"k": ["é", {"x": "y"}, 1]}).encode()) == [
        "é".encode() + PART + b"y"
    ]
    assert texts_of("a.jsonl", b'"\\ud800"') == [b'"\\ud800"']
