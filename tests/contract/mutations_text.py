# ruff: noqa: E501  a table, one mutation a line
"""From text to ids: special tokens, markers, cuts, and the names of rows."""

COMPARISONS = "reward_model/comparisons.py"
DATA = "summarize_rlhf/data.py"
ENCODING = "reward_model/encoding.py"
END_OF_RESPONSE = "summarize_rlhf/lm/end_of_response.py"
GENERATE = "summarize_rlhf/lm/summaries.py"
HANDOVER = "summarize_rlhf/handover.py"
LABEL_SCORES = "reward_model/label_scores.py"
PROMPTS = "trlx/pipeline/offline_pipeline.py"
SFT = "sft/summarize_dataset.py"
STAGE3 = "trlx_gptj_text_summarization.py"
TEXT = "summarize_rlhf/text.py"
TOKENIZER = "summarize_rlhf/tokenizer.py"

# fmt: off
ROWS = [
    # files of rows
    ("a piece of the data missing", "summarize_rlhf/row_files.py", "if announced != {len(pieces)}:", "if False:", "contract/test_row_files.py::test_what_is_wrong_is_one_line"),
    ("cells too many are dropped", "summarize_rlhf/row_files.py", "if None in row or None in row.values():", "if False:", "contract/test_row_files.py::test_what_is_wrong_is_one_line"),
    ("text: no prefix", TOKENIZER, "    return encoding.ids[: next(", "    return encoding.ids[:0] or encoding.ids[: 0 * next(", "contract/test_families.py::test_run_json_says_what_stands_before_a_text_and_the_next_stage_checks_it"),
    ("text: specials not split", TOKENIZER, "\"split_special_tokens\": True", "\"split_special_tokens\": False", "contract/test_plain_text.py::test_a_row_that_spells_control_tokens"),
    ("text: suffix kept", TOKENIZER, "{\"add_special_tokens\": False, \"split", "{\"add_special_tokens\": True, \"split", "contract/test_families.py::test_before_the_first_update_ppo_writes_what_the_tables_show_of_the_sft_model"),
    ("text: rows not refused", TOKENIZER, "if not control.isdisjoint(encoding.ids):", "if False:", "contract/test_plain_text.py::test_a_row_that_spells_control_tokens"),
    ("text: sample's control token kept", TOKENIZER, "*(i for i in ids if i not in control)]", "*ids]", "contract/test_plain_text.py::test_what_a_model_wrote_is_scored_whatever_it_spells"),
    ("text: byte tokens are control", TOKENIZER, " - single_bytes -", " -", "contract/test_tokenizer.py::test_bytes_and_plain_vocabulary_are_no_control_tokens"),
    ("text: a tokenizer is not tried", TOKENIZER, "        tokenizer.decode(tokenizer(PROBE).input_ids)", "        pass", "contract/test_tokenizer.py::test_a_setting_that_shows_in_the_first_use_alone"),
    ("text: unknown is control", TOKENIZER, " - {tokenizer.unk_token_id} |", " |", "contract/test_tokenizer.py::test_bytes_and_plain_vocabulary_are_no_control_tokens"),
    ("text: EOS that is unk no control", TOKENIZER, " | {tokenizer.eos_token_id}", "", "contract/test_tokenizer.py::test_bytes_and_plain_vocabulary_are_no_control_tokens"),
    ("text: declared special tokens ignored", TOKENIZER, ", *(number for number, token in added if token.special)}", "}", "contract/test_tokenizer.py::test_bytes_and_plain_vocabulary_are_no_control_tokens"),
    ("text: TL;DR twice", TEXT, "    while body.endswith(TLDR):\n", "    while False:\n", "contract/test_plain_text.py::test_all_stages_read_the_same_bytes"),
    ("text: label's TL;DR kept in SFT", TEXT, "return f\"{prompt_text(prompt)} {bare_summary(label)}\"", "return f\"{prompt_text(prompt)} {label.strip()}\"", "contract/test_text.py::test_one_space_whatever_blanks_the_source_has"),
    ("text: one marker stripped only", TEXT, "    while summary.startswith(TLDR):", "    if summary.startswith(TLDR):", "contract/test_plain_text.py::test_all_stages_read_the_same_bytes"),
    ("text: prefix not counted in the cut", TEXT, "room = budget - prefix", "room = budget", "contract/test_families.py::test_a_cut_prompt_keeps_its_bos"),
    ("text: cut prompts: place lost", TEXT, "[prompt_text(body) for body in bodies], places))", "[prompt_text(body) for body in bodies]))", "contract/test_plain_text.py::test_a_post_is_refused_where_prompts_are_made"),
    ("text: empty label", TEXT, "        if not summary:\n", "        if False:\n", "contract/test_plain_text.py::test_a_label_of_the_marker_alone_is_refused_in_all_stages"),
    ("text: SFT without prefix", SFT, ".append([*prefix, *tokens.ids,", ".append([*tokens.ids,", "contract/test_families.py::test_before_the_first_update_ppo_writes_what_the_tables_show_of_the_sft_model"),
    ("text: SFT start without prefix", SFT, "append(len(prefix) + next(", "append(next(", "contract/test_families.py::test_before_the_first_update_ppo_writes_what_the_tables_show_of_the_sft_model"),
    ("text: RM forgets EOS in the budget", ENCODING, "max_length - 1, functools", "max_length, functools", "contract/test_families.py::test_the_reward_model_reads_the_same_ids_in_training_and_in_scoring"),
    ("text: RM cut late", ENCODING, ">= max_length:", "> max_length:", "contract/test_families.py::test_the_reward_model_reads_the_same_ids_in_training_and_in_scoring"),
    ("text: RM places lost", COMPARISONS, "max_length, places)", "max_length)", "contract/test_plain_text.py::test_a_row_that_spells_control_tokens"),
    ("text: labels' places shuffled", LABEL_SCORES, "[places[i] for i in mine]", "[places[-1 - i] for i in mine]", "contract/test_families.py::test_a_label_without_room_is_named_by_its_row"),
    ("text: generation with the plain tokenizer", GENERATE, "token_ids(tokenizer, prompts)", "tokenizer(prompts, add_special_tokens=False).input_ids", "contract/test_families.py::test_before_the_first_update_ppo_writes_what_the_tables_show_of_the_sft_model"),
    ("text: stage 3 gives no ids", STAGE3, "zip(texts, token_ids(tokenizer, texts), bodies", "zip(texts, tokenizer(texts, add_special_tokens=False).input_ids, bodies", "contract/test_families.py::test_before_the_first_update_ppo_writes_what_the_tables_show_of_the_sft_model"),
    ("text: given ids ignored", PROMPTS, "ids = list(own)", "pass", "contract/test_families.py::test_before_the_first_update_ppo_writes_what_the_tables_show_of_the_sft_model"),
    ("text: strings get a BOS", PROMPTS, "add_special_tokens: bool = False", "add_special_tokens: bool = True", "contract/test_families.py::test_strings_are_read_as_in_trlx_and_bos_is_added_on_request"),
    ("text: BOS lost by the cut", PROMPTS, "kept = max(unspelt, int(ids[0] == tokenizer.bos_token_id))", "kept = 0", "contract/test_families.py::test_strings_are_read_as_in_trlx_and_bos_is_added_on_request"),
    ("text: EOS behind a prompt", PROMPTS, "tokenizer(texts, add_special_tokens=False)", "tokenizer(texts, add_special_tokens=add_special_tokens)", "contract/test_families.py::test_strings_are_read_as_in_trlx_and_bos_is_added_on_request"),
    ("text: text with BOS", PROMPTS, "decode(ids[unspelt:])", "decode(ids)", "contract/test_families.py::test_strings_are_read_as_in_trlx_and_bos_is_added_on_request"),
    ("text: row counts without blank lines", DATA, "table[PLACE].append(place)", "table[PLACE].append(f\"{name}, row {len(table[PLACE]) + 1}\")", "contract/test_plain_text.py::test_a_row_that_spells_control_tokens"),
    ("text: place in the fingerprint", DATA, " if name != PLACE}", "}", "contract/test_data.py::test_every_format_gives_the_same_rows"),
    ("text: BOM", "summarize_rlhf/row_files.py", "path.open(encoding=\"utf-8-sig\"", "path.open(encoding=\"utf-8\"", "contract/test_plain_text.py::test_a_file_from_windows_is_read"),
    ("text: handover ignores the prefix", HANDOVER, "!= prefix_ids(tokenizer):", "!= record.get(\"prefix_ids\", prefix_ids(tokenizer)):", "contract/test_families.py::test_run_json_says_what_stands_before_a_text_and_the_next_stage_checks_it"),
    ("text: old template for all", HANDOVER, "if unchanged else (TEMPLATE,)", "if True else (TEMPLATE,)", "contract/test_families.py::test_earlier_checkpoints_are_accepted_where_nothing_has_changed"),
    ("text: old template for none", HANDOVER, "return (TEMPLATE, OLD_TEMPLATE) if", "return (TEMPLATE,) if", "contract/test_families.py::test_earlier_checkpoints_are_accepted_where_nothing_has_changed"),
    ("text: stop token as text alone", END_OF_RESPONSE, "if token.special and str(token) in stops", "if False", "contract/test_plain_text.py::test_a_stop_sequence_may_be_a_control_token"),
]
