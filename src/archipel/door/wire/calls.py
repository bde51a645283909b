"""Everything that clients of Tinker's protocol may call, version by version: done here, done otherwise, or refused and why.

Parts: `Call`, `CALLS` (the table), `find` (which call an address is).
Law: a call that is not in this table is answered 404; one that is refused, by its own reason. The page
docs/reference/training-api.md is printed from here.
"""

import re
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from archipel.door.wire.errors import Refused

Standing = Literal["supported", "differs", "refused"]
BASE = "/api/v1/"
KEY_HEADER = "X-API-Key"
IDEMPOTENCY_HEADER = "X-Idempotency-Key"
"""The same for every attempt that a client's connection makes by itself; what it asks anew has another."""


@dataclass(frozen=True)
class Call:
    """One."""

    name: str
    method: str
    path: str
    """After `BASE`; {braces} stand for a part without a slash, {id*} for one that may have them."""
    standing: Standing
    since: str
    """First client version that was read and calls it."""
    note: str = ""
    """What is otherwise, or why it is refused and what to do instead."""
    until: str = ""
    """Last client version that was read and calls it; empty: it still does."""
    is_polled: bool = False
    """A poll of a future, where clients take some statuses otherwise."""

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """Of the address after `BASE`."""
        parts = (
            f"(?P<{part[1:-2]}>.+)"
            if part.endswith("*}")
            else f"(?P<{part[1:-1]}>[^/]+)"
            if part.startswith("{")
            else re.escape(part)
            for part in self.path.split("/")
        )
        return re.compile("/".join(parts))


_RUN = "training_runs/{model}"
_CHECKPOINT = f"{_RUN}/checkpoints/{{checkpoint*}}"
_NO_ACCOUNTS = "this door knows keys and their owners, and no organisations, projects or teams"

