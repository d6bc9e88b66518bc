"""Generating responses token by token, faster than `generate` and with random numbers that belong to their row.

Prompts stand at the left, from position 0, and their padding at the right: so the pass over the prompts needs no mask.
Keys and values go to memory that is laid out once, each row's at its own length. Prompts are read a few at a time,
sorted by length; then all of them that fit are continued together, and finished rows are dropped.

A token is drawn by inverting the cumulative distribution at a number in [0, 1) that is given for each row and step:
the same numbers give the same tokens, whatever the batch, the padding or the company.

Shapes: B rows that are decoded together (b that are read together), Q tokens of the longest prompt, R of the longest
response, N heads, D head size, H hidden, V vocabulary.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from transformers import GenerationConfig, LogitsProcessorList, PreTrainedModel, TopKLogitsWarper, TopPLogitsWarper
from transformers.cache_utils import Cache, CacheLayerMixin

from summarize_rlhf.lm.branches import FAMILIES, Decoder, backbone, run_head
from summarize_rlhf.lm.end_of_response import end_ids
from summarize_rlhf.lm.speed import CACHE_TOKENS

SUPPORTED = {"do_sample", "temperature", "top_k", "top_p", "max_new_tokens", "min_new_tokens"}
NEUTRAL = {"eos_token_id", "pad_token_id", "bos_token_id", "use_cache", "transformers_version"}
CACHE_BYTES_ON_CPU = 2**28
SHARE_OF_GPU_FOR_CACHE = 1 / 8


class Response(NamedTuple):
    """A response's ids, which end with EOS or are `max_new_tokens`; and the trunk's output, if it was asked for."""

    ids: list[int]  # (R)
    trunk: Tensor | None  # (Q + R, H), zeros at the last token, which the model has not read


def supports(model: PreTrainedModel, config: GenerationConfig) -> bool:
    """Whether `decode` can do what `config` asks; all layers must attend to all tokens, by torch's fused attention."""
    options = {name for name, value in config.to_diff_dict().items() if value is not None}
    own = model.config.to_dict()
    kinds = own.get("layer_types") or (["sliding"] if own.get("sliding_window") else [])
    whole_context = not any("sliding" in kind for kind in kinds)
    fused = model.config._attn_implementation == "sdpa"
    return options <= SUPPORTED | NEUTRAL and model.config.model_type in FAMILIES and whole_context and fused


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
    """A response to each prompt, in the order given.

    `uniforms` (len(prompts), max_new_tokens), fp64 in [0, 1), decides each token (see `Sampler`). At most `batch_size`
    prompts are read at once. With `trunk_depth` the states that enter that block are kept: for PPO the frozen trunk's
    output. `progress` hears how many responses have just been finished.
    """
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]), reverse=True)  # memory shows at once
    responses: list[Response | None] = [None] * len(prompts)
    while order:
        room = len(prompts[order[0]]) + config.max_new_tokens
        count = max(batch_size, rows_that_fit(model, room))
        rows, order = order[:count], order[count:]
        group = DecodeBatch(model, config, [prompts[i] for i in rows], uniforms[rows], batch_size, trunk_depth)
        for i, response in group.run(progress):
            responses[rows[i]] = response
    return responses


