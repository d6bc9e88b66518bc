"""Score any file of summaries with a reward model.

    python -m reward_model.score --reward_model DIR --input FILE.jsonl --output FILE.jsonl

reads rows with the columns `prompt` and `summary`, or `prompt`, `chosen` and `rejected` (JSON Lines, JSON, CSV, all
also packed as .gz, or Parquet), and writes them as JSON Lines, in the same order and with all their columns, plus
`score`, or `chosen_score` and `rejected_score`. A prompt may end with "TL;DR:" or not.

A score depends on the text and the model alone: in fp32, what it is batched with, and the order of the rows, change it
by rounding (1e-5 of its size) and no more. Both summaries of a pair are scored under the same post, which loses its end
where they do not fit; a summary alone has the post cut for itself.

The same command goes on after an interruption, and ends with the same file, byte for byte. An output, finished or
begun, that was made from another input or by another model is refused; --fresh starts over.
"""

import hashlib
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from tqdm.auto import tqdm

# Before this folder, in which `reward_model` would be the file of that name.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from reward_model.encoding import encode
from reward_model.score_file import ScoreFile
from reward_model.scoring import Scorer, check_finite
from summarize_rlhf import UserError, versions
from summarize_rlhf.data import cell
from summarize_rlhf.lm.precision import PRECISIONS, dtype_for
from summarize_rlhf.lm.speed import tune_process
from summarize_rlhf.locations import REWARD_MODEL_DIR
from summarize_rlhf.row_files import read_files
from summarize_rlhf.run.arguments import MISSING, knob, parse_arguments
from summarize_rlhf.run.errors import main_guard
from summarize_rlhf.run.files import check_results_dir
from summarize_rlhf.tokenizer import tokenizer_hash

ROWS_AT_ONCE = 1000  # tokenized together


@dataclass
class ScoreArguments:
    input: str = knob(MISSING, "file of rows: .jsonl, .json, .csv (or these and .gz), .parquet")
    output: str = knob(MISSING, "file of the scored rows, JSON Lines")
    reward_model: str = knob(str(REWARD_MODEL_DIR), "stage 2's directory, or the published file")
    model: str | None = knob(None, "for a published file only: the SFT model with its config and tokenizer")
    score_column: str = knob("score", "name of the new column; of pairs, the end of both names")
    max_length: int | None = knob(None, "tokens per text; None: as in training", least=1)
    batch_tokens: int = knob(16384, "tokens per forward pass, padding included; changes a score by rounding", least=1)
    precision: str = knob(
        "auto", "run in bf16, fp16 or fp32; auto: bf16 on a GPU that has it, fp16 on others, fp32 on a CPU",
        choices=PRECISIONS,
    )  # fmt: skip
    fresh: bool = knob(False, "start over, whatever is there")


def columns_of(row: dict, place: str) -> tuple[str, ...]:
    """Return the columns to score. Raises `UserError` for rows that have neither a summary nor a pair of them."""
    kinds = [names for names in (("summary",), ("chosen", "rejected")) if all(name in row for name in names)]
    if len(kinds) != 1:
        raise UserError(
            f"{place}: expected a column 'summary', or 'chosen' and 'rejected'{', but not all' if kinds else ''}; it "
            f"has {', '.join(map(repr, row)) or 'none'}"
        )
    return kinds[0]


def read_rows(file: Path, score_column: str) -> tuple[list[dict], list[str], dict[str, str]]:
    """Read rows and their places, and name the score's column of each column to score. Raises `UserError` by row."""
    if not file.is_file():
        raise UserError(f"{file} is no file: name one that ends in .jsonl, .json, .csv or .parquet")
    rows, places, names = [], [], {}
    for place, row in read_files(file, ()):
        if not isinstance(row, dict):
            raise UserError(f"{place}: expected an object with columns, found {type(row).__name__}")
        if not names:
            columns = columns_of(row, place)
            names = {c: score_column if len(columns) == 1 else f"{c}_{score_column}" for c in columns}
        cell(row, "prompt", place)
        for column, name in names.items():
            cell(row, column, place, may_be_blank=column == "summary")
            if name in row:
                raise UserError(f"{place}: there is a column {name!r} already; choose another --score_column")
        rows.append(row)
        places.append(place)
    return rows, places, names


