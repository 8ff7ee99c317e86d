"""The paper's Figure 6 (Luger, Aral, Brandic 2023), measured instead of simulated."""
