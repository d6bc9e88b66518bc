"""What comes in: values, texts and rows that are odd, files with bytes changed."""

import json
from typing import Any

from hypothesis import strategies as st

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12)
values = st.recursive(
    scalars | st.sampled_from(["1e5", -1, 0, 1, 10**30, float("nan"), float("inf"), "\ud800", "\x00"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=5,
)
odd_texts = st.text(max_size=60) | st.sampled_from(["TL;DR:", " ", "\ud83d", "<|endoftext|>"])
texts = st.text(max_size=40).map(lambda text: f"POST: a b c d e {text}\nTL;DR:") | odd_texts


def records(columns: tuple[str, ...]) -> st.SearchStrategy[list]:
    """Rows that have mostly the right columns, with mostly text."""
    likely = st.fixed_dictionaries(dict.fromkeys(columns, texts))
    odd = st.dictionaries(st.sampled_from([*columns, "more"]), values, max_size=4) | values
    return st.lists(likely, max_size=4) | st.lists(likely | odd, max_size=4)


@st.composite
def spoilt(draw: st.DrawFn, good: bytes) -> bytes:
    """A file with some bytes changed, cut out or put in."""
    content = bytearray(good)
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.integers(0, len(content)))
        content[place : place + draw(st.integers(0, 8))] = draw(st.binary(max_size=4))
    return bytes(content)


def as_json(value: Any) -> bytes:
    return json.dumps(value).encode()
