"""Others' tables become rows or refusals with their line; nothing is guessed, joined by likeness or read without end."""

import io
import json
from pathlib import Path

import pytest

from archipel.observatory.folder import read, write
from archipel.observatory.importers import (
    benchmarks,
    epoch,
    hugging_face,
    leaderboard,
    lines,
    mot,
)
from archipel.observatory.importers.adding import added, told
from archipel.observatory.importers.aliases import names_of, read_aliases
from archipel.observatory.importers.cells import BadCell, day, micro, number, whole
from archipel.observatory.importers.formats import FORMATS, take_path
from archipel.observatory.importers.lines import BadTable
from archipel.observatory.importers.taking import Taking, TooStrict
from archipel.observatory.manifest import InvalidSnapshot, Source
from archipel.observatory.snapshot import About, Snapshot
from recorded_hub import model

DAY = "2026-11-27"
EPOCH = (
    "Model,Publication date,Organization,Country (of organization),Model accessibility,Domain,Parameters,"
    "Base model,Training dataset,Something else\n"
    "Wren 7B,2025-01-02,Aviary,France,Open weights (unrestricted),Language,7000000000.0,,Nests,x\n"
    'Wren 7B Chat,2025-02-03,"Aviary,Other Lab","France,Japan",Open weights (non-commercial),"Language,Vision",'
    '7e9,Wren 7B,"Nests,Unspecified unreleased",y\n'
    'Owl,2025-03-04,"Other Lab,Third",Chile,API access,Biology,,,,\n'
)


def _taking(
    kind: str, onto: Snapshot | None = None, said: object = (), strict: bool = False
) -> Taking:
    source = Source(
        id=f"{kind}-{DAY}",
        title="A title",
        url="somewhere",
        retrieved=DAY,
        hand="read",
        licence="MIT",
    )
    return Taking(source, names_of(kind, onto, said), strict)  # type: ignore[arg-type]


def _epoch(text: str, strict: bool = False) -> Taking:
    taking = _taking("epoch", strict=strict)
    epoch.take(io.BytesIO(text.encode()), taking)
    return taking


def _snapshot(taking: Taking, said: tuple[tuple[str, str, str], ...] = ()) -> Snapshot:
    return added(taking, About("a", DAY, 0, ()), said)


def test_a_table_says_what_it_says_and_the_rest_is_unknown() -> None:
    taking = _epoch(EPOCH, strict=True)
    whole = _snapshot(taking)
    wren, chat, owl = (whole.models[f"epoch/{each}"] for each in ("wren-7b", "wren-7b-chat", "owl"))
    assert (wren.access, wren.kind, wren.params, wren.parents) == (
        "open",
        "language",
        7 * 10**9,
        "unknown",
    )
    assert (chat.access, chat.kind, chat.parents) == (
        "restricted",
        "multimodal",
        ("epoch/wren-7b",),
    )
    assert (owl.access, owl.kind, owl.params, owl.licence) == (
        "closed",
        "other",
        "unknown",
        "unknown",
    )
    assert {each.name: each.country for each in whole.organisations.values()} == {
        "Aviary": "FR",
        "Other Lab": "JP",
        "Third": "unknown",
    }, "one country of two makers is nobody's"
    answers = {each.model: each.answer for each in whole.disclosures}
    assert answers == {"epoch/wren-7b": "disclosed", "epoch/wren-7b-chat": "partly"}
    assert wren.row == "line 2"
    assert told(taking).unused == ("Something else",)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("Wren 7B,2025-01-02,Aviary,France,API access,,,,,", "a second line"),
        ("A,2025-02-30,Aviary,France,API access,,,,,", "no day"),
        ("A,2027-01-01,Aviary,France,API access,,,,,", "1950-01-01 to 2026-11-27"),
        ("A,2025-01-01x,Aviary,France,API access,,,,,", "no day"),
        ("A,2025-01-01,Aviary,France,Maybe,,,,,", "accessibility 'Maybe'"),
        ("A,2025-01-01,Aviary,France,API access,,1e999,,,", "no number of at most"),
        ("A,2025-01-01,Aviary,France,API access,,NaN,,,", "no number of at most"),
        ("A,2025-01-01,Aviary,France,API access,,7.5,,,", "no whole number"),
        ("A,2025-01-01,Aviary", "3 cells; the header has 10"),
        (",2025-01-01,Aviary,France,API access,,,,,", "at least 1 character"),
        ("A\u202eB,2025-01-01,Aviary,France,API access,,,,,", "U+202E"),
        ("A\x00B,2025-01-01,Aviary,France,API access,,,,,", "U+0000"),
        ("x" * 400 + ",2025-01-01,Aviary,France,API access,,,,,", "at most 300"),
        ("B,2025-01-01,Aviary,Japan,API access,,,,,", "of JP, and above of FR"),
    ],
)
def test_a_line_that_is_wrong_is_refused_with_its_place_and_the_others_stay(
    line: str, words: str
) -> None:
    taking = _epoch(EPOCH + line + "\n")
    assert taking.num_refused == 1
    assert words in taking.refused[0].line()
    assert taking.refused[0].place == "line 5"
    assert len(_snapshot(taking).models) in (3, 4)
    with pytest.raises(TooStrict, match="line 5"):
        _epoch(EPOCH + line + "\n", strict=True)


