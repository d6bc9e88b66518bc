"""Generate responses token by token, faster than `generate` and with random numbers that belong to their row.

Prefill: prompts start at position 0 and are padded on the right, so that causal attention needs no mask. They are read
a few at a time, sorted by length. Decode steps: all rows that fit into memory are continued together, each at its own
length (kv_cache.py), and finished rows are dropped. With prompts [5, 7, 9] and [8]:

    prefill     input_ids = [[5, 7, 9],     position_ids = [[0, 1, 2],     no mask
                             [8, 0, 0]]                     [0, 1, 2]]
    decode      input_ids = [[a1],          position_ids = [[3],           mask = [[1, 1, 1, 1],
    step                     [b1]]                          [1]]                   [1, 1, 0, 0]]

A token is drawn by inverting the cumulative distribution at a uniform number in [0, 1) given for each row and step:
the same numbers give the same tokens, whatever the batch size and the padding.

Shapes: B rows that are decoded together (b that are prefilled together), Q tokens of the longest prompt, R of the
longest response, H hidden, V vocabulary.
"""

import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from transformers import GenerationConfig, LogitsProcessorList, PreTrainedModel, TopKLogitsWarper, TopPLogitsWarper

from summarize_rlhf.lm.branches import Decoder
from summarize_rlhf.lm.discovery import random_ids
from summarize_rlhf.lm.end_of_response import end_ids
from summarize_rlhf.lm.families import FAMILIES, attends_to_all
from summarize_rlhf.lm.kv_cache import KVCache
from summarize_rlhf.lm.last_block import ATTENTION
from summarize_rlhf.lm.speed import CACHE_TOKENS

SUPPORTED = {"do_sample", "temperature", "top_k", "top_p", "max_new_tokens", "min_new_tokens"}
NEUTRAL = {"eos_token_id", "pad_token_id", "bos_token_id", "use_cache", "transformers_version"}
CACHE_BYTES_ON_CPU = 2**28
SHARE_OF_GPU_FOR_CACHE = 1 / 8


class Response(NamedTuple):
    """A response's ids, which end with EOS or are `max_new_tokens`; and the trunk's output, if it was asked for."""

    ids: list[int]  # (R)
    trunk: Tensor | None  # (Q + R, H), zeros at the last token, which the model has not read


def supports(model: PreTrainedModel, config: GenerationConfig, longest: int) -> bool:
    """Whether `decode` can do what `config` asks for prompts of at most `longest` tokens.

    All layers must attend to all tokens, by an attention that takes a ready mask; a sliding window that is no shorter
    than prompt and response together does not slide. A family that `FAMILIES` does not list is tried once.
    """
    options = {name for name, value in config.to_diff_dict().items() if value is not None}
    masked = model.config._attn_implementation in ("sdpa", "eager", ATTENTION)
    all_seen = attends_to_all(model.config, longest + config.max_new_tokens)
    if not (options <= SUPPORTED | NEUTRAL and masked and all_seen):
        return False
    if model.config.model_type in FAMILIES:
        return True
    if model not in _PROVEN:
        _PROVEN[model] = _proven(model)
    return _PROVEN[model]


_PROVEN: weakref.WeakKeyDictionary[PreTrainedModel, bool] = weakref.WeakKeyDictionary()


@torch.no_grad()
def _proven(model: PreTrainedModel) -> bool:
    """Whether prefill and two decode steps of rows of 5 and 3 tokens give the states that the rows have alone."""
    rows = [row.tolist() for row in random_ids(model)[:, :7]]
    prompts, rows = [rows[0][:5], rows[1][:3]], [rows[0], rows[1][:5]]
    try:
        batch = DecodeBatch(
            model, GenerationConfig(max_new_tokens=3, eos_token_id=0), prompts, torch.zeros(2, 3), 2, None
        )
        states = [batch.prefill()]
        for step in range(2):
            tokens = torch.tensor([row[len(p) + step] for row, p in zip(rows, prompts, strict=True)])
            states.append(batch.decode_step(tokens.to(model.device)))
        for b, (row, prompt) in enumerate(zip(rows, prompts, strict=True)):
            whole = batch.decoder.run_backbone(input_ids=torch.tensor([row], device=model.device))
            expected = whole[0, len(prompt) - 1 :]
            found = torch.stack([state[b] for state in states])  # (3, H)
            if not (found - expected).abs().max() <= torch.finfo(model.dtype).eps ** 0.5 * expected.abs().max():
                return False
    except Exception:  # whatever a family's code does with a cache and a mask that are not its own
        return False
    return True