def encode_rows(scorer: Scorer, rows: Sequence[dict], places: Sequence[str], columns: Sequence[str]) -> list[list[int]]:
    """Return the token ids of each row's texts, column after column within the row."""
    texts: list[list[int]] = []
    for start in range(0, len(rows), ROWS_AT_ONCE):
        some, where = rows[start : start + ROWS_AT_ONCE], places[start : start + ROWS_AT_ONCE]
        summaries = [[row[column] for column in columns] for row in some]
        bodies = [row["prompt"] for row in some]
        one = len(columns) == 1  # a pair is a data set's; who wrote a summary alone is not known
        encoded = encode(scorer.tokenizer, bodies, summaries, scorer.max_length, where, written_by_model=one)
        texts += [ids for row in encoded for ids in row]
    return texts


@main_guard
def main() -> None:
    tune_process()
    args = parse_arguments(ScoreArguments, about=__doc__)
    versions.check_versions()
    source, output = Path(args.input).expanduser(), Path(args.output).expanduser()
    if output.is_dir() or (source.exists() and output.exists() and output.samefile(source)):
        raise UserError(f"cannot write {output}: it is {'a directory' if output.is_dir() else 'the input'}")
    check_results_dir(output.parent, "--output")

    # 1. The rows, as token ids; a text that is there twice is computed once
    rows, places, names = read_rows(source, args.score_column)
    scorer = Scorer.from_pretrained(
        args.reward_model,
        model=args.model,
        device="cuda" if torch.cuda.is_available() else "cpu",
        dtype=dtype_for(precision=args.precision),
        max_length=args.max_length,
        batch_tokens=args.batch_tokens,
    )
    texts = encode_rows(scorer, rows, places, list(names))
    numbers: dict[tuple[int, ...], int] = {}
    text_of = [numbers.setdefault(tuple(ids), len(numbers)) for ids in texts]
    unique = list(numbers)

    # 2. Their scores, batch by batch; what an earlier start left is not computed again
    content = json.dumps([rows, list(names.values())], default=str)
    made_from = {
        "input": hashlib.sha256(content.encode()).hexdigest(),
        "reward model": scorer.digest(),
        "tokenizer": tokenizer_hash(scorer.tokenizer),
        "max_length": scorer.max_length,
        "dtype": str(dtype_for(precision=args.precision)),
    }
    file = ScoreFile(output, made_from, args.fresh)
    if file.finished:
        print(f"{output} is there already, made from the same")
        return
    first = {number: i for i, number in reversed([*enumerate(text_of)])}  # where a text stands first
    with tqdm(total=len(unique), initial=len(file.known), desc="score", unit="text") as bar:
        for batch in scorer.batches([len(ids) for ids in unique]):
            if all(number in file.known for number in batch):
                continue
            scores = scorer.score_batch([unique[number] for number in batch])
            check_finite(scores, lambda i, batch=batch: places[first[batch[i]] // len(names)])
            bar.update(sum(number not in file.known for number in batch))
            file.add(batch, scores.tolist())

    # 3. The rows in their order, with their scores
    scores = [file.known[number] for number in text_of]
    lines = []
    for i, row in enumerate(rows):
        mine = scores[i * len(names) : (i + 1) * len(names)]
        lines.append(json.dumps({**row, **dict(zip(names.values(), mine, strict=True))}, default=str) + "\n")
    file.finish("".join(lines))
    print(f"wrote {output}: {len(rows)} rows, mean score {sum(scores) / len(scores):.3f}")


if __name__ == "__main__":
    main()
