"""Compare our loss over the vocabulary with torch's `linear_cross_entropy`: forward and backward pass of the head.

    python benchmarks/bench_head.py [--quick] [--threads 1 2]

The head is GPT-J's (a product with a bias, 50,400 tokens), the states are random. All sides give the same loss and the
same gradients of states and weights (sft/test_linear_cross_entropy.py). They are

    ours                 sft/loss.py: a loss per token; logits of 2^26 numbers at once, recomputed in the backward pass
    torch, a token       `reduction="none"`, in chunks that torch chooses, recomputed as well: what SFT needs
    torch, the sum       `reduction="sum"`, in chunks: the gradients are made in the forward pass, nothing is recomputed
    torch, all at once   without options: all logits are kept

SFT reports each row's loss, so that of torch's only the first could take the place of ours. Seconds are those of the
CPU, so that others on the machine count little; the loss of the last pass is reported, too. Needs torch 2.13.
"""

import time
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AutoModelForCausalLM, GPTJConfig

from benchmarks import measure
from benchmarks.raw import OURS
from sft.loss import SupervisedLM
from summarize_rlhf.lm.speed import tune_process

A_TOKEN, THE_SUM, AT_ONCE = "torch, a token", "torch, the sum", "torch, all at once"
SIDES = (OURS, A_TOKEN, THE_SUM, AT_ONCE)


def torchs(side: str, states: Tensor, head: nn.Linear, targets: Tensor) -> Tensor:
    """Return the sum of the token losses by one of torch's ways."""
    options = None if side == AT_ONCE else nn.LinearCrossEntropyOptions()
    reduction = "none" if side == A_TOKEN else "sum"
    found = functional.linear_cross_entropy(
        states, head.weight, targets, linear_bias=head.bias, reduction=reduction, options=options
    )
    return found.sum()


def pass_over_head(side: str, tokens: int, hidden: int, vocabulary: int, times: int) -> dict[str, float]:
    """Return tokens per second of CPU time (of all threads), in the faster of `times` passes behind a warm-up."""
    tune_process()
    config = GPTJConfig(n_embd=hidden, n_layer=1, n_head=4, rotary_dim=8, vocab_size=vocabulary, n_positions=64)
    model = SupervisedLM(AutoModelForCausalLM.from_config(config))
    head = model.model.get_output_embeddings()
    states = torch.randn(tokens, hidden, requires_grad=True)
    targets = torch.randint(vocabulary, (tokens,))
    seconds = []
    for _ in range(times + 1):
        start = time.process_time()
        loss = model.token_losses(states, targets).sum() if side == OURS else torchs(side, states, head, targets)
        loss.backward()
        seconds.append(time.process_time() - start)
        states.grad = head.weight.grad = head.bias.grad = None
    return {"tokens_per_s": tokens / min(seconds[1:]), "loss": loss.item() / tokens}


def main() -> None:
    args = measure.parser(__doc__).parse_args()
    sizes = (256, 64, 5000, 1) if args.quick else (1536, 256, 50400, 1)

    def work(_: Path, side: str) -> dict[str, float]:
        return pass_over_head(side, *sizes)

    def prepare(_: Path) -> dict[str, int]:
        return dict(zip(("tokens", "hidden", "vocabulary"), sizes, strict=False))

    measure.compare("head", args, prepare, work, "tokens_per_s", SIDES)


if __name__ == "__main__":
    main()