def test_columns_may_be_called_otherwise_and_one_that_is_missing_is_named() -> None:
    other = EPOCH.replace("Model,", "system,", 1).replace("Publication date", "RELEASE DATE", 1)
    assert _snapshot(_epoch(other)).models == _snapshot(_epoch(EPOCH)).models
    with pytest.raises(BadTable, match=r"no column 'access'.*found 'Model', 'Publication date'"):
        _epoch(EPOCH.replace("Model accessibility", "Openness", 1))
    with pytest.raises(BadTable, match="2 times"):
        _epoch(EPOCH.replace("Something else", "model", 1))


def test_what_never_ends_or_is_cut_off_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for text in (EPOCH + '"A,2025', EPOCH + '"' + "x" * lines.MAX_LINE_BYTES):
        with pytest.raises(BadTable, match="line"):
            _epoch(text)
    with pytest.raises(BadTable, match="line 5"):
        epoch.take(io.BytesIO(EPOCH.encode() + b"\xff,\n"), _taking("epoch"))
    for empty in ("", "\n"):
        with pytest.raises(BadTable, match="0 columns"):
            _epoch(empty)
    monkeypatch.setattr(lines, "MAX_LINES", 2)
    with pytest.raises(BadTable, match="more than 2 lines"):
        _epoch(EPOCH)
    monkeypatch.setattr(lines, "MAX_FILE_BYTES", 300)
    with pytest.raises(BadTable, match="more than 300 bytes"):
        _epoch(EPOCH)


def test_names_are_joined_by_id_or_by_an_alias_and_never_by_likeness(tmp_path: Path) -> None:
    older = _snapshot(_epoch(EPOCH))
    write(older, tmp_path / "older")
    before = {path.name: path.read_bytes() for path in (tmp_path / "older").iterdir()}
    board = "Rank,Model,Organization,License,Score\n1,Wren-7B,Aviary,MIT,1300.5\n2,wren 7b,,,\n3,The Owl,,Proprietary,9\n"
    file = io.BytesIO(
        b"kind,name,id\nmodel,The Owl,epoch/owl\norganisation,Aviary,epoch/org-aviary\n"
    )
    said = read_aliases(file)
    taking = _taking("leaderboard", older, said)
    leaderboard.taking_of("arena")(io.BytesIO(board.encode()), taking)
    assert (taking.counted["joined"], taking.counted["apart"]) == (1, 2)
    newer = _snapshot(taking, said)
    ranks = {each.model: (each.rank, each.score_micro) for each in newer.standings}
    own = set(ranks) - {"epoch/owl"}
    assert ranks["epoch/owl"] == (3, 9_000_000)
    assert len(own) == 2
    assert all(each.startswith("leaderboard/wren-7b") for each in own), "one reads as the other"
    assert newer.models["leaderboard/wren-7b"].organisations == ("epoch/org-aviary",)
    assert newer.models["epoch/owl"] == older.models["epoch/owl"]
    assert newer.manifest.made_from == (older.digest,)
    again = _taking("leaderboard", newer)
    assert again.model("The Owl", "line 1") == "epoch/owl", "the snapshot keeps the alias"
    with pytest.raises(InvalidSnapshot, match="--source-id"):
        added(again, About("a", DAY, 0, ()))
    write(newer, tmp_path / "newer")
    assert read(tmp_path / "newer").digest == newer.digest
    assert {path.name: path.read_bytes() for path in (tmp_path / "older").iterdir()} == before
    with pytest.raises(BadTable, match="which the snapshot lacks"):
        names_of("x", older, (("model", "a", "b"),))
    with pytest.raises(BadTable, match="two ids"):
        read_aliases(io.BytesIO(b"kind,name,id\nmodel,a,b\nmodel,a,c\n"))
    with pytest.raises(BadTable, match="line 2"):
        read_aliases(io.BytesIO(b"kind,name,id\nthing,a,b\n"))


