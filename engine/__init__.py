"""The rules of the product, pure: case files, programmes, decide and evolve. Knows no clock, store or network."""
