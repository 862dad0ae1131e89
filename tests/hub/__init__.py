"""A small Hub: enough of the Hugging Face API for the real client libraries to work against it.

``server`` is what tests hold; ``handler`` speaks HTTP; ``routing`` finds the endpoint; ``routes/*``
are the endpoints, one file a subject; ``repo`` and ``state`` keep what was pushed; ``metadata``
derives the repository information from it; ``faults`` breaks things on purpose.
"""
