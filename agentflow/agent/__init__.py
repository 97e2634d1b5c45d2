"""Agents: a sentence becomes a typed goal; a loop proposes, predicts, scores, guards and revises."""
