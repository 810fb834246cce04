"""Partners, buyers, merchants and agents as clients of the public API, and the orders that they play."""
