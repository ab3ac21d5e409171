"""A box in compressed time, its owner who may be an attacker, and an account of what both got.

The licence service is the real one on a real database, without HTTP; the box is its real code on a real swtpm whose
clock is ours. A month passes in a second.
"""
