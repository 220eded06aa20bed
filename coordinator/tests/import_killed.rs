//! The program itself, killed with SIGKILL in the middle of an import, and a file that its user may not read.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on ends here")]

use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader, Cursor};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use image::{ImageFormat, Rgb, RgbImage};
use shared::pack::Pack;

const FERRY: &str = env!("CARGO_BIN_EXE_ferry");
const FEAR: &str = "training_set_synthetic_images/FEAR";
const NOBODY: u32 = 65_534;

/// A source with `images` small training images, no two alike, and their landmarks.
fn source(root: &Path, images: u32) -> PathBuf {
    let source = root.join("source");
    fs::create_dir_all(source.join(FEAR)).unwrap();
    fs::create_dir_all(source.join("landmarks").join(FEAR)).unwrap();
    let angles = (0..68).map(|i| f64::from(i) / 68.0 * std::f64::consts::TAU);
    let landmarks: Vec<String> =
        angles.map(|angle| format!("{:.3} {:.3}\n", 0.5 * angle.cos(), 0.5 * angle.sin())).collect();
    let landmarks = landmarks.concat();
    for i in 0..images {
        let picture = RgbImage::from_fn(8, 8, |x, y| Rgb([(i % 256) as u8, (i / 256) as u8, (x * y) as u8]));
        let mut bytes = Cursor::new(Vec::new());
        picture.write_to(&mut bytes, ImageFormat::Jpeg).unwrap();
        fs::write(source.join(FEAR).join(format!("{i}.jpg")), bytes.into_inner()).unwrap();
        fs::write(source.join("landmarks").join(FEAR).join(format!("{i}.txt")), &landmarks).unwrap();
    }
    source
}

fn import(source: &Path, dir: &Path) -> Command {
    let mut command = Command::new(FERRY);
    command.args(["data", "import", "--size", "48"]).arg(source).arg(dir).stdout(Stdio::null());
    command
}

/// Kills an import once it says that it is past its first checkpoint; false if it was done before it died.
fn kill_midway(source: &Path, dir: &Path) -> bool {
    let mut child = import(source, dir).stderr(Stdio::piped()).spawn().unwrap();
    let told = BufReader::new(child.stderr.take().unwrap()).lines();
    for line in told.map_while(Result::ok) {
        let done =
            line.strip_prefix("importing: ").and_then(|rest| rest.split('/').next()?.parse::<u32>().ok());
        if done.is_some_and(|done| done > 1024) {
            child.kill().unwrap();
            break;
        }
    }
    child.wait().unwrap();
    !dir.exists()
}

fn staged(root: &Path) -> usize {
    let names = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().file_name());
    names.filter(|name| name.to_string_lossy().contains(".import-")).count()
}

#[test]
fn a_killed_import_is_finished_by_the_same_command() {
    // A fast machine may finish before the kill arrives: it gets more to do.
    for images in [4_000, 12_000, 36_000] {
        let root = tempfile::tempdir().unwrap();
        let source = source(root.path(), images);
        let (killed, undisturbed) = (root.path().join("killed"), root.path().join("undisturbed"));
        if !kill_midway(&source, &killed) {
            continue;
        }
        assert_eq!(staged(root.path()), 1);
        let again = import(&source, &killed).output().unwrap();
        let told = String::from_utf8_lossy(&again.stderr);
        assert!(again.status.success() && told.contains("note: continuing at image"), "{told}");
        assert_eq!(staged(root.path()), 0);
        assert!(import(&source, &undisturbed).stderr(Stdio::null()).status().unwrap().success());
        let [killed, undisturbed] = [killed, undisturbed].map(|dir| Pack::open(&dir).unwrap());
        killed.verify().unwrap();
        assert_eq!(killed.digest(), undisturbed.digest());
        assert_eq!(killed.provenance(), undisturbed.provenance());
        return;
    }
    panic!("no import lived long enough to be killed");
}

#[test]
fn a_file_that_may_not_be_read_is_named() {
    let root = tempfile::tempdir().unwrap();
    let source = source(root.path(), 3);
    fs::set_permissions(source.join(FEAR).join("1.jpg"), Permissions::from_mode(0o000)).unwrap();
    let out = root.path().join("out");
    fs::create_dir(&out).unwrap();
    let mut command = import(&source, &out.join("pack"));
    if rustix::process::geteuid().is_root() {
        // Root may read everything, so the program runs as somebody who may not; it must be able to reach itself.
        let program = root.path().join("ferry");
        fs::copy(FERRY, &program).unwrap();
        fs::set_permissions(root.path(), Permissions::from_mode(0o755)).unwrap();
        fs::set_permissions(&out, Permissions::from_mode(0o777)).unwrap();
        let arguments: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
        command = Command::new(program);
        command.args(arguments).current_dir(root.path()).uid(NOBODY).gid(NOBODY);
    }
    let done = command.output().unwrap();
    let told = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{told}");
    assert!(told.contains(&format!("{FEAR}/1.jpg: Permission denied")), "{told}");
    assert!(told.contains("1 problem: 1 image left out"), "{told}");
    assert_eq!(Pack::open(&out.join("pack")).unwrap().len(shared::pack::Split::Train), 2);
}
