"""The value head, and what it may start from. Shapes: H hidden."""

from pathlib import Path

import torch
from torch import Tensor, nn

from summarize_rlhf import UserError
from summarize_rlhf.lm.lora import reward_weights
from summarize_rlhf.lm.precision import Fp32Linear
from summarize_rlhf.lm.weights import check_keys, state_dict_of


def make_head(hidden: int, out: int) -> nn.Sequential:
    """Build trlX's head in fp32: hidden → 2·hidden → ReLU → out."""
    return nn.Sequential(
        Fp32Linear(hidden, 2 * hidden, dtype=torch.float32),
        nn.ReLU(),
        Fp32Linear(2 * hidden, out, dtype=torch.float32),
    )


@torch.no_grad()
def become_linear(head: nn.Sequential, weight: Tensor) -> None:
    """Make `head` compute x · weight exactly; `weight` (1, H). The 2·H hidden units suffice: x = relu(x) − relu(−x)."""
    eye = torch.eye(weight.shape[1])  # (H, H)
    head[0].weight.copy_(torch.cat((eye, -eye)))
    head[2].weight.copy_(torch.cat((weight, -weight), dim=1))
    head[0].bias.zero_()
    head[2].bias.zero_()


def start_from(policy, path: str | Path) -> None:
    """Initialise the value function of `policy` from the checkpoint directory `path`.

    From a PPO checkpoint it takes the value head (`value_head.safetensors`). From a reward model (`transformer.*`,
    `v_head.weight`) it takes the linear head and, where the value function has blocks of its own, the top blocks: the
    value of a text is then its reward, as far as the blocks below are the same (Stiennon et al. 2020, section 3.4). A
    value function with a model of its own takes all of it, and is the reward model. Raises UserError where shapes or
    names do not fit.
    """
    path = Path(path)
    if (path / "value_head.safetensors").is_file():
        _load(policy.v_head, state_dict_of(path / "value_head.safetensors"), "", path)
        return
    state = reward_weights(path)
    weight = state.get("v_head.weight")
    hidden = policy.v_head[0].in_features
    if weight is None or weight.shape != (1, hidden):
        found = "no v_head.weight" if weight is None else f"a v_head.weight of shape {tuple(weight.shape)}"
        raise UserError(f"method.value_model {path} has {found}; a reward model's (1, {hidden}) is needed")
    become_linear(policy.v_head, weight.float())
    if policy.value_model is not None:
        _load(policy.value_model, state, "transformer.", path)
    if policy.value_blocks is not None:
        decoder = policy.decoder
        prefix = ".".join(filter(None, ("transformer", decoder.family.decoder, decoder.family.blocks)))
        lowest = len(decoder.blocks) - len(policy.value_blocks)
        for i, block in enumerate(policy.value_blocks):
            _load(block, state, f"{prefix}.{lowest + i}.", path)


def _load(module: nn.Module, state: dict[str, Tensor], prefix: str, path: Path) -> None:
    own = {name.removeprefix(prefix): x for name, x in state.items() if name.startswith(prefix)}
    missing, unexpected = module.load_state_dict(own, strict=False)
    check_keys(path, missing=[prefix + name for name in missing], unexpected=[prefix + name for name in unexpected])