def rows_that_fit(model: PreTrainedModel, room: int) -> int:
    """How many rows of `room` tokens may keep their keys and values at once."""
    config = model.config
    heads = config.to_dict().get("num_key_value_heads") or config.num_attention_heads
    head_size = config.to_dict().get("head_dim") or config.hidden_size // config.num_attention_heads
    bytes_per_row = 2 * config.num_hidden_layers * heads * head_size * room * model.dtype.itemsize
    on_gpu = model.device.type == "cuda"
    budget = CACHE_BYTES_ON_CPU
    if on_gpu:
        budget = torch.cuda.get_device_properties(model.device).total_memory * SHARE_OF_GPU_FOR_CACHE
    return int(budget // bytes_per_row)


class Sampler:
    """From logits to tokens. With temperature, top-k and top-p; without `do_sample` the likeliest."""

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
        """Tokens (B) from logits (B, V) and `uniforms` (B): the first whose cumulative probability exceeds it."""
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


class KVCacheLayer(CacheLayerMixin):
    """One layer's keys and values (B, N, room, D), each row's written at its own length; `group` knows the lengths."""

    def __init__(self, group: "DecodeBatch"):
        super().__init__()
        self.group = group

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        self.keys, self.values = (
            x.new_zeros(len(self.group.lengths), x.shape[1], self.group.room, x.shape[3])
            for x in (key_states, value_states)
        )
        self.is_initialized = True

    def update(self, key_states: Tensor, value_states: Tensor, *args, **kwargs) -> tuple[Tensor, Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        group = self.group
        if group.reading is not None:  # prompts: they need to see no row's keys but their own, which are all here
            self.keys[group.reading, :, : key_states.shape[2]] = key_states
            self.values[group.reading, :, : value_states.shape[2]] = value_states
            return key_states, value_states
        rows = torch.arange(len(group.lengths), device=key_states.device)
        self.keys[rows, :, group.lengths] = key_states[:, :, 0]
        self.values[rows, :, group.lengths] = value_states[:, :, 0]
        return self.keys[:, :, : group.width], self.values[:, :, : group.width]

    def keep(self, rows: Tensor) -> None:
        self.keys, self.values = self.keys[rows], self.values[rows]

    def get_seq_length(self) -> int:
        return 0 if self.group.reading is not None else self.group.width - 1

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.get_seq_length() + query_length, 0

    def get_max_length(self) -> int:
        return -1


class DecodeBatch:
    """Rows that are decoded together."""

    def __init__(self, model, config, prompts, uniforms, batch_size, trunk_depth):
        self.model, self.config, self.prompts = model, config, prompts
        self.batch_size, self.trunk_depth = batch_size, trunk_depth
        self.choose = Sampler(config)
        device = model.device
        self.uniforms = uniforms.to(device)
        self.lengths = torch.tensor([len(p) for p in prompts], device=device)  # (B) tokens that the model has read
        self.room = max(map(len, prompts)) + config.max_new_tokens
        self.width = 0  # columns of keys that a step sees
        self.reading: slice | None = None  # rows whose prompts are being read
        self.rows = list(range(len(prompts)))  # which prompt each row belongs to
        self.responses = torch.empty(len(prompts), config.max_new_tokens, dtype=torch.long, device=device)  # (B, R)
        self.trunk: Tensor | None = None  # (B, room, H)
        self.cache = Cache(layers=[KVCacheLayer(self) for _ in range(model.config.num_hidden_layers)])
        self.ends = torch.tensor(self.choose.ends, device=device)

    def run(self, progress) -> list[tuple[int, Response]]:
        """The number of each prompt and its response, in the order in which they were finished."""
        finished: list[tuple[int, Response]] = []
        states = self.prefill()
        for step in range(self.config.max_new_tokens):
            tokens = self.choose(run_head(self.model, states[:, None])[:, 0], self.uniforms[:, step], step)  # (B)
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
        """Goes on with these rows alone."""
        self.rows = [self.rows[b] for b in rows.tolist()]
        self.lengths, self.uniforms, self.responses = (x[rows] for x in (self.lengths, self.uniforms, self.responses))
        if self.trunk is not None:
            self.trunk = self.trunk[rows]
        for layer in self.cache.layers:
            layer.keep(rows)

    def prefill(self) -> Tensor:
        """The last hidden state of each prompt (B, H); the last block computes little more (last_block.py)."""
        states = []
        for rows in self.prefill_batches():
            self.reading, prompts = rows, self.prompts[rows]
            ids = nn.utils.rnn.pad_sequence([torch.tensor(p) for p in prompts], batch_first=True).to(self.model.device)
            branch = backbone(self.model, keep_from=min(map(len, prompts)) - 1)
            out = self.run_and_keep_trunk(branch, input_ids=ids)  # (b, Q, H)
            states.append(out[torch.arange(len(prompts)), self.lengths[rows] - 1])
        self.reading = None
        return torch.cat(states)

    def prefill_batches(self) -> Iterator[slice]:
        """Prompts that are read together: `batch_size`, on a CPU fewer if they are long."""
        start = 0
        while start < len(self.prompts):
            most = self.batch_size
            if self.model.device.type == "cpu":
                most = min(most, max(1, CACHE_TOKENS // len(self.prompts[start])))
            yield slice(start, min(start + most, len(self.prompts)))
            start += most

    def decode_step(self, tokens: Tensor) -> Tensor:
        """The next hidden state of each row (B, H), once the model has read `tokens` (B)."""
        self.width = int(self.lengths.max()) + 1
        seen = torch.arange(self.width, device=tokens.device) <= self.lengths[:, None]
        states = self.run_and_keep_trunk(
            backbone(self.model, 0),
            input_ids=tokens[:, None],
            position_ids=self.lengths[:, None],
            attention_mask=seen[:, None, None],  # (B, 1, 1, width)
        )
        self.lengths = self.lengths + 1
        return states[:, 0]

    def run_and_keep_trunk(self, branch: nn.Module, **inputs: Tensor) -> Tensor:
        """The branch's output (b, T, H); what enters block `trunk_depth` goes to its place in `trunk`."""
        if self.trunk_depth is None:
            return branch(**inputs, cache=self.cache, use_cache=True).last_hidden_state
        entering: list[Tensor] = []
        block = Decoder(self.model.base_model).blocks[self.trunk_depth]
        hook = block.register_forward_pre_hook(lambda _, args: entering.append(args[0]))
        try:
            states = branch(**inputs, cache=self.cache, use_cache=True).last_hidden_state
        finally:
            hook.remove()
        (hidden,) = entering  # (b, T, H)
        if self.trunk is None:
            self.trunk = hidden.new_zeros(len(self.lengths), self.room, hidden.shape[2])
        if self.reading is not None:
            self.trunk[self.reading, : hidden.shape[1]] = hidden
        else:
            self.trunk[torch.arange(len(hidden), device=hidden.device), self.lengths] = hidden[:, 0]
        return states
