"""The seed's experiment as one command: how each phase of a checkpoint grows with vCPUs, memory and dirtied memory.

cli -> running -> {plan, journal, colo_lab}    what is to be measured, what has been, one pair after the other
    -> {table, pictures} -> {results, growth, seed} -> journal, plan
"""
