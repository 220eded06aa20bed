//! Turns an input into what a parser reads: several parts, or a file.

use std::path::PathBuf;
use std::sync::LazyLock;

/// Separates the parts of an input.
pub const SEPARATOR: u8 = 0;

/// Splits `data` into `N` parts; missing ones are empty, and the last one is all the rest.
pub fn parts<const N: usize>(data: &[u8]) -> [&[u8]; N] {
    let mut parts = data.splitn(N, |&byte| byte == SEPARATOR);
    std::array::from_fn(|_| parts.next().unwrap_or_default())
}

/// This process's own folder in `TMPDIR`; `scripts/fuzz` removes it.
pub fn folder() -> &'static PathBuf {
    static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
        let folder = std::env::temp_dir().join(format!("ferry-fuzz-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("the temporary folder is writable");
        folder
    });
    &FOLDER
}

/// Writes `bytes` to the file `name` in [`folder`].
pub fn file(name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder().join(name);
    std::fs::write(&path, bytes).expect("the temporary folder is writable");
    path
}
