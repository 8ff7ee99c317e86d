"""The paper's Figure 6 (Luger, Aral, Brandic 2023, section 4.2), measured instead of simulated."""
