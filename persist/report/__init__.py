"""Report: plots and the one self-contained page."""
