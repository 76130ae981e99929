"""A user's table: read once, from whatever holds it, into a matrix to learn from."""
