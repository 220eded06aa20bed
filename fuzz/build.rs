//! Writes libtorch's folder into the fuzz targets, so that they start with nothing exported.

use std::env;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    match env::var("DEP_TCH_LIBTORCH_LIB") {
        Ok(folder) => println!("cargo::rustc-link-arg=-Wl,-rpath,{folder}"),
        Err(_) => println!("cargo::error=torch-sys did not say where libtorch is: run `make setup`"),
    }
}
