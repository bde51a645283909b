"""A folder's class comes from its bytes: words, empty files, other texts and broken weights give none."""

import json
import struct
from pathlib import Path

import pytest

from archipel.release.openness import mof
from archipel.release.openness.card import Grade, PartCard, read_grade
from archipel.release.openness.data_files import BadFile
from archipel.release.openness.grade import CannotGrade, grade
from archipel.release.openness.licence_words import NARROWING, recognise, table, words_of
from archipel.release.openness.licences import OPEN
from archipel.release.openness.tensor_files import tensors_end
from model_folders import APACHE, CODE, WHOLE, WORDS, archive, safetensors, write

MIT_BODY = (
    "Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated "
    'documentation files (the "Software"), to deal in the Software without restriction, including without limitation '
    "the rights to use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies of the Software, and "
    "to permit persons to whom the Software is furnished to do so, subject to the following conditions: The above "
    "copyright notice and this permission notice shall be included in all copies or substantial portions of the "
    'Software. THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT '
    "LIMITED TO THE WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT "
    "SHALL THE AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION "
    "OF CONTRACT, TORT OR OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER "
    "DEALINGS IN THE SOFTWARE."
)
MIT = f"The MIT License\n\nCopyright (c) 2026 Somebody\n\n{MIT_BODY}\n"


def graded(folder: Path, **changes: bytes | str | None) -> Grade:
    files = {name: content for name, content in (WHOLE | changes).items() if content is not None}
    return grade(write(folder, files))


def part(found: Grade, name: str) -> PartCard:
    return next(each for each in found.parts if each.component == name)


def test_a_whole_directory_is_class_i_and_twice_the_same_document(tmp_path: Path) -> None:
    found = graded(tmp_path)
    assert found.classes.present == 1
    assert found.classes.reproduced == 0, "nothing was rebuilt"
    assert read_grade(found.to_bytes()) == found == grade(tmp_path)


@pytest.mark.parametrize(
    ("file", "content", "component"),
    [
        ("model.safetensors", b"", mof.PARAMETERS),
        ("model.safetensors", safetensors((0, 0, 0, 0)), mof.PARAMETERS),
        ("model.safetensors", safetensors()[:-1], mof.PARAMETERS),
        ("model.safetensors", safetensors() + b"x", mof.PARAMETERS),
        ("model.safetensors", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", mof.PARAMETERS),
        ("model.safetensors", struct.pack("<Q", 2**40) + b"{}", mof.PARAMETERS),
        ("model.safetensors", struct.pack("<Q", 2) + b"{}", mof.PARAMETERS),
        ("train.py", "def (", mof.TRAINING_CODE),
        ("train.py", '"""A promise."""\n', mof.TRAINING_CODE),
        ("train.py", "pass\n", mof.TRAINING_CODE),
        ("data/train.jsonl", '{"a": 1}\nnot json\n', mof.DATASETS),
        ("data/train.jsonl", "\n\n", mof.DATASETS),
        ("eval_results.json", "{}", mof.RESULTS),
        ("data_card.md", "# Data card\n\nTo do.\n", mof.DATA_CARD),
        ("data_card.md", "---\n" + "key: word\n" * 60 + "---\n", mof.DATA_CARD),
        ("paper.md", b"\xff\xfe\x00 not text", mof.PAPER),
    ],
)  # fmt: skip
def test_a_file_that_is_not_what_it_is_called_does_not_count(
    tmp_path: Path, file: str, content: bytes | str, component: str
) -> None:
    found = graded(tmp_path, **{file: content})
    assert found.classes.present != 1
    assert found.classes.stated == 1
    card = part(found, component)
    assert (card.level, card.counts) == ("stated", False)
    assert card.why


def test_tensors_fill_their_file_without_gaps_or_overlaps() -> None:
    def table(*spans: tuple[int, int]) -> bytes:
        named = enumerate(spans)
        return json.dumps(
            {
                str(n): {"dtype": "U8", "shape": [b - a], "data_offsets": [a, b]}
                for n, (a, b) in named
            }
        ).encode()

    assert tensors_end(table((2, 5), (0, 2))) == 5
    for wrong in (
        table((0, 2), (1, 3)),
        table((0, 2), (3, 4)),
        table((1, 2)),
        table((0, 0)),
        b"[]",
    ):
        with pytest.raises(BadFile):
            tensors_end(wrong)


def test_a_linked_file_alone_takes_its_component_out(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_bytes(safetensors())
    folder = write(tmp_path / "model", {n: c for n, c in WHOLE.items() if n != "model.safetensors"})
    (folder / "model.safetensors").symlink_to(tmp_path / "elsewhere")
    weights = part(grade(folder), mof.PARAMETERS)
    assert (weights.level, weights.counts) == ("stated", False)


def test_words_alone_make_a_model_stated_and_never_open(tmp_path: Path) -> None:
    card = (
        "---\nlicense: apache-2.0\n---\nWeights, architecture, technical report, data card, evaluation results, training "
        "code, inference, evaluation code, evaluation data, training data, preprocessing, every checkpoint, arXiv paper. "
    )
    found = grade(write(tmp_path, {"README.md": card + WORDS}))
    assert found.classes.stated in (1, 2, 3)
    assert found.classes.present == 0
    assert [each.component for each in found.parts if each.counts] == [mof.CARD]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "empty"),
        ("   \n\n", "empty"),
        ("All rights reserved. Ask us.", "no open licence"),
        (MIT, "text of MIT, not of Apache-2.0"),
        (APACHE + "\nAdditionally, not for commercial use.\n", "takes back"),
        (APACHE.replace("The License", "Non-Commercial") + "\nnoncommercial\n", "takes back"),
    ],
)
def test_a_text_that_says_another_thing_than_the_name_takes_the_licence_away(
    tmp_path: Path, text: str, words: str
) -> None:
    card = f"---\nlicense: apache-2.0\n---\n# A model\n{WORDS}"
    found = graded(tmp_path, **{"README.md": card, "LICENSE": text})
    assert found.classes.present == 0
    assert not any(each.counts for each in found.parts)
    assert any(words in why for why in part(found, mof.TRAINING_CODE).why)


