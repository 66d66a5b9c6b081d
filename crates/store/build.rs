//! Rebuilds the crate when only a migration changed.
fn main() {
    println!("cargo:rerun-if-changed=migrations");
}
