"""Corrects the predictors by what requests really take."""
