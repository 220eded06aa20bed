//! Inputs on their way into a reader: parts of one input, files.

use std::path::PathBuf;
use std::sync::LazyLock;

/// Between the parts of an input.
pub const SEPARATOR: u8 = 0;

/// `N` parts of `data`; missing ones are empty, the last one is all the rest.
pub fn parts<const N: usize>(data: &[u8]) -> [&[u8]; N] {
    let mut parts = data.splitn(N, |&byte| byte == SEPARATOR);
    std::array::from_fn(|_| parts.next().unwrap_or_default())
}

/// A folder of this process alone, below `TMPDIR`; `scripts/fuzz` removes it.
pub fn folder() -> &'static PathBuf {
    static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
        let folder = std::env::temp_dir().join(format!("ferry-fuzz-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("the folder of temporary files can be written to");
        folder
    });
    &FOLDER
}

/// Writes `bytes` to the file `name` of [`folder`].
pub fn file(name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder().join(name);
    std::fs::write(&path, bytes).expect("the folder of temporary files can be written to");
    path
}
