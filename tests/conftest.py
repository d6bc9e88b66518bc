"""Fixtures that every test may use. Models are tiny, made once per session; tests that change one copy it first."""

import os
import tempfile
from pathlib import Path

# Before torch and the libraries are imported: small tensors, several processes, no network, no tracker.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("WANDB_MODE", "disabled")
os.environ.setdefault("HF_DATASETS_CACHE", tempfile.mkdtemp(prefix="datasets-"))

import pytest
import torch
from forkserver import ForkServer
from tiny import gpt2_config, make_comparisons, make_model_dir, make_tldr, make_tokenizer

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def fixed_seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository's root."""
    return ROOT


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """Starts scripts in processes that have the libraries already; launchers are tested where they are the subject."""
    made = ForkServer(tmp_path_factory.mktemp("forkserver"))
    yield made
    made.stop()


@pytest.fixture
def tokenizer():
    """Byte-level BPE of 400 tokens, pad = EOS = id 0, padded on the right, as ``load_tokenizer`` gives it."""
    made = make_tokenizer()
    made.pad_token = made.eos_token
    made.padding_side = "right"
    return made


@pytest.fixture(scope="session")
def gptj_dir(tmp_path_factory) -> Path:
    """A model directory: GPT-J of 2 layers × 32 and its tokenizer."""
    return make_model_dir(tmp_path_factory.mktemp("gptj"))


@pytest.fixture(scope="session")
def gpt2_dir(tmp_path_factory) -> Path:
    """A model directory: GPT-2 of 2 layers × 32 (tied embeddings) and the same tokenizer."""
    return make_model_dir(tmp_path_factory.mktemp("gpt2"), gpt2_config(vocab_size=len(make_tokenizer())))


@pytest.fixture(scope="session")
def tldr_dir(tmp_path_factory) -> Path:
    """64/16/16 rows of the TL;DR schema."""
    return make_tldr(tmp_path_factory.mktemp("tldr"))


@pytest.fixture(scope="session")
def comparisons_dir(tmp_path_factory) -> Path:
    """48/16 rows of the comparisons schema."""
    return make_comparisons(tmp_path_factory.mktemp("comparisons"))


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Real posts, comparisons and the GPT-2 vocabulary; see README.md. Skips where there are none."""
    if not os.environ.get("TLDR_DATA_DIR"):
        pytest.skip("TLDR_DATA_DIR is unset: it should name a folder with real TL;DR data")
    return Path(os.environ["TLDR_DATA_DIR"])


@pytest.fixture(scope="session")
def real_gptj_dir(real_data, tmp_path_factory) -> Path:
    """A tiny GPT-J with the genuine GPT-2 vocabulary."""
    from tiny import gptj_config
    from transformers import GPT2Tokenizer

    folder = real_data / "gpt2_tokenizer"
    made = GPT2Tokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"))
    config = gptj_config(len(made), width=16, positions=1024)
    config.bos_token_id = config.eos_token_id = made.eos_token_id
    return make_model_dir(tmp_path_factory.mktemp("real_gptj"), config, made)
