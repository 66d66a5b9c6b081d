//! The kinds of destinations with their fields, for those who show forms and references.

pub use tributary_targets::{
    Field, Shape,
    kinds::{DEFAULT, known_names},
};

/// The fields of a kind's own, those that every kind has left out; none for a kind that is not known.
pub fn own_fields(kind: &str) -> &'static [Field] {
    tributary_targets::kinds::find(kind).map_or(&[], |kind| kind.fields())
}

/// The fields that every kind has.
pub fn common_fields() -> &'static [Field] {
    tributary_targets::kinds::COMMON
}
