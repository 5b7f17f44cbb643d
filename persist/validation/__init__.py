"""Validation: is the fit healthy, what do the data inform, and does the method keep its promises."""
