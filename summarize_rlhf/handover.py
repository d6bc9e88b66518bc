"""The hand-over between stages: a directory with a ``run.json`` that the next stage checks."""

import dataclasses
import hashlib
import json
import re
import warnings
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerFast

from summarize_rlhf import UserError
from summarize_rlhf.reading import reading
from summarize_rlhf.text import END, TEMPLATE
from summarize_rlhf.tokenizer import prefix_ids, tokenizer_hash
from summarize_rlhf.versions import commit, versions

RUN_FILE = "run.json"
CHUNK = 1 << 22  # bytes read at once
OLD_TEMPLATE = TEMPLATE.replace("<eos> | cut", f"{END} | cut")  # the same ids where END is the EOS and nothing is added
NEEDED = ("stage", "template", "tokenizer_sha256", "commit")  # of a record, by those who read it
SECRET_NAME = re.compile(r"(?i)(^|[_.-])(token|secret|password|passwd|api_?key|credential)s?$")
# Tokens of the Hub and of GitHub, keys of AWS, and user:password@ in an address.
SECRET = re.compile(r"\bhf_\w{20,}|\bgh[pousr]_\w{20,}|\bAKIA\w{16}\b|(?<=://)[^/@\s]+:[^/@\s]+(?=@)")


def run_record(
    stage: str,
    arguments: dict[str, Any],
    tokenizer: PreTrainedTokenizerFast,
    seed: int,
    max_length: int,
    data: dict[str, Any],
    **extra: Any,
) -> dict[str, Any]:
    """Record what a stage did and what the next one relies on; see ``check_handover``.

    ``stage`` is "sft", "rm" or "ppo"; ``max_length`` counts tokens of post and summary together; ``data``
    maps the split's role to its ``data.fingerprint``; ``extra`` is kept as it is (results, steps).
    """
    return {
        "stage": stage,
        "arguments": arguments,
        "seed": seed,
        "max_length": max_length,
        "template": TEMPLATE,
        "tokenizer_sha256": tokenizer_hash(tokenizer),
        "prefix_ids": prefix_ids(tokenizer),
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        "data": data,
        "commit": commit(),
        "versions": versions(),
        **extra,
    }


def save_run(directory: Path, record: dict[str, Any]) -> None:
    """Write the record as ``run.json``, with size and hash of every other file; call it last.

    Paths and dataclasses become plain JSON; what JSON cannot hold raises.
    """
    files = [path for path in sorted(directory.rglob("*")) if path.is_file()]
    described = {
        path.relative_to(directory).as_posix(): {"bytes": path.stat().st_size, "sha256": sha256_of(path)}
        for path in files
    }
    text = json.dumps(without_secrets(record) | {"files": described}, indent=2, default=_plain)
    (directory / RUN_FILE).write_text(text + "\n", encoding="utf-8")


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's content in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def check_files(path: str | Path, record: dict[str, Any]) -> None:
    """Raise ``UserError`` naming the first file of a directory that is not what its ``record`` says was written."""
    with reading(Path(path) / RUN_FILE, "list of files in", "the checkpoint is damaged, write it anew"):
        files = {name: (int(x["bytes"]), str(x["sha256"])) for name, x in record.get("files", {}).items()}
        sizes = {name: (Path(path) / name).stat().st_size if (Path(path) / name).is_file() else None for name in files}
    for name, (size, sha256) in files.items():
        file = Path(path) / name
        if sizes[name] is None:
            reason = "is missing"
        elif sizes[name] != size:
            reason = f"has {sizes[name]} bytes instead of {size}"
        elif sha256_of(file) != sha256:
            reason = "is not what was written (its hash differs)"
        else:
            continue
        raise UserError(
            f"{file} {reason}: the checkpoint is damaged, write it anew. If the change is yours, remove "
            f'"files" from {RUN_FILE} there'
        )


def without_secrets(value: Any) -> Any:
    """Replace by stars whatever in ``value`` looks like a credential, by its name or its form."""
    if isinstance(value, dict):
        hide = {name for name, x in value.items() if SECRET_NAME.search(str(name)) and isinstance(x, str)}
        return {name: "***" if name in hide else without_secrets(x) for name, x in value.items()}
    if isinstance(value, list | tuple):
        return [without_secrets(x) for x in value]
    return SECRET.sub("***", value) if isinstance(value, str) else value


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"run.json cannot hold a {type(value).__name__}")


def read_run(path: str | Path) -> dict[str, Any] | None:
    """Read the record of a model's directory. ``None``, after one warning, for a directory that no stage here wrote."""
    file = Path(path) / RUN_FILE
    if not file.is_file():
        warnings.warn(f"{path} has no {RUN_FILE}: its tokenizer and text template are not checked", stacklevel=2)
        return None
    with reading(file, "record", "the checkpoint is damaged, write it anew"):
        record = json.loads(file.read_text(encoding="utf-8"))
    absent = [name for name in NEEDED if not isinstance(record, dict) or name not in record]
    if absent:
        raise UserError(f"{file} does not say {', '.join(absent)}: the checkpoint is damaged, write it anew")
    return record


def check_handover(
    path: str | Path,
    *,
    expects_stage: str | tuple[str, ...],
    tokenizer: PreTrainedTokenizerFast | None = None,
) -> dict[str, Any] | None:
    """Refuse a checkpoint that the next stage cannot rely on: damaged, or of another stage, template or tokenizer.

    Returns its record, or ``None`` for a released checkpoint without one (one warning).
    """
    record = read_run(path)
    if record is None:
        return None
    check_files(path, record)
    stages = (expects_stage,) if isinstance(expects_stage, str) else expects_stage
    if record["stage"] not in stages:
        raise UserError(
            f"{path} holds a checkpoint of stage {record['stage']!r}, but {' or '.join(stages)} is needed here"
        )
    if record["template"] not in templates(tokenizer):
        raise UserError(
            f"{path} was trained on another text template: {record['template']!r}; this version writes {TEMPLATE!r}. "
            f"Train it again, or use the version of commit {record['commit']}"
        )
    if tokenizer is not None and record.get("prefix_ids", prefix_ids(tokenizer)) != prefix_ids(tokenizer):
        raise UserError(
            f"{path} was trained on texts that begin with the ids {record['prefix_ids']}, but the tokenizer given "
            f"({tokenizer.name_or_path}) puts {prefix_ids(tokenizer)} before a text. Use the tokenizer stored in {path}"
        )
    if tokenizer is not None and record["tokenizer_sha256"] != tokenizer_hash(tokenizer):
        raise UserError(
            f"{path} was trained with another tokenizer than the one given ({tokenizer.name_or_path}): their "
            f"ids do not mean the same text. Use the tokenizer stored in {path}"
        )
    return record


def templates(tokenizer: PreTrainedTokenizerFast | None) -> tuple[str, ...]:
    """Return the templates under which this version's ids are those of the record.

    In the old one, END and the tokens that a tokenizer adds behind a text were part of the text: the same for GPT-2 and
    GPT-J.
    """
    unchanged = tokenizer is None or (tokenizer.eos_token == END and not tokenizer.num_special_tokens_to_add())
    return (TEMPLATE, OLD_TEMPLATE) if unchanged else (TEMPLATE,)
