"""From text to score, for PPO, the tables and the reward test."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor
from tqdm.auto import tqdm
from transformers import PreTrainedTokenizerFast

from reward_model.encoding import encode, pad_right
from reward_model.loss import end_scores
from reward_model.reward_model import RewardModel, require
from summarize_rlhf import UserError
from summarize_rlhf.handover import check_handover
from summarize_rlhf.tokenizer import load_tokenizer

MAX_LENGTH = 550  # tokens per text, as the published reward model was trained


def next_batch(lengths: Sequence[int], most: int) -> int:
    """Return how many of the texts, longest first, make the next batch: `most` tokens with padding, or one text.

    Once half of these tokens are reached, no text is taken of which a tenth would be padding.
    """
    longest = lengths[0]
    fit = max(1, most // longest)
    count = 0
    while count < min(fit, len(lengths)) and (lengths[count] >= 0.9 * longest or count * longest <= most // 2):
        count += 1
    return count


class Scorer:
    """A reward model and its tokenizer. A text's score depends on the text alone.

    `max_length` is in tokens: longer texts lose the end of their post. `batch_tokens` bounds a forward pass,
    in tokens with padding.
    """

    def __init__(
        self,
        model: RewardModel,
        tokenizer: PreTrainedTokenizerFast,
        max_length: int = MAX_LENGTH,
        batch_tokens: int = 16384,
    ):
        positions = getattr(model.config, "max_position_embeddings", None)  # not every family has a limit
        if positions is not None and max_length > positions:
            raise UserError(f"max_length is {max_length} tokens, but the reward model reads {positions} at most")
        if len(tokenizer) > model.config.vocab_size:
            raise UserError(
                f"the tokenizer {tokenizer.name_or_path} has {len(tokenizer)} tokens, but the reward model "
                f"embeds {model.config.vocab_size}: they do not belong together"
            )
        self.model = self.forward = model
        self.tokenizer = tokenizer
        self.max_length = max_length
        self.batch_tokens = batch_tokens

    @classmethod
    def from_pretrained(
        cls,
        path: str | Path,
        *,
        model: str | Path | None = None,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        max_length: int | None = None,
        batch_tokens: int = 16384,
    ) -> "Scorer":
        """Load the scorer of stage 2's directory, or of a published `pytorch_model.bin` (file or directory).

        The published file comes without config and tokenizer: both are taken from `model`, the SFT directory.
        `max_length` is by default that of its training (published: 550). Raises `UserError` for what is no
        reward model.
        """
        require(path)
        has_tokenizer = (Path(path) / "tokenizer.json").is_file()
        if not has_tokenizer and model is None:
            raise UserError(f"{path} has no tokenizer; name the model it was trained from (the SFT directory)")
        tokenizer = load_tokenizer(path if has_tokenizer else model)
        record = check_handover(path, expects_stage="rm", tokenizer=tokenizer)
        reward_model = RewardModel.from_pretrained(path, config_from=model, dtype=dtype)
        max_length = max_length or (record["max_length"] if record else MAX_LENGTH)
        return cls(reward_model.to(device), tokenizer, max_length, batch_tokens)

    def digest(self) -> str:
        """Return the SHA-256 of the reward model's config and weights."""
        return self.model.digest()

    def score(
        self,
        bodies: Sequence[str],
        summaries: Sequence[str],
        progress: str | None = None,
        places: Sequence[str] | None = None,
    ) -> Tensor:
        """Score each summary under its post: (N,), fp32 on the CPU, in the order given.

        A body is a prompt without its final "TL;DR:"; an empty summary is scored as such. The same text twice
        is computed once. `progress` names a bar; None shows none. `places` name rows of a data set in errors; they
        are given for no summary that a model wrote.
        """
        pairs = list(zip(bodies, summaries, strict=True))
        first: dict[tuple[str, str], int] = {}  # the row where each text stands first
        for i, pair in enumerate(pairs):
            first.setdefault(pair, i)
        where = None if places is None else [places[i] for i in first.values()]
        ids = encode(self.tokenizer, [body for body, _ in first], [(s,) for _, s in first], self.max_length, where)
        scores = dict(zip(first, self.score_ids([row[0] for row in ids], progress).tolist(), strict=True))
        return torch.tensor([scores[pair] for pair in pairs])

    def score_ids(self, texts: Sequence[Sequence[int]], progress: str | None = None) -> Tensor:
        """Score each text (N,), fp32 on the CPU, from token ids as `encoding.encode` makes them.

        Raises `UserError` where a score is no finite number.
        """
        scores = torch.empty(len(texts))
        with tqdm(total=len(texts), desc=progress, unit="text", disable=progress is None) as bar:
            for rows in self.batches([len(text) for text in texts]):
                scores[rows] = self.score_batch([texts[i] for i in rows])
                bar.update(len(rows))
        check_finite(scores)
        return scores

    def batches(self, lengths: Sequence[int]) -> Iterator[list[int]]:
        """Yield the numbers of the texts that are computed together: by length, longest first, batched by tokens.

        The same for the same lengths.
        """
        order = sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True)  # memory shows at once
        start = 0
        while start < len(order):
            most = max(1, self.batch_tokens)  # texts, of one token each
            count = next_batch([lengths[i] for i in order[start : start + most]], self.batch_tokens)
            yield order[start : start + count]
            start += count

    @torch.no_grad()
    def score_batch(self, texts: Sequence[Sequence[int]]) -> Tensor:
        """Score texts (B,) in one forward pass; the first must be the longest, the last the shortest."""
        was_training = self.model.training
        self.model.eval()
        device = self.model.v_head.weight.device
        ids, lengths = pad_right(texts, self.tokenizer.pad_token_id)
        ids, lengths = ids.to(device), lengths.to(device)
        values = self.forward(ids, keep_from=len(texts[-1]) - 1)
        self.model.train(was_training)
        return end_scores(values, lengths).cpu()


def check_finite(scores: Tensor, name: Callable[[int], str] = "text {}".format) -> None:
    """Raise `UserError` naming the first of the scores (N,) that is no finite number."""
    if not scores.isfinite().all():
        bad = (~scores.isfinite()).nonzero().flatten().tolist()
        raise UserError(
            f"the reward model gave {scores[bad[0]]} for {name(bad[0])} and {len(bad) - 1} more of "
            f"{len(scores)}: its weights are damaged, or its precision is too low (fp16 overflows: try "
            "bf16 or fp32)"
        )
