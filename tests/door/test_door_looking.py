"""What a door's folder says to its operator, whether the door runs or not."""

import json
from pathlib import Path

from click.testing import CliRunner

from archipel.cli.archipel import command
from open_door import run, step, world


def test_status_and_list_say_what_the_journal_holds_and_a_folder_without_one_is_refused(
    tmp_path: Path,
) -> None:
    async def story() -> None:
        async with world(tmp_path) as one:
            client = await one.client()
            model = await client.model()
            await client.end_of((await client.post("optim_step", step(model, 1)))["request_id"])
            await client.post("optim_step", step(model, 3))

    run(story)
    asked = ["--folder", str(tmp_path), "--json"]
    status = json.loads(CliRunner().invoke(command, ["door", "status", *asked]).output)
    assert (status["models"], status["operations_waiting"], status["sessions"]) == (1, 1, 1)
    models = json.loads(CliRunner().invoke(command, ["door", "list", *asked]).output)
    assert [(each["next_seq"], each["waiting"]) for each in models] == [(2, 1)]
    nothing = CliRunner().invoke(command, ["door", "status", "--folder", str(tmp_path / "no")])
    assert "archipel door start" in str(nothing.exception)
