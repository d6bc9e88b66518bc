"""Decode steps that a GPU can replay: one graph, of the same shapes, in place, and the tokens of any other way."""

import contextlib
import json
import shutil
from pathlib import Path

import pytest
import torch
from any_family import make_any
from decoders import LAYERS, make_model
from transformers import GenerationConfig

from summarize_rlhf import UserError
from summarize_rlhf.lm import replay
from summarize_rlhf.lm.decode_batch import COLUMNS, STEPS_AT_ONCE, DecodeBatch
from summarize_rlhf.lm.decoding import decode, supports
from summarize_rlhf.lm.generation import uniforms
from summarize_rlhf.lm.replay import ReplayedStep

TABLE = json.loads((Path(__file__).resolve().parents[1] / "families.json").read_text(encoding="utf-8"))["families"]
OWN = [name for name, can in TABLE.items() if can["own decoding"] == "yes"]
COMPILED = ["gptj", "gpt2", "gpt_neox", "opt", "llama", "qwen3", "gemma", "phi"]
PROMPTS = [[5, 7, 9], [8], [3, 4, 5, 6, 9, 10], [12, 13], [20] * 4, [21, 22, 23]]
SAMPLED = {"do_sample": True, "temperature": 0.9, "top_k": 20, "top_p": 0.95, "min_new_tokens": 2}
NEW = 20


def config(new: int = NEW, **options) -> GenerationConfig:
    plain = {"do_sample": True, "temperature": 1.0, "top_k": 0, "top_p": 1.0, "eos_token_id": [7, 13, 26]}
    return GenerationConfig(max_new_tokens=new, pad_token_id=7, **{**plain, **options})


def batch_of(model, c: GenerationConfig, depth: int | None = None, cuda_graphs: bool = True) -> DecodeBatch:
    return DecodeBatch(model, c, PROMPTS, uniforms(len(PROMPTS), c, 4), 6, depth, cuda_graphs)


