"""Plan: from measured figures to what an audience takes, and to how long its last reader waits.

`ask` reads the question, `figures` what was measured; `shape` and `model` reckon with it, `simulation` plays it
through, `table` prints it. No other input or output: the same question has the same answer everywhere.
"""
