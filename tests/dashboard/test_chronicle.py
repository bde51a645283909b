"""A chronicle follows from its ledger alone, says what the fold says, and survives whoever writes it."""

import multiprocessing
import os
import signal
import sqlite3
from collections import Counter
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from archipel.curves.history import exams_of, plain
from archipel.dashboard.chronicle.file import ChronicleUnusable, make_sound
from archipel.dashboard.chronicle.reading import Chronicle
from archipel.dashboard.chronicle.rows import SPAN_MS
from archipel.dashboard.chronicle.writing import MAX_BATCH, ChronicleRefused, ChronicleWriter
from archipel.dashboard.series import thinned
from archipel.lab import views
from archipel.lab.programmes import rl
from archipel.lab.withdrawals import withdrawals
from archipel.market.journal import Move, escrow, held
from archipel.records.kinds import WORDS_OF
from archipel.records.statements import RunStopped, WorkAnswered
from tellings import Telling, golden_telling

EXPECTED_TABLES = {
    "age", "chronicle", "cost", "exam", "growth", "lease", "movement", "name", "point", "round",
    "run", "withdrawal", "work",
}  # fmt: skip


def dump(path: Path) -> dict[str, list[tuple[object, ...]]]:
    """Every row of every table."""
    db = sqlite3.connect(path)
    tables = [row[0] for row in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
    found = {each: sorted(db.execute(f"SELECT * FROM {each}"), key=repr) for each in tables}
    db.close()
    return found


@pytest.fixture(scope="module")
def golden() -> Telling:
    """A ledger with every kind of statement."""
    return golden_telling()


@pytest.fixture(scope="module")
def path(golden: Telling, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return golden.written(tmp_path_factory.mktemp("chronicle") / "whole.sqlite")


@pytest.fixture(scope="module")
def chronicle(path: Path) -> Chronicle:
    return Chronicle(path)


def test_every_table_has_rows_of_a_ledger_with_every_statement(golden: Telling, path: Path) -> None:
    rows = dump(path)
    assert rows.keys() == EXPECTED_TABLES
    assert [name for name, found in rows.items() if not found] == ["lease"]
    assert not golden.state.leases


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=st.lists(st.integers(0, 400), max_size=8), again=st.integers(0, 400))
def test_the_same_entries_give_the_same_file_however_they_are_dealt_out(
    golden: Telling, path: Path, tmp_path: Path, cuts: list[int], again: int
) -> None:
    other = tmp_path / "other.sqlite"
    other.unlink(missing_ok=True)
    golden.written(other, cuts)
    with ChronicleWriter(other, golden.state.lab) as writer:
        writer.take(golden.told[again:])  # written twice is no change
    assert dump(other) == dump(path)


def test_entry_by_entry_is_the_same_file_too(golden: Telling, path: Path, tmp_path: Path) -> None:
    assert dump(golden.written(tmp_path / "one.sqlite", range(400))) == dump(path)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
def test_a_writer_that_is_killed_anywhere_goes_on_to_the_same_file(
    golden: Telling, path: Path, tmp_path: Path, seed: int
) -> None:
    other = tmp_path / "killed.sqlite"
    for attempt in range(50):
        child = multiprocessing.get_context("fork").Process(
            target=_slowly, args=(golden, other), daemon=True
        )
        child.start()
        child.join(0.004 * (seed + 1) + 0.003 * attempt)
        if child.exitcode == 0:
            break
        os.kill(child.pid or 0, signal.SIGKILL)
        child.join()
    assert child.exitcode == 0
    assert attempt > 0, "it was never killed"
    assert dump(other) == dump(path)


def _slowly(golden: Telling, path: Path) -> None:
    with ChronicleWriter(path, golden.state.lab) as writer:
        for start in range(writer.size, len(golden.told), 7):
            writer.take(golden.told[start : start + 7])


def test_a_batch_that_fails_halfway_leaves_the_file_as_it_was(
    golden: Telling, path: Path, tmp_path: Path
) -> None:
    other = tmp_path / "half.sqlite"
    with ChronicleWriter(other, golden.state.lab) as writer:
        writer.take(golden.told[:100])
        before = dump(other)
        broken = replace(golden.told[200], at_ms=2**70)
        with pytest.raises(ChronicleUnusable, match="cannot be used"):
            writer.take([*golden.told[100:200], broken])
        assert dump(other) == before
        writer.take(golden.told[100:])
    assert dump(other) == dump(path)


def test_a_gap_another_order_too_many_and_another_lab_are_refused(
    golden: Telling, tmp_path: Path
) -> None:
    place, told = tmp_path / "chronicle.sqlite", golden.told
    with ChronicleWriter(place, golden.state.lab) as writer:
        writer.take(told[:10])
        before = dump(place)
        with pytest.raises(ChronicleRefused, match="entry 11 does not follow the 10 entries"):
            writer.take(told[11:20])
        with pytest.raises(ChronicleRefused, match="entry 13 was told after entry 11"):
            writer.take([told[10], told[11], told[13]])
        with pytest.raises(ChronicleRefused, match="at most 65536"):
            writer.take([told[10]] * (MAX_BATCH + 1))
        assert dump(place) == before
        assert writer.size == 10
    with pytest.raises(ChronicleRefused, match="is the chronicle of did:key:"):
        ChronicleWriter(place, told[1].statement.author)


def test_another_format_and_a_damaged_file_are_made_anew_and_readers_see_it(
    golden: Telling, path: Path, tmp_path: Path
) -> None:
    place = golden.written(tmp_path / "chronicle.sqlite")
    reader = Chronicle(place)
    assert reader.size == len(golden.told)
    db = sqlite3.connect(place)
    db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(ChronicleUnusable, match="format 99, expected 1"):
        _ = Chronicle(place).size
    with ChronicleWriter(place, golden.state.lab) as writer:
        assert writer.size == reader.size == 0
    place = golden.written(tmp_path / "damaged.sqlite")
    data = place.read_bytes()
    place.write_bytes(data[:100] + b"\xff" * 4000 + data[4100:])
    with pytest.raises(ChronicleUnusable):
        _ = Chronicle(place).size
    assert dump(golden.written(place)) == dump(path)


def test_a_chronicle_with_damaged_pages_inside_is_made_anew_and_a_sound_one_is_kept(
    golden: Telling, path: Path, tmp_path: Path
) -> None:
    place = golden.written(tmp_path / "chronicle.sqlite")
    make_sound(place)
    assert Chronicle(place).size == len(golden.told)
    with closing(sqlite3.connect(place)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (page,) = db.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'growth'").fetchone()
        (size,) = db.execute("PRAGMA page_size").fetchone()
    data = bytearray(place.read_bytes())
    data[(page - 1) * size : page * size] = b"\x5a" * size
    place.write_bytes(data)
    with pytest.raises(ChronicleUnusable):
        Chronicle(place).growth()
    make_sound(place)
    assert Chronicle(place).size == 0
    assert dump(golden.written(place)) == dump(path)


def test_another_programs_file_is_left_alone(golden: Telling, tmp_path: Path) -> None:
    text, other = tmp_path / "notes.txt", tmp_path / "other.sqlite"
    text.write_text("not ours " * 1000)
    db = sqlite3.connect(other)
    db.execute("CREATE TABLE mine (word TEXT)")
    db.execute("PRAGMA journal_mode = DELETE")
    db.close()
    for place in (text, other):
        before = place.read_bytes()
        with pytest.raises(ChronicleUnusable, match="is no chronicle"):
            ChronicleWriter(place, golden.state.lab)
        with pytest.raises(ChronicleUnusable):
            _ = Chronicle(place).size
        assert place.read_bytes() == before


def test_where_there_is_no_file_there_is_a_chronicle_of_no_entries(tmp_path: Path) -> None:
    empty = Chronicle(tmp_path / "none.sqlite")
    assert (empty.size, empty.run("run"), empty.first("did:key:x", "PAY")) == (0, None, None)
    assert not any((
        empty.series("run"), empty.exams("run"), empty.earnings(["a"]), empty.costs("run"),
        empty.clearings("run"), empty.growth(), empty.work("a"), empty.withdrawals("run"),
        empty.movements("a"), empty.history("run").points,
    ))  # fmt: skip
    assert not (tmp_path / "none.sqlite").exists()


def test_a_reader_changes_nothing_and_sees_a_batch_once_it_is_whole(
    golden: Telling, tmp_path: Path
) -> None:
    place = tmp_path / "chronicle.sqlite"
    reader = Chronicle(place)
    with ChronicleWriter(place, golden.state.lab) as writer:
        for end in (1, 50, len(golden.told)):
            writer.take(golden.told[:end])
            assert reader.size == end
        connection = reader._connection()
        assert connection is not None
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            connection.execute("DELETE FROM name")


def test_versions_are_what_their_answers_measured_each_with_its_entry(
    golden: Telling, chronicle: Chronicle
) -> None:
    found = 0
    for name, run in golden.state.runs.items():
        series = chronicle.series(name)
        assert [each.version for each in series] == list(range(run.version + 1))
        for each in series:
            told = golden.told[each.entry]
            assert isinstance(told.statement, WorkAnswered)
            answer = told.statement.answer
            published = WORDS_OF[answer.kind].publishes(answer)
            assert published is not None
            assert published.version == each.version
            sizes = [
                None if blob is None else blob.size for blob in (published.anchor, published.delta)
            ]
            assert [each.anchor_bytes, each.delta_bytes] == sizes
            assert dict(each.values) == plain(answer.metrics)  # type: ignore[attr-defined]
            assert (each.at_ms, each.node) == (told.at_ms, told.statement.author)
            assert each.granted is not None
            granted = golden.told[each.granted].statement
            assert granted.work == told.statement.work  # type: ignore[union-attr]
            found += 1
    assert found > 20


def test_what_a_run_came_to_is_what_the_fold_says(golden: Telling, chronicle: Chronicle) -> None:
    stopped = {
        told.statement.run: told.number
        for told in golden.told
        if isinstance(told.statement, RunStopped)
    }
    for name, run in golden.state.runs.items():
        opened = chronicle.run(name)
        assert opened is not None
        assert opened.paid_micro == run.paid_micro, name
        assert (opened.entry, opened.at_ms) == (run.entry, run.opened_at_ms)
        assert opened.versions == run.opened.terms.versions
        assert opened.stopped == stopped.get(name)
        assert all(each.units <= opened.units for each in chronicle.series(name))
        view = views.run_view(golden.state, run, golden.told[-1].at_ms)
        history = chronicle.history(name)
        assert history.versions == view.versions
        assert history.exams == exams_of(view.evaluations)
        rewards = tuple(value for version, value in history.series("reward") if version > 0)
        assert rewards == view.rewards


def test_learner_use_and_staleness_are_those_of_the_view(
    golden: Telling, chronicle: Chronicle
) -> None:
    compared = 0
    for name, run in golden.state.runs.items():
        if run.opened.pace.programme != "rl" or run.version < 1:
            continue
        series = chronicle.series(name)
        busy = sum(each.busy_ms or 0 for each in series if each.version > 0)
        assert busy == rl.course(run).busy_ms
        ages: Counter[int] = Counter()
        for each in series:
            ages.update(each.ages)
        twice = len(withdrawals(golden.state, name))
        assert (ages - Counter(rl.course(run).staleness)).total() == twice, name
        compared += 1
    assert compared > 2


def test_balances_are_the_sums_of_movements(golden: Telling, chronicle: Chronicle) -> None:
    accounts = {
        account
        for told in golden.told
        for each in told.postings
        for account in (each.source, each.target)
    }
    for account in accounts:
        moved = chronicle.movements(account)
        balance = sum(each.in_micro - each.out_micro for each in moved)
        assert balance == golden.state.book.get(account, 0)
        for each in moved:
            names = {
                posting.move.name
                for posting in golden.told[each.first].postings
                if account in (posting.source, posting.target)
            }
            assert each.move in names
            assert golden.told[each.first].at_ms == each.first_ms


def test_earnings_are_the_same_by_minute_hour_and_day(
    golden: Telling, chronicle: Chronicle
) -> None:
    accounts = [each.did for each in golden.state.nodes.values()]
    by_minute = chronicle.earnings(accounts)
    total = sum(each.micro for each in by_minute)
    earned = {"PAY", "CHARGE", "EARN", "RESTORE"}
    for_work = [each for told in golden.told for each in told.postings]
    gained = sum(
        each.micro for each in for_work if each.target in accounts and each.move.name in earned
    )
    lost = sum(
        each.micro for each in for_work if each.source in accounts and each.move is Move.CLAWBACK
    )
    assert (gained > 0, lost > 0, total) == (True, True, gained - lost)
    for by, span in SPAN_MS.items():
        rows = chronicle.earnings(accounts, by=by)  # type: ignore[arg-type]
        assert sum(each.micro for each in rows) == total
        assert all(each.at_ms % span == 0 for each in rows)
        assert min(each.first for each in rows) == min(each.first for each in by_minute)
    paid = [
        (told, posting)
        for told in golden.told
        for posting in told.postings
        if posting.move is Move.PAY and posting.target in accounts
    ]
    earliest, posting = paid[0]
    first = chronicle.first(posting.target, "PAY")
    assert first is not None
    assert (first.first, first.first_ms) == (earliest.number, earliest.at_ms)
    late = by_minute[-1].at_ms
    assert chronicle.earnings(accounts, since_ms=late) == by_minute[-1:]


def test_costs_of_a_run_are_its_postings(golden: Telling, chronicle: Chronicle) -> None:
    for name in golden.state.runs:
        expected: Counter[str] = Counter()
        own = {escrow(name), held(name)}
        for told in golden.told:
            for each in told.postings:
                if own & {each.source, each.target}:
                    expected[each.move.name] += each.micro
        found: Counter[str] = Counter()
        for cost in chronicle.costs(name, "day"):
            found[cost.move] += cost.micro
        for move in ("ESCROW", "PAY"):
            assert found[move] == expected[move]


def test_rounds_growth_work_and_withdrawals_name_their_entries(
    golden: Telling, chronicle: Chronicle
) -> None:
    rounds = chronicle.clearings("traded")
    assert [each.number for each in rounds] == list(range(1, len(rounds) + 1))
    assert len(rounds) > 1
    assert chronicle.clearings("traded", limit=1) == rounds[-1:]
    assert any(each.bought for each in rounds)
    for each in rounds:
        assert golden.told[each.entry].statement.kind == "market.opened"
        if each.cleared is not None:
            said = golden.told[each.cleared].statement
            assert said.kind == "market.cleared"
            assert (said.price_micro, said.number) == (each.price_micro, each.number)
    assert sum(each.seals for each in rounds) == sum(
        told.statement.kind == "bid.committed" for told in golden.told
    )
    growth = chronicle.growth()
    assert growth[-1].size == len(golden.told)
    assert sum(each.entries for each in growth) == len(golden.told)
    assert all(each.last + 1 == each.size for each in growth)
    for did, node in golden.state.nodes.items():
        done = chronicle.work(did, by="day")
        tallies = node.tallies.values()
        assert sum(each.units for each in done) >= sum(tally.units for tally in tallies)
    taken = [told for told in golden.told if told.statement.kind == "contribution.withdrawn"]
    names = {told.statement.run for told in taken}  # type: ignore[union-attr]
    found = [each for name in names for each in chronicle.withdrawals(name)]
    assert sorted(each.entry for each in found) == [told.number for told in taken]


def test_a_series_is_thinned_evenly_and_keeps_its_ends(chronicle: Chronicle) -> None:
    whole = chronicle.series("run")
    assert len(whole) > 3
    assert chronicle.series("run", most=2) == [whole[0], whole[-1]]
    assert [each.version for each in chronicle.history("run", newest=2).points] == [
        each.version for each in whole[-2:]
    ]
    for count, most in ((10, 3), (1000, 7), (5, 5), (2, 9), (9, 1)):
        places = thinned(count, most)
        assert len(places) == min(count, most)
        assert places[-1] == count - 1
        assert places == sorted(set(places))
        assert most == 1 or places[0] == 0


def test_strangers_words_are_values_and_never_statements(chronicle: Chronicle) -> None:
    for word in ("run' OR 1=1 --", "", "\x00", "'; DROP TABLE name; --", "x" * 10_000):
        assert chronicle.run(word) is None
        assert chronicle.series(word) == []
        assert chronicle.movements(word) == []
        assert chronicle.earnings([word]) == []
    assert chronicle.clearings("traded", start=2**40) == []
