"""Search over hyperparameters, on KerasTuner."""