def test_a_benchmark_is_one_that_is_listed_and_a_share_stands_below_one() -> None:
    text = "System,Date,Open/Closed,MMLU,LMSys Elo,Invented\nA,2024-01-01,Open,0.7045,1204,3\nB,2024-01-01,Closed,86.4,,\nC,,,,,\nD,,perhaps,,,\n"
    taking = _taking("benchmarks")
    benchmarks.take(io.BytesIO(text.encode()), taking)
    assert [each.line() for each in taking.refused] == [
        "line 3, mmlu: '86.4' is no share between 0 and 1; write 86.4% as 0.864",
        "line 5: 'perhaps' where open or closed was expected",
    ]
    whole = _snapshot(taking)
    assert {(each.benchmark, each.score_micro) for each in whole.scores} == {
        ("mmlu", 704_500),
        ("lmsys_elo", 1_204_000_000),
    }
    assert whole.models["benchmarks/c"].access == "unknown"
    assert taking.unused == ("Invented",)


def test_the_hubs_list_and_its_lines_give_the_same_rows() -> None:
    models = [model(number) for number in range(6)]
    taken = []
    for data in (json.dumps(models), "\n".join(json.dumps(each) for each in models)):
        taking = _taking("huggingface", strict=True)
        hugging_face.take(io.BytesIO(data.encode()), taking)
        taken.append(_snapshot(taking))
    rows = {
        key: [each.model_dump(exclude={"row"}) for each in taken[0].tables[key]]
        for key in taken[0].tables
    }
    assert rows == {
        key: [each.model_dump(exclude={"row"}) for each in taken[1].tables[key]] for key in rows
    }
    access = [taken[0].models[f"org-{n}/model-{n}"].access for n in range(4)]
    assert access == ["open", "restricted", "open", "unknown"], (
        "llama3 is gated; `other` says nothing"
    )
    old, new = (taken[0].models[f"org-{n}/model-{n}"].released for n in (0, 1))
    assert (old, new) == ("unknown", "2025-06-10"), "the hub's first day is nobody's"
    counts = {each.metric: each.value for each in taken[0].counts if each.model == "org-2/model-2"}
    assert counts == {
        "downloads_30d": 333_333,
        "downloads_all": 3_000_000,
        "likes": 2,
        "derivatives": 10,
    }


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"5", "begins with"),
        (b"[1, 2]", "the form has changed"),
        (b'[{"id": "a/b", "likes": 1e999}]', "no finite number"),
        (b"[" * 100_000, "no JSON"),
    ],
)
def test_a_list_of_another_form_is_refused(data: bytes, words: str) -> None:
    with pytest.raises(BadTable, match=words):
        hugging_face.take(io.BytesIO(data), _taking("huggingface"))


def test_models_of_the_hub_that_are_wrong_are_refused_one_by_one() -> None:
    wrong = [
        {"id": 5},
        {"id": "a/b", "likes": -1},
        {"id": "a/b", "likes": True},
        {"id": "a/b", "downloads": {"a": {"b": 1}}},
        {"id": "a/../\x00"},
        {"id": "a/b", "createdAt": "yesterday"},
        {"id": "<script>/x"},
        model(1),
        model(1),
    ]
    taking = _taking("huggingface")
    hugging_face.take(
        io.BytesIO("\n".join(json.dumps(each) for each in wrong).encode() + b"\n{rubbish"), taking
    )
    assert list(_snapshot(taking).models) == ["org-1/model-1"]
    assert taking.counted["lines"] == 10
    assert {each.place.split(":")[0] for each in taking.refused} >= {
        f"line {n}" for n in (1, 2, 3, 4, 5, 6, 7, 9, 10)
    }


