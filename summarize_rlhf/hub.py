"""Names of models and data: a local directory, or an id on the Hugging Face Hub that may be out of reach."""

import contextlib
import functools
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub.constants
from huggingface_hub.errors import HfHubHTTPError, HFValidationError
from huggingface_hub.utils import validate_repo_id

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


def repo_to_push(asked: bool, name: str | None, directory: str | Path) -> str | None:
    """Return the id of the repository that a finished `directory` will be pushed to, None where that is not `asked`.

    Without a `name` it is the directory's, under the owner of the token. Raises `UserError` for what can be known to
    fail before there is anything to push: no login, no network, a name that the Hub does not take.
    """
    if not asked:
        return None
    repo = name or Path(directory).resolve().name
    try:
        validate_repo_id(repo)
    except HFValidationError as error:
        raise UserError(f"hub_model_id {repo!r} is no name on the Hugging Face Hub: write OWNER/NAME") from error
    if huggingface_hub.get_token() is None:
        raise UserError(
            f"push_to_hub: there is no login to push {repo} with. Run: hf auth login, or set HF_TOKEN to a token that "
            "may write, or leave push_to_hub out"
        )
    if not use_hub():
        raise UserError(
            f"push_to_hub: the Hugging Face Hub cannot be reached to push {repo}. Leave it out, and push the finished "
            f"directory later: hf upload {repo} {directory}"
        )
    return repo


def push(directory: str | Path, repo: str | None) -> None:
    """Upload a finished directory, as it is, to `repo`; nothing where that is None. One process calls this.

    Trainer's own `push_to_hub` uploads the folder of its checkpoints instead. Raises `UserError` where the Hub refuses:
    the directory stays.
    """
    if repo is None:
        return
    try:
        api = huggingface_hub.HfApi()
        full = api.create_repo(repo, exist_ok=True).repo_id
        api.upload_folder(repo_id=full, folder_path=directory, commit_message=f"Upload {Path(directory).name}")
    except (HfHubHTTPError, OSError, ValueError) as error:
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise UserError(
            f"{directory} is complete, but was not pushed to {repo}: {reason}. Try again: hf upload {repo} {directory}"
        ) from error
    print(f"pushed {directory} to {huggingface_hub.constants.ENDPOINT}/{full}")
