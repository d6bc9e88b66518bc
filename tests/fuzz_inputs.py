"""What comes in: values, texts and rows that are odd, files with bytes changed, JSON with any value at any key.

Changed bytes alone reach the parser and little behind it: nearly all that they make is no JSON. What lies behind it (a
config of 0 heads, a list where an object belongs, a number of 5,000 digits) takes a file that parses.
"""

import copy
import json
from collections.abc import Iterator
from pathlib import Path
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


RAW = ["9" * 5000, "1e999", "NaN", "[" * 100_000 + "]" * 100_000, ('{"a":' * 5000) + "1" + "}" * 5000]
small = st.integers(-3, 40) | st.sampled_from(
    [0, -1, 0.5, "0", "relu7", [], {}, [1], {"a": 1}, None, True, "", "x" * 400]
)


def places_in(value: Any, path: tuple = ()) -> Iterator[tuple]:
    """Yield the path of every value in a JSON document."""
    yield path
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from places_in(inner, (*path, key))


@st.composite
def edited(draw: st.DrawFn, good: bytes, values: st.SearchStrategy = small) -> bytes:
    """A JSON file that parses, with another value, or none, at one or two places; or with a number or depth too far."""
    document = json.loads(good)
    for _ in range(draw(st.integers(1, 2))):
        top = sorted({path[:1] for path in places_in(document)})
        first = draw(st.sampled_from(top))  # so that a list of a thousand entries counts as one
        path = draw(st.sampled_from([path for path in places_in(document) if path[:1] == first][:200]))
        if not path:
            document = draw(values)
            continue
        document = copy.deepcopy(document)
        holder = document
        for key in path[:-1]:
            holder = holder[key]
        if draw(st.integers(0, 3)) == 0:
            del holder[path[-1]]
        else:
            holder[path[-1]] = draw(values | st.just("@@raw@@"))
        if not isinstance(document, dict):
            break
    return json.dumps(document).replace('"@@raw@@"', draw(st.sampled_from(RAW))).encode()


# What may lie where a file should be: made by `place`.
SPECIAL = ("/dev/null", "/proc/self/mem", "a directory", "a loop", "nowhere", "empty", "BOM", "NUL")


def place(kind: str, path: Path) -> None:
    """Put something at `path` that is no usual file."""
    path.unlink(missing_ok=True)
    if kind == "a directory":
        path.mkdir()
    elif kind in ("a loop", "nowhere"):
        path.symlink_to(path if kind == "a loop" else path.with_name("none"))
    elif kind in ("empty", "BOM", "NUL"):
        path.write_bytes({"empty": b"", "BOM": b"\xef\xbb\xbf[]", "NUL": b"\0" * 4096}[kind])
    else:
        path.symlink_to(kind)


def as_json(value: Any) -> bytes:
    return json.dumps(value).encode()
