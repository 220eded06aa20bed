//! Writes libtorch's folder into the test programs, which link the worker.

use std::env;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    match env::var("DEP_TCH_LIBTORCH_LIB") {
        Ok(folder) => println!("cargo::rustc-link-arg=-Wl,--disable-new-dtags,-rpath,{folder}"), // As worker/build.rs.
        Err(_) => println!("cargo::error=torch-sys did not say where libtorch is: run `make setup`"),
    }
}