@torch.no_grad()
def decode(
    model: PreTrainedModel,
    config: GenerationConfig,
    prompts: Sequence[Sequence[int]],
    uniforms: Tensor,
    batch_size: int,
    trunk_depth: int | None = None,
    progress: Callable[[int], object] = lambda rows: None,
) -> list[Response]:
    """Generate a response to each prompt, in the order given.

    `uniforms` (len(prompts), max_new_tokens), fp64 in [0, 1), decides each token (see `Sampler`). At most `batch_size`
    prompts are read at once. With `trunk_depth` the states that enter that block are kept: for PPO the frozen trunk's
    output. `progress` is called with the number of responses just finished.
    """
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]), reverse=True)  # memory shows at once
    responses: list[Response | None] = [None] * len(prompts)
    while order:
        room = len(prompts[order[0]]) + config.max_new_tokens
        count = max(batch_size, rows_that_fit(model, room))
        rows, order = order[:count], order[count:]
        batch = DecodeBatch(model, config, [prompts[i] for i in rows], uniforms[rows], batch_size, trunk_depth)
        for i, response in batch.run(progress):
            responses[rows[i]] = response
    return responses


def rows_that_fit(model: PreTrainedModel, room: int) -> int:
    """Return how many rows of `room` tokens may keep their keys and values at once."""
    on_gpu = model.device.type == "cuda"
    budget = CACHE_BYTES_ON_CPU
    if on_gpu:
        budget = torch.cuda.get_device_properties(model.device).total_memory * SHARE_OF_GPU_FOR_CACHE
    return int(budget // bytes_of_row(model, room))


def bytes_of_row(model: PreTrainedModel, room: int) -> int:
    """Return how many bytes the keys and values of `room` tokens take."""
    config = model.config
    heads = config.to_dict().get("num_key_value_heads") or config.num_attention_heads
    head_size = config.to_dict().get("head_dim") or config.hidden_size // config.num_attention_heads
    return 2 * config.num_hidden_layers * heads * head_size * room * model.dtype.itemsize


class Sampler:
    """Draw tokens from logits with temperature, top-k and top-p; without `do_sample` take the likeliest."""

    def __init__(self, config: GenerationConfig):
        self.temperature = 1.0 if config.temperature is None else config.temperature
        self.sampled = config.do_sample and self.temperature > 0
        self.ends = end_ids(config)
        self.least = config.min_new_tokens or 0
        self.warpers = LogitsProcessorList()
        if self.sampled and config.top_k:
            self.warpers.append(TopKLogitsWarper(config.top_k))
        if self.sampled and config.top_p is not None and config.top_p < 1:
            self.warpers.append(TopPLogitsWarper(config.top_p))

    def __call__(self, logits: Tensor, uniforms: Tensor, step: int) -> Tensor:
        """Return for logits (B, V) and `uniforms` (B) the first token (B) whose cumulative probability exceeds them."""
        logits = logits.float()
        if step < self.least:
            logits[:, self.ends] = -torch.inf
        if not self.sampled:
            return logits.argmax(-1)
        logits = self.warpers(None, logits / self.temperature)
        cumulative = logits.softmax(-1).cumsum(-1, dtype=torch.float64)
        # Below the total by more than its rounding, else a token of probability zero could be found.
        wanted = uniforms[:, None] * cumulative[:, -1:] * (1 - 1e-12)
        return torch.searchsorted(cumulative, wanted, right=True).squeeze(1)


class DecodeBatch:
    """Rows that are decoded together."""

    def __init__(self, model, config, prompts, uniforms, batch_size, trunk_depth):
        self.model, self.config, self.prompts = model, config, prompts
        self.decoder = Decoder(model)
        self.batch_size, self.trunk_depth = batch_size, trunk_depth
        self.sample = Sampler(config)
        device = model.device
        self.uniforms = uniforms.to(device)
        lengths = torch.tensor([len(p) for p in prompts], device=device)
        self.cache = KVCache(model.config.num_hidden_layers, lengths, max(map(len, prompts)) + config.max_new_tokens)
        self.rows = list(range(len(prompts)))  # which prompt each row belongs to
        self.steps = 0  # decode steps so far
        self.tokens_at_once = CACHE_TOKENS if device.type == "cpu" else None  # of prompts that are read together
        self.responses = torch.empty(len(prompts), config.max_new_tokens, dtype=torch.long, device=device)  # (B, R)
        self.trunk: Tensor | None = None  # (B, room, H)
        self.ends = torch.tensor(self.sample.ends, device=device)

    def run(self, progress) -> list[tuple[int, Response]]:
        """Return the number of each prompt and its response, in the order in which they were finished."""
        finished: list[tuple[int, Response]] = []
        states = self.prefill()
        for step in range(self.config.max_new_tokens):
            tokens = self.sample(self.decoder.run_head(states[:, None])[:, 0], self.uniforms[:, step], step)  # (B)
            self.responses[:, step] = tokens
            done = torch.isin(tokens, self.ends)
            if step + 1 == self.config.max_new_tokens:
                done[:] = True
            over = done.nonzero().flatten().tolist()
            if over:
                finished += [(self.rows[b], self.response(b, step + 1)) for b in over]
                progress(len(over))
                going_on = (~done).nonzero().flatten()
                if len(going_on) == 0:
                    return finished
                tokens = tokens[going_on]
                self.keep(going_on)
            states = self.decode_step(tokens)
        return finished

    def response(self, b: int, length: int) -> Response:
        ids = self.responses[b, :length].tolist()
        if self.trunk is None:
            return Response(ids, None)
        trunk = self.trunk[b, : len(self.prompts[self.rows[b]]) + length].clone()
        trunk[-1] = 0
        return Response(ids, trunk)

    def keep(self, rows: Tensor) -> None:
        """Drop all other rows."""
        self.rows = [self.rows[b] for b in rows.tolist()]
        self.uniforms, self.responses = (x[rows] for x in (self.uniforms, self.responses))
        if self.trunk is not None:
            self.trunk = self.trunk[rows]
        self.cache.keep(rows)

    def prefill(self) -> Tensor:
        """Read the prompts; return the last hidden state of each (B, H). The last block computes little more."""
        states = []
        for rows in self.prefill_batches():
            self.cache.prefilling, prompts = rows, self.prompts[rows]
            ids = nn.utils.rnn.pad_sequence([torch.tensor(p) for p in prompts], batch_first=True).to(self.model.device)
            out = self.run_and_keep_trunk(keep_from=min(map(len, prompts)) - 1, input_ids=ids)  # (b, Q, H)
            states.append(out[torch.arange(len(prompts)), self.cache.lengths[rows] - 1])
        self.cache.prefilling = None
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

    def decode_step(self, tokens: Tensor) -> Tensor:
        """Read `tokens` (B); return the next hidden state of each row (B, H). The CPU waits for nothing here."""
        lengths = self.cache.lengths
        self.cache.width = max(len(self.prompts[row]) for row in self.rows) + self.steps + 1  # known without the GPU
        seen = torch.arange(self.cache.width, device=tokens.device) <= lengths[:, None]
        states = self.run_and_keep_trunk(
            input_ids=tokens[:, None],
            position_ids=lengths[:, None],
            attention_mask=self.mask(seen[:, None, None]),  # (B, 1, 1, width)
        )
        self.cache.lengths = lengths + 1
        self.steps += 1
        return states[:, 0]

    def mask(self, seen: Tensor) -> Tensor:
        """Return the mask as the model's attention takes it: what is seen, or numbers that are added to the scores."""
        if self.model.config._attn_implementation != "eager":
            return seen
        least = torch.finfo(self.model.dtype).min
        return torch.zeros(seen.shape, dtype=self.model.dtype, device=seen.device).masked_fill(~seen, least)

    def run_and_keep_trunk(self, keep_from: int = 0, **inputs: Tensor) -> Tensor:
        """Return the backbone's output (b, T, H); the input of block `trunk_depth` goes to its place in `trunk`."""
        inputs |= {"cache": self.cache, "use_cache": True}
        if self.trunk_depth is None:
            return self.decoder.run_backbone(keep_from, **inputs)
        entering: list[Tensor] = []
        block = self.decoder.blocks[self.trunk_depth]
        hook = block.register_forward_pre_hook(lambda _, args: entering.append(args[0]))
        try:
            states = self.decoder.run_backbone(keep_from, **inputs)
        finally:
            hook.remove()
        (hidden,) = entering  # (b, T, H)
        if self.trunk is None:
            self.trunk = hidden.new_zeros(len(self.rows), self.cache.room, hidden.shape[2])
        if self.cache.prefilling is not None:
            self.trunk[self.cache.prefilling, : hidden.shape[1]] = hidden
        else:
            self.trunk[torch.arange(len(hidden), device=hidden.device), self.cache.lengths] = hidden[:, 0]
        return states
