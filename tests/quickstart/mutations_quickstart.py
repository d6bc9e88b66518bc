# ruff: noqa: E501  a table, one mutation a line
"""The quickstart's world: what its posts say, what counts as true, what its model learns from, and what its tables show."""

DATA = "quickstart/test_quickstart_data.py"
GOLD = "quickstart/test_quickstart_gold.py"
MODEL = "quickstart/test_quickstart_model.py"
SCRIPT = "quickstart/test_quickstart_script.py"

# fmt: off
ROWS = [
    ("gold: a value named in passing is a fact", "quickstart/gold.py", "value != post.said[kind] if kind in GIST else (kind, value)", "(kind, value)", f"{GOLD}::test_gold_of_hand_worked_cases"),
    ("gold: a role turned round costs nothing", "quickstart/gold.py", "return wrong + (told.said[\"voice\"] not in (None, post.said[\"voice\"]))", "return wrong", f"{GOLD}::test_gold_of_hand_worked_cases"),
    ("gold: facts count whoever did it", "quickstart/gold.py", "if event or kind in (\"amount\", \"question\")", "if True", f"{GOLD}::test_gold_of_hand_worked_cases"),
    ("gold: quoted sentences are inventions", "quickstart/gold.py", "if text not in prompt", "if True", f"{GOLD}::test_gold_of_hand_worked_cases"),
    ("gold: an invention costs no more than a fact left out", "quickstart/gold.py", "INVENTED = 0.5", "INVENTED = 0.0", f"{GOLD}::test_gold_ranks_what_a_reader_would"),
    ("gold: repetition is free", "quickstart/gold.py", "REPEATED = 4.0", "REPEATED = 0.0", f"{GOLD}::test_gold_has_no_cheap_way_up"),
    ("reading: any clause tells that they did it", "quickstart/reading.py", "said |= values | {\"voice\": voice}", "said |= values | {\"voice\": \"other\"}", f"{GOLD}::test_who_did_what_to_whom_is_read_from_summaries"),
    ("reading: the question anywhere in the post", "quickstart/reading.py", "for template in (*STAKES, *QUESTIONS)]", "for template in STAKES]", f"{GOLD}::test_a_post_reads_as_its_facts_say"),
    ("reading: a list of values is a summary", "quickstart/reading.py", "    amounts = [value", "    said |= dict(find_values(summary))\n    amounts = [value", f"{GOLD}::test_gold_of_hand_worked_cases"),
    ("posts: nothing is named in passing", "quickstart/posts.py", "if rng.random() < distracted}", "if False}", f"{GOLD}::test_half_of_the_facts_have_another_value_beside_them"),
    ("posts: who and deed go together", "quickstart/posts.py", "**{kind: rng.choice(values) for kind, values in VALUES.items()})", "**(drawn := {kind: rng.choice(values) for kind, values in VALUES.items()}) | {\"deed\": VALUES[\"deed\"][len(drawn[\"who\"]) % 12]})", f"{GOLD}::test_no_value_goes_with_another"),
    ("labels: nobody is in a hurry", "quickstart/posts.py", "if rng.random() < MISREAD[kind]}", "if False}", f"{GOLD}::test_a_hurried_reader_takes_values_named_in_passing"),
    ("pairs: the wrong one is written anew", "quickstart/comparisons.py", "write_summary(random.Random(wording), facts, plan, post.body)", "write_summary(rng, facts, plan, post.body)", f"{DATA}::test_the_generator_reproduces_the_files_byte_for_byte"),
    ("pairs: noiseless labels", "quickstart/comparisons.py", "TAU = 0.45", "TAU = 0.1", f"{DATA}::test_labels_follow_the_gold_score_with_the_stated_noise"),
    ("probes under their own post", "quickstart/make_data.py", "{\"prompt\": bodies[at - 1]}", "{\"prompt\": bodies[at]}", f"{DATA}::test_the_generator_reproduces_the_files_byte_for_byte"),
    ("blind rule: fits nothing", "quickstart/blind_rule.py", "    optimizer.step(loss)\n", "", f"{DATA}::test_the_blind_rule_finds_what_can_be_found"),
    ("blind rule: both summaries count alike", "quickstart/blind_rule.py", "((1, chosen), (-1, rejected))", "((1, chosen), (1, rejected))", f"{DATA}::test_the_blind_rule_finds_what_can_be_found"),
    ("retelling: every verdict is yes", "quickstart/retelling.py", "return (YES if true else NO, READ)", "return (YES, READ)", f"{MODEL}::test_what_is_asked_below_a_post_is_answered_by_its_facts"),
    ("retelling: the doer is always another", "quickstart/retelling.py", "\"you\" if post.facts.voice == \"self\" else post.facts.who", "post.facts.who", f"{MODEL}::test_what_is_asked_below_a_post_is_answered_by_its_facts"),
    ("pretraining: all words weigh alike", "quickstart/pretrain.py", "return (nats * weight).sum() / weight.sum(), right.item()", "return nats.mean(), right.item()", f"{MODEL}::test_the_loss_weighs_what_has_to_be_read"),
    ("pretraining: right answers of any word", "quickstart/pretrain.py", "[weight == READ]", "", f"{MODEL}::test_the_loss_weighs_what_has_to_be_read"),
    ("pretraining: heads begin anywhere", "quickstart/pretrain.py", "    begin_with_reading(model)\n", "", f"{MODEL}::test_the_model_begins_by_looking_for_its_like"),
    ("pretraining: reads the data set's posts", "quickstart/pretrain.py", "return write_thread(rng, new_post(rng, seen))", "return [(sorted(seen)[rng.randrange(9)], TEXT) for TEXT in (1.0,)]", f"{MODEL}::test_the_model_has_read_no_post_of_the_data_set"),
    ("tables: a tie is won", "quickstart/measures.py", "0.5 if margin == 0 else float(margin > 0)", "float(margin >= 0)", f"{SCRIPT}::test_summary"),
    ("tables: PPO's end against its beginning", "quickstart/measures.py", "best = max(scores, key=lambda step: fmean(scores[step]))", "best = min(scores)", f"{SCRIPT}::test_summary"),
    ("tables: no mean over seeds", "quickstart/tables.py", "    if len(rows) > 1:\n        rows.append({\"seed\": \"mean\"}", "    if False:\n        rows.append({\"seed\": \"mean\"}", f"{SCRIPT}::test_what_is_known_of_the_posts_is_shown_by_seed_with_the_mean"),
    ("quickstart: inference in another precision", "quickstart.sh", "        --precision \"$precision\" --gold", "        --gold", f"{SCRIPT}::test_every_step_computes_in_the_precision_that_was_asked_for"),
    ("tables: bf16 beside any seed", "quickstart/tables.py", "next(run for run in runs if run[\"seed\"] == other[\"seed\"])", "runs[0]", f"{SCRIPT}::test_a_run_in_bf16_stands_below_its_own_seed_s"),
    ("traits: a value that stands in the post is no invention", "quickstart/traits.py", "float(invented(post, summary) > 0)", "float(bool(told.named - read.named))", "quickstart/test_quickstart_traits.py::test_by_hand"),
]
