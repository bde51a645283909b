"""What a tenant tries against the door, or against another: each is refused, and told as if there were nothing."""

import asyncio
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from archipel.cli.door_start import _first_key
from archipel.door import recorded, sequences, sessions
from archipel.door.accounts import Accounts
from archipel.door.bounds import Bounds
from archipel.door.door import wall_ms
from archipel.door.hands import Completion
from archipel.door.http.links import Links
from archipel.door.journal import Journal
from archipel.door.keys import Limits, Tenant
from archipel.door.refusals import Declined
from archipel.door.wire import sampling as wire
from archipel.training.tenants.losses import LOSSES, constants_of, loss_and_slope
from archipel.training.tenants.operations import Datum, ForwardBackward, LossName
from open_door import run, sampling, step, training, world


def datum(advantages: list[float], **more: list[float]) -> Datum:
    count = len(advantages)
    floats = {"logprobs": [0.0] * count, "advantages": advantages, **more}
    inputs = {name: np.array(each, np.float32) for name, each in floats.items()}
    targets = np.arange(2, count + 2, dtype=np.int64)
    return Datum(np.arange(1, count + 1, dtype=np.int32), {"target_tokens": targets, **inputs})


def test_the_key_that_a_door_makes_first_is_not_believed_what_it_says_of_samples(
    tmp_path: Path,
) -> None:
    accounts = Accounts(tmp_path)
    key = _first_key(accounts)
    assert key is not None
    tenant = accounts.who(key, wall_ms())
    assert isinstance(tenant, Tenant)
    assert tenant.scopes == {"train", "sample", "checkpoints", "usage", "publish"}
    accounts.close()


@pytest.mark.parametrize("loss", [each for each in LOSSES if each != "cross_entropy"])
@pytest.mark.parametrize("mask", [None, [0, 0, 1, 1, 0], [1, 1, 0, 0, 0], [0, 0, 0, 0, 0]])
def test_no_loss_hangs_on_a_log_probability_that_no_record_has(
    loss: LossName, mask: list[float] | None
) -> None:
    """Whatever a client says at places it need not have sampled, loss and gradient are the same bits."""
    more = {} if mask is None or loss not in ("gspo", "dro") else {"mask": mask}
    one = datum([0, 0, 0, 2, -1], **more)
    is_covered = sequences.needs(one, loss)
    kept = sequences.within(one, loss, is_covered)
    constants = constants_of(loss, {"beta": 5.0} if loss == "dro" else {})
    import torch

    logprobs_T = torch.tensor([-1.0, -2.0, -3.0, -0.5, -4.0])
    told = []
    for said in (0.0, -7.0, 1e6):
        invented = np.where(is_covered, np.float32(-2), np.float32(said))
        inputs = one.inputs | kept | {"logprobs": invented}
        given = {n: torch.from_numpy(v.copy()) for n, v in inputs.items() if n != "target_tokens"}
        sum_, slope_T = loss_and_slope(loss, constants, logprobs_T, given)
        told.append((sum_, slope_T.tolist()))
    assert told[0] == told[1] == told[2]


def test_a_mask_does_not_excuse_places_whose_ratio_it_is_made_of(tmp_path: Path) -> None:
    def refusal(loss: LossName, one: Datum, scopes: bool = False) -> tuple[Datum, ...]:
        asked = ForwardBackward((one,), loss)
        return recorded.believed(db, "ada", asked, (None,), scopes, 5)[0]

    journal = Journal(tmp_path)
    db = journal._reading()
    try:
        hidden = datum([0, 0, 0, 1, 1], mask=[1, 1, 0, 0, 0])
        with pytest.raises(Declined, match="place 0"):
            refusal("gspo", hidden)
        for loss in ("ppo", "importance_sampling", "cispo", "dro", "stable_reinforce"):
            weightless = datum([0, 0, 0, 1, 1], weights=[0] * 5, mask=[0] * 5)
            with pytest.raises(Declined, match="place 3"):
                refusal(loss, weightless)
        # No advantage anywhere: nothing is learnt of a policy, and dro draws towards no invented number.
        (kept,) = refusal("dro", datum([0] * 5))
        assert kept.inputs["mask"].tolist() == [0] * 5
        (foreign,) = refusal("dro", datum([0] * 5), True)
        assert "mask" not in foreign.inputs
    finally:
        journal.close()


def test_who_sends_no_log_probabilities_gets_the_recorded_ones() -> None:
    one = datum([0, 0, 0, 1, 1])
    unsent = {name: each for name, each in one.inputs.items() if name != "logprobs"}
    tokens, logprobs = np.array([5, 6], np.int32), np.array([-1, -2], np.float32)
    found = sequences.covered(
        replace(one, inputs=unsent), [sequences.Sequence("s", 4, tokens, logprobs)]
    )
    assert found.logprobs.tolist() == [0, 0, 0, -1, -2]


