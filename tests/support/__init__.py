"""Helpers that several test files share; no test imports a test."""
