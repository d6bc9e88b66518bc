"""A model that summarises posts on all processes of a launch, and how far it is from another one along its summaries.

Rows are numbered sample by sample: of N posts, row r is sample r // N of post r % N.
"""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import GenerationConfig, PreTrainedModel

from summarize_rlhf.handover import check_handover
from summarize_rlhf.lm import generation
from summarize_rlhf.lm.kl import Divergence, divergences
from summarize_rlhf.lm.precision import dtype_for
from summarize_rlhf.lm.summaries import Generated, generate
from summarize_rlhf.lm.weights import check_positions, load_causal_lm
from summarize_rlhf.run.kept_rows import KeptRows, identity
from summarize_rlhf.text import cut_prompts, prompt_text
from summarize_rlhf.tokenizer import load_tokenizer, token_ids, tokenizer_hash


class Summariser:
    """A model by name, read when the first of its summaries is missing.

    `max_length` and `max_new_tokens` count tokens of post and summary together, and of the summary. `temperature` and
    `seed` are of samples; `batch_size` changes memory and speed only. Raises `UserError` for what is no model of a
    stage 1 or 3.
    """

    def __init__(
        self, name: str, path: str, device: torch.device, *, max_length: int, max_new_tokens: int, temperature: float,
        seed: int, batch_size: int, precision: str = "auto",
    ):  # fmt: skip
        self.name, self.path, self.device, self.dtype = name, path, device, dtype_for(device, precision)
        self.max_length, self.max_new_tokens, self.batch_size = max_length, max_new_tokens, batch_size
        self.temperature, self.seed = temperature, seed
        self.tokenizer = load_tokenizer(path)
        if Path(path).is_dir():
            check_handover(path, expects_stage=("sft", "ppo"), tokenizer=self.tokenizer)

    @functools.cached_property
    def model(self) -> PreTrainedModel:
        model = load_causal_lm(self.path, dtype=self.dtype).to(self.device).eval()
        check_positions(model.config, self.max_length, "--max_length")
        return model

    def release(self) -> None:
        """Give the model's memory back; it is read again if it is needed."""
        self.__dict__.pop("model", None)

    def prompts(self, prompts: Sequence[str], places: Sequence[str]) -> list[str]:
        """Return the texts that the model continues: posts cut so that a summary has room."""
        room = self.max_length - self.max_new_tokens
        return [prompt_text(body) for body in cut_prompts(self.tokenizer, prompts, room, places)]

    def write(
        self, prompts: list[str], way: str, samples: int = 1, kept: KeptRows | None = None, stream: int | None = None
    ) -> list[Generated]:
        """Return `samples` summaries of each of `prompts` (N), in rows: "greedy", or by "sample" from the model itself.

        `stream` chooses other samples than those without it. With `kept` on all processes, and resumed.
        """
        total, name = samples * len(prompts), "-".join(map(str, filter(None, (self.name, way, stream))))
        seeds = [self.seed] if stream is None else [self.seed, stream]
        draws = generation.uniforms(total, GenerationConfig(max_new_tokens=self.max_new_tokens), *seeds)

        def work(rows: Sequence[int]) -> list[list[Any]]:
            made = generate(
                self.model,
                self.tokenizer,
                [prompts[row % len(prompts)] for row in rows],
                max_new_tokens=self.max_new_tokens,
                batch_size=self.batch_size,
                do_sample=way == "sample",
                temperature=self.temperature,
                seed=self.seed + rows[0],  # of families that draw no uniforms: each chunk its own
                uniforms=draws[list(rows)],
                progress=f"{self.name} {way}" if kept is None or kept.show else None,
            )
            return [[summary.text, summary.response, summary.ended] for summary in made]

        if kept is None:
            found = work(range(total))
        else:
            drawn = [self.temperature, seeds] if way == "sample" else []
            made_from = [identity(self.path), str(self.dtype), self.max_new_tokens, way, drawn, prompts]
            found = kept.rows(name, total, work, made_from)
        ids = token_ids(self.tokenizer, prompts)
        return [Generated(text, ids[row % len(ids)], *rest) for row, (text, *rest) in enumerate(found)]

    def divergences(
        self, first: "Summariser", summaries: list[Generated], kept: KeptRows, way: str
    ) -> list[Divergence]:
        """Return how far this model is from `first` along each of its own summaries."""

        def work(rows: list[int]) -> list[Divergence]:
            texts = [summaries[row] for row in rows]
            return divergences(
                self.model,
                first.model,
                [text.prompt for text in texts],
                [text.response for text in texts],
                self.batch_size,
                f"KL {self.name} {way}" if kept.show else None,
            )

        responses = [summary.response for summary in summaries]
        made_from = [identity(self.path), identity(first.path), str(self.dtype), responses]
        found = kept.rows(f"{self.name}-{way}-kl", len(summaries), work, made_from)
        return [Divergence(*row) for row in found]

    def same_tokens(self, other: "Summariser") -> bool:
        """Whether both tokenizers give the same ids: without that there is no KL."""
        return tokenizer_hash(self.tokenizer) == tokenizer_hash(other.tokenizer)
