"""Figures: how quick Stoppress is on this machine, each beside something measured in the same run."""
