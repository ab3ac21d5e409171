"""The HTTP endpoints: bytes to a document, a service's method in a worker thread, a document to bytes."""
