"""A model of how training scales to more ranks than were measured, fitted to a sweep's records.

collectives     cost of an all-reduce on N ranks, as a formula and message by message
jitter          distribution of a rank's time, and how much the slowest of N ranks exceeds the mean
simulation      ranks simulated message by message: the check of the formulas
fit             the model of a cycle, its parameters from the records, intervals by bootstrap
extrapolation   efficiency at up to 1,024 ranks, with intervals
"""
