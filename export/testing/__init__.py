"""Checks that users run on layers and fusions of their own."""
