//! Compiles the functions of libtorch that tch lacks (`native/`), and writes libtorch's folder into the worker's
//! programs, so that they find it whatever the environment says.

use std::env;
use std::path::{Path, PathBuf};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=native");
    match env::var("DEP_TCH_LIBTORCH_LIB") {
        Ok(folder) => {
            // As DT_RPATH, not DT_RUNPATH: it comes before LD_LIBRARY_PATH, where a conda environment may have another
            // libtorch, and it also holds for the libraries that libtorch itself needs.
            println!("cargo::rustc-link-arg=-Wl,--disable-new-dtags,-rpath,{folder}");
            compile(&include(Path::new(&folder)));
        }
        Err(_) => println!("cargo::error=torch-sys did not say where libtorch is: run `make setup`"),
    }
}

/// The folder of libtorch's headers, found as torch-sys does, which reports only the folder of the libraries.
fn include(libraries: &Path) -> PathBuf {
    println!("cargo::rerun-if-env-changed=LIBTORCH_INCLUDE");
    let beside = libraries.parent().unwrap_or(libraries);
    env::var_os("LIBTORCH_INCLUDE").map_or_else(|| beside.to_owned(), PathBuf::from).join("include")
}

/// Uses the same flags as torch-sys, so that both have the same ABI.
fn compile(include: &Path) {
    println!("cargo::rerun-if-env-changed=LIBTORCH_CXX11_ABI");
    let abi = env::var("LIBTORCH_CXX11_ABI").unwrap_or_else(|_| "1".to_owned());
    cc::Build::new()
        .cpp(true)
        .std("c++17")
        .file("native/ferry_native.cpp")
        .define("_GLIBCXX_USE_CXX11_ABI", abi.as_str())
        .define("GLOG_USE_GLOG_EXPORT", None)
        .flag(format!("-isystem{}", include.display())) // No warnings from libtorch's headers.
        .compile("ferry_native");
}
