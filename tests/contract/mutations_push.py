# ruff: noqa: E501  a table, one mutation a line
"""Pushing a finished directory to the Hub."""

HUB = "summarize_rlhf/hub.py"

# fmt: off
ROWS = [
    ("push: unasked", HUB, "    if not asked:\n        return None\n", "", "contract/test_push.py::test_nothing_is_pushed_unasked"),
    ("push: login not asked for", HUB, "    if huggingface_hub.get_token() is None:\n", "    if False:\n", "contract/test_push.py::test_without_a_login_it_is_refused_at_once"),
    ("push: network not asked for", HUB, "    if not use_hub():\n        raise UserError(\n            f\"push", "    if False:\n        raise UserError(\n            f\"push", "contract/test_push.py::test_without_a_network_it_is_refused_at_once"),
    ("push: a refusal is a traceback", HUB, "    except (HfHubHTTPError, OSError, ValueError) as error:\n        reason", "    except HfHubHTTPError as error:\n        reason", "contract/test_push.py::test_a_refusal_of_the_hub_leaves_the_directory"),
]
