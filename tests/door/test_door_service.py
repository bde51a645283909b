"""A door over toy hands: what is promised is done once each, in order, and told to its owner alone."""

import asyncio
from pathlib import Path
from typing import Any

from archipel.door.bounds import Bounds
from open_door import ALL, run, sampling, step, training, world
from toy_hands import ToyHands


def test_operations_are_done_in_the_order_of_their_numbers_however_they_arrive(
    tmp_path: Path,
) -> None:
    async def story() -> None:
        async with world(tmp_path) as one:
            client = await one.client()
            told = []
            for number, order in enumerate(([1, 2, 3, 4], [4, 3, 2, 1])):
                model = await client.model(number)
                asked = {
                    1: ("forward_backward", training(model, 1, [1, 2, 3])),
                    2: ("forward_backward", training(model, 2, [4, 5])),
                    3: ("optim_step", step(model, 3)),
                    4: ("forward_backward", training(model, 4, [1, 2, 3])),
                }
                futures = {seq: (await client.post(*asked[seq]))["request_id"] for seq in order}
                told.append([await client.end_of(futures[seq]) for seq in sorted(futures)])
            assert told[0] == told[1]
            assert told[0][0] != told[0][3]  # the step moved it

    run(story)


def test_what_is_asked_twice_is_done_once_and_a_number_means_one_question(tmp_path: Path) -> None:
    async def story() -> None:
        async with world(tmp_path) as one:
            client = await one.client()
            model = await client.model()
            assert await client.model() == model
            body = step(model, 1)
            ids = {(await client.post("optim_step", body))["request_id"] for _ in range(5)}
            assert len(ids) == 1
            first = await client.end_of(next(iter(ids)))
            assert first == await client.end_of(next(iter(ids)))
            assert one.hands.num_trained == 1
            other = await client.ask("POST", "optim_step", step(model, 1, 0.5))
            assert other.status_code == 422
            keyed = {"x-idempotency-key": "a"}
            made = {
                (await client.post("create_session", {}, **keyed))["session_id"] for _ in range(2)
            }
            assert len(made) == 1

    run(story)


def test_another_tenants_things_are_told_of_as_if_they_were_not_there(tmp_path: Path) -> None:
    async def story() -> None:
        async with world(tmp_path) as one:
            ada, bob = await one.client("ada"), await one.client("bob")
            model = await ada.model()
            saved = await ada.post("save_weights", {"model_id": model, "seq_id": 1, "path": "a"})
            path = (await ada.end_of(saved["request_id"]))["path"]
            sampler = await ada.sampler(0)
            sample = (await ada.post("asample", sampling(sampler, 0, [1])))["request_id"]
            missing = model[:-1] + "7"
            pairs = [
                (("POST", "get_info", {"model_id": model}), ("POST", "get_info", {"model_id": missing})),
                (("POST", "optim_step", step(model, 2)), ("POST", "optim_step", step(missing, 2))),
                (("POST", "weights_info", {"tinker_path": path}), ("POST", "weights_info", {"tinker_path": path + "x"})),
                (("GET", f"samplers/{sampler}", None), ("GET", "samplers/x", None)),
                (("POST", "retrieve_future", {"request_id": sample}), ("POST", "retrieve_future", {"request_id": "x"})),
                (("GET", f"sessions/{ada.session}", None), ("GET", "sessions/x", None)),
                (("DELETE", f"training_runs/{model}/checkpoints/weights/a", None), ("DELETE", f"training_runs/{missing}/checkpoints/weights/a", None)),
            ]  # fmt: skip
            for theirs, nobodys in pairs:
                answers = [await bob.ask(*each) for each in (theirs, nobodys)]
                assert answers[0].status_code == answers[1].status_code >= 400, theirs
                said = [each.json()["detail"].split("'")[::2] for each in answers]
                assert said[0] == said[1]

    run(story)


