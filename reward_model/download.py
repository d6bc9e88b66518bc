"""Fetch the published reward model (GPT-J 6B) instead of training one; nothing else here ever downloads it.

    python -m reward_model.download

writes `reward_model/rm_checkpoint/pytorch_model.bin`, where stage 3 and the reward test look. Until it is
complete, the file is called `pytorch_model.bin.part`; after an interruption the same command resumes it.

huggingface_hub would be shorter, but it starts a file again from its first byte in each new process (here that costs
up to 24 GB), and does not compare a file with its hash.
"""

import http.client
import os
import re
import shutil
import sys
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from tqdm.auto import tqdm

# Before this folder, in which `reward_model` would be the file of that name.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from summarize_rlhf import UserError
from summarize_rlhf.handover import RUN_FILE
from summarize_rlhf.locations import REWARD_MODEL_DIR
from summarize_rlhf.run.arguments import knob, parse_arguments
from summarize_rlhf.run.errors import main_guard
from summarize_rlhf.run.files import sha256_of

FILE = "pytorch_model.bin"
LOOPBACK = ("127.0.0.1", "localhost", "::1")
CHUNK = 1 << 20  # bytes


@dataclass
class DownloadArguments:
    repo: str = knob("CarperAI/openai_summarize_tldr_rm_checkpoint", "repository on the Hub")
    revision: str = knob("main", "branch, tag or commit of the repository")
    base_url: str = knob("https://huggingface.co", "address of the Hub or of a mirror; https, except on this machine")
    sha256: str | None = knob(None, "hash that the file must have; None: the one that the Hub announces")
    output_dir: str = knob(str(REWARD_MODEL_DIR), f"where {FILE} goes")
    timeout: float = knob(60.0, "give up after this many seconds without an answer", above=0)


class SecureRedirects(urllib.request.HTTPRedirectHandler):
    """Follow the Hub to its file servers, but never from https to something else. `sha256`: what the Hub announces."""

    sha256: str | None = None

    def redirect_request(self, req, fp, code, msg, headers, newurl):
        require_https(newurl)
        self.sha256 = hash_in(headers["X-Linked-Etag"]) or self.sha256
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def require_https(url: str) -> None:
    parts = urllib.parse.urlsplit(url)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in LOOPBACK):
        raise UserError(f"refusing to download from {url}: only https is safe on the way")


def hash_in(etag: str | None) -> str | None:
    """Return the SHA-256 in an ETag: the Hub names large files by it."""
    found = (etag or "").strip('"')
    return found if re.fullmatch(r"[0-9a-f]{64}", found) else None


def download(url: str, target: Path, timeout: float = 60.0, sha256: str | None = None) -> None:
    """Fetch `url` to `target`, which appears only when it is complete.

    It must have as many bytes as the server announced, and the hash that is given or announced. Resumes `<target>.part`
    if the server still has the file that was begun (its ETag, kept in `<target>.part.etag`). Raises `UserError` for
    every failure; the bytes received stay in the `.part` file.
    """
    require_https(url)
    target.parent.mkdir(parents=True, exist_ok=True)
    part, tag = target.with_name(target.name + ".part"), target.with_name(target.name + ".part.etag")
    done = part.stat().st_size if part.is_file() and tag.is_file() else 0
    request = urllib.request.Request(url, headers={"Accept-Encoding": "identity"})
    if done:
        request.add_header("Range", f"bytes={done}-")
        request.add_header("If-Range", tag.read_text(encoding="utf-8"))
    handlers = [urllib.request.ProxyHandler({})] if urllib.parse.urlsplit(url).hostname in LOOPBACK else []
    try:
        redirects = SecureRedirects()
        with urllib.request.build_opener(redirects, *handlers).open(request, timeout=timeout) as answer:
            sha256 = sha256 or redirects.sha256 or hash_in(answer.headers["X-Linked-Etag"])
            done = done if answer.status == http.HTTPStatus.PARTIAL_CONTENT else 0
            if answer.headers["Content-Length"] is None:
                raise UserError(f"{url} does not say how long the file is, so that nobody could tell if it is whole")
            total = done + int(answer.headers["Content-Length"])
            free = shutil.disk_usage(target.parent).free
            if total - done > free:
                raise UserError(f"{target.parent} has {free / 1e9:.1f} GB free; {(total - done) / 1e9:.1f} are needed")
            with (
                part.open("ab" if done else "wb") as file,
                tqdm(total=total, initial=done, desc=target.name, unit="B", unit_scale=True) as bar,
            ):
                write_etag(tag, answer.headers["ETag"])  # only now: an earlier version's bytes are gone
                while chunk := answer.read(CHUNK):
                    file.write(chunk)
                    bar.update(len(chunk))
                file.flush()
                os.fsync(file.fileno())
    except urllib.error.HTTPError as error:
        if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            part.unlink()
            raise UserError(f"{part} was longer than the file at {url} and was removed; run again") from error
        raise UserError(f"{url}: the server answered {error.code} {error.reason}") from error
    except (OSError, http.client.HTTPException) as error:
        raise UserError(f"downloading {url} failed ({error}); run the command again to go on") from error
    if part.stat().st_size != total:
        raise UserError(
            f"the download ended after {part.stat().st_size} of {total} bytes; run the command again to go on"
        )
    if sha256 is not None:
        found = sha256_of(part)
        if found != sha256:
            part.unlink()
            tag.unlink(missing_ok=True)
            raise UserError(f"{url} is not the file it should be: SHA-256 {found} instead of {sha256}; it was removed")
    part.replace(target)
    tag.unlink(missing_ok=True)


def write_etag(file: Path, etag: str | None) -> None:
    """Keep the ETag of the server's version; without a strong one the download cannot be resumed later."""
    if etag and not etag.startswith("W/"):
        file.write_text(etag, encoding="utf-8")
    else:
        file.unlink(missing_ok=True)


@main_guard
def main() -> None:
    args = parse_arguments(DownloadArguments)
    folder = Path(args.output_dir)
    if (folder / RUN_FILE).is_file():
        raise UserError(f"{folder} holds a reward model that was trained here; choose another --output_dir")
    if (folder / FILE).is_file():
        print(f"{folder / FILE} is already there")
        return
    url = f"{args.base_url.rstrip('/')}/{args.repo}/resolve/{args.revision}/{FILE}"
    download(url, folder / FILE, args.timeout, args.sha256)
    print(f"wrote {folder / FILE}")


if __name__ == "__main__":
    main()
