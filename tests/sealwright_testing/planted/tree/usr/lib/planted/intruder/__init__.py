"""What the intruder tries, by what it is after."""
