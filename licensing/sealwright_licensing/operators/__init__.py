"""Those who operate the service: who they are, what they may do, and the API they do it with.

Nothing here decides about boxes. The console writes pages on top of :mod:`.sessions` and :mod:`.browser`.
"""
