"""How good a fusion is on a set of pairs: ours beside others', in figures and in pictures.

    plan        inputs, others' images, masks -> jobs, each a few neighbouring pairs
    scoring     a job -> a score a pair and method, with small pictures
    execution   jobs on this machine's cores, or on many machines by Ray
    results     scores -> means, intervals, ranks, worst cases; CSV, JSON, Markdown
    report      the same as one HTML page

Scores depend on the inputs alone: not on the number of workers, nor on the order they end in.
Playing a bag through the real node is left to `ssvif_ros`, which hands over a `RobotRun`.
"""
