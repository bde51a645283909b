"""How a pool stands whose gateway runs on this machine, from the file that it writes."""

from typing import Any

from archipel.cli.doors import Mendable, home_folder

FOLDER = "pool"
MAX_STATUS_BYTES = 1_000_000
GIGABYTE = 1_000_000_000


def standing() -> dict[str, Any]:
    """Raises Mendable: no gateway runs here."""
    import json

    from archipel.serve.pool.hosting import STATUS

    path = home_folder(FOLDER, None, make=False) / STATUS
    try:
        with path.open("rb") as file:
            found = json.loads(file.read(MAX_STATUS_BYTES))
    except (OSError, ValueError):
        found = None
    if not isinstance(found, dict):
        raise Mendable(
            "no gateway of a pool runs here; start one with archipel serve pool MODEL, or ask on its machine"
        )
    return found


def lines_of(found: dict[str, Any]) -> list[str]:
    lines = [f"{found['name']}: {found['num_layers']} layers; devices join at {found['address']}"]
    for each in found["devices"]:
        held = ", ".join(f"{first}..{end - 1}" for first, end in each["layers"]) or "spare"
        lines.append(
            f"  {each['name']}: layers {held}; {each['memory_bytes'] / GIGABYTE:.2f} GB, "
            f"{(each['layer_ns'] or 0) / 1e6:.2f} ms a layer, round trip {each['round_trip_ns'] / 1e6:.2f} ms; "
            f"{each['arithmetic']}"
        )
    for each in found["mended"]:
        lines.append(
            f"  lost {each['lost']}: made good in {each['ms']} ms, {each['positions']} positions computed again"
        )
    return lines
