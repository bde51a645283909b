"""Anchors from the command line: a node that lies is not believed about a ledger; a real EVM node takes a real head."""

import io
import json
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from archipel.cli.archipel import run
from archipel.ledger.anchored_head import AnchoredHead, anchored, read_anchored_head
from archipel.ledger.merkle import root_of
from archipel.ledger.mirror import Mirror
from archipel.ledger.tree_head import TreeHead, sign_tree_head
from archipel.ledger.verification import lab_key
from golden import story
from people import identity
from ports import free_port

LAB = identity("lab")
KEY = lab_key(LAB.did)
TX, BLOCK, SENDER = "0x" + "5e" * 32, "0x" + "b1" * 32, "0x" + "a1" * 20
SECRET = "4f3edf983ac636a65a842ce7c78d9aa706d3b113bce9c46f30d7d21715b23b1d"
"""Of ganache's first account: printed by whoever starts it."""


@pytest.fixture(scope="module")
def entries() -> list[bytes]:
    world = story()
    found = list(world.lab.log.entries())
    world.close()
    return found


def signed(told: list[bytes]) -> TreeHead:
    return sign_tree_head(LAB, KEY.name, len(told), root_of(told))


def mirrored(folder: Path, told: list[bytes]) -> Path:
    kept = Mirror(folder, KEY)
    kept.extend(told[kept.size :], signed(told))
    return folder


def said(*arguments: object, code: int = 0) -> str:
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as ended:
        run(["ledger", "anchor", *map(str, arguments)])
    assert int(ended.value.code or 0) == code, out.getvalue() + err.getvalue()
    assert "Traceback" not in err.getvalue()
    assert SECRET not in out.getvalue() + err.getvalue()
    return out.getvalue() if code == 0 else err.getvalue()


def chain_of(made: AnchoredHead) -> dict[str, Any]:
    """What an honest node says of a transaction that carries this anchor."""
    sent = {"hash": TX, "blockNumber": "0x7", "blockHash": BLOCK, "from": SENDER}
    return {
        "eth_chainId": hex(made.chain),
        "eth_blockNumber": "0x9",
        "eth_getTransactionByHash": sent | {"input": "0x" + made.calldata().hex()},
        "eth_getTransactionReceipt": {"transactionHash": TX, "blockHash": BLOCK, "status": "0x1"},
        "eth_getBlockByNumber": {"hash": BLOCK, "timestamp": "0x6553f100"},
    }


@contextmanager
def node(told: dict[str, Any]) -> Iterator[str]:
    """A stranger's node that says this, whatever it is asked about."""

    class Door(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
            result = told[asked["method"]]
            body = result if isinstance(result, bytes) else None
            body = (
                body or json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": result}).encode()
            )
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Door)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/owners-token"
    server.shutdown()
    server.server_close()


def test_an_anchor_holds_of_a_mirror_that_went_on_and_of_no_other(
    tmp_path: Path, entries: list[bytes]
) -> None:
    made = anchored(signed(entries[:5]), 5, TX, 7)
    file = tmp_path / made.name
    file.write_bytes(made.to_bytes())
    kept = mirrored(tmp_path / "kept", entries)
    other = mirrored(tmp_path / "other", [*entries[:3], *entries[4:]])
    young = mirrored(tmp_path / "young", entries[:4])
    with node(chain_of(made)) as rpc:
        check = ("--rpc", rpc, "--check", file)
        told = json.loads(said("--ledger", kept, *check, "--json"))
        assert (told["holds"], told["block"], told["blocks_since"]) == (True, 7, 2)
        assert (told["at_s"], told["entries"]) == (0x6553F100, len(entries))
        text = said(kept, *check)
        assert "no later than" in text
        assert "not that this is the only history" in text
        assert "owners-token" not in text
        assert "another history" in said(other, *check, code=1)
        assert "newer copy" in said(young, *check, code=1)
        assert "expected" in said(kept, *check, "--expect", identity("other").did, code=1)
        assert "mirror's folder" in said("http://127.0.0.1:1", *check, code=2)
        assert "sends nothing" in said(kept, *check, "--key-file", file, code=2)


def test_what_a_node_says_of_another_head_shows_nothing(
    tmp_path: Path, entries: list[bytes]
) -> None:
    made = anchored(signed(entries[:5]), 5, TX, 7)
    file = tmp_path / made.name
    file.write_bytes(made.to_bytes())
    kept, sound = mirrored(tmp_path / "kept", entries), chain_of(made)
    other = "0x" + anchored(signed(entries[:6]), 5, TX).calldata().hex()
    sent, receipt, block = (
        "eth_getTransactionByHash",
        "eth_getTransactionReceipt",
        "eth_getBlockByNumber",
    )
    lies = [
        ({sent: sound[sent] | {"input": other}}, "is not the head in"),
        ({sent: sound[sent] | {"input": sound[sent]["input"] + "00"}}, "is not the head in"),
        ({sent: sound[sent] | {"input": sound[sent]["input"] + "00" * 400}}, "is not the head in"),
        ({sent: sound[sent] | {"input": "0x"}}, "is not the head in"),
        ({sent: sound[sent] | {"input": 5}}, "input is"),
        ({sent: sound[sent] | {"hash": BLOCK}}, "another transaction"),
        ({receipt: sound[receipt] | {"transactionHash": BLOCK}}, "another transaction"),
        ({receipt: sound[receipt] | {"status": "0x0"}}, "failed on the chain"),
        ({receipt: sound[receipt] | {"blockHash": TX}}, "changed its mind"),
        ({block: sound[block] | {"hash": TX}}, "changed its mind"),
        ({sent: sound[sent] | {"blockNumber": "0x8"}}, "written anew"),
        ({sent: sound[sent] | {"blockNumber": None}}, "no block yet"),
        ({receipt: None}, "no block yet"),
        ({sent: None}, "knows no transaction"),
        ({sent: []}, "expected an object"),
        ({"eth_chainId": "0x1"}, "is of chain 1"),
        ({"eth_chainId": b"[" * 1000}, "something else"),
        ({"eth_chainId": b" " * (4 * 2**20 + 1)}, "more than"),
    ]
    for change, word in lies:
        with node(sound | change) as rpc:
            assert word in said(kept, "--rpc", rpc, "--check", file, code=1), change
    assert "no answer from" in said(kept, "--rpc", "http://127.0.0.1:1", "--check", file, code=1)


