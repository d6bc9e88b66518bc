"""Sampling responses, token in, token out: by `decoding.decode` where it can, else by transformers' `generate`."""

import torch
from torch import Tensor
from tqdm.auto import tqdm
from transformers import GenerationConfig, PreTrainedModel

from trlx.models import decoding
from trlx.models.decoding import Response, end_ids
from trlx.utils.modeling import random_stream


def noise(total: int, config: GenerationConfig, *seed: int) -> Tensor:
    """What decides the tokens of `total` responses (total, max_new_tokens), whichever process samples them."""
    generator = random_stream(*seed)
    return torch.rand(total, config.max_new_tokens, dtype=torch.float64, generator=generator)


def sample(
    model: PreTrainedModel,
    config: GenerationConfig,
    prompts: list[list[int]],
    noise: Tensor,
    batch_size: int,
    progress: str | None = None,
    trunk_depth: int | None = None,
) -> list[Response]:
    """A response to each prompt, in order; its ids end with its EOS or are `max_new_tokens`.

    `noise` and `trunk_depth` as in `decoding.decode`, which does the work where it can. Options and families that it
    does not know take transformers' `generate`: then torch's own random numbers decide, and no trunk is kept.
    `progress` names the bar; None shows none.
    """
    bar = tqdm(total=len(prompts), desc=progress, disable=progress is None, unit="sample", leave=False)
    with bar:
        if decoding.supports(model, config):
            return decoding.decode(model, config, prompts, noise, batch_size, trunk_depth, bar.update)
        return sample_by_generate(model, config, prompts, batch_size, bar.update)


@torch.no_grad()
def sample_by_generate(
    model: PreTrainedModel, config: GenerationConfig, prompts: list[list[int]], batch_size: int, progress=lambda _: None
) -> list[Response]:
    """The same by `generate`: prompts are batched by length and padded on the left."""
    ends = end_ids(config)
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]), reverse=True)
    responses: list[Response | None] = [None] * len(prompts)
    for start in range(0, len(order), batch_size):
        rows = order[start : start + batch_size]
        ids, mask = left_pad([prompts[i] for i in rows], config.pad_token_id, model.device)
        output = generate(model, ids, mask, config)
        for row, response in zip(rows, output[:, ids.shape[1] :].tolist(), strict=True):
            responses[row] = Response(up_to_end(response, ends), None)
        progress(len(rows))
    return responses


def generate(model: PreTrainedModel, ids: Tensor, mask: Tensor | None, config: GenerationConfig) -> Tensor:
    """Ids (B, Q + R) after left-padded `ids` (B, Q), by `config` alone.

    A checkpoint's own generation_config (a repetition penalty, a top-p …) would fill what `config` leaves open,
    and leak into the samples: it is set aside.
    """
    own = model.generation_config
    model.generation_config = GenerationConfig()
    try:
        return model.generate(
            ids, attention_mask=mask, generation_config=config, synced_gpus=False
        )  # weights are whole
    finally:
        model.generation_config = own


def left_pad(rows: list[list[int]], pad_id: int, device) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids (B, Q) padded on the left, and their mask (B, Q), which comes from the lengths: pad may be EOS."""
    width = max(map(len, rows))
    ids = torch.tensor([[pad_id] * (width - len(row)) + row for row in rows], device=device)
    lengths = torch.tensor([len(row) for row in rows], device=device)
    mask = (torch.arange(width, device=device) >= width - lengths[:, None]).long()
    return ids, mask


def up_to_end(response: list[int], ends: list[int]) -> list[int]:
    """The ids up to the first EOS and with it: `generate` pads behind it, maybe with the same id."""
    stop = next((i for i, token in enumerate(response) if token in ends), len(response) - 1)
    return response[: stop + 1]
