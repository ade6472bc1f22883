"""Syndication: the ticker as feed readers and other newsrooms' machines take it."""
