"""Keepers of private keys, for the licence service and the image build. Never in the box."""
