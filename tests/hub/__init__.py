"""A small Hub: enough of the Hugging Face API for the real client libraries to work against it.

``server`` speaks HTTP, ``routing`` finds the endpoint, ``routes/*`` hold the endpoints (one file a subject), ``repo`` and
``state`` hold what was pushed, ``metadata`` derives the repo information from it, ``faults`` breaks things on purpose.
"""
