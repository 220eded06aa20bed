//! Writes libtorch's folder into the program, like the worker's build script.

use std::env;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    match env::var("DEP_TCH_LIBTORCH_LIB") {
        // DT_RPATH, which comes before LD_LIBRARY_PATH: see worker/build.rs.
        Ok(folder) => println!("cargo::rustc-link-arg=-Wl,--disable-new-dtags,-rpath,{folder}"),
        Err(_) => println!("cargo::error=torch-sys did not say where libtorch is: run `make setup`"),
    }
}
