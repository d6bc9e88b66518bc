"""What the three stages must agree on byte for byte: text, tokens, data, checkpoints, ROUGE."""

import contextlib
from collections.abc import Iterator


class UserError(Exception):
    """An error that the user can fix. The message says where, what was found, what was expected and what to do."""


@contextlib.contextmanager
def named(place: str) -> Iterator[None]:
    """Say where a ``UserError`` of the body happened: "train.jsonl, row 3: …"."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{place}: {error}") from error