def test_a_text_is_known_by_its_words_whatever_stands_over_it() -> None:
    assert recognise(MIT).ids[0] == "MIT"
    assert recognise(MIT).is_whole
    assert recognise(APACHE).ids[0] == "Apache-2.0"
    assert recognise(APACHE).is_whole
    assert recognise(APACHE).narrowed is None
    assert recognise("MIT License").ids == ()
    changed = MIT.replace("without restriction", "except on Sundays")
    assert recognise(changed).ids[0] == "MIT"
    assert not recognise(changed).is_whole


def test_the_table_of_texts_covers_the_open_licences() -> None:
    known = {each for row in table() for each in row.ids}
    assert known <= OPEN
    assert OPEN - known == {"BSD-ask-to-endorse"}
    assert all(" ".join(words_of(each)) == each for each in NARROWING)


def test_code_under_a_document_licence_is_open_and_does_not_fit(tmp_path: Path) -> None:
    card = f"---\nlicense: cc-by-4.0\n---\n# A model\n{WORDS}"
    found = graded(tmp_path, **{"README.md": card})
    code = part(found, mof.TRAINING_CODE)
    assert (code.is_open, code.fits, code.counts) == (True, False, False)
    assert part(found, mof.DATASETS).counts
    assert part(found, mof.CARD).counts


def test_the_nearest_text_binds_and_one_for_the_type_before_the_cards(tmp_path: Path) -> None:
    found = graded(tmp_path, **{"data/LICENSE": "Ask us first.", "LICENSE-CODE": APACHE})
    assert not part(found, mof.DATASETS).counts
    assert part(found, mof.TRAINING_CODE).licence == "Apache-2.0"
    assert part(found, mof.TRAINING_CODE).licence_from == "type"
    assert part(found, mof.PAPER).licence == "OpenMDW-1.1"


def test_links_are_never_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside.safetensors"
    outside.write_bytes(safetensors())
    folder = write(tmp_path / "model", {n: c for n, c in WHOLE.items() if n != "model.safetensors"})
    (folder / "model.safetensors").symlink_to(outside)
    (folder / "LICENSE").symlink_to(tmp_path / "nowhere")
    (folder / "checkpoints/all").symlink_to(tmp_path)
    found = grade(folder)
    assert any("a link" in why for why in part(found, mof.PARAMETERS).why)
    assert not any(each.counts for each in found.parts)
    (tmp_path / "linked").symlink_to(folder)
    with pytest.raises(CannotGrade, match="no folder"):
        grade(tmp_path / "linked")


def test_a_pickle_is_neither_opened_nor_counted(tmp_path: Path) -> None:
    found = graded(
        tmp_path, **{"model.safetensors": None, "pytorch_model.bin": b"\x80\x04cos\nsystem\n"}
    )
    weights = part(found, mof.PARAMETERS)
    assert weights.level == "stated"
    assert any("may run its code" in why for why in weights.why)


def test_an_archive_counts_by_the_python_in_it_and_cannot_grow(tmp_path: Path) -> None:
    sound = graded(
        tmp_path / "a", **{"train.py": None, "train/code.tar.gz": archive({"a.py": CODE})}
    )
    assert part(sound, mof.TRAINING_CODE).level == "absent", "an archive's name is no code file's"
    from archipel.release.openness.code_files import look_at_archive

    assert look_at_archive(tmp_path / "a/train/code.tar.gz") == 1
    bad = tmp_path / "bad.tar.gz"
    bad.write_bytes(archive({"a.py": "def ("}))
    with pytest.raises(BadFile, match=r"'a\.py' in it"):
        look_at_archive(bad)
    bad.write_bytes(archive({"a.py": CODE})[:40])
    with pytest.raises(BadFile, match="no archive"):
        look_at_archive(bad)


def test_data_that_do_not_match_their_digest_do_not_count(tmp_path: Path) -> None:
    files = [{"contentUrl": "train.jsonl", "sha256": "0" * 64}]
    found = graded(tmp_path, **{"data/croissant.json": json.dumps({"distribution": files})})
    data = part(found, mof.DATASETS)
    assert not data.counts
    assert any("not those that" in why for why in data.why)


def test_a_configuration_without_code_is_a_statement(tmp_path: Path) -> None:
    found = graded(tmp_path, **{"modeling_tiny.py": None})
    assert part(found, mof.ARCHITECTURE).level == "stated"


def test_osaid_is_a_persons_judgement_until_somebody_rebuilt(tmp_path: Path) -> None:
    answers = {each.asks[:6]: each.answer for each in graded(tmp_path).osaid}
    assert answers["enough"] == "a person must judge"
    assert set(answers.values()) == {"met", "a person must judge"}
    fewer = graded(tmp_path / "b", **{"prepare_data.py": None})
    assert "not met" in {each.answer for each in fewer.osaid}
