"""Durable runs: a ledger of what is done, a runner that continues, and what the morning needs to know."""