@pytest.mark.parametrize("family", OWN)
def test_tokens_are_the_same_in_all_families(family: str) -> None:
    """Sampled and greedy; and the trunk's states, where it is cut."""
    model = make_any(family)
    with torch.no_grad():
        model.get_output_embeddings().weight.mul_(20)  # far from ties
    depth = 2 if TABLE[family]["PPO, top blocks"] == "yes" else None
    for options in ({"do_sample": False}, SAMPLED):
        c = config(10, **options)
        assert supports(model, c, 6)
        numbers = uniforms(len(PROMPTS), c, 4)
        eager, replayed = (decode(model, c, PROMPTS, numbers, 4, depth, cuda_graphs=on) for on in (False, True))
        assert [r.ids for r in replayed] == [r.ids for r in eager]
        for one, other in zip(replayed, eager, strict=True):
            torch.testing.assert_close(one.trunk, other.trunk, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("family", COMPILED)
@torch.no_grad()
@torch._dynamo.config.patch(error_on_recompile=True)
def test_a_step_is_one_graph_that_serves_all_steps(family: str) -> None:
    """torch.compile follows it from end to end, and once: drawing, reading, keys and values, the trunk's states."""
    torch._dynamo.reset()
    model, c = make_model(family), config(9, **SAMPLED)
    expected = batch_of(model, c, LAYERS // 2).run(lambda _: None)
    batch = batch_of(model, c, LAYERS // 2)
    batch.advance = torch.compile(batch.advance, fullgraph=True, backend="eager")
    batch.steps_at_once = 9  # no row is dropped on the way
    for (row, one), (also, other) in zip(sorted(batch.run(lambda _: None)), sorted(expected), strict=True):
        assert (row, one.ids) == (also, other.ids)
        torch.testing.assert_close(one.trunk, other.trunk, rtol=1e-5, atol=1e-5)


@pytest.mark.skipif(shutil.which("g++") is None, reason="g++ is what compiles for a CPU")
@torch.no_grad()
def test_compiled_code_draws_the_same_tokens() -> None:
    torch._dynamo.reset()
    model, c = make_model("gptj"), config(9, eos_token_id=0)
    batch = batch_of(model, c)
    batch.advance = torch.compile(batch.advance, fullgraph=True)
    batch.steps_at_once = 9
    expected = dict(batch_of(model, c).run(lambda _: None))
    assert {row: r.ids for row, r in batch.run(lambda _: None)} == {row: r.ids for row, r in expected.items()}


@torch.no_grad()
def test_a_step_leaves_all_it_reads_where_it_is() -> None:
    """The addresses that a graph was captured with."""
    batch = batch_of(make_model("gptj"), config(), 2)

    def addresses() -> list[int]:
        layers = [x for layer in batch.cache.layers for x in (layer.keys, layer.values)]
        state = (batch.tokens, batch.column, batch.positions.lengths, batch.uniforms, batch.responses, batch.trunk)
        return [x.data_ptr() for x in (*state, *layers)]

    with batch.keeping_trunk():
        batch.draw(batch.prefill())
        before = addresses()
        for step in range(1, 4):
            batch.step()
            assert batch.drawn == batch.column.item() == step + 1
            assert batch.positions.width == batch.positions.room
            assert batch.positions.lengths.tolist() == [len(p) + step for p in PROMPTS]
    assert addresses() == before


class Watched(DecodeBatch):
    """Notes how many rows each step reads."""

    counts: list[int]

    def decode_step(self):
        self.counts.append(len(self.tokens))
        return super().decode_step()


@pytest.mark.parametrize("cuda_graphs", [False, True])
def test_rows_are_dropped_in_blocks(monkeypatch, cuda_graphs: bool) -> None:
    """On a GPU once in so many steps, and replayed by halves; on a CPU, which waits for nobody, at once."""
    model, c = make_model("gptj"), config(40, eos_token_id=[7, 13, 26, 31, 40])
    prompts, numbers = PROMPTS * 3, uniforms(18, c, 4)
    expected = decode(model, c, prompts, numbers, 18)
    monkeypatch.setattr("summarize_rlhf.lm.decoding.DecodeBatch", Watched)
    monkeypatch.setattr(Watched, "counts", [], raising=False)
    found = decode(model, c, prompts, numbers, 18, cuda_graphs=cuda_graphs)
    assert [r.ids for r in found] == [r.ids for r in expected]
    changes = [step for step in range(1, len(Watched.counts)) if Watched.counts[step] != Watched.counts[step - 1]]
    assert len(changes) > 1, "few rows are dropped: the test shows little"
    if cuda_graphs:
        assert {(step + 1) % STEPS_AT_ONCE for step in changes} == {0}  # step 7 reads the eighth token
        assert set(Watched.counts) <= {18, 9, 5, 3, 2, 1}
    else:
        left = [sum(len(r.ids) > step + 1 for r in expected) for step in range(len(Watched.counts))]
        assert Watched.counts == left


@torch.no_grad()
def test_blocks_of_steps_in_shapes_that_grow() -> None:
    """As a GPU does it without CUDA graphs."""
    model, c = make_model("llama"), config(40, eos_token_id=[7, 13, 26, 31, 40])
    numbers = uniforms(len(PROMPTS), c, 4)
    eager = dict(batch_of(model, c, 2, cuda_graphs=False).run(lambda _: None))
    batch = DecodeBatch(model, c, PROMPTS, numbers, 6, 2)
    batch.steps_at_once = STEPS_AT_ONCE
    finished: list[int] = []
    found = dict(batch.run(finished.append))
    assert sum(finished) == len(found) == len(PROMPTS)
    for row, response in eager.items():
        assert found[row].ids == response.ids
        torch.testing.assert_close(found[row].trunk, response.trunk, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_prompts_are_read_in_few_shapes() -> None:
    """A multiple of so many columns; the states are those of the prompts as they are."""
    model, lengths, widths = make_model("gptj"), [70, 69, 66, 3], []
    prompts = [torch.randint(48, (n,)).tolist() for n in lengths]
    hook = model.transformer.wte.register_forward_hook(lambda _, args, __: widths.append(args[0].shape[1]))
    states = []
    for cuda_graphs in (False, True):
        batch = DecodeBatch(model, config(100), prompts, torch.zeros(4, 100), 1, None, cuda_graphs)
        states.append(batch.prefill())
    hook.remove()
    assert widths == [*lengths, 2 * COLUMNS, 2 * COLUMNS, 2 * COLUMNS, COLUMNS]
    torch.testing.assert_close(*states, rtol=1e-5, atol=1e-5)


def test_each_call_makes_one_step(monkeypatch) -> None:
    """The first as it is; the second is captured, which computes nothing, and replayed, as are all behind it."""
    done: list[str] = []

    class Graph:
        def replay(self) -> None:
            done.append("replay")

    @contextlib.contextmanager
    def capture(graph, stream, capture_error_mode):
        done.append("capture")
        yield
        assert done.pop() == "step"

    class Stream:
        def wait_stream(self, other) -> None:
            done.append("wait")

    cuda = {"Stream": Stream, "CUDAGraph": Graph, "graph": capture, "current_stream": Stream}
    for name, stand_in in {**cuda, "stream": lambda _: contextlib.nullcontext()}.items():
        monkeypatch.setattr(replay.torch.cuda, name, stand_in)
    step = ReplayedStep()
    for _ in range(4):
        step(lambda: done.append("step"))
    assert done == ["wait", "step", "wait", "capture", "replay", "replay", "replay"]

    def wait_for_the_gpu() -> None:
        if done[-1] == "capture":
            raise RuntimeError("operation not permitted when stream is capturing\nmore")

    step = ReplayedStep()
    step(wait_for_the_gpu)
    with pytest.raises(UserError, match=r"cannot be captured as a CUDA graph \(operation .* capturing\): switch"):
        step(wait_for_the_gpu)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("family", COMPILED)
def test_a_gpu_replays_the_same_tokens(family: str) -> None:
    model, numbers = make_model(family).to("cuda"), uniforms(len(PROMPTS), config(40), 4)
    eager, replayed = (decode(model, config(40), PROMPTS, numbers, 4, 2, cuda_graphs=on) for on in (False, True))
    assert [r.ids for r in replayed] == [r.ids for r in eager]
    for one, other in zip(replayed, eager, strict=True):
        torch.testing.assert_close(one.trunk, other.trunk, rtol=1e-4, atol=1e-4)
