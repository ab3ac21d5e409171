"""What operators do, for command line, interface and console alike.

Each operation is one transaction that changes records and enters itself in the journal, and returns the record as it
is afterwards. Its rules stand in policies/spec/licence.md, 7. What boxes ask for is decided elsewhere.
"""
