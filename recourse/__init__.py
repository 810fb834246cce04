"""The command line, one module a verb. It composes the rest and owns nothing."""
