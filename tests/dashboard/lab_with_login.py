"""`archipel`, whose lab serves the log-in's pages: a process of its own, `python lab_with_login.py lab start ...`."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from starlette.routing import Mount, Route

sys.path.insert(0, str(Path(__file__).parents[1]))

from archipel.dashboard.http.files import file_routes
from archipel.dashboard.sessions.routes import LoginDoor, login_routes, sessions_of
from archipel.lab import api
from archipel.lab.entry import read_examined
from archipel.lab.lab import Lab
from archipel.lab.providers import account_of
from archipel.market.journal import wallet
from archipel.records.statements import WorkAnswered
from dashboard.login_scene import FirstPay, LabLooks


class LedgerPays:
    """First earnings, read from the ledger."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab

    def first_pay(self, accounts: Sequence[str]) -> FirstPay | None:
        for number, data in enumerate(self._lab.log.read(0, self._lab.log.size)):
            said = read_examined(data).statement
            account = wallet(account_of(self._lab.state, said.author))
            if isinstance(said, WorkAnswered) and account in accounts:
                return FirstPay(number, 0)
        return None


as_usual = api.make_api


def with_login(lab: Lab, *more: Any, **named: Any) -> Any:
    """The lab's API, and the log-in under /pages."""
    made = as_usual(lab, *more, **named)
    looks: Any = LabLooks(lab)
    door = LoginDoor(sessions_of(lab.identity.did), looks, lab.clock_ms, LedgerPays(lab))
    files = [Route(each.path.removeprefix("/pages"), each.endpoint) for each in file_routes()]
    made.router.routes.append(Mount("/pages", routes=[*login_routes(door), *files]))
    return made


if __name__ == "__main__":
    api.make_api = with_login
    from archipel.cli.archipel import run

    run()
