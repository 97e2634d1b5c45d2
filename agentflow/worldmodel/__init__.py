"""World models: the contract, the worlds, the learned dynamics, rendering, calibration, admission."""
