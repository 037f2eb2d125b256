//! Gives the library the name by which programs find it.

fn main() {
    let system = std::env::var("CARGO_CFG_TARGET_OS").unwrap_or_default();
    if system == "linux" {
        // `cargo xtask install-capi` installs it under this name; the number is that of the interface.
        println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,libvolfold_vix.so.0");
    }
    println!("cargo::rerun-if-changed=build.rs");
}
