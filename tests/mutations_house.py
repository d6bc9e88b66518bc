# ruff: noqa: E501  a table, one mutation a line
"""The house: arrows between the rooms, and what an import does."""

DOWNLOAD = "reward_model/download.py"
LAST_BLOCK = "summarize_rlhf/lm/last_block.py"
LOSS = "sft/loss.py"
SAMPLER = "summarize_rlhf/run/sampler.py"
SPEED = "summarize_rlhf/lm/speed.py"

# fmt: off
ROWS = [
    ("a stage loads the engine", LOSS, "import math\n", "import math\nimport importlib; importlib.import_module('trlx')\n", "test_house.py::test_a_stage_loads_no_other_and_no_engine"),
    ("a stage imports the engine where it needs it", LOSS, "from summarize_rlhf.lm.branches import Decoder\n", "from summarize_rlhf.lm.branches import Decoder\n\n\ndef late():\n    import trlx\n\n", "test_house.py::test_arrows_run_one_way"),
    ("run machinery imports the model", SAMPLER, "import torch\n", "import torch\nimport summarize_rlhf.lm.kl\n", "test_house.py::test_arrows_run_one_way"),
    ("a module imports what is not there", SAMPLER, "import torch\n", "import torch\nfrom torch import nothing_of_this_name\n", "test_house.py::test_every_module_imports"),
    ("a download stands at import", DOWNLOAD, "from summarize_rlhf.run.errors import main_guard\n", "from summarize_rlhf.run.errors import main_guard\n\nurllib.request.urlopen('http://127.0.0.1:9')\n", "test_house.py::test_every_module_imports"),
    ("an import replaces transformers' attention", LAST_BLOCK, "from transformers.masking_utils import sdpa_mask\n", "from transformers.masking_utils import sdpa_mask\nAttentionInterface.register('sdpa', lambda *_: None)\n", "test_house.py::test_importing_changes_nothing"),
    ("an import filters transformers' log", SPEED, "import torch\n", "import torch\nlogging.getLogger('transformers.modeling_utils').addFilter(lambda _: True)\n", "test_house.py::test_importing_changes_nothing"),
]
