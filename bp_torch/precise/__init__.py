"""The accurate form of the sigmoid: value and derivative from z, in float64, rounded once."""