CALLS: tuple[Call, ...] = (
    # What is here:
    Call("healthz", "GET", "healthz", "supported", "0.16"),
    Call("client_config", "POST", "client/config", "supported", "0.22"),
    Call("dynamic_config", "POST", "client/dynamic_config", "supported", "0.25"),
    Call("capabilities", "GET", "get_server_capabilities", "supported", "0.16"),
    Call("telemetry", "POST", "telemetry", "differs", "0.16", "it is answered, and what it says is neither read nor kept"),
    Call("key_info", "GET", "auth/apikey/me", "supported", "0.30"),
    Call("key_end", "DELETE", "auth/apikey/me", "refused", "0.30", "whoever runs the door revokes keys: archipel door key revoke"),
    Call("auth_token", "POST", "auth/token", "refused", "0.22", "keys are sent themselves; leave pjwt_auth_enabled off, as this door's client_config says"),
    # Sessions:
    Call("create_session", "POST", "create_session", "differs", "0.16", "project_id is passed over: " + _NO_ACCOUNTS),
    Call("session_heartbeat", "POST", "session_heartbeat", "supported", "0.16"),
    Call("finish_session", "POST", "sessions/{session}/finish", "supported", "0.30"),
    Call("sessions", "GET", "sessions", "differs", "0.16", "the key's owner's own, whatever access_scope says"),
    Call("search_sessions", "POST", "sessions/search", "differs", "0.38", "by id, name and metadata; one page"),
    Call("session", "GET", "sessions/{session}", "supported", "0.16"),
    Call("session_project", "PUT", "sessions/{session}/project", "refused", "0.22", _NO_ACCOUNTS),
    Call("trace_export", "GET", "sessions/{session}/trace_export", "refused", "0.25", "no traces of clients are kept"),
    # Models:
    Call("create_model", "POST", "create_model", "differs", "0.16", "low-rank adapters of rank 1 to 256 and alpha 32; no full fine-tuning, and AdamW alone"),
    Call("get_info", "POST", "get_info", "supported", "0.16"),
    Call("unload_model", "POST", "unload_model", "supported", "0.16", until="0.25"),
    Call("training_runs", "GET", "training_runs", "differs", "0.16", "the key's owner's own, whatever access_scope says"),
    Call("training_run", "GET", _RUN, "supported", "0.16"),
    # Training:
    Call("forward_backward", "POST", "forward_backward", "differs", "0.16", "text alone; one target at each place; behaviour log-probabilities come from the door's own records; `custom` is refused, and forward_backward_custom works without it"),
    Call("forward", "POST", "forward", "supported", "0.16", until="0.22"),
    Call("optim_step", "POST", "optim_step", "differs", "0.16", "AdamW alone; `dimuon` is refused"),
    Call("create_custom_loss", "POST", "create_custom_loss", "refused", "0.38", "no graph of a client's is run here; forward_backward_custom computes the loss in the client, as client_config says"),
    # Checkpoints:
    Call("save_weights", "POST", "save_weights", "supported", "0.16"),
    Call("save_weights_for_sampler", "POST", "save_weights_for_sampler", "differs", "0.16", "`inflight` is refused: weights never change under a sampler, save again instead"),
    Call("save_weights_external", "POST", "save_weights_external", "differs", "0.30", "files as PEFT has them; they are not encrypted for age recipients"),
    Call("load_weights", "POST", "load_weights", "differs", "0.16", "weights_access_token is refused: an owner publishes what others may read"),
    Call("weights_info", "POST", "weights_info", "supported", "0.16"),
    Call("copy_weights", "POST", "copy_weights", "refused", "0.30", _NO_ACCOUNTS + "; load the checkpoint into a model of yours and save it"),
    Call("checkpoints", "GET", "checkpoints", "supported", "0.16"),
    Call("model_checkpoints", "GET", f"{_RUN}/checkpoints", "supported", "0.16"),
    Call("publish_checkpoint", "POST", f"{_CHECKPOINT}/publish", "supported", "0.16"),
    Call("unpublish_checkpoint", "DELETE", f"{_CHECKPOINT}/publish", "supported", "0.16"),
    Call("checkpoint_ttl", "PUT", f"{_CHECKPOINT}/ttl", "supported", "0.16"),
    Call("checkpoint_archive", "GET", f"{_CHECKPOINT}/archive", "supported", "0.16", until="0.30"),
    Call("checkpoint_files", "GET", f"{_CHECKPOINT}/external_weights_urls", "supported", "0.30"),
    Call("delete_checkpoint", "DELETE", _CHECKPOINT, "supported", "0.16"),
    # Sampling:
    Call("create_sampling_session", "POST", "create_sampling_session", "supported", "0.16"),
    Call("join_sampling_session", "POST", "join_sampling_session", "supported", "0.38"),
    Call("sampler", "GET", "samplers/{sampler}", "supported", "0.16"),
    Call("asample", "POST", "asample", "differs", "0.16", "text alone; prompt_alt_tokens_k is refused; stop adds to the model's own end of text, and an empty list switches that off; records are kept with and without record_stability_info"),
    # Futures:
    Call("retrieve_future", "POST", "retrieve_future", "supported", "0.16", is_polled=True),
    Call("retrieve_futures", "POST", "retrieve_futures", "supported", "0.30", is_polled=True),
    Call("cancel_future", "POST", "cancel_future", "supported", "0.30"),
    # Accounts:
    Call("usage_events", "GET", "billing/usage/events", "differs", "0.25", "tokens of the key's owner; no prices"),
    Call("storage_usage", "GET", "billing/usage/checkpoints/current", "refused", "0.38", "list checkpoints instead: each says its size"),
    Call("audit", "GET", "audit", "refused", "0.22", _NO_ACCOUNTS),
)  # fmt: skip


def find(method: str, path: str) -> tuple[Call, dict[str, str]]:
    """Which call an address is, and the parts of it that have names.

    path: from the slash on, without its query.

    Raises:
        Refused: `not_found`: nothing is there, or not by that method; `not_offered`: a call that is refused.
    """
    rest = path.removeprefix(BASE)
    for call in CALLS if rest != path else ():
        found = call.pattern.fullmatch(rest) if call.method == method else None
        if found is not None:
            if call.standing == "refused":
                raise Refused("not_offered", f"{call.name} is not done here: {call.note}")
            return call, found.groupdict()
    raise Refused("not_found", f"{method:.10} {path:.200} is no call of this door")
