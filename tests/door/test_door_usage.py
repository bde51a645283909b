"""The page of what was used: shown to whoever has the key, to nobody else, and the key stands in no address."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from archipel.door.accounts import Accounts
from archipel.door.keys import USUAL, Limits, Tenant
from archipel.door.usage_routes import KINDS, usage_routes

NOW = 1_790_000_000_000


@pytest.fixture
def accounts(tmp_path: Path) -> Iterator[Accounts]:
    made = Accounts(tmp_path)
    yield made
    made.close()


@pytest.fixture
def client(accounts: Accounts) -> TestClient:
    return TestClient(Starlette(routes=usage_routes(accounts, lambda: NOW)))


def used(accounts: Accounts, name: str, num_tokens: int, scopes: tuple[str, ...] = USUAL) -> str:
    key = accounts.keys.make(name, scopes, NOW)
    tenant = accounts.who(key, NOW)
    assert isinstance(tenant, Tenant)
    accounts.used(tenant, "train", num_tokens, NOW, "base")
    return key


def test_a_tenant_sees_its_own_days_and_nobody_s_else(
    accounts: Accounts, client: TestClient
) -> None:
    ada, bob = used(accounts, "ada", 12), used(accounts, "bob", 99)
    accounts.keys.limit("ada", Limits(tokens_per_month=100))
    told = client.get("/usage/data", headers={"x-api-key": ada}).json()
    assert [(each["tokens"], each["kind"], each["base_model"]) for each in told["days"]] == [
        (12, "train", "base")
    ]
    assert ["This month", "12 of 100 tokens"] in told["left"]
    assert client.get("/usage/data?days=1", headers={"x-api-key": bob}).json()["tenant"] == "bob"


@pytest.mark.parametrize(
    "path",
    ["/usage/data?days=0", "/usage/data?days=401", "/usage/data?days=-1", "/usage/data?days=x"],
)
def test_days_have_bounds(accounts: Accounts, client: TestClient, path: str) -> None:
    assert client.get(path, headers={"x-api-key": used(accounts, "ada", 1)}).status_code == 400


def test_without_the_key_or_its_scope_nothing_is_told(
    accounts: Accounts, client: TestClient
) -> None:
    key = used(accounts, "ada", 12, ("train",))
    refused = client.get("/usage/data", headers={"x-api-key": key})
    assert (refused.status_code, refused.json().keys()) == (403, {"error"})
    for headers in (
        {},
        {"x-api-key": key[:-1]},
        {"x-api-key": "x" * 5000},
        {"cookie": f"key={key}"},
    ):
        assert client.get("/usage/data", headers=headers).status_code == 401
    assert client.get(f"/usage/data?key={key}").status_code == 401


def test_the_page_is_of_this_door_alone_and_keeps_nothing(client: TestClient) -> None:
    names = ["", *(f"/{name}" for name in KINDS if name != "index.html")]
    for name in names:
        shown = client.get(f"/usage{name}")
        assert shown.status_code == 200
        assert "default-src 'none'" in shown.headers["content-security-policy"]
        assert "set-cookie" not in shown.headers
        for word in (
            "http://",
            "https://",
            "localStorage",
            "sessionStorage",
            "cookie",
            "innerHTML",
            "<script>",
        ):
            assert word not in shown.text
    for odd in ("index.html", "..%2fkeys.db", "keys.db", "usage.js%00"):
        assert client.get(f"/usage/{odd}").status_code == 404
