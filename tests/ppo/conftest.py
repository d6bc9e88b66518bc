"""Fixtures of the PPO tests."""

from collections.abc import Callable

import pytest
from tiny_trlx import tiny_config

from trlx.data.configs import TRLConfig


@pytest.fixture
def config(gptj_dir, tmp_path) -> Callable[..., TRLConfig]:
    """`tiny_config` for this test's model and folder."""
    return lambda **overrides: tiny_config(gptj_dir, tmp_path / "out", **overrides)