def test_a_refused_operation_ends_what_follows_until_weights_are_loaded(tmp_path: Path) -> None:
    async def story() -> None:
        async with world(tmp_path) as one:
            client = await one.client()
            model = await client.model()
            await client.end_of(
                (await client.post("forward_backward", training(model, 1, [1, 2])))["request_id"]
            )
            before = one.hands.states[model].weights.copy(), one.hands.states[model].gradient.copy()
            late = (await client.post("optim_step", step(model, 3)))["request_id"]
            refused = await client.post("forward_backward", training(model, 2, [63, 2]))
            futures = [refused["request_id"], late]
            ended = [await client.end_of(each) for each in futures]
            assert [each["category"] for each in ended] == ["user", "user"]
            saved = await client.post("save_weights", {"model_id": model, "seq_id": 4, "path": "a"})
            path = (await client.end_of(saved["request_id"]))["path"]
            state = one.hands.states[model]
            assert (state.weights == before[0]).all()
            assert (state.gradient == before[1]).all()
            loading = {"model_id": model, "seq_id": 5, "path": path, "optimizer": True}
            await client.end_of((await client.post("load_weights", loading))["request_id"])
            last = await client.end_of(
                (await client.post("optim_step", step(model, 6)))["request_id"]
            )
            assert "metrics" in last

    run(story)


def test_hands_that_are_lost_in_a_turn_are_asked_again_and_it_comes_out_the_same(
    tmp_path: Path,
) -> None:
    async def story() -> None:
        told = []
        for lose in (0, 1):
            folder = tmp_path / str(lose)
            folder.mkdir()
            async with world(folder) as one:
                client = await one.client()
                model = await client.model()
                answers = []
                for seq in (1, 3):
                    one.hands.lose = lose
                    for path, body in (
                        ("forward_backward", training(model, seq, [seq, 2, 3])),
                        ("optim_step", step(model, seq + 1)),
                    ):
                        answers.append(
                            await client.end_of((await client.post(path, body))["request_id"])
                        )
                told.append((answers, one.hands.states[model].weights.tolist()))
        assert told[0] == told[1]

    run(story)


def test_behaviour_logprobs_are_the_recorded_ones_and_foreign_samples_are_refused(
    tmp_path: Path,
) -> None:
    async def story() -> None:
        async with world(tmp_path) as one:
            client = await one.client()
            model, sampler = await client.model(), await client.sampler(0)
            given = await client.post("asample", sampling(sampler, 0, [5, 6]))
            assert len(given["sample_sequence_ids"]) == 1
            ended = await client.end_of(given["request_id"])
            tokens, logprobs = ended["sequences"][0]["tokens"], ended["sequences"][0]["logprobs"]
            whole = [5, 6, *tokens]
            advantages = [0.0] + [1.0] * len(tokens)
            lies = [0.0] + [-9.0] * len(tokens)
            body = training(
                model, 1, whole, "importance_sampling", logprobs=lies, advantages=advantages
            )
            seen = []
            do = one.hands.train

            async def train(turn):  # type: ignore[no-untyped-def]
                seen.extend(turn.operations)
                return await do(turn)

            one.hands.train = train  # type: ignore[method-assign]
            await client.end_of((await client.post("forward_backward", body))["request_id"])
            believed = seen[0].data[0].inputs["logprobs"].tolist()
            assert believed == [0.0, *logprobs]
            foreign = training(
                model,
                2,
                [5, 6, *[(each + 1) % 60 for each in tokens]],
                "ppo",
                logprobs=lies,
                advantages=advantages,
            )
            assert (await client.ask("POST", "forward_backward", foreign)).status_code == 422
            trusted = await one.client("ada", ALL)
            assert (await trusted.ask("POST", "forward_backward", foreign)).status_code == 200
            bob = await one.client("bob")  # another's records are not his
            theirs = training(
                await bob.model(), 1, whole, "ppo", logprobs=lies, advantages=advantages
            )
            assert (await bob.ask("POST", "forward_backward", theirs)).status_code == 422

    run(story)


def test_who_does_not_fetch_is_held_at_the_bound_and_slows_nobody(tmp_path: Path) -> None:
    async def story() -> None:
        hands = ToyHands()
        bounds = Bounds(poll_s=0.2, futures_waiting=3, answer_bytes=2_000)
        async with world(tmp_path, hands, bounds) as one:
            ada, bob = await one.client("ada"), await one.client("bob")
            model, others = await ada.model(), await bob.model()
            hands.gate = asyncio.Event()
            answers = [await ada.ask("POST", "optim_step", step(model, seq)) for seq in range(1, 6)]
            assert [each.status_code for each in answers] == [200, 200, 200, 429, 429]
            assert answers[-1].headers["retry-after"]
            assert (await bob.ask("POST", "optim_step", step(others, 1))).status_code == 200
            hands.gate.set()
            hands.gate = None
            sampler = await ada.sampler(0)
            statuses = []
            for seq in range(12):
                asked = await ada.ask("POST", "asample", sampling(sampler, seq, [1]))
                statuses.append(asked.status_code)
                await asyncio.sleep(0.02)
            assert 429 in statuses
            assert (await bob.ask("POST", "optim_step", step(others, 2))).status_code == 200
            cursor = {"target": {"sampling_session_id": sampler}}
            told = await ada.post("retrieve_futures", cursor)
            for each in told["completions"]:
                await ada.end_of(each["request_id"])
            await one.door.sweep()
            assert (await ada.ask("POST", "asample", sampling(sampler, 99, [1]))).status_code == 200

    run(story)