def test_nothing_is_sent_before_it_is_known_where_to_write_and_who_pays(tmp_path: Path) -> None:
    asked = ("--rpc", "http://127.0.0.1:1")
    assert "--key-file" in said(tmp_path, *asked, code=2)
    assert "--out" in said(tmp_path, *asked, "--key-file", tmp_path / "k", code=2)
    for amount in ("0", "-1", "nan", "inf", "much", "1e-19", "9" * 30):
        assert "no amount" in said(tmp_path, *asked, "--max-cost", amount, code=2)


@contextmanager
def ganache() -> Iterator[str]:
    program = shutil.which("ganache")
    if program is None:
        pytest.skip("no ganache here: npm install -g ganache@7.9.2")
    port = free_port()
    words = ["--server.host", "127.0.0.1", "--server.port", str(port), "--wallet.deterministic"]
    process = subprocess.Popen([program, *words], stdout=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(240):
            try:
                asked(url, "eth_chainId")
                break
            except httpx.HTTPError:
                time.sleep(0.5)
        yield url
    finally:
        process.terminate()
        process.wait(30)


def asked(url: str, method: str, *params: object) -> Any:
    body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
    return httpx.post(url, json=body, timeout=30, trust_env=False).json()["result"]


@pytest.mark.slow
def test_a_real_chain_takes_a_head_and_shows_it_again(tmp_path: Path, entries: list[bytes]) -> None:
    pytest.importorskip("eth_account", reason="the extra `anchor` is not installed")
    kept, key = mirrored(tmp_path / "kept", entries[:5]), tmp_path / "payer"
    key.write_text(SECRET + "\n")
    key.chmod(0o644)
    with ganache() as rpc:
        account = asked(rpc, "eth_accounts")[0]
        pay = (kept, "--rpc", rpc, "--key-file", key)
        assert "0600" in said(*pay, code=1)
        key.chmod(0o600)
        assert "is of chain 1337; expected 1" in said(*pay, "--chain", 1, code=1)
        assert "--max-cost" in said(*pay, "--max-cost", "0.000001", code=1)
        wrong = (
            "0x90f8bf6a479f320ead074411a4b0e7944Ea8c9C1"  # one letter's case is not its checksum's
        )
        assert "no address" in said(*pay, "--to", wrong, code=2)
        key.write_text("0" * 64)
        assert "no key of a chain" in said(*pay, code=1)
        key.write_text("1" * 64)
        assert "refused" in said(*pay, code=1)  # an account without money
        key.write_text(SECRET + "\n")
        assert asked(rpc, "eth_getTransactionCount", account, "latest") == "0x0"
        assert list((kept / "anchors").iterdir()) == []

        told = json.loads(said(*pay, "--chain", 1337, "--json"))
        file = kept / "anchors" / f"1337-{told['tx']}.json"
        made = read_anchored_head(file.read_bytes())
        assert (made.size, made.block, made.calldata()) == (
            5,
            1,
            anchored(signed(entries[:5]), 1, TX).calldata(),
        )
        sent = asked(rpc, "eth_getTransactionByHash", made.tx)
        assert bytes.fromhex(sent["input"][2:]) == made.calldata()
        assert (sent["value"], sent["from"], sent["to"]) == (
            "0x0",
            account.lower(),
            account.lower(),
        )
        mirrored(kept, entries)
        shown = json.loads(said(kept, "--rpc", rpc, "--check", file, "--json"))
        assert (shown["holds"], shown["at_s"], shown["entries"]) == (
            True,
            told["at_s"],
            len(entries),
        )
        assert said("--ledger", kept, "--rpc", rpc, "--check", file).startswith("holds")
        run_verify(kept)
        other = mirrored(tmp_path / "other", [*entries[:3], *entries[4:]])
        assert "another history" in said(other, "--rpc", rpc, "--check", file, code=1)

        second = asked(rpc, "eth_accounts")[1]
        asked(rpc, "miner_stop")
        out = tmp_path / "elsewhere"
        late = said(*pay, "--to", second, "--out", out, "--wait", 0, code=1)
        (waiting,) = out.iterdir()
        assert str(waiting) in late
        assert read_anchored_head(waiting.read_bytes()).block is None
        assert "no block yet" in said(kept, "--rpc", rpc, "--check", waiting, code=1)
        asked(rpc, "miner_start")
        asked(rpc, "evm_mine")
        shown = json.loads(said(kept, "--rpc", rpc, "--check", waiting, "--json"))
        assert (shown["block"], shown["size"]) == (2, len(entries))
        lying = made.model_copy(update={"tx": shown["tx"], "block": None})
        file.write_bytes(lying.to_bytes())
        assert "is not the head in" in said(kept, "--rpc", rpc, "--check", file, code=1)


def run_verify(kept: Path) -> None:
    """What an anchor adds to a mirror's folder is no stranger there."""
    with redirect_stdout(io.StringIO()), pytest.raises(SystemExit) as ended:
        run(["ledger", "verify", str(kept)])
    assert not ended.value.code
