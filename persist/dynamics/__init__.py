"""Dynamics: the one table of reactions and the engines that are read from it."""
