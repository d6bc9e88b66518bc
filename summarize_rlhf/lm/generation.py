"""Sample responses, ids in and ids out: by `decoding.decode` where it can, else by transformers' `generate`."""

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm
from transformers import GenerationConfig, PreTrainedModel

from summarize_rlhf.lm import decoding
from summarize_rlhf.lm.decode_batch import Response
from summarize_rlhf.lm.end_of_response import up_to_end


def random_stream(*seed: int) -> torch.Generator:
    """Return an independent random stream for each tuple of seeds, however alike these are."""
    return torch.Generator().manual_seed(int(np.random.SeedSequence(seed).generate_state(1, np.uint64)[0] >> 1))


def uniforms(total: int, config: GenerationConfig, *seed: int) -> Tensor:
    """Draw the uniforms (total, max_new_tokens) that decide the tokens of `total` responses, on whichever process."""
    generator = random_stream(*seed)
    return torch.rand(total, config.max_new_tokens, dtype=torch.float64, generator=generator)


def sample(
    model: PreTrainedModel,
    config: GenerationConfig,
    prompts: list[list[int]],
    uniforms: Tensor,
    batch_size: int,
    progress: str | None = None,
    trunk_depth: int | None = None,
    cuda_graphs: bool = False,
) -> list[Response]:
    """Sample a response to each prompt, in order; its ids end with its EOS or are `max_new_tokens`.

    `uniforms`, `trunk_depth` and `cuda_graphs` as in `decoding.decode`, which does the work where it can. Options and
    families that it does not know take transformers' `generate`: then torch's own random numbers decide, no trunk is
    kept, and no step is replayed.
    `progress` names the bar; None shows none.
    """
    bar = tqdm(total=len(prompts), desc=progress, disable=progress is None, unit="sample", leave=False)
    with bar:
        if prompts and decoding.supports(model, config, max(map(len, prompts))):
            return decoding.decode(model, config, prompts, uniforms, batch_size, trunk_depth, bar.update, cuda_graphs)
        return sample_by_generate(model, config, prompts, batch_size, bar.update)


@torch.no_grad()
def sample_by_generate(
    model: PreTrainedModel, config: GenerationConfig, prompts: list[list[int]], batch_size: int, progress=lambda _: None
) -> list[Response]:
    """Sample by `generate`. Prompts are batched by length and padded on the left, as far as the model is known to give
    each row what it gives it alone."""
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]), reverse=True)
    together, padded = safe_batches(model, config.pad_token_id) if len(prompts) > 1 else (True, True)
    responses: list[Response | None] = [None] * len(prompts)
    while order:
        rows = order[: batch_size if together else 1]
        rows = [i for i in rows if padded or len(prompts[i]) == len(prompts[rows[0]])]
        order = order[len(rows) :]
        ids, mask = left_pad([prompts[i] for i in rows], config.pad_token_id, model.device)
        output = _generate(model, ids, mask, config)
        for row, response in zip(rows, output[:, ids.shape[1] :].tolist(), strict=True):
            responses[row] = Response(up_to_end(response, config), None)
        progress(len(rows))
    return responses


def generate(model: PreTrainedModel, ids: Tensor, mask: Tensor | None, config: GenerationConfig) -> Tensor:
    """Continue left-padded `ids` (B, Q) to (B, Q + R), by `config` alone; each row as if it were alone."""
    if len(ids) > 1 or (mask is not None and not mask.all()):
        together, padded = safe_batches(model, config.pad_token_id)
    else:
        together = padded = True
    unpadded = mask is None or bool(mask.all())
    if not (together and (padded or unpadded)):
        mask = torch.ones_like(ids) if mask is None else mask
        prompts = [row[keep.bool()].tolist() for row, keep in zip(ids, mask, strict=True)]
        responses = [torch.tensor(r.ids) for r in sample_by_generate(model, config, prompts, len(prompts))]
        padding = config.pad_token_id
        made = torch.nn.utils.rnn.pad_sequence(responses, batch_first=True, padding_value=padding)
        return torch.cat((ids, made.to(ids)), 1)
    return _generate(model, ids, mask, config)


@torch.no_grad()
def _generate(model: PreTrainedModel, ids: Tensor, mask: Tensor | None, config: GenerationConfig) -> Tensor:
    """Call transformers' `generate` with `config` alone.

    A checkpoint's own generation_config (a repetition penalty, a top-p …) would fill in the options that `config`
    leaves open, and leak into the samples: it is set aside.
    """
    if ids.shape[1] == 1:  # which recurrent_gemma takes for one more step of the last generation: this ends that
        model(ids, use_cache=False)
    own = model.generation_config
    model.generation_config = GenerationConfig()
    try:
        # synced_gpus: no process waits for another, for each holds all weights
        return model.generate(ids, attention_mask=mask, generation_config=config, synced_gpus=False)
    finally:
        model.generation_config = own


@torch.no_grad()
def safe_batches(model: PreTrainedModel, pad_id: int) -> tuple[bool, bool]:
    """Find out, on a few tokens, whether rows of one length may be generated together, and whether padded rows may.

    Attention does as the mask says. A recurrence may not: rwkv reads padding like text (and in transformers its cached
    step mixes the rows of a batch), recurrent_gemma reads it but for the token whose embedding is held at zero. So what
    lies under the mask here are other tokens as well. A wrong no costs time alone.
    """
    limit = model.get_input_embeddings().num_embeddings
    prompt, others = [(pad_id + i) % limit for i in (5, 7, 11)], [(pad_id + i) % limit for i in range(1, 9)]
    config = GenerationConfig(
        max_new_tokens=3, do_sample=False, use_cache=True, pad_token_id=pad_id, output_logits=True,
        return_dict_in_generate=True,
    )  # fmt: skip
    kind = model.device.type
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else model.dtype

    def logits(rows: list[list[int]], padding: int = 0) -> Tensor:  # (3, b, V)
        ids = torch.tensor(rows, device=model.device)
        mask = (torch.arange(ids.shape[1], device=model.device) >= padding).long().expand_as(ids)
        return torch.stack(_generate(model, ids, mask, config).logits).float()

    alone = logits([prompt])
    most = max(1e-4, 8 * torch.finfo(dtype).eps) * alone.abs().max()
    together = bool((logits([others[:3], prompt])[:, 1:] - alone).abs().max() <= most)
    padded = together and bool((logits([others + prompt, [pad_id] * 8 + prompt], 8) - alone).abs().max() <= most)
    return together, padded


def left_pad(rows: list[list[int]], pad_id: int, device) -> tuple[torch.Tensor, torch.Tensor]:
    """Pad ids on the left: (B, Q), and their mask (B, Q), which comes from the lengths, for pad may be EOS."""
    width = max(map(len, rows))
    ids = torch.tensor([[pad_id] * (width - len(row)) + row for row in rows], device=device)
    lengths = torch.tensor([len(row) for row in rows], device=device)
    mask = (torch.arange(width, device=device) >= width - lengths[:, None]).long()
    return ids, mask
