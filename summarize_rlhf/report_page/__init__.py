"""One page that shows what a run did: report.html without network, and the same as report.md and report.json.

    python -m summarize_rlhf.report_page results/quickstart/seed_1

`material` finds and reads what the stages and tables left, `facts` says what it means in plain numbers, `plots` draws
them, `page` writes the files. Whatever is missing leaves its section out, with the command that would fill it.
"""
