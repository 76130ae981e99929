"""The accurate form of the sigmoid: value and derivative from z, right to the last bit."""
