"""A door over toy hands as a process of its own: python tests/door_process.py FOLDER PORT [DELAY_S]."""

import asyncio
import sqlite3
import sys
import time
from pathlib import Path

from archipel.cli.archipel import _let_go
from archipel.door.accounts import Accounts
from archipel.door.bounds import Bounds
from archipel.door.door import Door
from archipel.door.http.app import make_app
from archipel.door.journal import JournalBroken
from archipel.door.keys import SCOPES
from archipel.serve.server import Ending, listening, serve
from toy_hands import ToyHands

LIFE_S = 300.0


async def open_at(folder: Path, port: int, delay_s: float) -> None:
    accounts = Accounts(folder)
    if not accounts.keys.all():
        (folder / "key").write_text(
            accounts.keys.make("ada", SCOPES, int(time.time() * 1000), None)
        )
    door = Door(ToyHands(delay_s), folder, accounts, Bounds(keep_steps=3, poll_s=2.0))
    await door.start()
    try:
        async with asyncio.timeout(LIFE_S):
            await serve(
                make_app(door), listening("127.0.0.1", port), Ending(within_s=1.0, cut=door.cut)
            )
    finally:
        await door.stop(2.0)
        accounts.close()


if __name__ == "__main__":
    try:
        asyncio.run(
            open_at(Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3] if sys.argv[3:] else 0))
        )
    except (OSError, sqlite3.Error, JournalBroken) as error:  # as `archipel door start`
        sys.exit(f"archipel: {error}")
    finally:
        _let_go()
