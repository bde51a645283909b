"""Papers of a release: nothing in them that the ledger or the owner did not say, and the same bytes each time."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from archipel import source_environment
from archipel.identity import Identity
from archipel.release.facts import Facts
from archipel.release.index import Released
from archipel.release.papers.citation import citation
from archipel.release.papers.croissant import croissant
from archipel.release.papers.data_card import data_card
from archipel.release.papers.eu_summary import TO_BE_STATED, eu_summary, still_to_be_stated
from archipel.release.papers.model_card import model_card
from archipel.release.papers.slsa import attested, provenance, read_attested
from archipel.release.papers.spdx import spdx
from archipel.release.papers.stages import stages_of
from archipel.release.papers.technical_report import technical_report
from archipel.release.papers.wording import UNKNOWN, number, quoted, time_of
from archipel.release.papers.writing import PAPERS, written
from archipel.release.stated import NOTHING_STATED, DataStated, Stated
from people import identity
from release.known import HOSTILE, LEARNER, STATED, digest, facts, hostile, index

Words = tuple[Facts, Stated, Released | None]
ALL: dict[str, Words] = {
    "whole": (facts(), STATED, index()),
    "nothing stated": (facts(), NOTHING_STATED, None),
    "hostile": hostile(),
    "bare": (
        facts(
            evaluations=(), data=(), parties=(), software=(), files={}, contract=None, withdrawn={}
        ),
        NOTHING_STATED,
        index(components=(), parents=(), missing=()),
    ),
}
"""Name -> what papers are written from."""


def front_matter(card: bytes) -> dict:
    """As a hub reads it."""
    _, front, _ = card.decode().split("---\n", 2)
    return yaml.safe_load(front)


@pytest.mark.parametrize("words", ALL.values(), ids=ALL)
@pytest.mark.parametrize("place", PAPERS)
def test_a_paper_written_twice_is_the_same_bytes_and_ends_its_last_line(
    place: str, words: Words
) -> None:
    first = PAPERS[place](*words)
    assert first == PAPERS[place](*words)
    assert first.endswith(b"\n")
    assert not first.endswith(b"\n\n")


@pytest.mark.parametrize("write", [model_card, data_card, technical_report, eu_summary])
def test_a_strangers_words_stay_words(write: object) -> None:
    """No line begins with them, no cell ends in them, no mark of theirs means anything."""
    text = write(*hostile()).decode()  # type: ignore[operator]
    body = text.split("---\n", 2)[-1] if write is model_card else text
    assert "<b>" not in body.replace("\\<b\\>", "")
    assert "lines and a: colon" in body, "a line end of theirs is a space"
    for line in body.splitlines():
        if line.startswith("| "):
            bars = line.replace("\\|", "").count("|")
            assert bars == line_before(body, line).replace("\\|", "").count("|")


def line_before(body: str, line: str) -> str:
    """The head of the table in which a line stands."""
    lines = body.splitlines()
    at = lines.index(line)
    while at > 0 and lines[at - 1].startswith("|"):
        at -= 1
    return lines[at]


def test_front_matter_says_what_hubs_look_for() -> None:
    front = front_matter(model_card(*ALL["whole"]))
    assert front["license"] == "other"
    assert (front["license_name"], front["license_link"]) == (
        "openmdw-1.1",
        "LICENSES/OpenMDW-1.1.txt",
    )
    assert front["language"] == ["en"], "French is no code of a language"
    assert front["base_model"] == ["somebody/base"]
    assert front["base_model_relation"] == "finetune"
    assert front["library_name"] == "transformers"
    metrics = front["model-index"][0]["results"][0]["metrics"]
    assert {each["type"]: each["value"] for each in metrics} == {
        "score_micro": 512500,
        "loss": 0.125,
    }
    assert front_matter(model_card(facts(), STATED, None))["license"] == "apache-2.0"
    assert front_matter(model_card(facts(), NOTHING_STATED, None))["license"] == "unknown"


@pytest.mark.parametrize("words", ALL.values(), ids=ALL)
def test_front_matter_is_yaml_whatever_was_said(words: Words) -> None:
    front = front_matter(model_card(*words))
    assert front["tags"][0] == "archipel"


def test_what_nobody_said_is_said_to_be_unknown() -> None:
    bare = model_card(*ALL["nothing stated"]).decode()
    for head in ("Intended use", "Out of scope", "Limitations", "Risks", "Languages"):
        assert f"## {head}\n\n{UNKNOWN}" in bare
    whole = model_card(*ALL["whole"]).decode()
    assert "## Limitations\n\nIt sorts six letters." in whole
    assert f"## Risks\n\n{UNKNOWN}" in whole


def test_cards_show_digests_figures_and_what_is_missing() -> None:
    card = model_card(*ALL["whole"]).decode()
    for said in (
        digest("weights 5"),
        digest("root"),
        digest("report"),
        digest("held out"),
        "4 000",
        "2.500000 credits",
        "0.025",
    ):
        assert said in card, said
    assert "Rollouts of batches 1 to 3" in card
    assert "none stated, so not open" in card
    report = technical_report(*ALL["whole"]).decode()
    for number_ in range(6):
        assert digest(f"weights {number_}") in report
    assert "`run.versions` | 80" in report
    assert "an audit differed" in report


def test_a_default_licence_does_not_speak_for_files_from_elsewhere() -> None:
    words = Stated(licences={"default": "Apache-2.0"})
    card = data_card(facts(), words, None).decode()
    lines = card[card.index("## lines") : card.index("## tasks")]
    assert "| Licence | unknown |" in lines
    assert "| Licence | Apache-2.0 |" in card[card.index("## tasks") :]


def test_a_summary_marks_what_only_a_person_knows() -> None:
    whole, bare = (eu_summary(*ALL[name]) for name in ("whole", "nothing stated"))
    assert 0 < still_to_be_stated(whole) < still_to_be_stated(bare)
    text = whole.decode()
    for head in (
        "1. General information", "2. List of data sources", "2.1 Publicly", "2.2 Private",
        "2.2.1 Datasets", "2.2.2 Private", "2.3 Data crawled", "2.4 User data", "2.5 Synthetic data",
        "2.6 Other sources", "3. Data processing aspects", "3.1 Respect", "3.2 Removal", "3.3 Other",
    ):  # fmt: skip
        assert f"# {head}" in text, head
    assert f"Date of placement on the Union market | {TO_BE_STATED}" in text
    assert "Less than 1 billion tokens: 4 628 tokens" in text
    assert "Yes: 4 000 tokens were sampled by earlier versions" in text


@pytest.mark.parametrize(
    ("tokens", "said"),
    [
        (5, "Less than 1 billion tokens: 5 tokens"),
        (10**9, "1 billion to 10 trillion tokens"),
        (10**13, "1 billion to 10 trillion tokens"),
        (10**13 + 1, "More than 10 trillion tokens"),
        (None, "not counted: lines."),
    ],
)
def test_a_size_is_one_of_the_templates_ranges_or_not_known(tokens: int | None, said: str) -> None:
    (first, *_) = facts().data
    text = eu_summary(facts(data=(replace(first, tokens=tokens),)), STATED, None).decode()
    assert said in text


@pytest.mark.parametrize(
    ("kind", "section"),
    [("public", "2.1"), ("licensed", "2.2.1"), ("crawled", "2.3"), ("user", "2.4")],
)
def test_data_stand_in_the_section_of_their_kind(kind: str, section: str) -> None:
    words = Stated(data=(DataStated(name="lines", kind=kind, source="https://x.example"),))
    text = eu_summary(facts(), words, None).decode()
    part = text[text.index(f"# {section} ") :].split("\n#", 1)[0]
    assert "Yes." in part
    assert digest("lines") in part
    assert text.count("https://x.example") == 1


def test_a_file_that_nobody_placed_leaves_the_question_open() -> None:
    text = eu_summary(facts(), NOTHING_STATED, None).decode()
    part = text[text.index("### 2.1") : text.index("### 2.2")]
    assert TO_BE_STATED in part
    assert digest("lines") in part


def test_every_version_is_in_one_stage_and_every_stage_ends_with_an_anchor_or_the_run() -> None:
    stages = stages_of(facts())
    assert [each.name for each in stages] == ["start", "updates-1-2", "updates-3-5"]
    assert [v.number for each in stages for v in each.versions] == list(range(6))
    assert stages[1].inputs == ("tiny.2", "tiny.3", "tiny.4", "tiny.5")


def test_provenance_names_states_inputs_and_builder() -> None:
    statements = {name: json.loads(data) for name, data in provenance(*ALL["whole"]).items()}
    assert list(statements) == [
        "provenance/start.json",
        "provenance/updates-1-2.json",
        "provenance/updates-3-5.json",
        "provenance/evaluation-5-40.json",
    ]
    for each in statements.values():
        assert each["_type"] == "https://in-toto.io/Statement/v1"
        assert each["predicateType"] == "https://slsa.dev/provenance/v1"
        assert each["predicate"]["runDetails"]["builder"]["id"] == LEARNER
        names = [
            one["name"] for one in each["predicate"]["buildDefinition"]["resolvedDependencies"]
        ]
        assert names[:3] == ["recipe.toml", "ledger", "environment"]
    last = statements["provenance/updates-3-5.json"]
    subjects = {each["name"]: each["digest"] for each in last["subject"]}
    assert subjects["weights of version 5"] == {"archipelState1": digest("weights 5")[7:]}
    assert subjects["model.safetensors"] == {"sha256": digest("model")[7:]}
    given = last["predicate"]["buildDefinition"]["resolvedDependencies"]
    assert {
        "name": "weights before",
        "digest": {"archipelState1": digest("weights 2")[7:]},
    } in given
    assert sum(each["name"].startswith("work tiny.") for each in given) == 6


def test_a_statement_is_answered_for_and_no_byte_of_it_can_be_flipped() -> None:
    boss = identity("boss")
    statement = provenance(*ALL["whole"])["provenance/start.json"]
    sealed = attested(statement, boss)
    assert read_attested(sealed) == (boss.did, statement)
    assert attested(statement, boss) == sealed
    for at in range(0, len(sealed), 17):
        spoilt = bytearray(sealed)
        spoilt[at] ^= 1
        with pytest.raises(ValueError):
            read_attested(bytes(spoilt))


def test_a_long_run_needs_no_more_than_an_envelope_may_have() -> None:
    long = replace(facts().versions[5], inputs=tuple(f"tiny.{n}" for n in range(20_000)))
    known = facts(versions=(*facts().versions[:5], long))
    statement = provenance(known, STATED, None)["provenance/updates-3-5.json"]
    assert read_attested(attested(statement, Identity.from_seed(bytes(32))))[1] == statement


def test_a_bill_of_materials_meets_the_profiles_rules_on_licences() -> None:
    """One declared and one concluded licence for every AI package and every data set."""
    for words in ALL.values():
        graph = json.loads(spdx(*words))["@graph"]
        ids = [each.get("spdxId") for each in graph if "spdxId" in each]
        assert len(ids) == len(set(ids))
        for each in graph:
            if each["type"] in ("ai_AIPackage", "dataset_DatasetPackage"):
                for how in ("hasDeclaredLicense", "hasConcludedLicense"):
                    found = [
                        one
                        for one in graph
                        if one.get("relationshipType") == how and one["from"] == each["spdxId"]
                    ]
                    assert len(found) == 1
        named = {other for each in graph for other in each.get("to", [])}
        assert named <= set(ids)


def test_a_croissant_has_the_files_of_the_bundle_relative_to_itself() -> None:
    said = json.loads(croissant(*ALL["whole"]))
    assert said["conformsTo"] == "http://mlcommons.org/croissant/1.1"
    (file,) = said["distribution"]
    assert (file["contentUrl"], file["sha256"]) == ("lines.jsonl", digest("lines")[7:])
    assert file["license"] == "https://spdx.org/licenses/CC-BY-4.0"
    assert "rollouts (rollouts): 160 items" in said["description"]


@pytest.mark.parametrize("words", ALL.values(), ids=ALL)
def test_a_citation_is_yaml_whatever_was_said(words: Words) -> None:
    said = yaml.safe_load(citation(*words))
    assert said["cff-version"] == "1.2.0"
    assert said["authors"]
    assert said["identifiers"][0]["value"] == digest("weights 5")


def test_a_citation_names_licences_that_its_format_knows_and_tells_of_others() -> None:
    known, other = (
        yaml.safe_load(citation(*each)) for each in ((facts(), STATED, None), ALL["whole"])
    )
    assert known["license"] == "Apache-2.0"
    assert "license" not in other
    assert "OpenMDW-1.1" in other["abstract"]


def test_all_papers_lie_where_a_bundle_has_them() -> None:
    whole = written(facts(), STATED, index(), identity("boss"))
    assert set(PAPERS) < set(whole)
    assert sum(place.startswith("provenance/") for place in whole) == 8
    assert {
        place for place in written(facts(), STATED, index()) if place.endswith(".dsse.json")
    } == set()


def test_numbers_times_and_words_of_others() -> None:
    assert [number(each) for each in (None, 0, 1234567, 0.5, 1e-9)] == [
        "unknown", "0", "1 234 567", "0.5", "1e-09",
    ]  # fmt: skip
    assert time_of(1_790_000_000_999) == "2026-09-21T14:13:20Z"
    assert "\n" not in quoted(HOSTILE)


def test_writing_papers_loads_no_tensor_library(tmp_path: Path) -> None:
    code = (
        "import sys, archipel.release.papers.writing, archipel.release.oms.folder;"
        "assert not {'torch', 'numpy'} & set(sys.modules)"
    )
    subprocess.run(
        [sys.executable, "-c", code], check=True, timeout=60, cwd=tmp_path, env=source_environment()
    )
