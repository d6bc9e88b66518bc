"""The memory of a training step, found by running the step on fake tensors: shapes and lifetimes without numbers.

Everything runs as in a stage, DeepSpeed's engine included, under torch's FakeTensorMode: no weight is read, nothing is
computed, and a model of any size takes seconds. DeepSpeed sees as many processes as there are GPUs, through torch's
fake process group, and partitions accordingly. A `Ledger` notes when each storage is born and when it dies.

Where a step would look at a number, it finds 1: a norm is finite, and each mask that is an index takes all.
"""

import contextlib
import weakref
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import PretrainedConfig
from transformers.initialization import no_init_weights

from summarize_rlhf.lm.speed import tune_model
from summarize_rlhf.run.deepspeed_config import fit_buckets, size_of
from summarize_rlhf.run.zero3 import is_partitioned

aten = torch.ops.aten
GPU, HOST = "GPU", "host"


class Storage:
    """One storage: its size in bytes, what it is for, where it is, and the operations at which it is born and dies."""

    def __init__(self, size: int, kind: str, place: str, born: int):
        self.size, self.kind, self.place, self.born = size, kind, place, born
        self.died: int | None = None

    def die(self, ledger: "Ledger") -> None:
        self.died = ledger.time + 1  # before the next operation


class Peak(NamedTuple):
    """The most bytes that are there at once, in all and by kind at that moment."""

    bytes: int
    kinds: dict[str, int]


