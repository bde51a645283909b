"""Which files of tests take longest: they begin first, so that no process is left alone with one of them at the end.

`tests/test_house.py` holds that each is there; an order that is out of date costs seconds and nothing else.
"""

from pathlib import Path

TESTS = Path(__file__).parent
LONGEST = (
    "planning/test_questions.py",
    "node/test_node_faults.py",
    "planning/test_plan_golden.py",
    "training/test_environments_python.py",
    "work/test_update_resume.py",
    "training/test_grading.py",
    "release/test_mirror.py",
    "door/test_door_remote_hands.py",
    "cli/test_cli_run_verify.py",
    "planning/test_plan_train.py",
    "lab/test_lab_golden.py",
    "node/test_node_handouts.py",
    "release/test_bundle.py",
    "cli/test_cli_rebuild.py",
    "engine/test_engine_is_batch_invariant.py",
    "serve/test_pool_lines.py",
    "training/test_grading_hostile.py",
    "cli/test_cli_account.py",
    "cli/test_cli_ownership.py",
    "node/test_node_several.py",
    "node/test_node_agent.py",
    "work/test_update_curriculum.py",
    "cli/test_cli_ledger.py",
    "cli/test_cli_run_views.py",
    "work/test_child.py",
)
"""All above five seconds of some eight hundred, longest first, but for those of many short tests."""
_PLACES = {TESTS / name: place for place, name in enumerate(LONGEST)}


def order(path: Path) -> tuple[int, tuple[str, ...]]:
    """What files are sorted by."""
    return _PLACES.get(path, len(_PLACES)), path.parts
