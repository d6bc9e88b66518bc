"""Summaries from a causal LM: one function for SFT's evaluation, PPO's tables and the inference script."""

import torch
from tqdm.auto import tqdm
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase


@torch.no_grad()
def generate_summaries(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: list[str],
    *,
    max_new_tokens: int = 50,
    batch_size: int = 32,
    do_sample: bool = False,
    temperature: float = 1.0,
    seed: int | None = None,
    progress: str | None = "generate",
) -> list[str]:
    """What `model` writes after each of `prompts` (which end with "TL;DR:"), stripped, in the order given.

    Prompts are sorted by length, so that a batch of `batch_size` is padded little, and padded on the left.
    Greedy by default; with `do_sample` from the model's own distribution (no top-k, no top-p), divided by
    `temperature`, reproducible by `seed`. `max_new_tokens` is in tokens, EOS included. `progress` names the
    bar; None shows none.
    """
    config = GenerationConfig(
        max_new_tokens=max_new_tokens,
        do_sample=do_sample,
        use_cache=True,  # whatever the checkpoint says: training switches it off
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        **({"temperature": temperature, "top_k": 0, "top_p": 1.0} if do_sample else {}),
    )
    if seed is not None:
        torch.manual_seed(seed)
    ids = [tokenizer(prompt).input_ids for prompt in prompts]
    order = sorted(range(len(ids)), key=lambda i: len(ids[i]), reverse=True)  # the longest first: memory shows at once
    summaries = [""] * len(ids)
    was_training = model.training
    model.eval()
    with tqdm(total=len(ids), desc=progress, disable=progress is None, unit="summary") as bar:
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            inputs, mask = left_pad([ids[i] for i in rows], tokenizer.pad_token_id, model.device)
            output = model.generate(inputs, attention_mask=mask, generation_config=config)
            texts = tokenizer.batch_decode(output[:, inputs.shape[1] :], skip_special_tokens=True)
            for row, text in zip(rows, texts, strict=True):
                summaries[row] = text.strip()
            bar.update(len(rows))
    model.train(was_training)
    return summaries


def left_pad(rows: list[list[int]], pad_id: int, device) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids (B, Q) padded on the left, and their mask (B, Q), which comes from the lengths: pad may be EOS."""
    width = max(map(len, rows))
    ids = torch.tensor([[pad_id] * (width - len(row)) + row for row in rows], device=device)
    lengths = torch.tensor([len(row) for row in rows], device=device)
    mask = (torch.arange(width, device=device) >= width - lengths[:, None]).long()
    return ids, mask
