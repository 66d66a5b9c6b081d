//! Access of an actor to a resource (owned by the accounts slice).
