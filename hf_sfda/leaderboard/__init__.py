"""A leaderboard that is updated automatically, inside a results dataset.

Beside the rows that every results dataset has, the repository of a leaderboard holds:

``leaderboard.yaml``
    The settings: which models are measured on which datasets
    (:mod:`hf_sfda.leaderboard.settings`).
``leaderboard/<dataset>/<pool>/<owner--model>/<sha>.safetensors``
    One measurement, written once: all scores of a checkpoint, and the contribution of each sample
    to them (:mod:`hf_sfda.leaderboard.state`). A *pool* is a set of comparable measurements: same
    samples, same settings, same version. Ranks, ties and intervals of a pool are recomputed from
    these files, bit by bit, without features and without running a model.
``leaderboard/log.jsonl``
    The log, one line per dataset and update.

An update reads and writes nothing else, so two concurrent updates see the same facts. Importing
this package loads no heavy library.
"""
