"""One step of each stage at full size on fake CUDA tensors: every operation runs, on shapes, dtypes and devices alone.

    python tests/scale_steps.py FAKE_CUDA.so        what each step found, as a line of JSON

A tensor on another device than its partner, or of a dtype that does not fit, ends a step with its error; so does
anything that makes the CPU wait for the GPU: `.item()`, `.tolist()`, `nonzero`, and but for SFT a mask as an index.
A process of its own, because the library must be loaded before torch.
"""

import contextlib
import ctypes
import json
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

if __name__ == "__main__":
    ctypes.CDLL(sys.argv[1])
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode, unset_fake_temporarily
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import AutoModelForCausalLM, GenerationConfig, GPTJConfig, GPTNeoXConfig, LlamaConfig
from transformers.initialization import no_init_weights

from reward_model.loss import LOSSES
from reward_model.pairs import PackedPairs
from reward_model.reward_model import RewardModel
from sft.loss import SupervisedLM
from summarize_rlhf.lm.decoding import DecodeBatch
from summarize_rlhf.lm.speed import tune_model
from trlx.data.default_configs import default_ppo_config
from trlx.models.policy import PolicyWithValueHead
from trlx.pipeline.rollouts import collate_tokens
from trlx.trainer.ppo import loss_of

SHAPES = {
    "GPT-J 6B": GPTJConfig(),
    "Llama-3 8B": LlamaConfig(
        hidden_size=4096, intermediate_size=14336, num_hidden_layers=32, num_attention_heads=32, num_key_value_heads=8,
        vocab_size=128256, max_position_embeddings=8192,
    ),
    "Pythia 1B": GPTNeoXConfig(
        hidden_size=2048, intermediate_size=8192, num_hidden_layers=16, num_attention_heads=8, vocab_size=50304
    ),
}  # fmt: skip
CUDA = torch.device("cuda", 0)
aten = torch.ops.aten