def test_what_ends_after_all_before_it_was_fetched_is_still_told_to_who_waits(
    tmp_path: Path,
) -> None:
    async def story() -> None:
        async with world(tmp_path) as one:
            client = await one.client()
            sampler = await client.sampler(0)
            cursor: dict[str, Any] = {"target": {"sampling_session_id": sampler}}
            for seq in range(4):
                asked = await client.post("asample", sampling(sampler, seq, [1]))
                await client.end_of(asked["request_id"])
                told = await client.post("retrieve_futures", cursor)
                assert [each["request_id"] for each in told["completions"]] == [asked["request_id"]]
                cursor |= {
                    "prev_cursor": told["cursor"],
                    "retrieved_request_ids": [asked["request_id"]],
                }
                none = await client.post("retrieve_futures", cursor | {"timeout": 0.0})
                assert none["completions"] == []
                await one.door.sweep()  # what its owner has is gone, and so is its number

    run(story)


def test_a_session_that_falls_silent_ends_with_its_models_and_its_checkpoints_stay(
    tmp_path: Path,
) -> None:
    async def story() -> None:
        now = [1_000_000]
        async with world(tmp_path, now_ms=lambda: now[0]) as one:
            client = await one.client()
            model = await client.model()
            saved = await client.post("save_weights", {"model_id": model, "seq_id": 1, "path": "a"})
            path = (await client.end_of(saved["request_id"]))["path"]
            now[0] += 29 * 60_000
            await client.post("session_heartbeat", {"session_id": client.session})
            now[0] += 29 * 60_000
            await one.door.sweep()
            await client.post("session_heartbeat", {"session_id": client.session})
            now[0] += 31 * 60_000
            await one.door.sweep()
            beat = await client.ask("POST", "session_heartbeat", {"session_id": client.session})
            assert beat.status_code == 410
            assert not one.hands.states
            again = await one.client("ada")
            body = {"session_id": again.session, "model_seq_id": 0, "path": path, "optimizer": True}
            ended = await again.end_of((await again.post("load_weights", body))["request_id"])
            assert ended["model_id"].startswith(again.session)

    run(story)


def test_published_weights_are_sampled_by_others_until_they_are_withdrawn(tmp_path: Path) -> None:
    async def story() -> None:
        async with world(tmp_path) as one:
            ada, bob = await one.client("ada", ALL), await one.client("bob")
            model = await ada.model()
            body = {"model_id": model, "seq_id": 1, "path": "shown"}
            path = (
                await ada.end_of((await ada.post("save_weights_for_sampler", body))["request_id"])
            )["path"]
            asked = {"session_id": bob.session, "sampling_session_seq_id": 0, "model_path": path}
            assert (await bob.ask("POST", "create_sampling_session", asked)).status_code == 404
            at = f"training_runs/{model}/checkpoints/sampler_weights/shown"
            assert (await ada.ask("POST", f"{at}/publish")).status_code == 200
            sampler = (await bob.post("create_sampling_session", asked))["sampling_session_id"]
            given = await bob.post("asample", sampling(sampler, 0, [1, 2]))
            assert (await bob.end_of(given["request_id"]))["sequences"]
            assert (await bob.ask("DELETE", at)).status_code == 404
            assert (await ada.ask("DELETE", f"{at}/publish")).status_code == 200
            late = await bob.post("asample", sampling(sampler, 1, [1, 2]))
            assert (await bob.end_of(late["request_id"]))["category"] == "user"
            archive = await ada.ask("GET", f"{at}/archive")
            assert archive.status_code == 302
            tar = await one.http.get(archive.headers["location"])
            assert b"adapter_model.safetensors" in tar.content
            forged = archive.headers["location"].replace("/archive.tar", "/other")
            assert (await one.http.get(forged)).status_code == 404

    run(story)
