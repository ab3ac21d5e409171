"""The two bundled models: small Llamas that learn a few hundred questions and answers each.

``material`` and ``bpe`` are pure; ``network`` and ``training`` need torch and run in the training root; ``checkpoint``
lies between; ``conversion``, ``parity`` and ``random_gguf`` need gguf and run in ``.venv``. ``python -m
sealwright_testing.models`` (``make models``) leads from the texts in ``data/`` to checked GGUF files in the cache,
which :class:`ModelStore` finds.
"""

from sealwright_testing.models.store import ModelStore, Sample

__all__ = ["ModelStore", "Sample"]
