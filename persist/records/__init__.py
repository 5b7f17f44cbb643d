"""Files to nouns: the tidy tables of burden and treatments."""
