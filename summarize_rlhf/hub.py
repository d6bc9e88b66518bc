"""Names of models and data: a local directory, or an id on the Hugging Face Hub that may be out of reach."""

import contextlib
import functools
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub.constants

from summarize_rlhf import UserError

FILES = (".json", ".jsonl", ".parquet", ".csv", ".gz")
PROBE_SECONDS = 5  # patience with the one request that decides whether there is a network


def is_local(name: str | Path) -> bool:
    """Return whether ``name`` is a file or directory here. Raises ``UserError`` for a path that is missing.

    A Hub id is ``owner/name`` or ``name``; whatever looks like a path (leading ``.``, ``/`` or ``~``, more
    than one slash, a file ending) is none.
    """
    path = Path(name).expanduser()
    if path.exists():
        return True
    text = str(name)
    if (
        text.startswith((".", "/", "~"))
        or text.count("/") > 1
        or path.suffix in {".json", ".jsonl", ".parquet", ".csv", ".gz"}
    ):
        raise UserError(f"{text!r} does not exist (looked for {path.absolute()})")
    return False


@functools.cache
def use_hub() -> bool:
    """Return whether the Hub answers. If it does not, tell the libraries at once, so that none of them retries.

    Offline, what an earlier run downloaded is still found in the libraries' caches.
    """
    if not huggingface_hub.constants.HF_HUB_OFFLINE:
        try:
            request = urllib.request.Request(huggingface_hub.constants.ENDPOINT, method="HEAD")
            urllib.request.urlopen(request, timeout=PROBE_SECONDS).close()
            return True
        except urllib.error.HTTPError:
            return True  # it answered
        except (urllib.error.URLError, TimeoutError, OSError):
            pass
    import datasets.config

    huggingface_hub.constants.HF_HUB_OFFLINE = True
    datasets.config.HF_HUB_OFFLINE = True
    return False


@contextlib.contextmanager
def from_hub(what: str, name: str | Path) -> Iterator[None]:
    """Turn what loading a Hub id raises into `unreachable`."""
    try:
        yield
    except UserError:
        raise
    except (OSError, ValueError, KeyError) as error:
        raise unreachable(what, name, error) from error


def unreachable(what: str, name: str | Path, error: BaseException) -> UserError:
    """Make the one-line error for a Hub id that did not load."""
    reason = str(error).strip().splitlines()
    if use_hub():
        return UserError(
            f"cannot load the {what} {str(name)!r} from the Hugging Face Hub: {reason[0] if reason else error!r}"
        )
    return UserError(
        f"cannot load the {what} {str(name)!r}: it is no local path, and the Hugging Face Hub cannot be reached. "
        f"Name a local directory, or run ./quickstart.sh, which needs no network"
    )
