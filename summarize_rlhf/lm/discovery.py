"""Find where a family that families.py does not list keeps its parts, and prove that cutting it there changes nothing.

One pass of a few tokens shows in which order a decoder calls its children: those before the first block prepare the
embeddings, those behind the last one belong to the end. What was found is used only if trunk and top together give what
the whole model gives, on random tokens; a family of which that is not so is refused by name.

Shapes: B rows, L tokens, H hidden, V vocabulary.
"""

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from summarize_rlhf import UserError
from summarize_rlhf.lm.families import FAMILIES, Family, NoPositions, blocks_path

ROWS, TOKENS = 2, 12  # of a proof
ROUNDING = 32  # units in the last place, of the largest number


def discover(model: PreTrainedModel) -> Family:
    """Describe a decoder by the order in which it calls its children.

    Raises `UserError` where it has no list of blocks or its forward pass takes more than token ids.
    """
    base = model.base_model
    path = blocks_path(base)
    if path is None:
        raise refusal(model, "it has no list of its blocks")
    decoder_path, _, list_name = path.rpartition(".")
    decoder = base.get_submodule(decoder_path)
    blocks = decoder.get_submodule(list_name)
    calls: list[tuple[str, bool]] = []  # child, and whether it takes and gives hidden states; "" is the first block

    def note(name: str, given: tuple, out: object) -> None:
        calls.append((name, _is_states(out) and _is_states(given[0] if given else None)))

    hooks = [blocks[0].register_forward_pre_hook(lambda *_: calls.append(("", True)))]
    for name, child in decoder.named_children():
        if child is not blocks:
            hooks.append(child.register_forward_hook(lambda _, given, out, name=name: note(name, given, out)))
    try:
        with _as_it_computes(model):
            base(input_ids=random_ids(model), use_cache=False)
    except Exception as error:
        raise refusal(model, f"a forward pass of token ids fails in it ({type(error).__name__})") from error
    finally:
        for hook in hooks:
            hook.remove()
    order = [name for name, _ in calls]
    if "" not in order:
        raise refusal(model, "its blocks do not run")
    first = order.index("")
    embeddings = model.get_input_embeddings()
    entry: dict[str, type[nn.Module]] = {}
    for name, maps in calls[:first]:
        child = decoder.get_submodule(name)
        if maps:
            entry[name] = nn.Identity
        elif isinstance(child, nn.Embedding) and child is not embeddings:
            entry[name] = NoPositions
    last = len(order) - 1 - order[::-1].index("")
    behind = tuple(dict.fromkeys(name for name, maps in calls[last + 1 :] if maps))
    return Family(blocks=list_name, exit=behind, entry=entry, decoder=decoder_path, attention=None, mlp=None)


def _is_states(x: object) -> bool:
    """Whether it has the form of hidden states (B, L, H)."""
    return isinstance(x, Tensor) and x.dim() == 3 and x.is_floating_point()


def random_ids(model: PreTrainedModel) -> Tensor:
    """Draw token ids (B, L) from a random stream of their own: a run's numbers are not touched."""
    stream = torch.Generator().manual_seed(0)
    return torch.randint(model.get_input_embeddings().num_embeddings, (ROWS, TOKENS), generator=stream).to(model.device)


@contextlib.contextmanager
def _as_it_computes(model: PreTrainedModel) -> Iterator[None]:
    """Without gradients and dropout; the model's mode is as before afterwards."""
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(training)


def prove(model: PreTrainedModel, decoder, depth: int | None = None) -> None:
    """Raise `UserError` unless the parts of `decoder` (a `branches.Decoder`) give what the whole model gives.

    The head on the backbone's states, for a causal LM; with a `depth`, the blocks above it on those below it.
    Families of `FAMILIES` are proven by the tests.
    """
    if model.config.model_type in FAMILIES:
        return
    ids = random_ids(model)
    with _as_it_computes(model):
        try:
            states = decoder.run_backbone(input_ids=ids)  # (B, L, H)
            parts, whole = [states], [states]
            if model.get_output_embeddings() is not None:
                parts.append(decoder.run_head(states))
                whole.append(model(input_ids=ids, use_cache=False).logits)  # (B, L, V)
            if depth is not None:
                blocks = list(decoder.blocks)
                parts.append(decoder.run_top(blocks[depth:], decoder.run_trunk(depth, input_ids=ids)))
                whole.append(states)
        except UserError:
            raise
        except Exception as error:
            raise refusal(model, f"its parts do not run by themselves ({type(error).__name__})") from error
    for part, expected in zip(parts, whole, strict=True):
        bound = ROUNDING * torch.finfo(expected.dtype).eps * expected.abs().max()
        if part.shape != expected.shape or not ((part - expected).abs() <= bound).all():
            raise refusal(model, "its parts, run one after the other, do not give what the whole gives")


def refusal(model: PreTrainedModel, why: str) -> UserError:
    return UserError(
        f"a {model.config.model_type!r} model cannot be taken apart into head, frozen trunk and trained blocks: {why}. "
        "If only the blocks are in the way, train all of it (PPO: model.num_layers_unfrozen = -1, reward model: "
        "--trainable_fraction 1), or use LoRA (model.peft_config)"
    )
