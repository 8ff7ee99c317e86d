"""One module a verb: `run(cfg)` for those on Hydra, `main(arguments)` for the others."""
