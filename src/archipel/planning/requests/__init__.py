"""What can be asked: each question's options, their defaults and their words, from its sheet.

The command line makes its options from these, a saved plan stores them, `compare` and `report` ask them
again. Amounts are texts here ("50k USD"); the question's file reads them with their units.
Law: standard library only, so that help and completion need nothing else.
"""

from collections.abc import Iterator, Mapping

from archipel.planning.requests.option import Request, as_dict, options_of, request_of


class Requests(Mapping[str, type]):
    """The request class of each question; a sheet is read when its question is asked for."""

    def __getitem__(self, question: str) -> type:
        """The class; raises KeyError for no question."""
        if question not in _QUESTIONS:
            raise KeyError(question)
        return request_of(question)

    def __iter__(self) -> Iterator[str]:
        return iter(_QUESTIONS)

    def __len__(self) -> int:
        return len(_QUESTIONS)


_QUESTIONS = ("lab", "train", "decentralise", "meek", "serve", "tune", "earn", "claims")
REQUESTS = Requests()

__all__ = ["REQUESTS", "Request", "as_dict", "options_of"]
