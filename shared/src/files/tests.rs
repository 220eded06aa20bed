//! What becomes of each kind of target.

use std::io::Read;
use std::os::unix::fs::symlink;
use std::process::Command;

use super::*;

fn names(folder: &Path) -> Vec<String> {
    let entries =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = entries.collect();
    names.sort();
    names
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o777
}

#[test]
fn a_file_is_replaced_whole_and_keeps_its_permissions() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("out.csv");
    write(&path, b"first").unwrap();
    let by_umask = root.path().join("plain");
    fs::write(&by_umask, "").unwrap();
    assert_eq!(mode(&path), mode(&by_umask), "a new file is as open as any other");
    fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
    let mut reader = File::open(&path).unwrap();
    write(&path, b"second").unwrap();
    assert_eq!((fs::read(&path).unwrap().as_slice(), mode(&path)), (&b"second"[..], 0o640));
    let mut seen = String::new();
    reader.read_to_string(&mut seen).unwrap();
    assert_eq!(seen, "first", "who has the old file open reads it to its end");
    assert_eq!(names(root.path()), ["out.csv", "plain"]);
}

#[test]
fn a_private_file_is_its_owners_alone_whatever_was_there() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("token");
    fs::write(&path, "old").unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
    write_private(&path, b"secret").unwrap();
    assert_eq!((fs::read_to_string(&path).unwrap().as_str(), mode(&path)), ("secret", 0o600));
}

#[test]
fn nothing_is_left_of_a_file_that_is_not_finished() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("model");
    fs::write(&path, "old").unwrap();
    let mut file = NewFile::create(&path, Access::Umask).unwrap();
    file.write_all(b"half").unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "old");
    drop(file);
    assert_eq!(
        (names(root.path()), fs::read_to_string(&path).unwrap()),
        (vec!["model".into()], "old".into())
    );
}

#[test]
fn a_name_may_be_as_long_as_the_file_system_takes() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("n".repeat(255));
    write(&path, b"x").unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"x");
}

/// Case 2: a link stays a link.
#[test]
fn links_are_followed_and_stay() {
    let root = tempfile::tempdir().unwrap();
    let at = |name: &str| root.path().join(name);
    fs::create_dir(at("disk")).unwrap();
    fs::write(at("disk/there.csv"), "old").unwrap();
    symlink("disk/there.csv", at("relative.csv")).unwrap();
    symlink(at("relative.csv"), at("absolute.csv")).unwrap();
    symlink("disk/new.csv", at("dangling.csv")).unwrap();
    write(&at("absolute.csv"), b"through two links").unwrap();
    write(&at("dangling.csv"), b"new").unwrap();
    assert_eq!(fs::read_to_string(at("disk/there.csv")).unwrap(), "through two links");
    assert_eq!(fs::read_to_string(at("disk/new.csv")).unwrap(), "new");
    for link in ["relative.csv", "absolute.csv", "dangling.csv"] {
        assert!(at(link).is_symlink(), "{link}");
    }
    symlink("loop", at("loop")).unwrap();
    assert_eq!(write(&at("loop"), b"x").unwrap_err().raw_os_error(), Some(Errno::LOOP.raw_os_error()));
}

/// Case 2: a FIFO and a device are written into, never replaced.
#[test]
fn what_is_not_a_regular_file_is_written_through() {
    let root = tempfile::tempdir().unwrap();
    let fifo = root.path().join("fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    symlink("fifo", root.path().join("link")).unwrap();
    let reader = std::thread::spawn({
        let fifo = fifo.clone();
        move || fs::read(fifo).unwrap()
    });
    write(&root.path().join("link"), b"bytes").unwrap();
    assert_eq!(reader.join().unwrap(), b"bytes");
    assert_eq!(names(root.path()), ["fifo", "link"]);
    assert!(!fifo.symlink_metadata().unwrap().is_file());

    write(Path::new("/dev/null"), b"gone").unwrap();
    assert!(!fs::metadata("/dev/null").unwrap().is_file());
    assert_eq!(write(Path::new("/dev/full"), b"x").unwrap_err().kind(), io::ErrorKind::StorageFull);
}

/// Case 2: a descriptor is written where it stands, also when a regular file is behind it.
#[test]
fn a_descriptor_is_written_at_its_end() {
    use std::os::fd::AsRawFd;
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("all.csv");
    fs::write(&path, "before ").unwrap();
    let open = OpenOptions::new().append(true).open(&path).unwrap();
    for folder in ["/dev/fd", "/proc/self/fd", "/proc/thread-self/fd"] {
        write(&Path::new(folder).join(open.as_raw_fd().to_string()), b"+").unwrap();
    }
    assert_eq!(fs::read_to_string(&path).unwrap(), "before +++");
    assert_eq!(
        fs::metadata(&path).unwrap().ino(),
        open.metadata().unwrap().ino(),
        "it is still the same file"
    );
}

#[test]
fn where_nothing_can_be_written_the_error_is_the_systems() {
    let root = tempfile::tempdir().unwrap();
    let error = |path: PathBuf| write(&path, b"x").unwrap_err().to_string();
    assert_eq!(error(root.path().join("absent/out.csv")), "No such file or directory (os error 2)");
    assert_eq!(error(root.path().to_owned()), "Is a directory (os error 21)");
    assert_eq!(error(root.path().join("new/")), "Is a directory (os error 21)");
    assert_eq!(error(PathBuf::new()), "No such file or directory (os error 2)");
    fs::write(root.path().join("file"), "").unwrap();
    assert_eq!(error(root.path().join("file/out.csv")), "Not a directory (os error 20)");
    assert_eq!(names(root.path()), ["file"]);
}