def test_the_nearest_record_is_by_its_distance_and_not_by_its_size() -> None:
    one = datum([0, 0, 0, 1, 1], logprobs=[0, 0, 0, -5, -5])
    tokens = np.array([5, 6], np.int32)
    made = [
        sequences.Sequence(name, 4, tokens, np.array([at, at], np.float32))
        for name, at in (("far", -1), ("near", -6))
    ]
    assert sequences.covered(one, made).used == {"near"}


def test_dro_draws_towards_the_policy_at_recorded_places_alone(tmp_path: Path) -> None:
    async def story() -> None:
        journal = Journal(tmp_path)
        ended = [("s", Completion((4, 5), (-1.0, -2.0), "length", None))]
        await journal.do(recorded.put, "ada", (1, 2, 3), ended, "w", Bounds(), 0)
        one = datum([0, 0, 0, 1, 0])
        asked = ForwardBackward((one,), "dro")
        (kept,), used = await journal.look(recorded.believed, "ada", asked, (None,), False, 5)
        assert used == {"s"}
        assert kept.inputs["mask"].tolist() == [0, 0, 1, 1, 0]
        journal.close()

    with pytest.raises(Declined, match="place 3"):
        run(lambda: _bare(tmp_path))
    run(story)


async def _bare(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    try:
        asked = ForwardBackward((datum([0, 0, 0, 1, 0]),), "dro")
        await journal.look(recorded.believed, "ada", asked, (None,), False, 5)
    finally:
        journal.close()


def test_loading_into_anothers_model_says_nothing_of_what_was_asked_of_it(tmp_path: Path) -> None:
    async def story() -> None:
        async with world(tmp_path) as one:
            ada, bob = await one.client("ada"), await one.client("bob")
            model, own = await ada.model(), await bob.model()
            saved = await bob.post("save_weights", {"model_id": own, "seq_id": 1, "path": "a"})
            path = (await bob.end_of(saved["request_id"]))["path"]
            await ada.end_of((await ada.post("optim_step", step(model, 1)))["request_id"])
            told = []
            for at in (model, model[:4] + "0000" + model[8:]):
                for seq in (1, 2):
                    body = {"model_id": at, "seq_id": seq, "path": path, "optimizer": False}
                    answer = await bob.ask("POST", "load_weights", body)
                    told.append((answer.status_code, answer.text.replace(at, "")))
            for session in (ada.session, "0" * 32):
                body = {"session_id": session, "model_seq_id": 0, "path": path, "optimizer": False}
                answer = await bob.ask("POST", "load_weights", body)
                assert answer.status_code == 404, answer.text
            assert len(set(told)) == 1, told
            assert told[0][0] == 404

    run(story)


@pytest.mark.parametrize("signature", ["é" * 64, "0" * 64, "", "\x00", "漢"])
def test_an_address_with_any_signature_but_ours_is_refused_and_breaks_nothing(
    signature: str,
) -> None:
    links = Links()
    good = links.path("f", "archive.tar", 100).split("/")
    assert links.holds("f", "archive.tar", "100", good[4], 99.0)
    assert not links.holds("f", "archive.tar", "100", good[4], 100.0)
    assert not links.holds("g", "archive.tar", "100", good[4], 99.0)
    assert not links.holds("f", "archive.tar", "100", signature, 99.0)


def test_calls_that_come_together_have_no_more_than_the_quota_between_them(tmp_path: Path) -> None:
    async def story() -> None:
        async with world(tmp_path) as one:
            client = await one.client()
            sampler, model = await client.sampler(0), await client.model()
            one.accounts.keys.limit("ada", Limits(tokens_per_month=12))
            one.hands.gate = asyncio.Event()
            asks = [client.ask("POST", "asample", sampling(sampler, n, [1])) for n in range(8)]
            statuses = [each.status_code for each in await asyncio.gather(*asks)]
            assert sorted(statuses) == [200] * 2 + [402] * 6  # five tokens each
            asks = [
                client.ask("POST", "forward_backward", training(model, n, [1, 2, 3]))
                for n in range(1, 6)
            ]
            statuses = [each.status_code for each in await asyncio.gather(*asks)]
            assert statuses.count(200) <= 1
            one.hands.gate.set()

    run(story)


@pytest.mark.parametrize("how", ["finish", "unload"])
def test_what_ends_with_its_session_or_model_no_longer_counts_or_costs(
    tmp_path: Path, how: str
) -> None:
    async def story() -> None:
        async with world(tmp_path) as one:
            client = await one.client()
            model, sampler = await client.model(), await client.sampler(0)
            one.hands.gate, one.hands.delay_s = asyncio.Event(), 30.0
            futures = [
                (await client.post("forward_backward", training(model, n, [1, 2, 3])))["request_id"]
                for n in (1, 2)
            ]
            if how == "finish":
                given = await client.post("asample", sampling(sampler, 0, [1]))
                futures.append(given["request_id"])
            assert one.door.admitting._waiting.total() > 0
            poll = asyncio.create_task(
                client.ask("POST", "retrieve_future", {"request_id": futures[0]})
            )
            await asyncio.sleep(0.02)
            if how == "finish":
                reason = {"reason": {"type": "success"}}
                await client.ask("POST", f"sessions/{client.session}/finish", reason)
            else:
                await client.post("unload_model", {"model_id": model})
            assert (await poll).status_code == 410
            await asyncio.sleep(0)
            assert not one.door.admitting._waiting
            assert not one.door.admitting._of_future
            assert not one.door.sampling.num_running

    run(story)


def test_nothing_of_an_ended_model_or_of_many_ended_sessions_stays_in_the_journal(
    tmp_path: Path,
) -> None:
    async def story() -> None:
        now = [10_000_000]
        bounds = Bounds(poll_s=0.2, ended_sessions=2)
        async with world(tmp_path, bounds=bounds, now_ms=lambda: now[0]) as one:
            kept, reason = "", {"reason": {"type": "success"}}
            for number in range(5):
                client = await one.client("ada")
                model = await client.model()
                asked = await client.post("forward_backward", training(model, 1, [1, 2, 3]))
                await client.end_of(asked["request_id"])
                if number == 0:
                    saving = {"model_id": model, "seq_id": 2, "path": "a"}
                    await client.end_of((await client.post("save_weights", saving))["request_id"])
                    kept = client.session
                await client.ask("POST", f"sessions/{client.session}/finish", reason)
                now[0] += 1000
            last = client.session
            for _ in range(2):  # what was fetched is noted by the first
                now[0] += bounds.unfetched_ms
                await one.door.means.journal.do(sessions.heard_at_start, now[0])
                await one.door.sweep()

            def counts(db):  # type: ignore[no-untyped-def]
                tables = ("futures", "models", "samplers", "sessions")
                return [db.execute(f"SELECT count(*) FROM {t}").fetchone()[0] for t in tables]

            assert await one.door.means.journal.look(counts) == [0, 2, 0, 2]
            for session in (kept, last):
                assert (await client.ask("GET", f"sessions/{session}")).status_code == 200

    run(story)


def test_nobody_fills_the_disk_with_checkpoints_and_a_refused_one_leaves_what_it_would_replace(
    tmp_path: Path,
) -> None:
    async def story() -> None:
        hands_bytes = 600  # of one state of these hands, and not of two
        bounds = Bounds(poll_s=0.2, checkpoint_bytes=hands_bytes)
        async with world(tmp_path, bounds=bounds) as one:
            client = await one.client()
            model = await client.model()
            told = []
            for seq, name in enumerate(("a", "b", "a"), start=1):
                body = {"model_id": model, "seq_id": seq, "path": name, "overwrite": True}
                asked = await client.post("save_weights", body)
                told.append(await client.end_of(asked["request_id"]))
            assert "path" in told[0], told
            assert "too many" in told[1]["error"]
            assert "path" in told[2]
            one.door.means.__dict__["bounds"] = replace(bounds, checkpoint_bytes=1)
            body = {"model_id": model, "seq_id": 4, "path": "a", "overwrite": True}
            ended = await client.end_of((await client.post("save_weights", body))["request_id"])
            assert "too many" in ended["error"]
            there = await client.ask("POST", "weights_info", {"tinker_path": told[0]["path"]})
            assert there.status_code == 200

    run(story)


def test_likeliest_tokens_are_bounded_where_the_context_says_how_many_come() -> None:
    body = (
        b'{"prompt":{"chunks":[{"type":"encoded_text","tokens":[1]}]},"base_model":"b","num_samples":128,'
        b'"topk_sample_logprobs":64,"sampling_params":{}}'
    )
    asked = wire.read_sample(body)
    assert wire.fit(asked, 100, 9) == 99
    with pytest.raises(wire.Refused, match="likeliest"):
        wire.fit(asked, 32_768, 9)


def test_a_prompt_longer_than_any_context_is_refused_before_it_is_read() -> None:
    tokens = b"1," * (100 + 4 * 65_536) + b"1"
    body = b'{"prompt":{"chunks":[{"type":"encoded_text","tokens":[' + tokens + b"]}]}}"
    with pytest.raises(wire.Refused) as refused:
        wire.read_sample(body, 99)
    assert refused.value.kind == "too_large"


def test_a_key_that_may_not_train_ends_no_model(tmp_path: Path) -> None:
    async def story() -> None:
        async with world(tmp_path) as one:
            client = await one.client()
            model = await client.model()
            looking = await one.client("ada", ("usage",))
            asked = await looking.ask("POST", "unload_model", {"model_id": model})
            assert asked.status_code == 403
            assert model in one.hands.states

    run(story)
