//! Hands the compiler's version, flags and profile to the run record.

use std::process::Command;

fn main() {
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    let version =
        Command::new(rustc).arg("--version").output().ok().and_then(|out| String::from_utf8(out.stdout).ok());
    set("SIMCSE_RUSTC_VERSION", version.as_deref().map_or("unknown", str::trim));
    // Flags are separated by the unit separator, since a flag may hold blanks.
    let flags = std::env::var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default().replace('\u{1f}', " ");
    set("SIMCSE_RUSTFLAGS", &flags);
    set("SIMCSE_PROFILE", &std::env::var("PROFILE").unwrap_or_default());
    emit("cargo::rerun-if-changed=build.rs");
}

fn set(name: &str, value: &str) {
    emit(&format!("cargo::rustc-env={name}={value}"));
}

fn emit(instruction: &str) {
    println!("{instruction}");
}