class EverySupervised(TorchDispatchMode):
    """Where a mask is an index, takes all of it: the stage's one wait for the GPU, to count the supervised tokens."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function is aten.index.Tensor and any(x is not None and x.dtype == torch.bool for x in args[1]):
            (mask,) = args[1]
            return args[0].new_empty(mask.numel(), *args[0].shape[mask.dim() :])
        return function(*args, **(kwargs or {}))


def full_size(config, dtype: torch.dtype = torch.float32) -> nn.Module:
    """The causal LM of `config` on the fake GPU, in fp32 as a stage loads it."""
    with CUDA, no_init_weights():
        return tune_model(AutoModelForCausalLM.from_config(config, dtype=dtype))


def ids(*shape: int) -> Tensor:
    return torch.ones(shape, dtype=torch.long, device=CUDA)


def train(model: nn.Module, loss_of_batch: Callable[[], Tensor]) -> dict:
    """Forward under autocast, backward, AdamW; where everything that trains ended up."""
    with torch.autocast("cuda", torch.bfloat16):
        loss = loss_of_batch()
    loss.backward()
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-5, fused=True)
    optimizer.step()
    moments = [x for state in optimizer.state.values() for x in state.values()]
    return {
        "loss": [str(loss.dtype), str(loss.device)],
        "gradients": sorted({f"{p.grad.dtype} {p.grad.device}" for p in trained if p.grad is not None}),
        "without a gradient": sum(p.grad is None for p in trained),
        "moments": sorted({f"{x.dtype} {x.device}" for x in moments}),
        "trained": sum(p.numel() for p in trained),
    }


def sft(config) -> dict:
    model = full_size(config)
    model.activation_checkpointing_enable({"use_reentrant": False})
    supervised = SupervisedLM(model).train()
    with EverySupervised():
        return train(supervised, lambda: supervised(ids(4, 550), ids(4, 550))["loss"])


def rm(config) -> dict:
    with CUDA:
        model = RewardModel(full_size(config).base_model).train()
    model.freeze(0.3)
    text = list(range(500))
    pack = PackedPairs(0)
    pairs = [{"chosen_ids": text, "rejected_ids": [*text[:450], *text[:60]], "start": 450} for _ in range(2)]
    batch = {name: x.to(CUDA) if isinstance(x, Tensor) else x for name, x in pack(pairs).items()}

    def loss() -> Tensor:
        chosen, rejected = pack.values(model, batch).unbind(1)
        return LOSSES["pairwise"](chosen, rejected, *batch["lengths"].unbind(1), batch["start"]).sum()

    return train(model, loss)


def policy_of(config, dtype: torch.dtype = torch.float32) -> PolicyWithValueHead:
    with CUDA:
        return PolicyWithValueHead(full_size(config, dtype), 8)


def ppo(config) -> dict:
    """Log-probabilities, values and reference of a chunk; then an update."""
    policy = policy_of(config)
    method = default_ppo_config().method
    with unset_fake_temporarily():
        batch = collate_tokens([[1] * 500] * 4, [[1] * 50] * 4)
    batch = batch.to(CUDA)
    with torch.no_grad(), torch.autocast("cuda", torch.bfloat16):
        out = policy(
            batch.tokens, batch.prompt_lengths, batch.responses, with_reference=True, keep_from=batch.keep_from
        )
    kept = [out.logprobs, out.ref_logprobs, out.values, out.entropy]
    advantages, returns = method.get_advantages_and_returns(
        out.values, out.logprobs - out.ref_logprobs, mask=batch.mask
    )
    more = {"logprobs": out.logprobs, "values": out.values, "advantages": advantages, "returns": returns}
    batch = batch._replace(trunk=out.trunk, **more)
    found = train(policy, lambda: loss_of(policy, batch, method, 1.0, 200.0)[0])
    return found | {"rollouts": sorted({f"{x.dtype} {x.device}" for x in (*kept, advantages, returns)})}


def decoding(config) -> dict:
    """Prefill, then sampling and decode steps, none of which may wait for the GPU; weights in bf16, as in DeepSpeed."""
    policy = policy_of(config, torch.bfloat16)
    options = GenerationConfig(max_new_tokens=50, do_sample=True, temperature=1.0, top_k=0, top_p=1.0, eos_token_id=0)
    with torch.no_grad():
        uniforms = torch.ones(16, 50, dtype=torch.float64)
        prompts = [[1] * (500 - i) for i in range(16)]
        batch = DecodeBatch(policy.causal_lm, options, prompts, uniforms, 8, policy.trunk_depth)
        with batch.keeping_trunk():
            batch.draw(batch.prefill())
            for _ in range(3):
                batch.step()
            states, width = batch.decode_step(), batch.positions.width
            batch.cuda_graphs = True
            batch.step()
    return {
        "states": [str(states.dtype), str(states.device), list(states.shape)],
        "tokens": [str(batch.tokens.dtype), str(batch.tokens.device), list(batch.responses.shape)],
        "keys": sorted({f"{x.keys.dtype} {x.keys.device} {list(x.keys.shape)}" for x in batch.cache.layers}),
        "trunk": f"{batch.trunk.device} {list(batch.trunk.shape)}",
        "width": [width, batch.positions.width],
    }


def scoring(config) -> dict:
    """The reward model of PPO, loaded in bf16."""
    with CUDA:
        model = RewardModel(full_size(config, torch.bfloat16).base_model).eval()
    with torch.no_grad():
        values = model(ids(16, 550), keep_from=500)
    return {"values": [str(values.dtype), str(values.device), list(values.shape)]}


STEPS = {f.__name__: f for f in (sft, rm, ppo, decoding, scoring)}


@contextlib.contextmanager
def fake_gpu() -> Iterator[None]:
    """Fake tensors, and an autocast that takes the fake GPU for one with bf16.

    `torch.cuda.is_available` says no all the while: only then FakeTensorMode asks no GPU for `torch.tensor(…, CUDA)`.
    """
    common, supported = torch.cuda.amp.common, torch.cuda.is_bf16_supported
    before = common.amp_definitely_not_available
    common.amp_definitely_not_available = lambda: False
    torch.cuda.is_bf16_supported = lambda including_emulation=True: True
    try:
        with FakeTensorMode(allow_non_fake_inputs=True):  # what was collated on the CPU has its numbers
            yield
    finally:
        common.amp_definitely_not_available, torch.cuda.is_bf16_supported = before, supported


def main() -> None:
    found = {}
    for shape, config in SHAPES.items():
        for name, step in STEPS.items():
            with fake_gpu():
                try:
                    found[f"{name} {shape}"] = step(config)
                except Exception as error:  # each step is a test of its own
                    frames = [x for x in traceback.format_tb(error.__traceback__) if "site-packages" not in x]
                    found[f"{name} {shape}"] = {"error": f"{type(error).__name__}: {error}"[:300] + "".join(frames)}
    print(json.dumps(found))


if __name__ == "__main__":
    main()
