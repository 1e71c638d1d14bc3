"""Evaluation of our fusion and others' on a set of pairs, as figures and pictures.

    plan        inputs, others' images, masks -> jobs of a few neighbouring pairs
    scoring     job -> scores for each pair and method, with small pictures
    results     what scores, runs and summaries hold
    execution   runs jobs on this machine's cores, or on many machines with Ray
    run         the whole evaluation of some inputs
    summary     scores -> means, intervals, ranks, worst cases
    tables      summary -> CSV, JSON, Markdown
    report      summary -> one HTML page

Scores depend on the inputs alone, not on the number of workers or their order. `ssvif_ros` plays
bags through the real node and passes a `RobotRun`.
"""
