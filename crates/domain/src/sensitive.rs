//! Values of a configuration that are never given back (contract 3.1).
