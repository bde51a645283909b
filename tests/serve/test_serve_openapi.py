"""Requests drawn from a served model's own description: no field, header or method makes it fail."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from serve.served_process import address  # noqa: F401  a fixture

pytestmark = pytest.mark.slow
CHECKS = (
    *("not_a_server_error", "status_code_conformance", "content_type_conformance"),
    *("response_schema_conformance", "unsupported_method", "allow_header_conformance"),
)
"""Left out: that what is not described is refused; these clients send many fields that are passed over."""
REQUEST_LIMIT_S = 20
SESSION_LIMIT_S = 580


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("seed", "examples"), [(1, 6)])
def test_a_served_model_answers_as_it_describes_itself(
    tmp_path: Path,
    address: str,  # noqa: F811
    seed: int,
    examples: int,
) -> None:
    report = tmp_path / "report.json"
    command = (
        *(sys.executable, "-m", "schemathesis.cli", "run", f"{address}/openapi.json"),
        *("--checks", ",".join(CHECKS), "--request-timeout", str(REQUEST_LIMIT_S)),
        *("--report", "json", "--report-json-path", str(report), "--no-color"),
        *("--warnings", "off", "--continue-on-failure", "--phases", "coverage,fuzzing"),
        *("--seed", str(seed), "-n", str(examples)),
    )
    path = os.pathsep.join(each for each in sys.path if each)
    environment = {"PATH": os.defpath, "HOME": str(tmp_path), "LANG": "C.UTF-8", "PYTHONPATH": path}
    environment |= {"SCHEMATHESIS_HOOKS": "serve.served_names"}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=SESSION_LIMIT_S, check=False
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-6000:]
    known = json.loads(report.read_bytes())
    assert known["test_cases"]["generated"] > 200
    metrics = httpx.get(f"{address}/metrics", trust_env=False).text
    statuses = {int(each) for each in re.findall(r'status="(\d+)"', metrics)}
    assert not [each for each in statuses if each >= 500]
    assert 200 in statuses
