"""Inference: priors, likelihood, the fit, and the store of results."""

import numpyro

numpyro.__version__  # noqa: B018  # the whole before its parts: ArviZ leaves a lazy stand-in, whose parts come incomplete
