"""Runs of `mobanet.fit` as processes of their own: local sweeps over hyper-parameters, and the same run by seeds."""
