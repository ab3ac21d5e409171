"""What the red team suite tries in virtual boxes, where it is refused, and by which control it is an attempt at all."""
