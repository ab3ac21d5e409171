"""The contract between vendor, box and licence service: formats, rules and the pure code for them."""
