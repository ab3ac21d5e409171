"""A real workload for tests: torch fine-tunes the bundled medical model on a sealed data set."""
