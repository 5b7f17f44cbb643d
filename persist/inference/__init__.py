"""Inference: priors, likelihood, the fit, and the store of posteriors."""
