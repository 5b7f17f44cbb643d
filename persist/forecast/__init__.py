"""Forecast: futures under each plan, endpoints, and the decision between plans."""
