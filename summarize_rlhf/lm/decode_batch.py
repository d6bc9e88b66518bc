"""Rows that are decoded together: their prompts read at once (prefill), then one token of each at every step.

`advance` is what a GPU can replay without the CPU (replay.py): all of its state lies in tensors that stay where they
are, among them the lengths, from which positions and mask are made, and nothing waits for a result. Its shapes are

    eager       keys as far as the longest row has come: they grow by a column a step
    replayed    all of the room, and prompts padded to multiples of `COLUMNS`: the same at each step

Rows are dropped between steps, once they have been found to be finished, which takes a wait for the GPU. So there
that is asked once in `STEPS_AT_ONCE` steps: a finished row runs on until then, and what it draws is cut off. Replayed,
their number falls by halves, for each number has to be captured anew.

Shapes: B rows, b that are prefilled together, Q tokens of the longest prompt, R of the longest response, H hidden.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from transformers import GenerationConfig, PreTrainedModel

from summarize_rlhf.lm.branches import Decoder
from summarize_rlhf.lm.kv_cache import KVCache, Positions
from summarize_rlhf.lm.replay import ReplayedStep
from summarize_rlhf.lm.speed import CACHE_TOKENS
from summarize_rlhf.lm.token_sampler import Sampler

STEPS_AT_ONCE = 8  # on a GPU, between two looks at which rows are finished
COLUMNS = 64  # prompts that are read for replayed steps have a multiple of this many columns


class Response(NamedTuple):
    """A response's ids, which end with EOS or are `max_new_tokens`; and the trunk's output, if it was asked for."""

    ids: list[int]  # (R)
    trunk: Tensor | None  # (Q + R, H), zeros at the last token, which the model has not read


class DecodeBatch:
    """Rows that are decoded together. `cuda_graphs` as in `decoding.decode`."""

    def __init__(
        self,
        model: PreTrainedModel,
        config: GenerationConfig,
        prompts: Sequence[Sequence[int]],
        uniforms: Tensor,
        batch_size: int,
        trunk_depth: int | None,
        cuda_graphs: bool = False,
    ):
        device, self.most = model.device, config.max_new_tokens
        self.model, self.prompts, self.batch_size, self.trunk_depth = model, prompts, batch_size, trunk_depth
        self.decoder, self.sample = Decoder(model), Sampler(config, device)
        self.head = self.decoder.head()
        self.cuda_graphs = cuda_graphs
        self.steps_at_once = 1 if device.type == "cpu" and not cuda_graphs else STEPS_AT_ONCE
        self.tokens_at_once = CACHE_TOKENS if device.type == "cpu" else None  # of prompts that are read together
        self.rows: list[int | None] = list(range(len(prompts)))  # whose response each row is; None: handed over
        self.longest = max(map(len, prompts))  # prompt among the rows that are left
        self.drawn = 0  # tokens of each row; known without the GPU
        # What a step reads and writes.
        self.positions = Positions(torch.tensor([len(p) for p in prompts], device=device), self.longest + self.most)
        self.cache = KVCache(model.config.num_hidden_layers, self.positions)
        self.uniforms = uniforms.to(device)  # (B, R)
        self.column = torch.zeros(1, dtype=torch.long, device=device)  # `drawn`, where the GPU can read it
        self.tokens = torch.zeros(len(prompts), dtype=torch.long, device=device)  # (B) drawn last
        self.responses = torch.zeros(len(prompts), self.most, dtype=torch.long, device=device)  # (B, R)
        self.trunk: Tensor | None = None  # (B, room, H)
        self.replay = ReplayedStep() if cuda_graphs and device.type == "cuda" else None

    def run(self, progress: Callable[[int], object]) -> list[tuple[int, Response]]:
        """Return the number of each prompt and its response, in the order in which they were finished."""
        finished: list[tuple[int, Response]] = []
        with self.keeping_trunk():
            self.draw(self.prefill())
            while True:
                if self.drawn % self.steps_at_once == 0 or self.drawn == self.most:
                    over = self.hand_over()
                    finished += over
                    if over:
                        progress(len(over))
                    if not any(row is not None for row in self.rows):
                        return finished
                    self.drop_finished()
                self.step()

    def step(self) -> None:
        """Read the last token of each row and draw its next. The CPU waits for nothing here."""
        self.positions.width = self.positions.room if self.cuda_graphs else self.longest + self.drawn
        if self.replay is not None:
            self.replay(self.advance)
        else:
            self.advance()
        self.drawn += 1

    def advance(self) -> None:
        """Do what a step does on the GPU, all of it in place."""
        self.pick(self.decode_step())

    def draw(self, states: Tensor) -> None:
        """Draw the token behind each row's last state (B, H)."""
        self.pick(states)
        self.drawn += 1

    def pick(self, states: Tensor) -> None:
        logits = self.head(inputs_embeds=states[:, None]).logits[:, 0]  # (B, V)
        uniforms = self.uniforms.index_select(1, self.column)[:, 0]
        self.tokens.copy_(self.sample(logits, uniforms, self.column))
        self.responses.index_copy_(1, self.column, self.tokens[:, None])
        self.column.add_(1)

    def decode_step(self) -> Tensor:
        """Read the last token of each row; return the state that its next one follows from (B, H)."""
        lengths = self.positions.lengths
        seen = torch.arange(self.positions.width, device=lengths.device) <= lengths[:, None]
        states = self.decoder.run_backbone(
            input_ids=self.tokens[:, None],
            position_ids=lengths[:, None],
            attention_mask=self.mask(seen[:, None, None]),  # (B, 1, 1, width)
            cache=self.cache,
            use_cache=True,
        )
        lengths.add_(1)
        return states[:, 0]

    def mask(self, seen: Tensor) -> Tensor:
        """Return the mask as the model's attention takes it: what is seen, or numbers that are added to the scores."""
        if self.model.config._attn_implementation != "eager":
            return seen
        least = torch.finfo(self.model.dtype).min
        return torch.zeros(seen.shape, dtype=self.model.dtype, device=seen.device).masked_fill(~seen, least)

    def prefill(self) -> Tensor:
        """Read the prompts; return the last hidden state of each (B, H). The last block computes little more."""
        states = []
        for rows in self.prefill_batches():
            self.positions.prefilling, prompts = rows, self.prompts[rows]
            ids = nn.utils.rnn.pad_sequence([torch.tensor(p) for p in prompts], batch_first=True)
            keep_from = min(map(len, prompts)) - 1
            if self.cuda_graphs:
                columns = min(-(-ids.shape[1] // COLUMNS) * COLUMNS, self.positions.room)
                ids, keep_from = nn.functional.pad(ids, (0, columns - ids.shape[1])), keep_from // COLUMNS * COLUMNS
            ids = ids.to(self.model.device)  # (b, Q)
            out = self.decoder.run_backbone(keep_from, input_ids=ids, cache=self.cache, use_cache=True)  # (b, Q, H)
            last = self.positions.lengths[rows] - 1
            states.append(out[torch.arange(len(prompts), device=out.device), last])
        self.positions.prefilling = None
        return torch.cat(states)

    def prefill_batches(self) -> Iterator[slice]:
        """Yield the rows whose prompts are read together: `batch_size`, on a CPU fewer if they are long."""
        start = 0
        while start < len(self.prompts):
            most = self.batch_size
            if self.tokens_at_once is not None:
                most = min(most, max(1, self.tokens_at_once // len(self.prompts[start])))
            yield slice(start, min(start + most, len(self.prompts)))
            start += most

    def hand_over(self) -> list[tuple[int, Response]]:
        """Return the responses that are finished by now, each once. Waits for the GPU."""
        drawn = self.responses[:, : self.drawn]
        ended = torch.isin(drawn, self.sample.ends)
        lengths = torch.where(ended.any(1), ended.int().argmax(1) + 1, self.drawn if self.drawn == self.most else 0)
        over = [(b, n) for b, n in enumerate(lengths.tolist()) if n > 0 and self.rows[b] is not None]
        ids = drawn.tolist() if over else []
        responses = [(self.rows[b], Response(ids[b][:n], self.trunk_of(b, n))) for b, n in over]
        for b, _ in over:
            self.rows[b] = None
        return responses

    def trunk_of(self, b: int, length: int) -> Tensor | None:
        """Return a copy of a finished row's trunk (Q + R, H)."""
        if self.trunk is None:
            return None
        trunk = self.trunk[b, : len(self.prompts[self.rows[b]]) + length].clone()
        trunk[-1] = 0
        return trunk

    def drop_finished(self) -> None:
        """Drop the rows that are handed over: all, or for CUDA graphs as many as leave half, a quarter … of them."""
        left = [b for b, row in enumerate(self.rows) if row is not None]
        count = len(left)
        if self.cuda_graphs:
            count = len(self.rows)
            while -(-count // 2) >= len(left) and count > 1:
                count = -(-count // 2)
            over = [b for b, row in enumerate(self.rows) if row is None]
            left += over[: count - len(left)]
        if count < len(self.rows):
            self.keep(left)

    def keep(self, rows: list[int]) -> None:
        """Drop all other rows."""
        self.rows = [self.rows[b] for b in rows]
        if not self.cuda_graphs:
            self.longest = max(len(self.prompts[row]) for row in self.rows)
        kept = torch.tensor(rows, device=self.tokens.device)
        self.tokens, self.uniforms, self.responses = (x[kept] for x in (self.tokens, self.uniforms, self.responses))
        if self.trunk is not None:
            self.trunk = self.trunk[kept]
        self.cache.keep(kept)
        self.replay = self.replay and ReplayedStep()  # the old one's addresses are those of the old tensors

    @contextlib.contextmanager
    def keeping_trunk(self) -> Iterator[None]:
        """Within it, what enters block `trunk_depth` goes to its place in `trunk`; nothing without a `trunk_depth`."""
        if self.trunk_depth is None:
            yield
            return
        block = self.decoder.blocks[self.trunk_depth]
        hook = block.register_forward_pre_hook(lambda _, args: self.keep_trunk(args[0]))
        try:
            yield
        finally:
            hook.remove()

    def keep_trunk(self, hidden: Tensor) -> None:  # (b or B, T, H)
        at = self.positions
        if self.trunk is None:
            self.trunk = hidden.new_zeros(len(self.rows), at.room, hidden.shape[2])
        if at.prefilling is not None:
            self.trunk[at.prefilling, : hidden.shape[1]] = hidden
        else:
            self.trunk[torch.arange(len(hidden), device=hidden.device), at.lengths] = hidden[:, 0]
