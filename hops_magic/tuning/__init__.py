"""Tune a program: spaces, searches, stopping rules, studies and ablation."""