class Ledger(TorchDispatchMode):
    """Notes every storage that an operation makes."""

    def __init__(self):
        super().__init__()
        self.time = 0
        self.kind, self.place = "activations", GPU
        self.storages: list[Storage] = []
        self.of: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()

    def __torch_dispatch__(self, function: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        self.time += 1
        if function is aten._local_scalar_dense.default:
            return 1.0 if args[0].is_floating_point() else 1
        if function is aten.index.Tensor and any(x is not None and x.dtype == torch.bool for x in args[1]):
            (mask,) = args[1]
            result = args[0].new_empty(mask.numel(), *args[0].shape[mask.dim() :])
        else:
            result = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor) and tensor.device.type != "meta":
                self.note(tensor)
        return result

    def note(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        if storage not in self.of:
            entry = self.of[storage] = Storage(storage.nbytes(), self.kind, self.place, self.time)
            self.storages.append(entry)
            weakref.finalize(storage, entry.die, self).atexit = False

    @contextlib.contextmanager
    def making(self, kind: str | None = None, place: str | None = None) -> Iterator[None]:
        """Within it, what is made is of this kind, and in this place."""
        before = self.kind, self.place
        self.kind, self.place = kind or self.kind, place or self.place
        try:
            yield
        finally:
            self.kind, self.place = before

    def move(self, tensor: Tensor, place: str) -> Tensor:
        """Note that a tensor is somewhere else, from its birth on."""
        self.note(tensor)
        self.of[tensor.untyped_storage()].place = place
        return tensor

    def name(self, kind: str, tensors: Iterable[Tensor]) -> None:
        """Say what some tensors are for, from their birth on."""
        for tensor in tensors:
            self.note(tensor)
            self.of[tensor.untyped_storage()].kind = kind

    def name_what_stays(self, was: str, kind: str) -> None:
        """Give what is still there of the kind `was` another name."""
        for storage in self.storages:
            if storage.kind == was and storage.died is None:
                storage.kind = kind

    def peak(self, *places: str) -> Peak:
        """Find the moment at which most is in some places together."""
        here = [storage for storage in self.storages if storage.place in places]
        changes = [(s.born, s.size) for s in here] + [(s.died, -s.size) for s in here if s.died is not None]
        most, now, when = 0, 0, 0
        for time, change in sorted(changes):  # of one moment the frees first
            now += change
            if now > most:
                most, when = now, time
        kinds: dict[str, int] = {}
        for s in here:
            if s.born <= when and (s.died is None or s.died > when):
                kinds[s.kind] = kinds.get(s.kind, 0) + s.size
        return Peak(most, kinds)


def fake_model(make: Callable[[PretrainedConfig], nn.Module], config: PretrainedConfig) -> nn.Module:
    """Build a model without initialising weights, tuned as a stage tunes it."""
    with no_init_weights():
        return tune_model(make(config))


def cast(module: nn.Module, dtype: torch.dtype) -> nn.Module:
    """Cast a module's weights, as DeepSpeed does, which cannot do it to fake ones (`on_fake_tensors`)."""
    made: dict[int, nn.Parameter] = {}
    for part in module.modules():
        for name, old in part._parameters.items():
            if old is not None and old.dtype != dtype:
                if id(old) not in made:
                    made[id(old)] = nn.Parameter(torch.empty_like(old, dtype=dtype), requires_grad=old.requires_grad)
                    made[id(made[id(old)])] = made[id(old)]
                part._parameters[name] = made[id(old)]
    return module


def held(module: nn.Module) -> Iterator[Tensor]:
    """Yield what this process holds of each parameter: all, or under ZeRO-3 its part."""
    for parameter in module.parameters():
        yield parameter.ds_tensor if is_partitioned(parameter) else parameter


def written(tensors: Iterable[Tensor]) -> list[Tensor]:
    """Copy tensors as a whole, those that ZeRO-3 has partitioned too."""
    return [torch.empty(size_of(x), dtype=x.dtype) for x in tensors]


@contextlib.contextmanager
def processes(count: int) -> Iterator[None]:
    """Be the first of `count` processes, which exchange nothing."""
    import torch.distributed as dist
    from torch.testing._internal.distributed.fake_pg import FakeStore

    dist.init_process_group("fake", rank=0, world_size=count, store=FakeStore())
    try:
        yield
    finally:
        dist.destroy_process_group()


@contextlib.contextmanager
def on_fake_tensors() -> Iterator[Ledger]:
    """Run on fake tensors, and keep a ledger of them. Modules stay as they are: to move or cast fake ones fails."""
    ledger, moves = Ledger(), {name: getattr(nn.Module, name) for name in ("to", "bfloat16", "half")}
    for name in moves:
        setattr(nn.Module, name, lambda module, *_, **__: module)
    try:
        with FakeTensorMode(allow_non_fake_inputs=True), ledger:
            yield ledger
    finally:
        for name, move in moves.items():
            setattr(nn.Module, name, move)


class Footprint(NamedTuple):
    """What a stage needs: on each GPU, and of one process in main memory."""

    gpu: Peak
    host: Peak


def train(
    model: nn.Module,
    loss_of: Callable[[nn.Module], Tensor],
    deepspeed: dict[str, Any],
    ledger: Ledger,
) -> Any:
    """Train a fake model, cast already, for two optimizer steps: the second meets Adam's state from its beginning.

    Returns DeepSpeed's engine, which a stage holds to its end.
    """
    engine = engine_of(model, deepspeed, ledger)
    for _ in range(2 * deepspeed["gradient_accumulation_steps"]):
        loss = loss_of(engine)
        engine.backward(loss)
        del loss
        ledger.name_what_stays("activations", "gradients")
        engine.step()
    return engine


def answer_deepspeed(ledger: Ledger) -> None:
    """Answer what DeepSpeed asks of numbers, other processes and the device. What it pins is in main memory."""
    from deepspeed.accelerator import get_accelerator
    from deepspeed.runtime.zero import partition_parameters, partitioned_param_coordinator, stage3, stage_1_and_2

    for module in (stage_1_and_2, stage3):
        module.is_invalid_grad_norm = lambda norm: False  # it looks at numbers, as overflow checks do
    for module in (partition_parameters, partitioned_param_coordinator, stage3):
        module.assert_ints_same_as_other_ranks = lambda ints: None  # the others' come from nowhere
    accelerator = get_accelerator()
    accelerator.available_memory = lambda *_: 0  # else more is flattened on a device with room for it, for a moment
    accelerator.is_fp16_supported = lambda: True  # as on the GPU that is planned for
    accelerator.pin_memory = lambda tensor, *_, **__: ledger.move(tensor, HOST)


def engine_of(model: nn.Module, config: dict[str, Any], ledger: Ledger, fused: bool = True) -> Any:
    """Wrap a fake model in DeepSpeed's engine, with AdamW over what trains; one that is not `fused` has temporaries.

    What Adam makes where its state is offloaded is in main memory.
    """
    import deepspeed

    answer_deepspeed(ledger)
    offloaded = "offload_optimizer" in config["zero_optimization"]
    fit_buckets(config, model)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], fused=fused or offloaded)
    with ledger.making("optimizer"):
        engine, *_ = deepspeed.initialize(model=model, optimizer=optimizer, config=config, dist_init_required=False)
    engine.optimizer.check_grad_overflow = False
    step = optimizer.step

    def on_its_device(*args: Any, **kwargs: Any) -> Any:
        with ledger.making("optimizer", HOST if offloaded else GPU):
            return step(*args, **kwargs)

    optimizer.step = on_its_device
    if config["zero_optimization"]["stage"] < 3:  # ZeRO-3 has made them by now
        make_buckets = engine.optimizer.setup_buckets

        def buckets() -> None:
            with ledger.making("buckets"):
                make_buckets()

        engine.optimizer.setup_buckets = buckets
    ledger.name("weights", held(model))
    return engine
