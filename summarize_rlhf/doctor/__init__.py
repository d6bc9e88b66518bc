"""The doctor: which stage of a run is to blame.

    python -m summarize_rlhf.doctor results/quickstart/seed_1

`evidence.py` reads what the stages logged, `probes.py` asks the weights what the logs lack, `checks_*.py` hold one
small function per cause, and `verdict.py` runs them.
"""
