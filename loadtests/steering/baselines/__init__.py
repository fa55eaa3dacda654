"""What others do, each by its published formulas: one file a policy, each pinned by a test to hand-computed examples.

Every one is a ``guidevane.control.plant.Policy``: a frozen value that is called with an observation and its memory.
"""
