//! People, organizations, products and devices (contract 2.2).