MOT = """framework: {name: 'Model Openness Framework', version: '1.0', date: '2024-12-15'}
release:
  name: Amber
  version: 7B
  date: '2025-05-22'
  producer: LLM360
  huggingface: 'HUB'
  license: {distribution: {name: Apache-2.0, path: ''}}
  components: [PARTS]
"""
_CLASS_3 = ("Model architecture", "Model parameters (Final)", "Model card", "Data card", "Technical report", "Evaluation results")  # fmt: skip


def _mot(hub: str, *parts: str) -> bytes:
    said = ", ".join(f"{{name: {each}, description: x}}" for each in parts)
    return MOT.replace("HUB", hub).replace("PARTS", said).encode()


def test_a_model_file_gets_our_class_and_its_id_on_the_hub(tmp_path: Path) -> None:
    for name, data in {
        "a.yml": _mot("https://huggingface.co/LLM360/Amber", *_CLASS_3),
        "b.yml": _mot("LLM360/Amber", *_CLASS_3),
        "c.yml": _mot("https://huggingface.co/collections/x/y", *_CLASS_3[:3]),
        "d.yml": _mot("", *_CLASS_3)[:200],
        "e.txt": b"not looked at",
    }.items():
        (tmp_path / name).write_bytes(data)
    (tmp_path / "f.yml").symlink_to(tmp_path / "a.yml")
    taking = _taking("mot")
    take_path("mot", tmp_path, taking)
    whole = _snapshot(taking)
    grades = {each.model: each.grade for each in whole.openness}
    assert grades == {"LLM360/Amber": "3", "mot/amber": "0"}
    assert whole.models["LLM360/Amber"].access == "open"
    assert [each.place for each in taking.refused] == ["b.yml", "d.yml", "f.yml"]
    for text, wanted in (
        ("openai/gpt-oss-20b", "openai/gpt-oss-20b"),
        ("a/b/c", None),
        ("Some words", None),
    ):
        assert mot.hub_id(text) == wanted


def test_forms_are_told_apart_before_anything_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(EPOCH)
    for form in FORMATS:
        wrong = tmp_path / "a.csv" if FORMATS[form].is_folder else tmp_path
        with pytest.raises(BadTable, match="expected"):
            take_path(form, wrong, _taking(form))
    with pytest.raises(BadTable, match=r"0 \.yml files"):
        take_path("mot", tmp_path, _taking("mot"))
    with pytest.raises(BadTable, match="rank nor one for the score"):
        leaderboard.taking_of("x")(io.BytesIO(b"Model\nA\n"), _taking("leaderboard"))


def test_a_table_without_a_column_that_is_needed_says_which_it_has() -> None:
    head = ("System", "Date", "Open/Closed", "MMLU")
    for missing in head[:3]:
        table = ",".join(each for each in head if each != missing)
        with pytest.raises(BadTable, match="MMLU"):
            benchmarks.take(io.BytesIO(f"{table}\n".encode()), _taking("benchmarks"))


def test_a_leaderboards_licence_says_closed_or_nothing_of_access() -> None:
    taking = _taking("leaderboard")
    board = b"Rank,Model,License\n1,Kept,Proprietary\n2,Given,MIT\n3,Mute,\n"
    leaderboard.taking_of("arena")(io.BytesIO(board), taking)
    access = {each.name: each.access for each in _snapshot(taking).models.values()}
    assert access == {"Kept": "closed", "Given": "unknown", "Mute": "unknown"}


def test_numbers_and_days_are_exact_or_refused() -> None:
    assert whole("176,000,000,000") == 176 * 10**9
    assert whole("4.536e+11") == 453_600_000_000
    assert micro("0.1") == 100_000
    assert micro("0.0000005") == 0
    assert day("2025-06-10 16:37", DAY) == "2025-06-10"
    assert day("", DAY) == "unknown"
    for text in ("1e999", "NaN", "inf", "1_000", "٣", "", "0x10", "1,00", "9" * 200):
        with pytest.raises(BadCell):
            number(text)
