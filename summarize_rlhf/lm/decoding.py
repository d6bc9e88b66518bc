"""Generate responses token by token, faster than `generate` and with random numbers that belong to their row.

Prefill: prompts start at position 0 and are padded on the right, so that causal attention needs no mask. They are read
a few at a time, sorted by length. Decode steps: all rows that fit into memory are continued together, each at its own
length (kv_cache.py), and finished rows are dropped (decode_batch.py). With prompts [5, 7, 9] and [8]:

    prefill     input_ids = [[5, 7, 9],     position_ids = [[0, 1, 2],     no mask
                             [8, 0, 0]]                     [0, 1, 2]]
    decode      input_ids = [[a1],          position_ids = [[3],           mask = [[1, 1, 1, 1],
    step                     [b1]]                          [1]]                   [1, 1, 0, 0]]

A token is drawn by inverting the cumulative distribution at a uniform number in [0, 1) given for each row and step
(token_sampler.py): the same numbers give the same tokens, whatever the batch size and the padding.

Shapes: Q tokens of the longest prompt, R of the longest response, H hidden.
"""

import weakref
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from transformers import GenerationConfig, PreTrainedModel

from summarize_rlhf.lm.decode_batch import DecodeBatch, Response
from summarize_rlhf.lm.discovery import random_ids
from summarize_rlhf.lm.families import FAMILIES, attends_to_all
from summarize_rlhf.lm.last_block import ATTENTION

SUPPORTED = {"do_sample", "temperature", "top_k", "top_p", "max_new_tokens", "min_new_tokens"}
NEUTRAL = {"eos_token_id", "pad_token_id", "bos_token_id", "use_cache", "transformers_version"}
CACHE_BYTES_ON_CPU = 2**28
SHARE_OF_GPU_FOR_CACHE = 1 / 8


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
    """Whether prefill and two decode steps of rows of 5 and 3 tokens give the states that the rows have alone.

    The first step sees as many columns as there are tokens, the second all of the room.
    """
    rows = [row.tolist() for row in random_ids(model)[:, :7]]
    prompts, rows = [rows[0][:5], rows[1][:3]], [rows[0], rows[1][:5]]
    try:
        batch = DecodeBatch(
            model, GenerationConfig(max_new_tokens=3, eos_token_id=0), prompts, torch.zeros(2, 3), 2, None
        )
        states = [batch.prefill()]
        for step, width in enumerate((6, batch.positions.room)):
            batch.positions.width = width
            batch.tokens.copy_(torch.tensor([row[len(p) + step] for row, p in zip(rows, prompts, strict=True)]))
            states.append(batch.decode_step())
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
    cuda_graphs: bool = False,
) -> list[Response]:
    """Generate a response to each prompt, in the order given.

    `uniforms` (len(prompts), max_new_tokens), fp64 in [0, 1), decides each token (see `Sampler`). At most `batch_size`
    prompts are read at once. With `trunk_depth` the states that enter that block are kept: for PPO the frozen trunk's
    output. `progress` is called with the number of responses just finished. `cuda_graphs` lets a GPU replay the decode
    steps (replay.py); a CPU makes them in the same shapes, one operation after the other.
    """
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]), reverse=True)  # memory shows at once
    responses: list[Response | None] = [None] * len(prompts)
    while order:
        room = len(prompts[order[0]]) + config.max_new_tokens
        count = max(batch_size, rows_that_fit(model, room))
        rows, order = order[:count], order[count:]
        given = [prompts[i] for i in rows]
        batch = DecodeBatch(model, config, given, uniforms[rows], batch_size, trunk_depth, cuda_graphs)
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
