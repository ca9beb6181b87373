"""Clusters that share nothing but an object store agree on one model, round by round."""
