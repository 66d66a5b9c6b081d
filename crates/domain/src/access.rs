//! Who may do what (contract 2.2).
