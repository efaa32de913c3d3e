"""Why checkpoints are slow: rules that look at a run's checkpoints, and what they find.

A rule is one file in colotrace/analysis/findings/rules/: its RULE says which roles and columns it needs, and its
function turns a Sample into Findings. find.py applies all of them; attach's summary and the report show the result.
"""
