"""What can be asked: each question's options, their defaults and their words, from its sheet or in one file each.

The command line makes its options from these, a saved plan stores them, `compare` and `report` ask them
again. Amounts are texts here ("50k USD"); the question's file reads them with their units.
Law: standard library only, so that help and completion need nothing else.
"""

from archipel.planning.requests.claims import ClaimsRequest
from archipel.planning.requests.decentralise import DecentraliseRequest
from archipel.planning.requests.option import Request, as_dict, options_of, request_of
from archipel.planning.requests.serve import ServeRequest
from archipel.planning.requests.train import TrainRequest

REQUESTS: dict[str, type] = {
    "lab": request_of("lab"),
    "train": TrainRequest,
    "decentralise": DecentraliseRequest,
    "meek": request_of("meek"),
    "serve": ServeRequest,
    "claims": ClaimsRequest,
}

__all__ = ["REQUESTS", "Request", "as_dict", "options_of"]
