"""One page that shows what a run did: report.html without network, and the same as report.md and report.json.

    python -m summarize_rlhf.report_page results/quickstart/seed_1

`material` reads what the stages and tables left, `facts` gathers what the page shows of it, the templates write it with
`plots` drawn in between. Whatever is missing leaves its section out, with the command that would fill it.
"""
