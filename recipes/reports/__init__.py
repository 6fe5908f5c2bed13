"""Plots, tables and model cards: what a person sees of a run."""
