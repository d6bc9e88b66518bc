# ruff: noqa: E501  a table, one mutation a line
"""The card of a model: what the Hub reads, what must not be in it."""

CARD = "summarize_rlhf/model_card.py"

# fmt: off
ROWS = [
    ("card: local paths named to the Hub", CARD, " and not Path(name).exists() else None", " else None", "contract/test_model_card.py::test_directories_of_this_machine_are_no_names_on_the_hub"),
    ("card: credentials written", CARD, "model_card(without_secrets(record))", "model_card(record)", "contract/test_model_card.py::test_it_is_written_before_the_list_of_files_and_without_credentials"),
    ("card: Markdown of a user obeyed", CARD, "lambda found: f\"&#{ord(found[0])};\"", "lambda found: found[0]", "contract/test_model_card.py::test_what_a_user_named_is_no_markdown_and_no_secret"),
    ("card: a reward model generates text", CARD, "pipeline_tag=None if stage == \"rm\" else \"text-generation\"", "pipeline_tag=\"text-generation\"", "contract/test_model_card.py::test_a_reward_model_generates_no_text"),
    ("card: PPO's steps left out", CARD, "record.get(\"steps\", record.get(\"step\"))", "record.get(\"steps\")", "contract/test_model_card.py::test_ppos_steps_are_told"),
    ("card: adapter not told", CARD, "    adapter = \"base_sha256\" in record\n", "    adapter = False\n", "contract/test_model_card.py::test_ppo_names_its_model_and_an_adapter_is_told"),
    ("card: written behind the list of files", "sft/train_gptj_summarize.py", "            write_model_card(tmp, record)\n            save_run(tmp, record)\n", "            save_run(tmp, record)\n            write_model_card(tmp, record)\n", "sft/test_train_sft.py::test_the_documented_command_writes_exactly_its_files"),
]
