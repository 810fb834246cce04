"""Merchants and what they agreed, orders with protection and payout hold, reports accepted or refused."""
