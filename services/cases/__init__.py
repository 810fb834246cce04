"""Decides every command about a case; keeps case files, ledgers and histories, and has the platform's refunds paid."""
