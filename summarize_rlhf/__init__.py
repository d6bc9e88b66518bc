"""What the three stages must agree on byte for byte: text, tokens, data, checkpoints, ROUGE."""

import contextlib
from collections.abc import Iterator


class UserError(Exception):
    """Something the user can put right. The message says where, what was found, what was expected, what to do."""


@contextlib.contextmanager
def named(place: str) -> Iterator[None]:
    """Says where a ``UserError`` of the body happened: "train.jsonl, row 3: …"."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{place}: {error}") from error
