"""What a lab still knows of nodes that it forgot: their balances, and that nothing old can be said again. Pure."""

from archipel.lab.state import LabState
from archipel.records.changed import changed
from archipel.records.statements import NodesForgotten


def forgotten(state: LabState, statement: NodesForgotten) -> LabState:
    """Balances stay; of the numbers the highest does.

    Raises:
        KeyError: one of them is unknown.
        ValueError: one of them holds work.
    """
    dids = statement.nodes
    for did in dids:
        if state.nodes[did].leases:
            raise ValueError(f"{did} holds work, it cannot be forgotten")
    spoken = [did for did in dids if did in state.sequences]
    asked = [did for did in dids if did in state.asked]
    numbers = [state.sequences[did] for did in spoken] + [state.asked[did] for did in asked]
    return changed(
        state,
        nodes=state.nodes.drop(*dids),
        sequences=state.sequences.drop(*spoken),
        asked=state.asked.drop(*asked),
        forgotten_seq=max(state.forgotten_seq, *numbers),
    )
