//! A new migration is part of the binary: without this line it would be seen by chance only.

fn main() {
    println!("cargo:rerun-if-changed=migrations");
}
