"""Import every module of the repository in a new process, and report what that did; test_house.py starts it.

`python tests/import_all.py MODULE …` prints {"loaded": {MODULE: [our packages that it loads]}, "failed": {file: error},
"changed": [names]}. The libraries are loaded first, so that what they do to the process does not count.
"""

import importlib
import json
import logging
import os
import re
import socket
import sys
import warnings
from pathlib import Path
from typing import Any

import accelerate.state  # noqa: F401
import datasets  # noqa: F401
import deepspeed  # noqa: F401
import evaluate  # noqa: F401
import peft  # noqa: F401
import transformers
from forked import forked
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.activations import ACT2CLS, ACT2FN

ROOT = Path(__file__).resolve().parents[1]
REGISTRIES = {
    "attention": AttentionInterface._global_mapping,
    "masks": AttentionMaskInterface._global_mapping,
    "activation classes": ACT2CLS,
    "activations": ACT2FN,
}


def files() -> list[Path]:
    """Return every module but the tests, relative to the root.

    DeepSpeed puts scripts into its checkpoints: what a user's runs have left does not count.
    """
    found = [path.relative_to(ROOT) for pattern in ("*.py", "[!.]*/**/*.py") for path in ROOT.glob(pattern)]
    ours = [path for path in found if path.parts[0] not in ("tests", "results", "ckpts")]
    return sorted(path for path in ours if not re.search("checkpoint.*/|-steps/|site-packages/", path.as_posix()))


def import_file(path: Path) -> None:
    """Import a module by its dotted name; a script outside the packages with its folder in the path, as python does."""
    if path.parts[0] in ("examples", "docs"):
        sys.path.insert(0, str(ROOT / path.parent))
        importlib.import_module(path.stem)
    else:
        importlib.import_module(".".join(path.with_suffix("").parts).removesuffix(".__init__"))


def names_loaded_by(module: str) -> list[str]:
    """Return our packages and scripts that importing `module` loads."""
    importlib.import_module(module)
    ours = {path.parts[0].removesuffix(".py") for path in files()}
    return sorted({name.partition(".")[0] for name in sys.modules} & ours)


def state() -> dict[str, Any]:
    """Return what belongs to other libraries or to the process: registries, filters, environment."""
    registries = {f"{name} {key!r}": value for name, table in REGISTRIES.items() for key, value in dict.items(table)}
    loggers = [logging.getLogger(name) for name in list(logging.root.manager.loggerDict)]
    filters = {f"filters of the log {each.name}": list(each.filters) for each in [logging.root, *loggers]}
    verbosity = {"transformers' verbosity": transformers.logging.get_verbosity()}
    return registries | filters | verbosity | dict(os.environ) | {"warnings' filters": list(warnings.filters)}


def main() -> None:
    sys.path[0] = str(ROOT)
    loaded = {module: forked(names_loaded_by, module) for module in sys.argv[1:]}
    before, failed = state(), {}
    socket.socket.connect = None  # whatever fetches something fails
    for path in files():
        try:
            import_file(path)
        except (ImportError, TypeError) as error:
            failed[str(path)] = str(error)
    after = state()
    new = {name for name in after.keys() - before.keys() if not (name.startswith("filters") and not after[name])}
    changed = new | {name for name in before if after.get(name) != before[name]}
    print(json.dumps({"loaded": loaded, "failed": failed, "changed": sorted(changed)}))


if __name__ == "__main__":
    main()
